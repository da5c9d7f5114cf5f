//! One command at a time, with what etcd answers.

use super::*;
use crate::alarm::AlarmType;
use crate::apply::testing::*;
use crate::apply::{ApplyError, Reply};
use crate::cluster::{Member, MemberChange, MemberChangeError};
use crate::lease::{LeaseError, MAX_TTL_SECS};
use crate::storage::Table;
use crate::storage::memory::MemoryFile;
use crate::types::LeaseId;
use keelstone_proto::etcdserverpb as pb;
use keelstone_proto::internal;
use keelstone_proto::membershippb;

#[test]
fn a_put_answers_the_new_revision_and_on_demand_the_old_value() {
    let mut node = Node::new();
    let first = node.put(pb::PutRequest { prev_kv: true, ..put("a", "1") }).expect("applies");
    assert_eq!((revision(&first.header), first.prev_kv), (2, None));
    let second = node.put(pb::PutRequest { prev_kv: true, ..put("a", "2") }).expect("applies");
    let previous = second.prev_kv.expect("it was there");
    assert_eq!((revision(&second.header), previous.value), (3, bytes("1")));
    assert_eq!((previous.create_revision, previous.mod_revision, previous.version), (2, 2, 1));
    assert_eq!(node.put(put("a", "3")).expect("applies").prev_kv, None);
    let now = node.get("a").expect("there");
    assert_eq!((now.create_revision, now.mod_revision, now.version, now.value), (2, 4, 3, bytes("3")));
}

#[test]
fn a_put_on_an_unknown_lease_changes_nothing() {
    let mut node = Node::new();
    let outcome = node.put(pb::PutRequest { lease: 7, ..put("a", "1") });
    assert_eq!(outcome, Err(ApplyError::Lease(LeaseError::NotFound)));
    assert_eq!(revision(&node.put(put("a", "1")).expect("applies").header), 2);
}

#[test]
fn value_and_lease_can_be_kept_if_the_key_exists() {
    let mut node = Node::new();
    let keep_value = pb::PutRequest { ignore_value: true, ..put("a", "") };
    assert_eq!(node.put(keep_value.clone()), Err(ApplyError::KeyNotFound));
    node.grant(7, 60).expect("grants");
    node.put(pb::PutRequest { lease: 7, ..put("a", "1") }).expect("applies");

    node.put(pb::PutRequest { ignore_lease: true, ..put("a", "2") }).expect("applies");
    let kv = node.get("a").expect("there");
    assert_eq!((kv.value, kv.lease), (bytes("2"), 7));

    node.put(keep_value).expect("applies");
    let kv = node.get("a").expect("there");
    assert_eq!((kv.value, kv.lease), (bytes("2"), 0), "a put without a lease detaches");
    assert_eq!(node.applier.published().lessor.lease_of(b"a"), LeaseId::NONE);
    // The lease is looked up before the key is, as in etcd.
    let both = pb::PutRequest { lease: 9, ignore_value: true, ..put("z", "") };
    assert_eq!(node.put(both), Err(ApplyError::Lease(LeaseError::NotFound)));
}

#[test]
fn a_delete_counts_live_keys_and_moves_the_revision_only_if_there_are_any() {
    let mut node = Node::new();
    for key in ["a", "b", "c"] {
        node.put(put(key, key)).expect("applies");
    }
    let none = node.delete(delete("x", "")).expect("applies");
    assert_eq!((none.deleted, revision(&none.header)), (0, 4));
    let two = node.delete(pb::DeleteRangeRequest { prev_kv: true, ..delete("a", "c") }).expect("applies");
    assert_eq!((two.deleted, revision(&two.header)), (2, 5));
    assert_eq!(two.prev_kvs.iter().map(|kv| kv.value.clone()).collect::<Vec<_>>(), [bytes("a"), bytes("b")]);
    let rest = node.delete(delete("a", "\0")).expect("applies");
    assert_eq!((rest.deleted, rest.prev_kvs.len()), (1, 0));
    let empty = node.delete(delete("b", "a")).expect("applies");
    assert_eq!((empty.deleted, revision(&empty.header)), (0, 6));
}

#[test]
fn events_come_one_per_revision_in_the_order_of_writes() {
    let mut node = Node::new();
    let request = |request| pb::InternalRaftRequest { txn: Some(request), ..Default::default() };
    let ops = vec![
        op(pb::request_op::Request::RequestPut(put("b", "1"))),
        op(pb::request_op::Request::RequestPut(put("a", "2"))),
    ];
    let outcome = node.outcome(request(pb::TxnRequest { success: ops, ..Default::default() }));
    let [events] = <[_; 1]>::try_from(outcome.events).expect("one revision");
    assert_eq!(events.revision, 2);
    let keys: Vec<_> = events.events.iter().map(|event| event.kv.key.clone()).collect();
    assert_eq!(keys, [bytes("b"), bytes("a")]);
    assert!(node.outcome(request(pb::TxnRequest::default())).events.is_empty());
}

#[test]
fn a_revoke_deletes_the_attached_keys_in_one_revision() {
    let mut node = Node::new();
    node.grant(7, 60).expect("grants");
    for key in ["c", "a", "b"] {
        node.put(pb::PutRequest { lease: 7, ..put(key, "") }).expect("applies");
    }
    node.put(put("b", "now without lease")).expect("applies");
    let outcome = node.outcome(revoke(7));
    let keys: Vec<_> = outcome.events[0].events.iter().map(|event| event.kv.key.clone()).collect();
    assert_eq!((outcome.events.len(), keys), (1, vec![bytes("a"), bytes("c")]));
    let Ok(Reply::LeaseRevoke(response)) = &outcome.replies[0].1 else { panic!("{outcome:?}") };
    assert_eq!(revision(&response.header), 6);
    assert_eq!(node.apply(revoke(7)), Err(ApplyError::Lease(LeaseError::NotFound)));
    assert!(node.get("b").is_some());

    node.grant(8, 60).expect("grants");
    let Ok(Reply::LeaseRevoke(response)) = node.apply(revoke(8)) else { panic!("applies") };
    assert_eq!(revision(&response.header), 6, "no key, no revision");
}

#[test]
fn grants_are_refused_as_etcd_does() {
    let mut node = Node::new();
    let granted = node.grant(7, 1).expect("grants");
    assert_eq!((granted.id, granted.ttl, revision(&granted.header)), (7, 2, 1));
    assert_eq!(node.grant(7, 60), Err(ApplyError::Lease(LeaseError::Exists)));
    assert_eq!(node.grant(8, MAX_TTL_SECS + 1), Err(ApplyError::Lease(LeaseError::TtlTooLarge)));
}

#[test]
fn compactions_are_checked_against_the_present_and_the_last_one() {
    let mut node = Node::new();
    for value in ["1", "2", "3"] {
        node.put(put("a", value)).expect("applies");
    }
    assert_eq!(node.apply(compaction(5)), Err(ApplyError::FutureRevision));
    let Ok(Reply::Compaction(response)) = node.apply(compaction(3)) else { panic!("applies") };
    assert_eq!(revision(&response.header), 4);
    assert_eq!(node.apply(compaction(3)), Err(ApplyError::Compacted));
    while node.applier.is_compacting() {
        node.applier.compaction_slice(1).expect("memory does not fail");
    }
    assert_eq!(node.applier.compacted(), 3);
    assert_eq!(node.get("a").expect("there").value, bytes("3"));
}

fn alarm(action: pb::alarm_request::AlarmAction, alarm: pb::AlarmType) -> pb::InternalRaftRequest {
    let alarm = pb::AlarmRequest { action: action as i32, member_id: 5, alarm: alarm as i32 };
    pb::InternalRaftRequest { alarm: Some(alarm), ..Default::default() }
}

#[test]
fn no_space_refuses_what_adds_and_allows_what_frees() {
    use pb::alarm_request::AlarmAction::{Activate, Deactivate, Get};
    use pb::request_op::Request;
    let mut node = Node::new();
    node.put(put("a", "1")).expect("applies");
    let Ok(Reply::Alarm(raised)) = node.apply(alarm(Activate, pb::AlarmType::Nospace)) else { panic!("applies") };
    assert_eq!(raised.alarms, [pb::AlarmMember { member_id: 5, alarm: 1 }]);
    assert_eq!(node.put(put("b", "1")), Err(ApplyError::NoSpace));
    assert_eq!(node.grant(7, 60), Err(ApplyError::NoSpace));
    let unreached = pb::TxnRequest { failure: vec![op(Request::RequestPut(put("a", "2")))], ..Default::default() };
    assert_eq!(node.txn(unreached), Err(ApplyError::NoSpace), "the branch that does not run counts too");
    let deleting =
        pb::TxnRequest { success: vec![op(Request::RequestDeleteRange(delete("a", "")))], ..Default::default() };
    assert!(node.txn(deleting).is_ok());
    assert!(node.apply(compaction(2)).is_ok());
    assert!(node.applier.published().alarms.load().is_raised(AlarmType::NoSpace));

    let Ok(Reply::Alarm(all)) = node.apply(alarm(Get, pb::AlarmType::None)) else { panic!("applies") };
    assert_eq!(all.alarms.len(), 1);
    let Ok(Reply::Alarm(cleared)) = node.apply(alarm(Deactivate, pb::AlarmType::Nospace)) else { panic!("applies") };
    assert_eq!(cleared.alarms.len(), 1);
    assert!(node.put(put("b", "1")).is_ok());
    let Ok(Reply::Alarm(again)) = node.apply(alarm(Deactivate, pb::AlarmType::Nospace)) else { panic!("applies") };
    assert_eq!(again.alarms, []);
}

#[test]
fn corruption_refuses_all_that_touches_keys() {
    use pb::alarm_request::AlarmAction::{Activate, Deactivate};
    let mut node = Node::new();
    node.grant(7, 60).expect("grants");
    node.apply(alarm(Activate, pb::AlarmType::Corrupt)).expect("applies");
    assert_eq!(node.put(put("a", "")), Err(ApplyError::Corrupt));
    assert_eq!(node.delete(delete("a", "")), Err(ApplyError::Corrupt));
    assert_eq!(node.txn(pb::TxnRequest::default()), Err(ApplyError::Corrupt));
    assert_eq!(node.apply(compaction(1)), Err(ApplyError::Corrupt));
    assert_eq!(node.grant(8, 60), Err(ApplyError::Corrupt));
    assert_eq!(node.apply(revoke(7)), Err(ApplyError::Corrupt));
    node.apply(alarm(Deactivate, pb::AlarmType::Corrupt)).expect("applies");
    assert!(node.put(put("a", "")).is_ok());
}

fn change(node: &mut Node, change: &MemberChange) -> Outcome {
    let membership = internal::Membership { members: vec![internal::Member { id: 9, ..Default::default() }] };
    let index = node.next_position().index;
    let entry = conf_change::encode(index, change, &membership);
    let membership = membership.encode_to_vec().into();
    node.apply_payload(Payload::ConfChange { change: entry, membership })
}

fn member(id: u64) -> Member {
    Member { id: MemberId(id), peer_urls: vec![format!("http://m{id}:1")], ..Member::default() }
}

#[test]
fn members_come_tell_their_names_and_go() {
    let mut node = Node::new();
    let added = change(&mut node, &MemberChange::Add(member(1)));
    assert_eq!(added.replies[0].1, Ok(Reply::Members(vec![member(1)])));
    assert!(added.cluster_changed && !added.removed);
    change(&mut node, &MemberChange::Add(member(2)));

    let attributes = membershippb::Attributes { name: "two".into(), client_urls: vec!["http://c:1".into()] };
    let request = membershippb::ClusterMemberAttrSetRequest { member_id: 2, member_attributes: Some(attributes) };
    let request = pb::InternalRaftRequest { cluster_member_attr_set: Some(request), ..Default::default() };
    assert_eq!(node.apply(request), Ok(Reply::Done));
    let cluster = node.applier.published().cluster.load_full();
    assert_eq!(cluster.members.get(MemberId(2)).map(|member| member.name.as_str()), Some("two"));

    let again = change(&mut node, &MemberChange::Add(member(1)));
    assert_eq!(again.replies[0].1, Err(ApplyError::Member(MemberChangeError::IdExists)));
    let removed = change(&mut node, &MemberChange::Remove(LOCAL));
    assert!(removed.removed);
    let mut rows = |table| node.applier.snapshot().expect("works").version.rows(table).expect("works");
    assert_eq!(rows(Table::MembersRemoved), [(b"1".to_vec(), b"removed".to_vec())]);
    assert_eq!(
        rows(Table::Members),
        [(b"2".to_vec(), br#"{"id":2,"peerURLs":["http://m2:1"],"name":"two","clientURLs":["http://c:1"]}"#.to_vec())]
    );
}

#[test]
fn the_membership_is_kept_with_the_entry_that_set_it() {
    let mut node = Node::new();
    assert_eq!(node.applier.snapshot().expect("works").membership, None);
    change(&mut node, &MemberChange::Add(member(1)));
    node.put(put("a", "")).expect("applies");
    let snapshot = node.applier.snapshot().expect("works");
    assert_eq!(snapshot.applied, LogPosition { term: 1, index: 2 });
    let stored = internal::StoredMembership::decode(snapshot.membership.expect("set")).expect("own row");
    assert_eq!(stored.log, Some(internal::LogId { term: 1, index: 1 }));
    assert_eq!(stored.membership.expect("set").members[0].id, 9);
}

#[test]
fn the_cluster_version_moves_the_storage_version() {
    let mut node = Node::new();
    let set = |ver: &str| {
        let request = membershippb::ClusterVersionSetRequest { ver: ver.into() };
        pb::InternalRaftRequest { cluster_version_set: Some(request), ..Default::default() }
    };
    assert_eq!(node.apply(set("3.7.0")), Ok(Reply::Done));
    assert_eq!(node.apply(set("three")), Err(ApplyError::ClusterVersion));
    let version = node.applier.published().cluster.load().version.expect("set");
    assert_eq!(version.to_string(), "3.7.0");
    let meta = node.applier.snapshot().expect("works").version.meta().expect("works");
    assert_eq!(meta.storage_version.as_deref(), Some("3.7.0"));
}

#[test]
fn entries_are_applied_once_and_without_gaps() {
    let mut node = Node::new();
    let entry = |index, value: &str| Committed {
        position: LogPosition { term: 1, index },
        payload: normal(index, pb::InternalRaftRequest { put: Some(put("a", value)), ..Default::default() }),
    };
    let mut apply = |entries| node.applier.apply_batch(entries, &|_| true, Durability::Volatile);
    let first = apply(vec![entry(1, "1"), entry(2, "2")]).expect("applies");
    assert_eq!(first.replies.len(), 2);
    let again = apply(vec![entry(1, "1"), entry(2, "2"), entry(3, "3")]).expect("applies");
    assert_eq!(again.replies.iter().map(|(id, _)| *id).collect::<Vec<_>>(), [3]);
    assert_eq!(node.get("a").expect("there").version, 3);
    let gap = node.applier.apply_batch(vec![entry(9, "9")], &|_| true, Durability::Volatile);
    assert!(matches!(gap, Err(Fatal::Gap { applied: 4, index: 9 })));
}

#[test]
fn an_entry_of_a_later_version_stops_the_member() {
    let mut node = Node::new();
    let mut apply = |data: &'static [u8]| {
        let entry = Committed { position: LogPosition { term: 1, index: 1 }, payload: Payload::Normal(data.into()) };
        node.applier.apply_batch(vec![entry], &|_| true, Durability::Volatile)
    };
    let unknown_field = apply(&[0xa8, 0x46, 0x01]);
    assert!(matches!(unknown_field, Err(Fatal::Entry { index: 1, source: LogError::UnknownCommand })));
    assert!(matches!(apply(&[0xff]), Err(Fatal::Entry { index: 1, source: LogError::Decode(_) })));
}

#[test]
fn replies_go_only_to_those_who_wait() {
    let mut node = Node::new();
    let request = pb::InternalRaftRequest { put: Some(put("a", "1")), ..Default::default() };
    let entry = Committed { position: node.next_position(), payload: normal(77, request) };
    let outcome = node.applier.apply_batch(vec![entry], &|_| false, Durability::Volatile).expect("applies");
    assert!(outcome.replies.is_empty());
    assert_eq!(outcome.events.len(), 1);
    assert!(node.get("a").is_some());
}

#[test]
fn a_state_file_brings_everything_back() {
    let file = MemoryFile::new();
    let mut node = Node { applier: applier(create(file.clone())) };
    change(&mut node, &MemberChange::Add(member(1)));
    node.grant(7, 60).expect("grants");
    node.put(pb::PutRequest { lease: 7, ..put("a", "1") }).expect("applies");
    let checkpoints = vec![pb::LeaseCheckpoint { id: 7, remaining_ttl: 9 }];
    let checkpoint = pb::LeaseCheckpointRequest { checkpoints };
    node.apply(pb::InternalRaftRequest { lease_checkpoint: Some(checkpoint), ..Default::default() }).expect("applies");
    node.apply(alarm(pb::alarm_request::AlarmAction::Activate, pb::AlarmType::Nospace)).expect("applies");
    node.applier.commit(Durability::Durable).expect("memory does not fail");
    let position = node.applier.applied();

    let mut opened = Node { applier: applier(reopen(file.crashed())) };
    assert_eq!(opened.applier.applied(), position);
    let published = opened.applier.published();
    assert!(published.alarms.load().is_raised(AlarmType::NoSpace));
    assert_eq!(published.cluster.load().members.iter().len(), 1);
    assert_eq!(published.lessor.keys(LeaseId(7)), Some(vec![bytes("a")]));
    assert!(opened.apply(revoke(7)).is_ok());
    assert!(opened.get("a").is_none());

    // Installed as a snapshot, it replaces a state of another history.
    let mut other = Node::new();
    other.put(put("z", "1")).expect("applies");
    assert_eq!(other.applier.install(reopen(file.crashed())).expect("memory does not fail"), position);
    assert!(other.get("z").is_none() && other.get("a").is_some());
}

#[test]
fn a_few_puts_are_seen_at_once_and_reach_the_file_with_the_entry_they_go_to() {
    let file = MemoryFile::new();
    let mut node = Node { applier: applier(create(file.clone())) };
    let in_file = |node: &Node| {
        let version = node.applier.storage().version().expect("works");
        (version.rows(Table::Key).expect("works").len(), version.meta().expect("works").applied.index)
    };
    // Of a small limit on rows all is seen, whether it is in the file or not.
    for at in 1..=200_usize {
        let request = pb::InternalRaftRequest { put: Some(put("a", &at.to_string())), ..Default::default() };
        let entry = Committed { position: node.next_position(), payload: normal(at as u64, request) };
        node.applier.apply_few(vec![entry], &|_| true).expect("applies");
        let view = node.applier.published().views.load();
        assert_eq!(view.get_at(b"a", 0).expect("works").expect("there").value, at.to_string());
        assert_eq!(view.history(1, i64::MAX, usize::MAX).expect("works").len(), at);
        let (rows, applied) = in_file(&node);
        assert_eq!(rows, applied as usize, "the rows of the file are those of its entry");
        assert!((1..=64).contains(&(at - rows)) || rows == at, "{} puts are not in the file", at - rows);
    }
    assert!(in_file(&node).0 < 200);
    let hash = node.applier.published().views.load().hash_kv(0).expect("works");
    let snapshot = node.applier.snapshot().expect("works");
    assert_eq!((in_file(&node), snapshot.applied.index), ((200, 200), 200));
    assert_eq!(node.applier.published().views.load().hash_kv(0).expect("works"), hash);

    // A delete takes what waits along.
    node.put(put("b", "")).expect("applies");
    let request = pb::InternalRaftRequest { put: Some(put("a", "last")), ..Default::default() };
    let entry = Committed { position: node.next_position(), payload: normal(1, request) };
    node.applier.apply_few(vec![entry], &|_| true).expect("applies");
    assert_eq!(in_file(&node), (201, 201));
    node.delete(pb::DeleteRangeRequest { key: bytes("b"), ..Default::default() }).expect("applies");
    assert_eq!(in_file(&node), (203, 203));
    node.applier.commit(Durability::Durable).expect("memory does not fail");
    assert_eq!(applier(reopen(file.crashed())).applied(), node.applier.applied());
}

#[test]
fn what_takes_longer_than_the_limit_is_counted() {
    let mut node = Node::new();
    let one =
        |node: &mut Node| node.outcome(pb::InternalRaftRequest { put: Some(put("a", "1")), ..Default::default() }).slow;
    node.applier.warn_after(Duration::MAX);
    assert_eq!(one(&mut node), 0);
    node.applier.warn_after(Duration::ZERO);
    assert_eq!(one(&mut node), 2, "the entry, and its commit");
}
