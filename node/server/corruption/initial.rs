//! The check at the start (gate InitialCorruptCheck): a member whose data differs from the others' must not serve it.
//!
//! etcd stops at any difference, whoever is wrong, and does not answer while it checks. Here members that start together
//! answer each other, so that one with damaged data would take all down: whoever agrees with a majority goes on, and need
//! not wait for those that are slow to answer.

use super::{Answer, Checks, Outcome};
use crate::config::value::GoDuration;
use crate::logging::Strings;
use crate::mvcc::KvHash;
use crate::raft::{HashRefused, NoHash, NotHashed, PeerHash};
use crate::types::MemberId;
use futures_util::StreamExt;

/// Why a member does not start; texts are etcd's.
#[derive(Debug, thiserror::Error)]
pub enum Inconsistent {
    #[error("{0} found data inconsistency with peers")]
    Differs(MemberId),
    #[error("{0} failed to fetch hash ({1})")]
    NotHashed(MemberId, NotHashed),
}

/// Compares the state with the peers', once all that was in this member's log is applied.
///
/// # Errors
/// A peer has another hash for the same revision and compact revision, and no majority has ours.
pub async fn check(checks: &Checks) -> Result<(), Inconsistent> {
    let (consensus, metrics) = (&checks.consensus, &checks.metrics.initial);
    let (own, timeout) = (consensus.member_id(), consensus.request_timeout());
    tracing::info!("local-member-id" = %own, timeout = %GoDuration::from(timeout), "starting initial corruption check");
    let others = consensus.other_members();
    let members = others.len() + 1;
    let mut tally = Tally { alike: 1, ..Tally::default() };
    if !others.is_empty() {
        let ours = consensus.hash_kv().await.map_err(|error| Inconsistent::NotHashed(own, error))?;
        if ours.is_comparable {
            let mut answers = checks.ask(others, &ours, timeout);
            while let Some(answer) = answers.next().await {
                log(own, &ours, &answer);
                tally.add(&ours, &answer);
                if tally.is_of_majority(members) {
                    break;
                }
            }
        } else {
            tally.incomparable = others.len();
        }
    }
    let differs = tally.different > 0;
    let all_alike = tally.alike == members;
    checks.count(metrics, &Outcome { differs, all_alike, incomparable: tally.incomparable });
    if differs && !tally.is_of_majority(members) {
        return Err(Inconsistent::Differs(own));
    }
    tracing::info!("local-member-id" = %own, "initial corruption checking passed; no corruption");
    Ok(())
}

/// Members by what their answers come to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Tally {
    /// This one among them.
    alike: usize,
    different: usize,
    incomparable: usize,
}

impl Tally {
    fn add(&mut self, ours: &KvHash, answer: &Answer) {
        match answer.hash() {
            Some(hash) if hash == ours.hash => self.alike += 1,
            Some(_) => self.different += 1,
            None => self.incomparable += 1,
        }
    }

    fn is_of_majority(&self, members: usize) -> bool {
        self.alike > members / 2
    }
}

/// In etcd's words.
fn log(own: MemberId, ours: &KvHash, answer: &Answer) {
    macro_rules! warn {
        ($said:ident, $text:literal) => {
            tracing::warn!(
                "local-member-id" = %own,
                "local-member-revision" = ours.hash_revision,
                "local-member-compact-revision" = ours.compact_revision,
                "local-member-hash" = ours.hash,
                "remote-peer-id" = %answer.member,
                "remote-peer-endpoints" = Strings::new(&answer.peer_urls).field(),
                "remote-peer-revision" = $said.map(|said| said.revision),
                "remote-peer-compact-revision" = $said.map(|said| said.compact_revision),
                "remote-peer-hash" = $said.and_then(|said| said.hash.ok()),
                $text
            )
        };
    }
    let said: Option<&PeerHash> = answer.said.as_ref().ok();
    match &answer.said {
        Ok(PeerHash { hash: Ok(hash), .. }) if *hash == ours.hash => {}
        Ok(PeerHash { hash: Ok(_), .. }) => warn!(said, "found different hash values from remote peer"),
        Ok(PeerHash { hash: Err(refused), .. }) => match refused {
            HashRefused::OtherCompaction => warn!(said, "found different compact revision values from remote peer"),
            HashRefused::FutureRevision => warn!(said, "cannot fetch hash from slow remote peer"),
            HashRefused::Compacted => {
                warn!(said, "cannot fetch hash from remote peer; local member is behind");
            }
            // It was said why when it was asked.
            HashRefused::Unsettled => {}
        },
        Err(NoHash::OtherCluster) => warn!(said, "cluster ID mismatch"),
        Err(NoHash::EarlierVersion | NoHash::Call(_)) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: KvHash = KvHash { hash: 7, compact_revision: 3, hash_revision: 9, is_comparable: true };

    fn tally(hashes: &[Result<u32, HashRefused>]) -> Tally {
        let mut tally = Tally { alike: 1, ..Tally::default() };
        for &hash in hashes {
            let said = Ok(PeerHash { revision: 9, compact_revision: 3, hash });
            tally.add(&OURS, &Answer { member: MemberId(2), peer_urls: Vec::new(), said });
        }
        tally
    }

    #[test]
    fn one_that_agrees_with_a_majority_is_right() {
        let refused = Err(HashRefused::Compacted);
        assert!(tally(&[Ok(7)]).is_of_majority(3));
        assert!(tally(&[Ok(8), Ok(7)]).is_of_majority(3));
        for hashes in [&[Ok(8), Ok(8)][..], &[Ok(8), refused], &[refused, refused], &[]] {
            assert!(!tally(hashes).is_of_majority(3), "{hashes:?}");
        }
        assert!(!tally(&[Ok(7), refused, refused, Ok(8)]).is_of_majority(5));
        assert_eq!(tally(&[Ok(7), Ok(8), refused]), Tally { alike: 2, different: 1, incomparable: 1 });
    }
}
