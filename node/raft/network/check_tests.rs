//! A member of term 5 whose log has entries 1 to 9 of terms 1 1 1 2 2 2 5 5 5, committed up to the sixth.

use super::*;

const CALLER: MemberId = MemberId(2);

fn with_known<R>(judge: impl FnOnce(&Known<'_>) -> R) -> R {
    let terms = [1, 1, 1, 2, 2, 2, 5, 5, 5];
    // The first three are purged.
    let term_at = |index: u64| (3..10).contains(&index).then(|| terms[index as usize - 1]);
    let committed = LogPosition { term: 2, index: 6 };
    let promised = LogPosition::default();
    judge(&Known { member: MemberId(1), term: 5, committed, promised, term_at: &term_at })
}

fn at(term: u64, index: u64) -> Option<LogId> {
    types::log_id(LogPosition { term, index })
}

fn request(
    term: u64,
    prev: (u64, u64),
    entries: &[(u64, u64)],
    commit: (u64, u64),
) -> AppendEntriesRequest<TypeConfig> {
    let blank =
        |&(term, index): &(u64, u64)| Entry { log_id: at(term, index).expect("from 1"), payload: Payload::Blank };
    AppendEntriesRequest {
        vote: types::vote(term, CALLER.0, true),
        prev_log_id: at(prev.0, prev.1),
        entries: entries.iter().map(blank).collect(),
        leader_commit: at(commit.0, commit.1),
    }
}

fn is_taken(request: &AppendEntriesRequest<TypeConfig>) -> bool {
    with_known(|known| append(request, CALLER, known)).is_ok()
}

#[test]
fn what_a_leader_sends_is_taken() {
    for sent in [
        request(5, (5, 9), &[(5, 10), (5, 11)], (5, 9)),
        request(5, (5, 9), &[], (5, 30)),
        // A follower that is behind what it has, and one that has nothing.
        request(6, (2, 5), &[(2, 6), (6, 7)], (2, 6)),
        request(6, (0, 0), &[(1, 1), (1, 2)], (6, 40)),
        request(6, (0, 0), &[], (0, 0)),
        // What the leader's predecessor left uncommitted.
        request(6, (2, 6), &[(3, 7), (6, 8)], (2, 6)),
    ] {
        assert!(is_taken(&sent), "{sent:?}");
    }
}

#[test]
fn what_would_undo_committed_entries_is_refused() {
    for sent in [
        request(6, (3, 6), &[], (3, 6)),
        request(6, (2, 4), &[(2, 5), (6, 6)], (2, 4)),
        // Purged here, and of a term that had not begun then.
        request(6, (3, 2), &[], (3, 2)),
    ] {
        assert!(!is_taken(&sent), "{sent:?}");
    }
    // In a term that is over openraft answers with the present one.
    assert!(is_taken(&request(4, (3, 6), &[], (3, 6))));
}

#[test]
fn a_leader_keeps_what_it_said_before() {
    let promised = LogPosition { term: 5, index: 8 };
    let is_taken = |request: AppendEntriesRequest<TypeConfig>| {
        with_known(|known| append(&request, CALLER, &Known { promised, ..*known })).is_ok()
    };
    assert!(is_taken(request(6, (5, 8), &[(5, 9), (6, 10)], (6, 10))));
    // Not in our log yet, but committed by a message before this one.
    assert!(!is_taken(request(6, (6, 8), &[], (2, 6))));
}

#[test]
fn what_no_log_can_be_is_refused() {
    for sent in [
        request(6, (5, 9), &[(2, 10)], (2, 6)),
        request(6, (5, 9), &[(7, 10)], (2, 6)),
        request(6, (7, 9), &[], (2, 6)),
        request(6, (5, u64::MAX), &[], (2, 6)),
        request(6, (0, 0), &[(0, 1)], (0, 0)),
        // A commit index of another log than the one described.
        request(6, (5, 9), &[(6, 10)], (5, 10)),
        request(6, (5, 9), &[(6, 10)], (5, 11)),
        request(6, (5, 9), &[], (6, 9)),
        request(6, (5, 9), &[], (2, 7)),
        request(6, (5, 9), &[], (7, 12)),
    ] {
        assert!(!is_taken(&sent), "{sent:?}");
    }
}

#[test]
fn a_vote_is_the_callers_and_its_term_near() {
    let judged = |vote: Vote, caller: u64| {
        let sent = AppendEntriesRequest { vote, ..request(6, (5, 9), &[], (5, 9)) };
        with_known(|known| append(&sent, MemberId(caller), known)).is_ok()
    };
    assert!(judged(types::vote(5 + MAX_TERM_JUMP, 2, true), 2));
    assert!(!judged(types::vote(6 + MAX_TERM_JUMP, 2, true), 2));
    assert!(!judged(types::vote(6, 3, true), 2), "another's vote");
    assert!(!judged(types::vote(6, 1, true), 1), "our own");
    assert!(!judged(types::vote(6, 2, false), 2), "no quorum");
    let ask = |vote: Vote, last: Option<LogId>| {
        let asked = VoteRequest::new(vote, last);
        with_known(|known| vote_request(&asked, CALLER, known)).is_ok()
    };
    assert!(ask(types::vote(6, 2, false), at(5, 9)) && ask(types::vote(6, 2, false), None));
    assert!(!ask(types::vote(6, 2, true), at(5, 9)), "leads already");
    assert!(!ask(types::vote(6, 2, false), at(7, 9)), "a log beyond its term");
    assert!(!ask(types::vote(0, 2, false), None), "before the first term");
}

#[test]
fn a_snapshot_is_ahead_of_what_is_committed() {
    let membership = |set_by: Option<LogId>, voters: &[u64]| {
        let nodes = voters.iter().map(|id| (*id, types::Peer::default())).collect::<std::collections::BTreeMap<_, _>>();
        let voters = voters.iter().copied().collect::<std::collections::BTreeSet<_>>();
        let inside = openraft::Membership::new(vec![voters], nodes).unwrap_or_default();
        types::StoredMembership::new(set_by, inside)
    };
    let judged = |last: Option<LogId>, membership: types::StoredMembership| {
        let vote = types::vote(6, 2, true);
        with_known(|known| snapshot(&vote, last.as_ref(), &membership, CALLER, known)).is_ok()
    };
    assert!(judged(at(6, 40), membership(at(1, 3), &[1, 2])));
    assert!(judged(at(2, 6), membership(at(1, 3), &[1, 2])), "what is here already");
    assert!(!judged(at(6, 6), membership(at(1, 3), &[1, 2])), "another entry in the place of a committed one");
    assert!(!judged(None, membership(at(1, 3), &[1, 2])));
    assert!(!judged(at(7, 40), membership(at(1, 3), &[1, 2])), "beyond its leader's term");
    assert!(!judged(at(6, 40), membership(at(6, 41), &[1, 2])), "a membership of later");
    assert!(!judged(at(6, 40), membership(at(1, 3), &[])), "nobody votes");
}

#[test]
fn an_answer_is_to_what_was_asked() {
    let asked = Asked::by(&request(6, (5, 9), &[(6, 10)], (5, 9)));
    let fits = |answer| append_answer(&answer, &asked).is_ok();
    assert!(fits(Ok(at(6, 10))) && fits(Err(StreamAppendError::Conflict(at(5, 9).expect("from 1")))));
    assert!(fits(Err(StreamAppendError::HigherVote(types::vote(7, 3, true)))));
    assert!(!fits(Ok(at(6, 11))) && !fits(Ok(None)) && !fits(Ok(at(5, 9))));
    assert!(!fits(Err(StreamAppendError::Conflict(at(5, 8).expect("from 1")))));
    assert!(!fits(Err(StreamAppendError::HigherVote(types::vote(u64::MAX, 3, true)))));
    let beat = Asked::by(&request(6, (5, 9), &[], (5, 9)));
    assert!(append_answer(&Ok(at(5, 9)), &beat).is_ok());
    assert!(
        !fits(Err(StreamAppendError::HigherVote(types::vote(7, CALLER.0, false)))),
        "nobody else stands as the caller"
    );
    let stands = types::vote(6, CALLER.0, false);
    let newcomer = VoteResponse::new(types::vote(0, 0, false), None, true);
    assert!(vote_answer(&newcomer, &stands).is_ok(), "a member that has just joined");
    assert!(vote_answer(&VoteResponse::new(stands, None, true), &stands).is_ok(), "the vote that was asked for");
}
