//! What a registry says of a new cluster, by its keys (etcd `server/etcdserver/api/v3discovery/discovery.go`):
//!
//! ```text
//! /_etcd/registry/<token>/_config/size       how many members it begins with
//! /_etcd/registry/<token>/members/<id, hex>  <name>=<peer URL>,<name>=<peer URL>
//! ```

use super::JoinError;
use crate::config::bootstrap::parse_members;
use crate::types::MemberId;

/// Where the registry of one cluster stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Keys {
    pub size: String,
    pub members: String,
}

impl Keys {
    pub fn new(token: &str) -> Self {
        let cluster = clean(&format!("/_etcd/registry/{token}"));
        Self { size: format!("{cluster}/_config/size"), members: format!("{cluster}/members") }
    }

    pub fn of_member(&self, id: MemberId) -> String {
        format!("{}/{id}", self.members)
    }

    /// What lies behind the keys of all members.
    pub fn members_end(&self) -> String {
        let (rest, last) = self.members.split_at(self.members.len() - 1);
        debug_assert_eq!(last, "s");
        format!("{rest}t")
    }
}

/// Go's `path.Clean` of a path from the root.
fn clean(path: &str) -> String {
    let mut kept = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." => drop(kept.pop()),
            part => kept.push(part),
        }
    }
    format!("/{}", kept.join("/"))
}

/// The members that are written in the registry, those first that came first.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Registered {
    members: Vec<Entry>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
struct Entry {
    key: String,
    peer_urls: String,
    created: i64,
}

/// Why a pair is passed over.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refused {
    #[error("invalid peer info returned from discovery service")]
    Invalid,
    #[error("found duplicate peer from discovery service")]
    Duplicate,
}

impl Registered {
    pub fn len(&self) -> usize {
        self.members.len()
    }

    /// Adds what stands under a key since the revision at which it was created.
    ///
    /// # Errors
    /// It describes no member, or one that is known.
    pub fn add(&mut self, key: &str, peer_urls: &str, created: i64) -> Result<(), Refused> {
        if !peer_urls.contains('=') {
            return Err(Refused::Invalid);
        }
        if self.members.iter().any(|member| member.key == key) {
            return Err(Refused::Duplicate);
        }
        self.members.push(Entry { key: key.to_owned(), peer_urls: peer_urls.to_owned(), created });
        self.members.sort_by_key(|member| member.created);
        Ok(())
    }

    /// Whether a cluster of this size has no place for the member under `key`: others came first. More may be written there
    /// than have a place, since all may write at once.
    pub fn is_full_without(&self, key: &str, size: usize) -> bool {
        self.members.iter().take(size).filter(|member| member.key != key).count() == size
    }

    /// The first members as `--initial-cluster` would name them.
    ///
    /// # Errors
    /// What somebody has written there are no URLs.
    pub fn initial_cluster(&self, size: usize) -> Result<String, JoinError> {
        let members: Vec<&str> = self.members.iter().take(size).map(|member| member.peer_urls.as_str()).collect();
        let cluster = members.join(",");
        match parse_members(&cluster) {
            Ok(_) => Ok(cluster),
            Err(_) => Err(JoinError::InvalidUrl { cluster }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_etcds() {
        let keys = Keys::new("t");
        assert_eq!(keys.size, "/_etcd/registry/t/_config/size");
        assert_eq!(keys.of_member(MemberId(0xab)), "/_etcd/registry/t/members/ab");
        assert_eq!(keys.members_end(), "/_etcd/registry/t/membert");
        assert_eq!(Keys::new("a//b/./c/../d/").members, "/_etcd/registry/a/b/d/members");
    }

    #[test]
    fn who_came_first_has_a_place() {
        let mut registered = Registered::default();
        for (key, created) in [("c", 7), ("a", 5), ("b", 6)] {
            assert!(!registered.is_full_without("c", 3));
            registered.add(key, &format!("{key}=http://{key}:1"), created).expect("a member");
        }
        for (key, size, is_full) in [("c", 2, true), ("a", 2, false), ("b", 2, false), ("d", 3, true), ("d", 4, false)]
        {
            assert_eq!(registered.is_full_without(key, size), is_full, "{key} of {size}");
        }
        assert_eq!(registered.initial_cluster(2).expect("URLs"), "a=http://a:1,b=http://b:1");
        assert_eq!(registered.len(), 3);
    }

    #[test]
    fn what_is_no_member_is_passed_over_and_what_is_no_url_is_refused() {
        let mut registered = Registered::default();
        assert_eq!(registered.add("a", "", 1), Err(Refused::Invalid));
        assert_eq!(registered.add("a", "a=b", 1), Ok(()));
        assert_eq!(registered.add("a", "a=http://a:1", 2), Err(Refused::Duplicate));
        assert_eq!(registered.initial_cluster(1).unwrap_err().to_string(), "discovery: invalid peer URL");
    }
}
