//! openraft's state machine: hands committed entries to the apply thread, a batch at a time, and what comes of
//! them to those who wait. Crosses threads once a batch.

use super::log_store::SharedConfState;
use super::snapshot::{Snapshot, SnapshotBuilder, SnapshotSource, stored_membership};
use super::state_files::StateFiles;
use super::types::{self, LogId, Payload, SnapshotMeta, StoredMembership, TypeConfig};
use crate::apply::{Committed, Outcome, Payload as Applied, Waiters, Worker};
use crate::defect::{self, Point};
use crate::types::LogPosition;
use bytes::Bytes;
use futures_util::{Stream, StreamExt};
use openraft::storage::EntryResponder;
use openraft::storage::RaftStateMachine;
use openraft::{OptionalSend, RaftSnapshotBuilder};
use prost::Message;
use std::fmt;
use std::io;
use std::sync::Arc;
use tokio::sync::watch;

/// Entries in one batch of apply, at most.
const BATCH_LEN: usize = 1_024;

/// Called on the runtime's thread after each batch is applied and visible, before its requests are answered.
#[derive(Clone)]
pub struct OnApplied(Arc<dyn Fn(&Outcome) + Send + Sync>, Arc<dyn Fn() + Send + Sync>);

impl OnApplied {
    /// `applied` sees each batch; `restored` is called when a snapshot has replaced the state.
    pub fn new(
        applied: impl Fn(&Outcome) + Send + Sync + 'static,
        restored: impl Fn() + Send + Sync + 'static,
    ) -> Self {
        Self(Arc::new(applied), Arc::new(restored))
    }
}

impl fmt::Debug for OnApplied {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("OnApplied")
    }
}

#[derive(Debug)]
pub struct StateMachine {
    worker: Worker,
    waiters: Arc<Waiters>,
    on_applied: OnApplied,
    conf_state: SharedConfState,
    files: Arc<StateFiles>,
    applied: LogPosition,
    /// Encoded `StoredMembership`, as it stands in the state.
    membership: Option<Bytes>,
    /// For those who wait for a term; see `propose.rs`.
    applied_term: watch::Sender<u64>,
}

impl StateMachine {
    pub fn new(
        worker: Worker,
        waiters: Arc<Waiters>,
        on_applied: OnApplied,
        conf_state: SharedConfState,
        files: Arc<StateFiles>,
        (applied, membership): (LogPosition, Option<Bytes>),
        applied_term: watch::Sender<u64>,
    ) -> Self {
        Self { worker, waiters, on_applied, conf_state, files, applied, membership, applied_term }
    }

    fn remember(&self, membership: &types::Membership) {
        self.conf_state.store(Arc::new(types::conf_state(membership)));
    }

    fn committed(&mut self, entry: types::Entry) -> Committed {
        let log_id = entry.log_id;
        let payload = match entry.payload {
            Payload::Blank => Applied::Blank,
            Payload::Normal(proposal) => Applied::Normal(proposal.0),
            Payload::ConfChange { change, membership } => {
                self.remember(&membership);
                let in_force = types::membership_to_proto(&membership).encode_to_vec().into();
                let stored = StoredMembership::new(Some(log_id), membership);
                self.membership = Some(types::stored_membership_to_bytes(&stored));
                Applied::ConfChange { change, membership: in_force }
            }
        };
        Committed { position: types::position(&log_id), payload }
    }
}

impl RaftStateMachine<TypeConfig> for StateMachine {
    type SnapshotData = SnapshotSource;
    type SnapshotBuilder = SnapshotBuilder;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), io::Error> {
        let membership = stored_membership(self.membership.as_deref()).map_err(io::Error::other)?;
        self.remember(membership.membership());
        Ok((types::log_id(self.applied), membership))
    }

    async fn apply<S>(&mut self, entries: S) -> Result<(), io::Error>
    where
        S: Stream<Item = Result<EntryResponder<TypeConfig>, io::Error>> + Unpin + OptionalSend,
    {
        let mut batches = entries.ready_chunks(BATCH_LEN);
        while let Some(batch) = batches.next().await {
            let mut committed = Vec::with_capacity(batch.len());
            let mut responders = Vec::with_capacity(batch.len());
            for item in batch {
                let (entry, responder) = item?;
                committed.push(self.committed(entry));
                responders.extend(responder);
            }
            let outcome = self.worker.apply(committed).await.map_err(io::Error::other)?;
            self.applied = outcome.applied;
            (self.on_applied.0)(&outcome);
            self.waiters.complete(outcome.replies);
            self.applied_term
                .send_if_modified(|term| std::mem::replace(term, outcome.applied.term) != outcome.applied.term);
            for responder in responders {
                responder.send(());
            }
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> SnapshotBuilder {
        SnapshotBuilder::new(self.worker.clone())
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta, snapshot: SnapshotSource) -> Result<(), io::Error> {
        let metrics = self.files.metrics().clone();
        metrics.set_installing(true);
        let incoming = types::position_or_zero(meta.last_log_id.as_ref());
        tracing::info!(
            "current-applied-index" = self.applied.index,
            "incoming-leader-snapshot-index" = incoming.index,
            "incoming-leader-snapshot-term" = incoming.term,
            "applying snapshot"
        );
        let received = snapshot.into_file(Arc::clone(&self.files)).await?;
        defect::reach_in_task(Point::ApplyBeforeOpenSnapshot).await;
        // Once it stands in the old one's place a crash finds it; before, the old one.
        self.files.put_in_place(&received.file)?;
        tracing::info!("applySnapshot: opened snapshot backend");
        defect::reach_in_task(Point::ApplyAfterOpenSnapshot).await;
        self.applied = self.worker.install(received.storage).await.map_err(io::Error::other)?;
        // Not before: a copy of the old state must not take its place.
        drop(received.file);
        self.membership = Some(types::stored_membership_to_bytes(&meta.last_membership));
        self.remember(meta.last_membership.membership());
        // What the snapshot applied has no answers here; whoever waits must not try again.
        self.waiters.abandon_all();
        (self.on_applied.1)();
        metrics.set_installing(false);
        tracing::info!(
            "current-applied-index" = self.applied.index,
            "incoming-leader-snapshot-index" = incoming.index,
            "incoming-leader-snapshot-term" = incoming.term,
            "applied snapshot"
        );
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot>, io::Error> {
        // One can be had at any time, and only a present one is worth sending.
        if self.applied.index == 0 {
            return Ok(None);
        }
        SnapshotBuilder::new(self.worker.clone()).build_snapshot().await.map(Some)
    }
}
