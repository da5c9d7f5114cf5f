//! Whether members hold the same data (etcd `server/etcdserver/corrupt.go`): at the start, before clients are served; every
//! so often on the leader; and by the hashes that compactions leave behind. All compare HashKV, which members share only at
//! the same revision and compact revision. What could not be compared is no success: it is counted, and warned about
//! (reference: etcd's post-mortem of 3.5, where it passed for one).
//!
//! Who is wrong when members differ? If a majority of all members has one hash, those that have another.

mod compact_hash;
mod initial;
mod periodic;

pub use initial::{Inconsistent, check as check_at_start};

use crate::alarm::{Alarm, AlarmType, Alarms};
use crate::config::{Gate, Settings};
use crate::logging::Strings;
use crate::metrics::corruption::{CheckMetrics, CorruptionMetrics};
use crate::mvcc::KvHash;
use crate::raft::{Consensus, HashRefused, NoHash, PeerHash};
use crate::types::MemberId;
use arc_swap::ArcSwap;
use futures_util::stream::{FuturesUnordered, Stream};
use keelstone_proto::etcdserverpb::alarm_request::AlarmAction;
use keelstone_proto::etcdserverpb::{AlarmRequest, AlarmType as PbAlarmType, InternalRaftRequest};
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::JoinSet;

/// Tries in a row after which it is said that a member cannot be compared.
const TRIES: u32 = 3;

/// Members by what their data hashes to.
type Groups = BTreeMap<u32, Vec<MemberId>>;

/// What every check needs. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Checks {
    pub consensus: Consensus,
    pub alarms: Arc<ArcSwap<Alarms>>,
    pub metrics: CorruptionMetrics,
}

/// Another member, and what it said.
#[derive(Debug)]
struct Answer {
    member: MemberId,
    peer_urls: Vec<String>,
    said: Result<PeerHash, NoHash>,
}

impl Answer {
    /// Its hash, if it can be compared with ours.
    fn hash(&self) -> Option<u32> {
        self.said.as_ref().ok()?.hash.ok()
    }
}

impl Checks {
    /// Starts the checks that go on while the member runs.
    pub fn start(&self, settings: &Settings, background: &mut JoinSet<()>) {
        if let Some(interval) = settings.corruption.check_interval {
            background.spawn(periodic::run(self.clone(), interval));
        }
        if settings.gates.enabled(Gate::CompactHashCheck) {
            background.spawn(compact_hash::run(self.clone(), settings.corruption.compact_hash_interval));
        }
    }

    /// Asks the members for their hashes at the revision of ours, all at once.
    fn ask<'a>(
        &'a self,
        members: Vec<(MemberId, Vec<String>)>,
        ours: &'a KvHash,
        within: Duration,
    ) -> impl Stream<Item = Answer> + Unpin + 'a {
        // What a stream holds is moved about while it waits.
        let asked = members.into_iter().map(|member| Box::pin(self.ask_one(member, ours, within)));
        asked.collect::<FuturesUnordered<_>>()
    }

    /// One that cannot say is logged.
    async fn ask_one(&self, (member, peer_urls): (MemberId, Vec<String>), ours: &KvHash, within: Duration) -> Answer {
        let said = self.consensus.peer_hash(member, ours, within).await;
        let error: Option<&(dyn std::error::Error + 'static)> = match &said {
            Ok(PeerHash { hash: Ok(_) | Err(HashRefused::OtherCompaction), .. }) => None,
            Ok(PeerHash { hash: Err(refused), .. }) => Some(refused),
            Err(error) => Some(error),
        };
        if let Some(error) = error {
            tracing::warn!(
                "local-member-id" = %self.consensus.member_id(),
                "requested-revision" = ours.hash_revision,
                "remote-peer-id" = %member,
                "remote-peer-endpoints" = Strings::new(&peer_urls).field(),
                %error,
                "failed hash kv request"
            );
        }
        Answer { member, peer_urls, said }
    }

    /// Raises CORRUPT for a member, or with id zero for the whole cluster. If that fails, the next check tries again.
    async fn raise(&self, member: MemberId) {
        let alarm = Alarm { kind: AlarmType::Corrupt, member };
        if self.alarms.load().get(Some(alarm.kind)).any(|raised| raised == alarm) {
            return;
        }
        let alarm = AlarmRequest {
            action: AlarmAction::Activate.into(),
            member_id: member.0,
            alarm: PbAlarmType::Corrupt.into(),
        };
        let entry = InternalRaftRequest { alarm: Some(alarm), ..Default::default() };
        if let Err(error) = self.consensus.propose(entry).await {
            tracing::warn!(%error, "member-id" = %member, "failed to raise the alarm CORRUPT");
        }
    }

    /// Counts a check that came to its end.
    fn count(&self, check: &CheckMetrics, outcome: &Outcome) {
        check.runs.inc();
        check.incomparable.inc_by(outcome.incomparable as u64);
        if outcome.differs {
            check.failed.inc();
        }
        if outcome.all_alike {
            check.last_success.set(self.consensus.unix_secs());
        }
    }
}

/// What a check came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Outcome {
    differs: bool,
    /// All members were compared, and are alike.
    all_alike: bool,
    /// Members that could not be compared.
    incomparable: usize,
}

/// Those that do not have the hash of a majority of all members. None if no hash is that of a majority.
fn minority(groups: &Groups, members: usize) -> Option<Vec<MemberId>> {
    let majority = groups.iter().find(|(_, alike)| alike.len() > members / 2).map(|(hash, _)| *hash)?;
    let others = groups.iter().filter(|(hash, _)| **hash != majority);
    Some(others.flat_map(|(_, members)| members.iter().copied()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_majority_of_all_members_names_the_others() {
        let groups = |hashes: &[u32]| {
            let mut groups = Groups::new();
            for (id, hash) in (1..).zip(hashes) {
                groups.entry(*hash).or_default().push(MemberId(id));
            }
            groups
        };
        let named = |hashes, members| minority(&groups(hashes), members).map(|ids| ids.iter().map(|id| id.0).collect());
        assert_eq!(named(&[7, 7, 7], 3), Some(vec![]));
        assert_eq!(named(&[7, 8, 7], 3), Some(vec![2]));
        assert_eq!(named(&[8, 7, 7], 3), Some(vec![1]), "the leader is no better than others");
        assert_eq!(named(&[8, 7, 9, 7, 7], 5), Some(vec![1, 3]));
        assert_eq!(named(&[7, 7], 3), Some(vec![]), "one is silent");
        assert_eq!(named(&[7, 8], 3), None);
        assert_eq!(named(&[7, 8], 2), None);
        assert_eq!(named(&[7, 8, 9], 3), None);
        assert_eq!(named(&[7, 7, 8, 8], 4), None);
    }
}
