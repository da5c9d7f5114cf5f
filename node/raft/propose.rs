//! How requests reach the log. All requests that wait are handed over as one batch: to openraft on the leader,
//! by one call to the leader elsewhere. Whoever proposed waits for its own member to apply the entry, whatever
//! way it took; a batch that certainly did not enter the log is tried again while its callers still wait.

use super::Consensus;
use super::types::{Proposal, TypeConfig};
use crate::defect::{self, Defect, Point};
use crate::raft::network::Purpose;
use bytes::Bytes;
use futures_util::StreamExt;
use keelstone_proto::internal;
use openraft::errors::{ClientWriteError, Fatal};
use openraft::impls::ProgressResponder;
use openraft::raft::{ClientWriteResult, WriteResult};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinSet;

/// Requests that may wait to be proposed; beyond it callers are told that there are too many.
pub const QUEUE_LEN: usize = 16_384;
/// Further places, for requests that free what others fill.
pub const URGENT_LEN: usize = 1_024;
/// The most of one batch, so that a batch stays well below a log write.
const BATCH_LEN: usize = 4_096;
const BATCH_BYTES: usize = 1024 * 1024;
/// Between attempts, while the leader is not ready to take writes (a new one needs its first quorum answer).
const RETRY_AFTER: Duration = Duration::from_millis(5);

/// A request on its way into the log.
#[derive(Debug)]
pub struct Queued {
    pub id: u64,
    pub data: Bytes,
}

/// What became of each request of a batch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// In the log, or possibly so: only applying it will tell.
    Sent,
    /// Certainly not in the log.
    NotTaken,
    /// Handed to the leader of this term, and lost sight of. Entries are applied in the order of terms: once one of
    /// a later term is applied here, this request was applied before it or never will be.
    Lost { term: u64 },
}

/// Takes requests from the queue until it closes.
pub async fn run(consensus: Consensus, mut queue: mpsc::Receiver<Queued>) {
    let mut batch = Vec::new();
    let mut in_flight = JoinSet::new();
    loop {
        tokio::select! {
            biased;
            Some(done) = in_flight.join_next(), if !in_flight.is_empty() => {
                let again: Vec<Queued> = done.expect("a batch neither panics nor is aborted");
                if !again.is_empty() {
                    let consensus = consensus.clone();
                    in_flight.spawn(async move {
                        tokio::time::sleep(RETRY_AFTER).await;
                        send(&consensus, again).await
                    });
                }
            }
            received = queue.recv_many(&mut batch, BATCH_LEN) => {
                if received == 0 {
                    return;
                }
                for part in split(std::mem::take(&mut batch)) {
                    start(&consensus, &mut in_flight, part).await;
                }
            }
        }
    }
}

/// Cuts a batch so that no part is beyond [`BATCH_BYTES`], unless one request alone is.
fn split(batch: Vec<Queued>) -> Vec<Vec<Queued>> {
    let mut parts = Vec::new();
    let mut part = Vec::new();
    let mut bytes = 0_usize;
    for queued in batch {
        bytes = bytes.saturating_add(queued.data.len());
        if bytes > BATCH_BYTES && !part.is_empty() {
            parts.push(std::mem::take(&mut part));
            bytes = queued.data.len();
        }
        part.push(queued);
    }
    parts.push(part);
    parts
}

/// On the leader the batch enters openraft's queue before the next one is taken, so that requests keep their
/// order; only its outcome is awaited aside.
async fn start(consensus: &Consensus, in_flight: &mut JoinSet<Vec<Queued>>, batch: Vec<Queued>) {
    if !consensus.is_leader() {
        let consensus = consensus.clone();
        in_flight.spawn(async move { send(&consensus, batch).await });
        return;
    }
    defect::reach_in_task(Point::RaftBeforeLeaderSend).await;
    match consensus.raft().client_write_many(proposals(&batch)).await {
        Ok(results) => {
            in_flight.spawn(async move { not_taken(batch, local_fates(results).await) });
        }
        // The node is ending: callers run into their deadline or the end of the process.
        Err(_stopped) => {}
    }
}

/// Tries once, through whoever leads now. Returns what must be tried again.
async fn send(consensus: &Consensus, batch: Vec<Queued>) -> Vec<Queued> {
    let mut batch = batch;
    batch.retain(|queued| consensus.is_awaited(queued.id));
    if batch.is_empty() {
        return batch;
    }
    let fates = if consensus.is_leader() {
        match consensus.raft().client_write_many(proposals(&batch)).await {
            Ok(results) => local_fates(results).await,
            Err(_stopped) => return Vec::new(),
        }
    } else {
        forward(consensus, &batch).await
    };
    for fate in &fates {
        if let Fate::Lost { term } = fate {
            consensus.applied_beyond_term(*term).await;
        }
    }
    not_taken(batch, fates)
}

fn proposals(batch: &[Queued]) -> Vec<Proposal> {
    batch.iter().map(|queued| Proposal(queued.data.clone())).collect()
}

fn not_taken(batch: Vec<Queued>, fates: Vec<Fate>) -> Vec<Queued> {
    let mut fates = fates.into_iter();
    batch.into_iter().filter(|_| fates.next() != Some(Fate::Sent)).collect()
}

async fn local_fates(
    results: impl futures_util::Stream<Item = Result<WriteResult<TypeConfig>, Fatal<TypeConfig>>>,
) -> Vec<Fate> {
    results
        .map(|result| match result {
            Ok(Err(ClientWriteError::ForwardToLeader(_))) => Fate::NotTaken,
            // Discarded here, an entry may still be on a member that leads later.
            Ok(
                Ok(_)
                | Err(
                    ClientWriteError::ChangeMembershipError(_)
                    | ClientWriteError::LogEntryDiscarded(_)
                    | ClientWriteError::PreconditionFailed(_),
                ),
            )
            | Err(_) => Fate::Sent,
        })
        .collect()
        .await
}

async fn forward(consensus: &Consensus, batch: &[Queued]) -> Vec<Fate> {
    let nobody = vec![Fate::NotTaken; batch.len()];
    let Some((leader, term)) = consensus.leader_and_term() else {
        consensus.leader_change().await;
        return nobody;
    };
    let Ok(mut client) = consensus.peer_client(leader, Purpose::Forward) else {
        return nobody;
    };
    let requests = batch.iter().map(|queued| queued.data.clone()).collect();
    match client.propose(internal::ProposeRequest { requests, term }).await {
        Ok(response) => {
            let results = response.into_inner().results;
            // What is not answered may be in the log: tried again, it would be applied twice.
            if results.len() != batch.len() {
                return vec![Fate::Lost { term }; batch.len()];
            }
            let fate = |result: &internal::ProposeResult| match result {
                internal::ProposeResult { accepted: true, .. } => Fate::Sent,
                internal::ProposeResult { not_leader: true, .. } => Fate::NotTaken,
                internal::ProposeResult { .. } => Fate::Lost { term },
            };
            results.iter().map(fate).collect()
        }
        Err(status) => {
            consensus.peers().traffic().sending_failed(leader);
            consensus.peers().heed(&status);
            tracing::debug!(error = status.message(), "forwarded proposals have an unknown outcome");
            if defect::on(Defect::ForwardedTwice) {
                return nobody;
            }
            vec![Fate::Lost { term }; batch.len()]
        }
    }
}

impl Consensus {
    /// On behalf of another member, which knows this one as the leader of a term.
    pub(super) async fn leader_propose(&self, request: internal::ProposeRequest) -> internal::ProposeResponse {
        defect::reach_in_task(Point::RaftBeforeLeaderSend).await;
        let mut outcomes = Vec::with_capacity(request.requests.len());
        for data in &request.requests {
            // An exact copy: the received message is one large buffer that the log must not pin.
            let proposal = Proposal(Bytes::copy_from_slice(data));
            let (responder, outcome) = ProgressResponder::complete_only();
            // If the core has ended, the outcome says so.
            self.raft().write(proposal).responder(responder).with_leader(request.term).await.ok();
            outcomes.push(outcome);
        }
        let mut results = Vec::with_capacity(outcomes.len());
        for outcome in outcomes {
            let outcome: Option<ClientWriteResult<TypeConfig>> = outcome.await.ok();
            results.push(internal::ProposeResult {
                accepted: matches!(outcome, Some(Ok(_))),
                not_leader: matches!(outcome, Some(Err(ClientWriteError::ForwardToLeader(_)))),
            });
        }
        internal::ProposeResponse { results }
    }
}
