//! Whether the leader lets a change of the members into the log: not if its table refuses it, or if it could cost the
//! quorum.

use super::Consensus;
use super::types::{self, TypeConfig};
use crate::cluster::{MemberChange, MemberChangeError, MemberTable};
use crate::types::MemberId;
use openraft::RaftMetrics;
use std::time::Duration;

/// How long a peer must have been connected to be counted on (etcd's HealthInterval).
const HEALTH_INTERVAL: Duration = Duration::from_secs(5);

/// A learner is caught up with so much of the leader's log (etcd's readyPercentThreshold).
const READY_PERCENT: u64 = 90;

/// Why a change is refused before it enters the log; the texts are etcd's.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ChangeRefused {
    #[error(transparent)]
    Table(#[from] MemberChangeError),
    #[error("etcdserver: re-configuration failed due to not enough started members")]
    NotEnoughStarted,
    #[error("etcdserver: unhealthy cluster")]
    Unhealthy,
    #[error("etcdserver: can only promote a learner member which is in sync with leader")]
    LearnerNotReady,
}

/// What the operator allows.
#[derive(Clone, Copy, Debug)]
pub struct ChangeRules {
    /// Refuse a change that could cost the quorum.
    pub strict: bool,
    pub max_learners: usize,
}

impl Consensus {
    /// etcd's checks before a proposal (`server/etcdserver/server.go`, mayAddMember and the like) and those at apply.
    pub(super) fn check_change(
        &self,
        change: &MemberChange,
        metrics: &RaftMetrics<TypeConfig>,
    ) -> Result<(), ChangeRefused> {
        let cluster = self.cluster();
        let ChangeRules { strict, max_learners } = self.change_rules();
        let table = &cluster.members;
        match change {
            MemberChange::Add(member) if strict => {
                if !member.is_learner && !table.can_add_voter() {
                    return Err(ChangeRefused::NotEnoughStarted);
                }
                let voters = table.voters().count();
                if voters > 1 && self.connected_voters(table, metrics) < quorum(voters + 1) {
                    return Err(ChangeRefused::Unhealthy);
                }
            }
            MemberChange::Promote(id) => {
                if table.get(*id).is_some_and(|member| member.is_learner) {
                    if !is_caught_up(metrics, *id) {
                        return Err(ChangeRefused::LearnerNotReady);
                    }
                    if strict && !table.can_promote_learner() {
                        return Err(ChangeRefused::NotEnoughStarted);
                    }
                }
            }
            MemberChange::Remove(id) if strict && table.get(*id).is_none_or(|member| !member.is_learner) => {
                if !table.can_remove_voter(*id) {
                    return Err(ChangeRefused::NotEnoughStarted);
                }
                // One that is down is no part of the quorum that there is.
                let is_down = *id != self.member_id() && !self.is_connected(*id, Duration::ZERO, metrics);
                let connected = self.connected_voters(table, metrics);
                if !is_down && connected.saturating_sub(1) < 1 + table.voters().count().saturating_sub(1) / 2 {
                    return Err(ChangeRefused::Unhealthy);
                }
            }
            MemberChange::Add(_) | MemberChange::Remove(_) | MemberChange::Update { .. } => {}
        }
        Ok(table.check(change, max_learners)?)
    }

    /// Voters that have been connected for [`HEALTH_INTERVAL`], with this one.
    fn connected_voters(&self, table: &MemberTable, metrics: &RaftMetrics<TypeConfig>) -> usize {
        let connected = |id| id == self.member_id() || self.is_connected(id, HEALTH_INTERVAL, metrics);
        table.voters().filter(|member| connected(member.id)).count()
    }

    /// True of a peer that answers now and has been connected for so long.
    fn is_connected(&self, id: MemberId, lasting: Duration, metrics: &RaftMetrics<TypeConfig>) -> bool {
        let since = self.peers().connected_since(id);
        self.recently_answered(metrics, id.0) && since.is_some_and(|since| self.now().since(since) >= lasting)
    }

    pub(super) fn log_refusal(&self, change: &MemberChange, refused: ChangeRefused) {
        let why = match refused {
            ChangeRefused::Table(_) => return,
            ChangeRefused::NotEnoughStarted => "not enough healthy members",
            ChangeRefused::Unhealthy => {
                "local member has not been connected to majority peers, reconfigure breaks active quorum"
            }
            ChangeRefused::LearnerNotReady => "learner is not ready",
        };
        let what = match change {
            MemberChange::Add(_) => "add",
            MemberChange::Promote(_) => "promote",
            MemberChange::Remove(_) => "remove",
            MemberChange::Update { .. } => "update",
        };
        tracing::warn!(
            "local-member-id" = %self.member_id(),
            "requested-member-id" = %change.member_id(),
            error = %refused,
            "rejecting member {what} request; {why}"
        );
    }
}

fn quorum(voters: usize) -> usize {
    voters / 2 + 1
}

/// True if the leader knows that a member has [`READY_PERCENT`] of its log.
pub(super) fn is_caught_up(metrics: &RaftMetrics<TypeConfig>, id: MemberId) -> bool {
    let matched = metrics.replication.as_ref().and_then(|by_member| by_member.get(&id.0));
    let matched = types::position_or_zero(matched.and_then(Option::as_ref)).index;
    let last = metrics.last_log_index.map_or(0, |index| index + 1);
    matched > 0 && u128::from(matched) * 100 >= u128::from(last) * u128::from(READY_PERCENT)
}
