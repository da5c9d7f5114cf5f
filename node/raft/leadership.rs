//! Is there a leader? One answer for all who ask (DESIGN D2): on the leader its quorum lease, elsewhere a
//! message from the leader within an election timeout. openraft's own `current_leader` is not enough: a member
//! that was cut off names a leader for ever.

use super::types::TypeConfig;
use crate::clock::{Clock, Ticks};
use crate::types::MemberId;
use openraft::{Instant, RaftMetrics, ServerState};
use std::sync::Arc;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Collects what is heard and judges it by the clock.
#[derive(Debug)]
pub struct Leadership {
    member: MemberId,
    /// How long silence may last: etcd's election timeout.
    election_timeout: Duration,
    clock: Arc<dyn Clock>,
    heard: Mutex<Option<Heard>>,
    /// The last term in which this member gave its leadership away; terms begin at 1.
    given_away: AtomicU64,
}

#[derive(Clone, Copy, Debug)]
struct Heard {
    leader: MemberId,
    at: Ticks,
}

impl Leadership {
    pub fn new(member: MemberId, election_timeout: Duration, clock: Arc<dyn Clock>) -> Self {
        Self { member, election_timeout, clock, heard: Mutex::new(None), given_away: AtomicU64::new(0) }
    }

    /// A message of a leader whose vote stands was answered.
    pub fn heard_from(&self, leader: MemberId) {
        let heard = Heard { leader, at: self.clock.now() };
        *self.heard.lock().expect("no holder of this lock panics") = Some(heard);
    }

    /// This member leads in `term` and asks another to take over. From now on it promises nothing: others vote for a
    /// target at once, whatever was answered here a moment ago.
    pub fn give_away(&self, term: u64) {
        self.given_away.store(term, Ordering::Relaxed);
    }

    /// The leader, if one is known now.
    pub fn leader(&self, metrics: &RaftMetrics<TypeConfig>) -> Option<MemberId> {
        if metrics.state == ServerState::Leader {
            return self.leads(metrics).then_some(self.member);
        }
        let named = MemberId(metrics.current_leader?);
        let heard = (*self.heard.lock().expect("no holder of this lock panics"))?;
        let fresh = self.clock.now().since(heard.at) <= self.election_timeout;
        (named == heard.leader && fresh).then_some(named)
    }

    /// True on a leader that a quorum has answered within an election timeout.
    pub fn leads(&self, metrics: &RaftMetrics<TypeConfig>) -> bool {
        if metrics.state != ServerState::Leader || metrics.current_term == self.given_away.load(Ordering::Relaxed) {
            return false;
        }
        // One that has removed itself gives way as soon as others know.
        if !metrics.membership_config.membership().voter_ids().any(|id| id == self.member.0) {
            return false;
        }
        // Alone it is a quorum, and nobody's answer is recorded.
        let mut others = metrics.membership_config.membership().voter_ids().filter(|id| *id != self.member.0);
        if others.next().is_none() {
            return true;
        }
        metrics.last_quorum_acked.as_ref().is_some_and(|at| at.elapsed() <= self.election_timeout)
    }
}
