//! `/debug/vars`, Go's page of variables as etcd has it (`etcdhttp/debug.go`): the same names, in their order.

use super::answer::{Answer, with_type};
use super::node::Node;
use crate::metrics::process;
use crate::raft::{Progress, RaftReport, Role};
use crate::types::MemberId;
use http::StatusCode;
use http::header::HeaderValue;
use serde_json::json;
use std::fmt::Write;

const JSON_IN_UTF8: HeaderValue = HeaderValue::from_static("application/json; charset=utf-8");

pub fn vars(node: &Node) -> Answer {
    let words: Vec<_> = std::env::args_os().map(|word| word.to_string_lossy().into_owned()).collect();
    let limit = process::descriptor_limit();
    // Go's statistics of its heap have no counterpart, but for what the process has from the system.
    let memory = json!({ "Sys": process::resident_bytes() });
    let raft = raft_status(&node.consensus.report());
    let body = format!(
        "{{\n\"cmdline\": {},\n\"file_descriptor_limit\": {limit},\n\"memstats\": {memory},\n\"raft.status\": {raft}\n}}\n",
        json!(words)
    );
    with_type(StatusCode::OK, JSON_IN_UTF8, body)
}

/// As etcd's `raft.Status` says it (`MarshalJSON` in raft's `status.go`), members in the order of their ids.
fn raft_status(report: &RaftReport) -> String {
    let RaftReport { member, term, vote, committed, leader, role, applied, progress } = report;
    let leader = leader.unwrap_or(MemberId(0));
    let role = match role {
        Role::Follower => "StateFollower",
        Role::Candidate => "StateCandidate",
        Role::Leader => "StateLeader",
    };
    let mut text = format!(
        r#"{{"id":"{member}","term":{term},"vote":"{vote}","commit":{committed},"lead":"{leader}","raftState":"{role}","applied":{applied},"progress":{{"#
    );
    for (place, Progress { member, matched, is_reached }) in progress.iter().enumerate() {
        let comma = if place > 0 { "," } else { "" };
        let state = if *is_reached { "StateReplicate" } else { "StateProbe" };
        let next = matched + 1;
        write!(text, r#"{comma}"{member}":{{"match":{matched},"next":{next},"state":"{state}"}}"#)
            .expect("a string takes all");
    }
    text + r#"},"leadtransferee":"0"}"#
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_state_of_raft_is_told_as_etcd_tells_it() {
        let progress = |member, matched, is_reached| Progress { member: MemberId(member), matched, is_reached };
        let leader = RaftReport {
            member: MemberId(0xab),
            term: 3,
            vote: MemberId(0xab),
            committed: 9,
            leader: Some(MemberId(0xab)),
            role: Role::Leader,
            applied: 8,
            progress: vec![progress(1, 7, false), progress(0xab, 9, true)],
        };
        assert_eq!(
            raft_status(&leader),
            concat!(
                r#"{"id":"ab","term":3,"vote":"ab","commit":9,"lead":"ab","raftState":"StateLeader","applied":8,"#,
                r#""progress":{"1":{"match":7,"next":8,"state":"StateProbe"},"#,
                r#""ab":{"match":9,"next":10,"state":"StateReplicate"}},"leadtransferee":"0"}"#
            )
        );
        let alone = RaftReport { leader: None, role: Role::Follower, progress: Vec::new(), ..leader };
        let text = raft_status(&alone);
        assert!(text.contains(r#""lead":"0","raftState":"StateFollower""#), "{text}");
        assert!(text.ends_with(r#""progress":{},"leadtransferee":"0"}"#), "{text}");
    }
}
