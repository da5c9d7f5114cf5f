//! Linearizable reads: one ReadIndex round serves all reads that wait when it begins (etcd
//! `server/etcdserver/v3_server.go`, linearizableReadLoop). A read is released once this member has applied what was
//! committed when its round began. Never by the clock alone.

use super::Consensus;
use super::RequestError;
use crate::defect::{self, Defect};
use crate::raft::network::Purpose;
use futures_util::future::{BoxFuture, OptionFuture};
use keelstone_proto::internal;
use openraft::ReadPolicy;
use std::collections::BTreeMap;
use std::time::Duration;
use tokio::sync::{mpsc, oneshot};
use tonic::Request;

/// Reads that may wait for the next round.
pub const QUEUE_LEN: usize = 65_536;
/// The longest attempt; then the leader is looked up again (etcd's readIndexRetryTime).
const ATTEMPT: Duration = Duration::from_millis(500);

/// A cut-off member must have failed its reads within two election timeouts, so no attempt lasts longer than half of one.
fn attempt(consensus: &Consensus) -> Duration {
    ATTEMPT.min(consensus.timing().election / 2)
}
const RETRY_AFTER: Duration = Duration::from_millis(10);

pub type Waiting = oneshot::Sender<Result<(), RequestError>>;

/// Runs rounds until the queue closes. While one runs, the reads that arrive wait for the next.
pub async fn run(consensus: Consensus, mut queue: mpsc::Receiver<Waiting>) {
    let mut applied = consensus.applied_watch();
    // The reads of the running round.
    let mut asking: Vec<Waiting> = Vec::new();
    let mut running: OptionFuture<BoxFuture<'_, Result<u64, RequestError>>> = None.into();
    // Reads whose index is known, by index.
    let mut known: BTreeMap<u64, Vec<Waiting>> = BTreeMap::new();
    loop {
        tokio::select! {
            biased;
            changed = applied.changed(), if !known.is_empty() => {
                if changed.is_err() {
                    return;
                }
                release(&mut known, *applied.borrow_and_update());
            }
            Some(index) = &mut running, if !asking.is_empty() => {
                running = None.into();
                match index {
                    Ok(index) => {
                        known.entry(index).or_default().append(&mut asking);
                        release(&mut known, *applied.borrow_and_update());
                    }
                    Err(error) => {
                        // What held for those who asked holds for those who came since: a round of their own would tell
                        // them the same, later.
                        while let Ok(read) = queue.try_recv() {
                            asking.push(read);
                        }
                        for read in asking.drain(..) {
                            // The reader may have given up.
                            read.send(Err(error.clone())).ok();
                        }
                    }
                }
            }
            received = queue.recv_many(&mut asking, QUEUE_LEN), if asking.is_empty() => {
                if received == 0 {
                    return;
                }
                running = Some(Box::pin(round(&consensus)) as BoxFuture<'_, _>).into();
            }
        }
    }
}

fn release(known: &mut BTreeMap<u64, Vec<Waiting>>, applied: u64) {
    while let Some(first) = known.first_entry() {
        if *first.key() > applied {
            return;
        }
        for read in first.remove() {
            read.send(Ok(())).ok();
        }
    }
}

/// The index that a read which began before this call must see.
async fn round(consensus: &Consensus) -> Result<u64, RequestError> {
    let deadline = tokio::time::Instant::now() + consensus.request_timeout();
    while tokio::time::Instant::now() < deadline {
        if consensus.is_leader() {
            if let Some(index) = consensus.leader_read_index().await {
                return Ok(index);
            }
        } else if let Some(index) = ask_leader(consensus).await {
            return Ok(index);
        }
        consensus.count_slow_read_index();
        // A member that has heard of no leader for more than an election timeout says so, where etcd would let the read time out.
        if consensus.leader().is_none() {
            consensus.await_leader().await.map_err(|_| RequestError::NoLeader)?;
        } else {
            tokio::time::sleep(RETRY_AFTER).await;
        }
    }
    consensus.count_failed_read_index();
    Err(RequestError::Timeout)
}

async fn ask_leader(consensus: &Consensus) -> Option<u64> {
    let leader = consensus.leader()?;
    let mut client = consensus.peer_client(leader, Purpose::Forward).ok()?;
    let mut request = Request::new(internal::ReadIndexRequest {});
    request.set_timeout(attempt(consensus));
    let answer = client.read_index(request).await.inspect_err(|status| consensus.peers().heed(status));
    Some(answer.ok()?.into_inner().index)
}

impl Consensus {
    /// Proves leadership to a quorum and returns the commit index of that moment (from 1); none if this member
    /// does not lead, or could not prove it in time. Each call is a round of its own or joins one that has not begun.
    pub(super) async fn leader_read_index(&self) -> Option<u64> {
        if defect::on(Defect::StaleReadIndex) {
            return Some(self.status().committed);
        }
        let attempt = tokio::time::timeout(attempt(self), self.raft().get_read_linearizer(ReadPolicy::ReadIndex)).await;
        let linearizer = attempt.ok()?.ok()?;
        Some(linearizer.read_log_id().index().saturating_add(1))
    }
}
