//! The check every `--corrupt-check-time`, on the leader: its own hash twice, around a linearizable barrier, and the others'
//! at the revision of the first. What a follower said before the barrier the leader has by the second.

use super::{Answer, Checks, Groups, Outcome, TRIES, minority};
use crate::config::value::GoDuration;
use crate::mvcc::KvHash;
use crate::raft::{NotHashed, RequestError};
use crate::types::MemberId;
use futures_util::StreamExt;
use std::collections::BTreeMap;
use std::time::Duration;

/// How long a member may take: it hashes at leisure, and one that has gone is noticed by its connection.
const PATIENCE: Duration = Duration::from_secs(600);

#[derive(Debug, thiserror::Error)]
enum CheckError {
    #[error(transparent)]
    NotHashed(#[from] NotHashed),
    #[error(transparent)]
    Barrier(#[from] RequestError),
}

/// Runs until it is dropped.
pub async fn run(checks: Checks, interval: Duration) {
    tracing::info!(
        "local-member-id" = %checks.consensus.member_id(),
        interval = %GoDuration::from(interval),
        "enabled corruption checking"
    );
    let mut misses = Misses::default();
    let mut ticks = tokio::time::interval(interval);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    ticks.tick().await;
    loop {
        ticks.tick().await;
        if !checks.consensus.leads() {
            continue;
        }
        if let Err(error) = check(&checks, &mut misses).await {
            tracing::warn!(%error, "failed to check hash KV");
        }
    }
}

async fn check(checks: &Checks, misses: &mut Misses) -> Result<(), CheckError> {
    let (consensus, metrics) = (&checks.consensus, &checks.metrics.periodic);
    let others = consensus.other_members();
    let mut answers: Vec<Answer> = Vec::new();
    let mut findings = Vec::new();
    if !others.is_empty() {
        let first = consensus.hash_kv().await?;
        answers = checks.ask(others, &first, PATIENCE).collect().await;
        // In no order that a seed would not decide.
        answers.sort_by_key(|answer| answer.member);
        consensus.read_index().await?;
        let second = consensus.hash_kv().await?;
        findings = judge(&first, &second, &answers);
        for finding in &findings {
            finding.log(&first, &second);
        }
        for member in suspects(consensus.member_id(), &first, &findings, &answers) {
            checks.raise(member).await;
        }
    }
    let compared = answers.iter().filter(|answer| answer.hash().is_some()).count();
    for member in misses.note(&answers) {
        tracing::warn!(
            "remote-peer-id" = %member,
            tries = TRIES,
            "could not compare the data of a member with the leader's, again and again"
        );
    }
    let (differs, incomparable) = (!findings.is_empty(), answers.len() - compared);
    let outcome = Outcome { differs, all_alike: !differs && incomparable == 0, incomparable };
    checks.count(metrics, &outcome);
    tracing::info!("number-of-peers-checked" = compared, "finished peer corruption check");
    Ok(())
}

/// What cannot be if all is well.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Finding {
    /// This member's own hash changed.
    Own,
    RevisionAhead {
        follower: MemberId,
        revision: i64,
    },
    CompactRevisionAhead {
        follower: MemberId,
        compact_revision: i64,
    },
    Hash {
        follower: MemberId,
        hash: u32,
    },
}

/// In etcd's order.
fn judge(first: &KvHash, second: &KvHash, answers: &[Answer]) -> Vec<Finding> {
    let mut findings = Vec::new();
    let are_comparable = first.is_comparable && second.is_comparable;
    let of_the_same = |hash: &KvHash| (hash.hash_revision, hash.compact_revision);
    if are_comparable && of_the_same(first) == of_the_same(second) && first.hash != second.hash {
        findings.push(Finding::Own);
    }
    for answer in answers {
        let (follower, Ok(said)) = (answer.member, &answer.said) else { continue };
        if said.revision > second.hash_revision {
            findings.push(Finding::RevisionAhead { follower, revision: said.revision });
        }
        if said.compact_revision > second.compact_revision {
            findings.push(Finding::CompactRevisionAhead { follower, compact_revision: said.compact_revision });
        }
        match said.hash {
            Ok(hash) if first.is_comparable && hash != first.hash => findings.push(Finding::Hash { follower, hash }),
            Ok(_) | Err(_) => {}
        }
    }
    findings
}

/// Whom to raise the alarm for. As in etcd one at a time, the first that was found, unless a majority's hash names those
/// with another: the leader may be one.
fn suspects(own: MemberId, first: &KvHash, findings: &[Finding], answers: &[Answer]) -> Vec<MemberId> {
    let Some(found) = findings.first() else { return Vec::new() };
    let mut groups = Groups::from([(first.hash, vec![own])]);
    for answer in answers {
        if let Some(hash) = answer.hash() {
            groups.entry(hash).or_default().push(answer.member);
        }
    }
    match *found {
        Finding::Own => vec![own],
        Finding::RevisionAhead { follower, .. } | Finding::CompactRevisionAhead { follower, .. } => vec![follower],
        Finding::Hash { follower, .. } => minority(&groups, answers.len() + 1).unwrap_or_else(|| vec![follower]),
    }
}

impl Finding {
    /// In etcd's words.
    fn log(self, first: &KvHash, second: &KvHash) {
        match self {
            Finding::Own => tracing::warn!(
                "revision-1" = first.hash_revision,
                "compact-revision-1" = first.compact_revision,
                "hash-1" = first.hash,
                "revision-2" = second.hash_revision,
                "compact-revision-2" = second.compact_revision,
                "hash-2" = second.hash,
                "found hash mismatch"
            ),
            Finding::RevisionAhead { follower, revision } => tracing::warn!(
                "leader-revision" = second.hash_revision,
                "follower-revision" = revision,
                "follower-peer-id" = %follower,
                "revision from follower must be less than or equal to leader's"
            ),
            Finding::CompactRevisionAhead { follower, compact_revision } => tracing::warn!(
                "leader-compact-revision" = second.compact_revision,
                "follower-compact-revision" = compact_revision,
                "follower-peer-id" = %follower,
                "compact revision from follower must be less than or equal to leader's"
            ),
            Finding::Hash { follower, hash } => tracing::warn!(
                "leader-compact-revision" = first.compact_revision,
                "leader-hash" = first.hash,
                "follower-compact-revision" = first.compact_revision,
                "follower-hash" = hash,
                "follower-peer-id" = %follower,
                "same compact revision then hashes must match"
            ),
        }
    }
}

/// How often in a row members could not be compared.
#[derive(Debug, Default)]
struct Misses(BTreeMap<MemberId, u32>);

impl Misses {
    /// Those of whom it is time to say so. Members that were not asked are forgotten.
    fn note(&mut self, answers: &[Answer]) -> Vec<MemberId> {
        let before = std::mem::take(&mut self.0);
        for answer in answers.iter().filter(|answer| answer.hash().is_none()) {
            self.0.insert(answer.member, before.get(&answer.member).copied().unwrap_or_default() + 1);
        }
        let is_due = |(_, tries): &(&MemberId, &u32)| tries.is_multiple_of(TRIES);
        self.0.iter().filter(is_due).map(|(member, _)| *member).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::raft::{HashRefused, PeerHash};

    const OWN: MemberId = MemberId(9);
    const HASH: KvHash = KvHash { hash: 7, compact_revision: 3, hash_revision: 20, is_comparable: true };

    fn answer(member: u64, revision: i64, compact_revision: i64, hash: Result<u32, HashRefused>) -> Answer {
        let said = Ok(PeerHash { revision, compact_revision, hash });
        Answer { member: MemberId(member), peer_urls: Vec::new(), said }
    }

    fn named(first: &KvHash, second: &KvHash, answers: &[Answer]) -> Vec<u64> {
        let findings = judge(first, second, answers);
        suspects(OWN, first, &findings, answers).into_iter().map(|id| id.0).collect()
    }

    const NOBODY: [u64; 0] = [];

    #[test]
    fn members_that_are_alike_or_cannot_be_compared_raise_nothing() {
        let refused =
            [HashRefused::Compacted, HashRefused::FutureRevision, HashRefused::OtherCompaction, HashRefused::Unsettled];
        assert_eq!(named(&HASH, &HASH, &[answer(1, 20, 3, Ok(7)), answer(2, 20, 3, Ok(7))]), NOBODY);
        for refused in refused {
            assert_eq!(named(&HASH, &HASH, &[answer(1, 19, 2, Err(refused))]), NOBODY);
        }
        let later = KvHash { hash: 8, hash_revision: 21, compact_revision: 4, ..HASH };
        assert_eq!(named(&HASH, &later, &[answer(1, 21, 4, Err(HashRefused::OtherCompaction))]), NOBODY);
        let unsettled = KvHash { is_comparable: false, ..HASH };
        assert_eq!(named(&unsettled, &KvHash { hash: 8, ..unsettled }, &[answer(1, 20, 3, Ok(8))]), NOBODY);
    }

    #[test]
    fn a_follower_is_never_ahead() {
        let later = KvHash { hash: 8, hash_revision: 21, compact_revision: 4, ..HASH };
        assert_eq!(named(&HASH, &later, &[answer(1, 22, 3, Ok(7))]), [1]);
        assert_eq!(
            named(&HASH, &later, &[answer(1, 21, 3, Ok(7)), answer(2, 21, 5, Err(HashRefused::Compacted))]),
            [2]
        );
    }

    #[test]
    fn the_one_with_another_hash_is_named_be_it_the_leader() {
        assert_eq!(named(&HASH, &HASH, &[answer(1, 20, 3, Ok(7)), answer(2, 20, 3, Ok(8))]), [2]);
        assert_eq!(named(&HASH, &HASH, &[answer(1, 20, 3, Ok(8)), answer(2, 20, 3, Ok(8))]), [OWN.0]);
        // Without a majority the follower, as in etcd.
        assert_eq!(named(&HASH, &HASH, &[answer(1, 20, 3, Ok(8)), answer(2, 20, 3, Ok(9))]), [1]);
        assert_eq!(named(&HASH, &KvHash { hash: 8, ..HASH }, &[answer(1, 20, 3, Ok(7))]), [OWN.0]);
    }

    #[test]
    fn what_cannot_be_compared_again_and_again_is_said() {
        let mut misses = Misses::default();
        let silent = || [answer(1, 20, 3, Ok(7)), answer(2, 20, 3, Err(HashRefused::Compacted))];
        for round in 1..=2 * TRIES {
            let due = misses.note(&silent());
            assert_eq!(due.is_empty(), round % TRIES != 0, "{round}");
        }
        assert_eq!(misses.note(&[answer(2, 20, 3, Ok(7))]), []);
        assert_eq!(misses.note(&silent()), [], "it begins anew");
    }
}
