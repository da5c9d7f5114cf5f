//! One member: its row, and a change to it as a ConfChange entry says it.
//!
//! Row (`members` table, etcd's JSON): `{"id":1,"peerURLs":["..."],"isLearner":true,"name":"a","clientURLs":["..."]}`,
//! where everything after `peerURLs` is left out if empty. A ConfChange carries the same object in its
//! context, with `isPromote` behind it when a member is added or promoted at run time.

use super::json::to_go_json;
use super::urls::PeerUrls;
use crate::types::MemberId;
use serde::{Deserialize, Serialize};

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Member {
    pub id: MemberId,
    pub peer_urls: Vec<String>,
    pub is_learner: bool,
    /// Empty until the member has started once and told its name.
    pub name: String,
    pub client_urls: Vec<String>,
}

/// A change of the member table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum MemberChange {
    /// A new voter or, by its flag, a new learner.
    Add(Member),
    Promote(MemberId),
    Remove(MemberId),
    /// New peer URLs; nothing else of a member changes this way (etcd #21694).
    Update {
        id: MemberId,
        peer_urls: Vec<String>,
    },
}

impl MemberChange {
    pub fn member_id(&self) -> MemberId {
        match self {
            MemberChange::Add(member) => member.id,
            MemberChange::Promote(id) | MemberChange::Remove(id) | MemberChange::Update { id, .. } => *id,
        }
    }
}

/// Why a change is refused, by etcd's names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MemberChangeError {
    #[error("membership: ID removed")]
    IdRemoved,
    #[error("membership: ID exists")]
    IdExists,
    #[error("membership: ID not found")]
    IdNotFound,
    #[error("membership: peerURL exists")]
    PeerUrlExists,
    #[error("membership: can only promote a learner member")]
    NotLearner,
    #[error("membership: too many learner members in cluster")]
    TooManyLearners,
}

#[derive(Serialize, Deserialize)]
struct MemberJson {
    id: u64,
    /// Go writes an absent list as null.
    #[serde(rename = "peerURLs")]
    peer_urls: Option<Vec<String>>,
    #[serde(rename = "isLearner", default, skip_serializing_if = "is_false")]
    is_learner: bool,
    #[serde(default, skip_serializing_if = "String::is_empty")]
    name: String,
    #[serde(rename = "clientURLs", default, skip_serializing_if = "Option::is_none")]
    client_urls: Option<Vec<String>>,
    #[serde(rename = "isPromote", default, skip_serializing_if = "Option::is_none")]
    is_promote: Option<bool>,
}

fn is_false(value: &bool) -> bool {
    !value
}

impl Member {
    /// A voter that has not started yet.
    pub fn new(id: MemberId, peer_urls: PeerUrls) -> Self {
        Self { id, peer_urls: peer_urls.into_vec(), ..Self::default() }
    }

    pub fn is_started(&self) -> bool {
        !self.name.is_empty()
    }

    /// The row's value, and the context of a ConfChange at bootstrap or update.
    pub fn to_json(&self) -> Vec<u8> {
        to_go_json(&self.json(None))
    }

    /// The context of a ConfChange that adds this member at run time.
    pub fn to_add_json(&self) -> Vec<u8> {
        to_go_json(&self.json(Some(false)))
    }

    /// The context of a ConfChange that promotes the learner `id`.
    pub fn promote_json(id: MemberId) -> Vec<u8> {
        to_go_json(&Member { id, ..Member::default() }.json(Some(true)))
    }

    fn json(&self, is_promote: Option<bool>) -> MemberJson {
        let some_unless_empty = |list: &Vec<String>| (!list.is_empty()).then(|| list.clone());
        MemberJson {
            id: self.id.0,
            peer_urls: some_unless_empty(&self.peer_urls),
            is_learner: self.is_learner,
            name: self.name.clone(),
            client_urls: some_unless_empty(&self.client_urls),
            is_promote,
        }
    }

    /// Reads a row, or a context and its `isPromote`.
    pub fn from_json(bytes: &[u8]) -> Result<(Member, bool), serde_json::Error> {
        let json: MemberJson = serde_json::from_slice(bytes)?;
        let member = Member {
            id: MemberId(json.id),
            peer_urls: json.peer_urls.unwrap_or_default(),
            is_learner: json.is_learner,
            name: json.name,
            client_urls: json.client_urls.unwrap_or_default(),
        };
        Ok((member, json.is_promote.unwrap_or(false)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Rows found in the database of etcd 3.7.3.
    #[test]
    fn rows_equal_those_of_etcd() {
        let rows = [
            r#"{"id":6923366017875292483,"peerURLs":["http://127.0.0.1:3?a=b\u0026c=\u003cd\u003e"],"isLearner":true}"#,
            r#"{"id":8368382464611673420,"peerURLs":["http://localhost:23800"],"name":"default","clientURLs":["http://localhost:23790"]}"#,
            r#"{"id":8368382464611673420,"peerURLs":["http://localhost:23800"],"name":"default"}"#,
        ];
        for row in rows {
            let (member, is_promote) = Member::from_json(row.as_bytes()).expect("etcd's row");
            assert!(!is_promote);
            assert_eq!(String::from_utf8(member.to_json()).expect("text"), row);
        }
    }

    #[test]
    fn contexts_have_the_shape_of_etcd() {
        assert_eq!(Member::promote_json(MemberId(7)), br#"{"id":7,"peerURLs":null,"isPromote":true}"#);
        let learner = Member { id: MemberId(1), peer_urls: vec!["a".into()], is_learner: true, ..Member::default() };
        let context = learner.to_add_json();
        assert_eq!(context, br#"{"id":1,"peerURLs":["a"],"isLearner":true,"isPromote":false}"#);
        assert_eq!(Member::from_json(&context).expect("own context"), (learner, false));
    }
}
