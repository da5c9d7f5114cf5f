//! Who leads: what is known of it, waiting for it, and what a change of it sets going.

use super::Consensus;
use crate::raft::network::Timing;
use crate::types::MemberId;
use openraft::ServerState;
use openraft::async_runtime::watch::WatchReceiver;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::sync::watch;

impl Consensus {
    /// The one answer to "is there a leader" (DESIGN D2).
    pub fn leader(&self) -> Option<MemberId> {
        let metrics = self.inner.raft.metrics();
        self.inner.leadership.leader(&metrics.borrow_watched())
    }

    /// Follows [`Self::leader`], a heartbeat late at most.
    pub fn leader_watch(&self) -> watch::Receiver<Option<MemberId>> {
        self.inner.leader.clone()
    }

    /// True on the leader while a quorum answers it.
    pub fn leads(&self) -> bool {
        let metrics = self.inner.raft.metrics();
        self.inner.leadership.leads(&metrics.borrow_watched())
    }

    pub(in crate::raft) fn give_leadership_away(&self) {
        let metrics = self.inner.raft.metrics();
        self.inner.leadership.give_away(metrics.borrow_watched().current_term);
    }

    /// openraft's own idea, which may be stale: good for choosing a way, not for a promise.
    pub(in crate::raft) fn is_leader(&self) -> bool {
        self.inner.raft.metrics().borrow_watched().state == ServerState::Leader
    }

    pub(super) fn raft_leader(&self) -> Option<u64> {
        self.inner.raft.metrics().borrow_watched().current_leader
    }

    /// The known leader and the term it leads in.
    pub(in crate::raft) fn leader_and_term(&self) -> Option<(MemberId, u64)> {
        let watched = self.inner.raft.metrics();
        let metrics = watched.borrow_watched();
        let leader = self.inner.leadership.leader(&metrics)?;
        let vote = &metrics.vote;
        (vote.committed && vote.leader_id.voted_for == leader.0).then_some((leader, vote.leader_id.term))
    }

    pub(in crate::raft) fn heard_from_leader(&self, leader: MemberId) {
        self.inner.leadership.heard_from(leader);
    }

    /// Waits a little for a leader to be known. That none is known means an election timeout without a word from one,
    /// so there is not much to wait for.
    pub(in crate::raft) async fn await_leader(&self) -> Result<MemberId, tokio::time::error::Elapsed> {
        let known = async {
            loop {
                // Not the published leader: it is late, and who trusts it here would turn on the spot until it changes.
                match self.leader() {
                    Some(leader) => return leader,
                    None => self.leader_change().await,
                }
            }
        };
        tokio::time::timeout(self.inner.timing.election / 4, known).await
    }

    /// Waits for the next change of the known leader, or one heartbeat.
    pub(in crate::raft) async fn leader_change(&self) {
        let mut leader = self.leader_watch();
        leader.mark_unchanged();
        // Only a hint to try again: both outcomes are fine.
        if let Ok(Err(_ending)) = tokio::time::timeout(self.inner.timing.heartbeat, leader.changed()).await {
            // Nobody publishes any more, which must not become a loop that never waits.
            tokio::time::sleep(self.inner.timing.heartbeat).await;
        }
    }

    /// Leaves the others an election timeout to be heard from. In the order of their ids, for members that started
    /// together must not all stand at once.
    pub(super) async fn stand_later(self) {
        let mut metrics = self.inner.raft.metrics();
        // Before the core has read its log there are none.
        let voters = loop {
            let voters: Vec<u64> = self.metrics().membership_config.membership().voter_ids().collect();
            if !voters.is_empty() {
                break voters;
            }
            if metrics.changed().await.is_err() {
                return;
            }
        };
        if voters.len() > 1 {
            let Timing { heartbeat, election, .. } = self.inner.timing;
            let ticks = election.as_millis() / heartbeat.as_millis().max(1);
            tracing::info!("election-ticks" = ticks, "skipping initial election tick advance");
            let rank = voters.iter().filter(|&&id| id < self.member_id().0).count();
            tokio::time::sleep(election + election * (rank as u32) / (voters.len() as u32)).await;
        }
        self.inner.raft.runtime_config().elect(true);
    }

    /// Publishes who leads, and tells the lessor when this member begins or ceases to.
    pub(super) async fn follow_leadership(self, known: watch::Sender<Option<MemberId>>) {
        let mut server = self.inner.raft.server_metrics();
        let period = (self.inner.timing.heartbeat / 2).max(Duration::from_millis(5));
        let mut applied = self.inner.applied_term.clone();
        let mut primary_term = None;
        loop {
            // Silence has no event, so the clock asks too.
            tokio::select! {
                changed = server.changed() => {
                    if changed.is_err() {
                        return;
                    }
                }
                // At once: a lease that is granted before the lessor knows is given an election more to live.
                Ok(()) = applied.changed() => {}
                () = tokio::time::sleep(period) => {}
            }
            let metrics = self.metrics();
            let leader = self.inner.leadership.leader(&metrics);
            let changed = known.send_if_modified(|before| {
                let changed = *before != leader;
                *before = leader;
                changed
            });
            if changed && leader.is_some() {
                self.inner.counters.leader_changes.fetch_add(1, Ordering::Relaxed);
                self.inner.counters.leader_since.store(self.inner.clock.now().0.max(1), Ordering::Relaxed);
            }
            // Not before all that earlier leaders answered is applied here: a lease whose revoke is still on its way
            // must not be renewed (etcd #20615).
            let caught_up = *self.inner.applied_term.borrow() >= metrics.current_term;
            let leads_in = (metrics.state == ServerState::Leader && caught_up).then_some(metrics.current_term);
            if leads_in != primary_term {
                match leads_in {
                    Some(_) => self.inner.lessor.promote(self.inner.clock.now(), self.inner.timing.election),
                    None => self.inner.lessor.demote(),
                }
                primary_term = leads_in;
            }
        }
    }
}
