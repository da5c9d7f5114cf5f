//! What a command may touch, and how it ends.

use super::{ApplyError, Fatal, Reply};
use crate::alarm::Alarms;
use crate::auth::{AuthState, SimpleTokens};
use crate::cluster::ClusterState;
use crate::lease::Lessor;
use crate::mvcc::{EventKind, RevisionEvents, WriteBatch};
use crate::storage::StorageError;
use crate::types::LeaseId;
use keelstone_proto::etcdserverpb::ResponseHeader;
use std::sync::Arc;

/// The state while a batch is applied: changed in place, seen by readers when the batch is committed.
pub(super) struct Scope<'a, 's> {
    pub batch: &'a mut WriteBatch<'s>,
    pub lessor: &'a Lessor,
    pub alarms: &'a mut Alarms,
    /// Replaced, never changed in place: readers hold it.
    pub auth: &'a mut Arc<AuthState>,
    pub tokens: &'a SimpleTokens,
    /// The place of the entry.
    pub index: u64,
    pub cluster: &'a mut ClusterState,
    pub events: &'a mut Vec<Arc<RevisionEvents>>,
    /// Somebody waits here for the reply. If not, what only fills a reply is not read.
    pub wants_reply: bool,
}

impl Scope<'_, '_> {
    /// A header with the current revision.
    pub fn header(&self) -> Option<ResponseHeader> {
        Some(ResponseHeader { revision: self.batch.revision(), ..ResponseHeader::default() })
    }

    /// Makes the events of an ended transaction known: to the leases at once, to the watchers with the batch.
    pub fn publish(&mut self, events: Option<Arc<RevisionEvents>>) {
        let Some(events) = events else { return };
        self.lessor.follow(events.events.iter().map(|event| match event.kind {
            EventKind::Put => (&event.kv.key, LeaseId(event.kv.lease)),
            EventKind::Delete => (&event.kv.key, LeaseId::NONE),
        }));
        self.events.push(events);
    }
}

/// Why a command ends without a reply.
#[derive(Debug)]
pub(super) enum Failure {
    /// Nothing was changed.
    Refused(ApplyError),
    Fatal(Fatal),
}

pub(super) type Applied = Result<Reply, Failure>;

impl From<ApplyError> for Failure {
    fn from(error: ApplyError) -> Self {
        Failure::Refused(error)
    }
}

impl From<StorageError> for Failure {
    fn from(error: StorageError) -> Self {
        Failure::Fatal(error.into())
    }
}
