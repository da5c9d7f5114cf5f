//! Entries of etcd's log as ours: the same at the same place, but for those that say less or other than ours do.

use crate::apply::{LogError, check_request, conf_change};
use crate::cluster::{MemberChange, MemberTable};
use crate::wal::{Entry, EntryKind};
use bytes::Bytes;
use keelstone_proto::membershippb::{Attributes, ClusterMemberAttrSetRequest, ClusterVersionSetRequest};
use keelstone_proto::{etcdserverpb as pb, raftpb};
use prost::Message;
use serde::Deserialize;

/// What an entry is to whoever moves it.
#[derive(Debug)]
pub(super) enum Meaning {
    /// It can be applied as it stands here.
    Ready(Bytes),
    /// It changes the members, and does not say who they are then.
    Members(MemberChange),
}

/// # Errors
/// No member of ours could apply it.
pub(super) fn meaning(entry: &Entry) -> Result<Meaning, LogError> {
    match entry.kind {
        EntryKind::ConfChange => Ok(Meaning::Members(conf_change::decode(&entry.data)?.1)),
        EntryKind::Normal if entry.data.is_empty() => Ok(Meaning::Ready(Bytes::new())),
        EntryKind::Normal => {
            if let Some(request) = V2Request::find(&entry.data) {
                return Ok(Meaning::Ready(request.as_ours()));
            }
            check_request(&entry.data)?;
            Ok(Meaning::Ready(entry.data.clone()))
        }
    }
}

/// The data of a change of members with what holds behind it: `members` as they are then.
pub(super) fn with_members(data: &Bytes, members: &MemberTable) -> Result<Bytes, LogError> {
    let mut change = raftpb::ConfChange::decode(data.clone())?;
    change.keelstone_membership = Some(conf_change::membership(members).encode_to_vec().into());
    Ok(change.encode_to_vec().into())
}

/// A request of etcd's second API (`etcdserverpb.Request`): up to 3.5 members tell their names with one and set the version
/// of the cluster.
#[derive(Clone, PartialEq, Message)]
struct V2Request {
    #[prost(uint64, tag = "1")]
    id: u64,
    #[prost(bytes = "bytes", tag = "2")]
    method: Bytes,
    #[prost(bytes = "bytes", tag = "3")]
    path: Bytes,
    #[prost(bytes = "bytes", tag = "4")]
    value: Bytes,
}

/// What a member tells of itself, as JSON.
#[derive(Deserialize)]
struct AttributesJson {
    #[serde(default)]
    name: String,
    #[serde(rename = "clientURLs", default)]
    client_urls: Option<Vec<String>>,
}

impl V2Request {
    /// `None` if it is none. Field 2 of a request of the third API is a request of the second, or absent.
    fn find(data: &Bytes) -> Option<Self> {
        const METHODS: [&[u8]; 6] = [b"GET", b"QGET", b"PUT", b"POST", b"DELETE", b"SYNC"];
        let request = Self::decode(data.clone()).ok().filter(|request| !request.method.is_empty())?;
        if METHODS.contains(&&request.method[..]) {
            return Some(request);
        }
        let inner = Self::decode(request.method).ok()?;
        METHODS.contains(&&inner.method[..]).then_some(inner)
    }

    /// The request of the third API with the same effect on a state without keys of the second (etcd 3.5
    /// `apply_v2.go`). Nothing at all if there is none.
    fn as_ours(&self) -> Bytes {
        let mut ours = pb::InternalRaftRequest::default();
        let path = std::str::from_utf8(&self.path).unwrap_or_default();
        let member = path.strip_prefix("/0/members/").and_then(|rest| rest.strip_suffix("/attributes"));
        let member = member.and_then(|id| u64::from_str_radix(id, 16).ok());
        if self.method != "PUT" {
            return Bytes::new();
        }
        if let Some(member_id) = member {
            let Ok(told) = serde_json::from_slice::<AttributesJson>(&self.value) else { return Bytes::new() };
            let attributes = Attributes { name: told.name, client_urls: told.client_urls.unwrap_or_default() };
            ours.cluster_member_attr_set =
                Some(ClusterMemberAttrSetRequest { member_id, member_attributes: Some(attributes) });
        } else if path == "/0/version" {
            let ver = String::from_utf8_lossy(&self.value).into_owned();
            ours.cluster_version_set = Some(ClusterVersionSetRequest { ver });
        } else {
            return Bytes::new();
        }
        ours.header = Some(pb::RequestHeader { id: self.id, ..Default::default() });
        ours.encode_to_vec().into()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::MemberId;

    fn entry(kind: EntryKind, data: impl Into<Bytes>) -> Entry {
        Entry { term: 1, index: 1, kind, data: data.into() }
    }

    fn request(method: &'static str, path: &'static str, value: &'static str) -> Bytes {
        let request = V2Request { id: 7, method: method.into(), path: path.into(), value: value.into() };
        request.encode_to_vec().into()
    }

    fn ready(data: Bytes) -> pb::InternalRaftRequest {
        match meaning(&entry(EntryKind::Normal, data)).expect("readable") {
            Meaning::Ready(data) => pb::InternalRaftRequest::decode(data).expect("a request"),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn what_members_tell_by_the_second_api_is_kept() {
        let told = r#"{"name":"m0","clientURLs":["http://a:1"]}"#;
        let plain = request("PUT", "/0/members/8e9e05c52164694d/attributes", told);
        let nested = pb::InternalRaftRequest::default().encode_to_vec();
        let nested: Bytes =
            [&nested[..], &[2 << 3 | 2, u8::try_from(plain.len()).expect("short")], &plain].concat().into();
        for data in [plain, nested] {
            let set = ready(data).cluster_member_attr_set.expect("attributes");
            let attributes = set.member_attributes.expect("attributes");
            assert_eq!((set.member_id, attributes.name.as_str()), (0x8e9e_05c5_2164_694d, "m0"));
            assert_eq!(attributes.client_urls, ["http://a:1"]);
        }
        let version = ready(request("PUT", "/0/version", "3.5.0"));
        assert_eq!(version.cluster_version_set.expect("a version").ver, "3.5.0");
        for (method, path) in [("PUT", "/1/key"), ("SYNC", ""), ("DELETE", "/0/version"), ("QGET", "/1/key")] {
            assert_eq!(ready(request(method, path, "v")), pb::InternalRaftRequest::default(), "{method} {path}");
        }
    }

    #[test]
    fn a_request_of_the_third_api_stays_as_it_is() {
        let put = pb::PutRequest { key: "PUT".into(), value: "v".into(), ..Default::default() };
        let put = pb::InternalRaftRequest { id: 9, put: Some(put), ..Default::default() };
        assert_eq!(ready(put.encode_to_vec().into()), put);
        let role =
            pb::InternalRaftRequest { auth_role_add: Some(pb::AuthRoleAddRequest::default()), ..Default::default() };
        assert_eq!(ready(role.encode_to_vec().into()), role);
        let list =
            pb::InternalRaftRequest { auth_role_list: Some(pb::AuthRoleListRequest::default()), ..Default::default() };
        assert_eq!(ready(list.encode_to_vec().into()), list);
        assert!(meaning(&entry(EntryKind::Normal, vec![0xff])).is_err());
        assert!(matches!(meaning(&entry(EntryKind::Normal, vec![8, 1])), Err(LogError::UnknownCommand)));
    }

    #[test]
    fn a_change_of_members_says_who_they_are_then() {
        let change = raftpb::ConfChange { id: Some(3), node_id: Some(5), r#type: Some(1), ..Default::default() };
        let data: Bytes = change.encode_to_vec().into();
        let meaning = meaning(&entry(EntryKind::ConfChange, data.clone())).expect("readable");
        assert!(matches!(meaning, Meaning::Members(MemberChange::Remove(MemberId(5)))), "{meaning:?}");
        let left =
            crate::cluster::Member { id: MemberId(4), peer_urls: vec!["http://b:1".into()], ..Default::default() };
        let filled = with_members(&data, &MemberTable::with_members([left])).expect("a change");
        let filled = raftpb::ConfChange::decode(filled).expect("a change");
        let after = keelstone_proto::internal::Membership::decode(filled.keelstone_membership.clone().expect("filled"));
        assert_eq!(after.expect("a membership").members[0].id, 4);
        assert_eq!(raftpb::ConfChange { keelstone_membership: None, ..filled }, change);
    }
}
