//! The check of the hashes that compactions leave behind (gate CompactHashCheck), every `--compact-hash-check-time` on the
//! leader. It costs next to nothing: all members compact at the same revisions, and have these hashes anyway.

use super::{Answer, Checks, Groups, Outcome, TRIES, minority};
use crate::config::value::GoDuration;
use crate::mvcc::KvHash;
use crate::types::MemberId;
use futures_util::StreamExt;
use std::collections::BTreeMap;
use std::time::Duration;

/// Runs until it is dropped.
pub async fn run(checks: Checks, interval: Duration) {
    let mut checked = Checked::default();
    loop {
        tokio::time::sleep(interval).await;
        if checks.consensus.leads() {
            check(&checks, &mut checked).await;
        }
    }
}

/// What this member has compared so far.
#[derive(Debug, Default)]
struct Checked {
    /// The newest revision at which all members were found alike.
    latest: i64,
    /// How often a member could not be compared at a later one.
    tries: BTreeMap<(i64, MemberId), u32>,
}

impl Checked {
    fn settle(&mut self, revision: i64) {
        self.latest = self.latest.max(revision);
        let latest = self.latest;
        self.tries.retain(|(at, _), _| *at > latest);
    }

    /// A member that started or stood still meanwhile has no hash of that compaction, and never will.
    fn is_given_up(&self, revision: i64, member: MemberId) -> bool {
        self.tries.get(&(revision, member)).is_some_and(|tries| *tries >= TRIES)
    }

    /// True if this was the last try.
    fn missed(&mut self, revision: i64, member: MemberId) -> bool {
        let tries = self.tries.entry((revision, member)).or_default();
        *tries += 1;
        *tries == TRIES
    }
}

async fn check(checks: &Checks, checked: &mut Checked) {
    let (consensus, metrics) = (&checks.consensus, &checks.metrics.compact_hash);
    let (own, timeout) = (consensus.member_id(), consensus.request_timeout());
    tracing::info!("local-member-id" = %own, timeout = %GoDuration::from(timeout), "starting compact hash check");
    let mut hashes = consensus.compaction_hashes();
    hashes.retain(|hash| hash.hash_revision > checked.latest && hash.is_comparable);
    let others = consensus.other_members();
    let mut outcome = Outcome::default();
    let mut number = 0;
    // The newest first: if all are alike there, they are alike below.
    for hash in hashes.iter().rev().filter(|_| !others.is_empty()) {
        number += 1;
        let mut asked = others.clone();
        asked.retain(|(member, _)| !checked.is_given_up(hash.hash_revision, *member));
        if asked.is_empty() {
            continue;
        }
        let mut answers: Vec<Answer> = checks.ask(asked, hash, timeout).collect().await;
        answers.sort_by_key(|answer| answer.member);
        outcome.incomparable += note_missing(own, hash, &answers, others.len(), checked);
        if let Some(differs) = compare(checks, hash, &answers, others.len()).await {
            (outcome.differs, outcome.all_alike) = (differs, !differs);
            if !differs {
                checked.settle(hash.hash_revision);
            }
            break;
        }
    }
    if number > 0 {
        checks.count(metrics, &outcome);
    }
    tracing::info!("number-of-hashes-checked" = number, "finished compaction hash check");
}

/// Logs, and counts, those that could not be compared.
fn note_missing(own: MemberId, ours: &KvHash, answers: &[Answer], others: usize, checked: &mut Checked) -> usize {
    let missing: Vec<&Answer> = answers.iter().filter(|answer| answer.hash().is_none()).collect();
    for answer in &missing {
        let reason = match &answer.said {
            Ok(said) => format!(
                "the peer's CompactRevision {} doesn't match leader's CompactRevision {}",
                said.compact_revision, ours.compact_revision
            ),
            Err(_) => "no response".to_owned(),
        };
        tracing::warn!(
            "number-of-peers" = others,
            "leader-id" = %own,
            "peer-id" = %answer.member,
            reason,
            "Skipped peer's hash"
        );
        if checked.missed(ours.hash_revision, answer.member) {
            tracing::warn!(
                "peer-id" = %answer.member,
                revision = ours.hash_revision,
                tries = TRIES,
                "could not compare the hash of a compaction with this member's; it is not asked for it again"
            );
        }
    }
    missing.len()
}

/// True if members differ, false if all are alike; none if some of them could not be compared, and the rest is alike.
async fn compare(checks: &Checks, ours: &KvHash, answers: &[Answer], others: usize) -> Option<bool> {
    let own = checks.consensus.member_id();
    let mut groups = Groups::from([(ours.hash, vec![own])]);
    let compared = answers.iter().filter_map(|answer| Some((answer.hash()?, answer.member)));
    let mut peers_checked = 0;
    for (hash, member) in compared {
        groups.entry(hash).or_default().push(member);
        peers_checked += 1;
    }
    if groups.len() > 1 {
        report(checks, ours, groups, others + 1).await;
        return Some(true);
    }
    if peers_checked == others {
        tracing::info!(
            "number-of-peers-checked" = peers_checked,
            revision = ours.hash_revision,
            "compactRevision" = ours.compact_revision,
            "successfully checked hash on whole cluster"
        );
        return Some(false);
    }
    tracing::warn!(
        "number-of-peers-checked" = peers_checked,
        "number-of-peers" = others,
        revision = ours.hash_revision,
        "compactRevision" = ours.compact_revision,
        "skipped revision in compaction hash check; was not able to check all peers"
    );
    None
}

/// Raises the alarm for those that do not have the majority's hash. Without a majority for the whole cluster, since
/// nobody can say who is right.
async fn report(checks: &Checks, ours: &KvHash, mut groups: Groups, members: usize) {
    let own = checks.consensus.member_id();
    let odd = minority(&groups, members);
    if let Some(odd) = &odd {
        groups.retain(|_, alike| alike.iter().any(|member| odd.contains(member)));
    } else {
        tracing::error!(
            "leader-id" = %own,
            "leader-revision" = ours.hash_revision,
            "leader-compact-revision" = ours.compact_revision,
            "leader-hash" = ours.hash,
            "Detected compaction hash mismatch but cannot identify the corrupted members, so intentionally set the memberID as 0"
        );
    }
    for (hash, alike) in groups {
        let ids: Vec<String> = alike.iter().map(ToString::to_string).collect();
        tracing::error!(
            "leader-id" = %own,
            "leader-revision" = ours.hash_revision,
            "leader-compact-revision" = ours.compact_revision,
            "leader-hash" = ours.hash,
            "peer-hash" = hash,
            "peer-ids" = ids.join(","),
            "quorum-exist" = odd.is_some(),
            "Detected compaction hash mismatch"
        );
    }
    for member in odd.unwrap_or_else(|| vec![MemberId(0)]) {
        checks.raise(member).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_is_given_up_for_a_revision_after_some_tries_and_asked_again_for_the_next() {
        let (mut checked, member) = (Checked::default(), MemberId(2));
        for _ in 1..TRIES {
            assert!(!checked.missed(10, member) && !checked.is_given_up(10, member));
        }
        assert!(checked.missed(10, member) && checked.is_given_up(10, member));
        assert!(!checked.is_given_up(20, member) && !checked.is_given_up(10, MemberId(3)));
        assert!(!checked.missed(20, member));
        checked.settle(10);
        assert_eq!(checked.tries.keys().collect::<Vec<_>>(), [&(20, member)]);
    }
}
