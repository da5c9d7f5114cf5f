//! What an import makes of what etcd's log may hold, on disks in memory.

use crate::import_crash::{APPLIED, LAST, STATE, entries, left_with, member, places, with_tools, write_database};
use keelstone::cluster::Member;
use keelstone::disk::{Disk, MemoryDisk};
use keelstone::server::import::{Imported, build};
use keelstone::types::{LogPosition, MemberId};
use keelstone::wal::{Entry, EntryKind, HardState, Metrics, Settings, Survey, Wal};
use keelstone_harness::proto::etcdserverpb::{AuthRoleAddRequest, InternalRaftRequest};
use keelstone_harness::proto::internal::Membership;
use keelstone_harness::proto::raftpb::{ConfChange, ConfState};
use prost::Message;
use std::path::Path;
use std::sync::Arc;

/// What is built of it, and the log that is.
fn built(disk: &MemoryDisk) -> anyhow::Result<(Imported, Survey)> {
    let (state, log) = (Path::new("/data/member/state.new"), Path::new("/data/member/log.new"));
    let imported = with_tools(disk, |tools| build(tools, &places(), (state, log), &mut |_, _| ()))?;
    Ok((imported, Survey::of(disk, log)?))
}

fn error_of(disk: &MemoryDisk) -> String {
    format!("{:#}", built(disk).expect_err("not to be taken over"))
}

/// With another entry at an index.
fn with(index: u64, kind: EntryKind, data: Vec<u8>) -> Vec<Entry> {
    let mut entries = entries();
    let entry = &mut entries[index as usize - 1];
    (entry.kind, entry.data) = (kind, data.into());
    entries
}

fn role_add() -> Vec<u8> {
    let add = Some(AuthRoleAddRequest { name: "r".into() });
    InternalRaftRequest { auth_role_add: add, ..Default::default() }.encode_to_vec()
}

fn learner() -> Member {
    Member { id: MemberId(2), peer_urls: vec!["http://b:1".to_owned()], is_learner: true, ..Member::default() }
}

fn add_learner() -> Vec<u8> {
    let context = Some(learner().to_add_json().into());
    ConfChange { id: Some(5), r#type: Some(3), node_id: Some(2), context, keelstone_membership: None }.encode_to_vec()
}

fn at(term: u64, index: u64) -> LogPosition {
    LogPosition { term, index }
}

#[test]
fn a_change_of_members_behind_the_state_says_who_belongs_then() {
    let disk = left_with(&with(LAST - 2, EntryKind::ConfChange, add_learner()), STATE, &[]);
    let (imported, log) = built(&disk).expect("to be taken over");
    assert_eq!((imported.members.len(), imported.begin), (1, at(1, 1)));
    let entry = log.entries_from(LAST - 2, 1).expect("an entry").remove(0);
    let change = ConfChange::decode(entry.data).expect("a change");
    let then = Membership::decode(change.keelstone_membership.expect("the members")).expect("a membership");
    assert_eq!(then.members.iter().map(|m| (m.id, m.learner)).collect::<Vec<_>>(), [(1, false), (2, true)]);
    assert_eq!((change.id, change.node_id), (Some(5), Some(2)));
}

#[test]
fn a_change_of_members_before_the_state_is_where_the_log_begins() {
    let entries = with(30, EntryKind::ConfChange, add_learner());
    let (imported, log) = built(&left_with(&entries, STATE, &[learner()])).expect("to be taken over");
    assert_eq!((imported.begin, log.snapshot, imported.applied), (at(2, 30), at(2, 30), at(2, APPLIED)));
    assert_eq!((log.conf_state.voters, log.conf_state.learners), (vec![1], vec![2]));
    assert!(imported.dropped.is_empty() && imported.mended.is_empty());
    // It was refused when it was applied: the database has no such member.
    let (imported, _) = built(&left_with(&entries, STATE, &[])).expect("to be taken over");
    assert_eq!(imported.members, [member()]);
}

#[test]
fn rows_of_members_that_raft_does_not_know_are_left_out() {
    let zombie = Member { id: MemberId(7), is_learner: false, ..learner() };
    let (imported, _) = built(&left_with(&entries(), STATE, &[zombie])).expect("to be taken over");
    assert_eq!((imported.members, imported.dropped), (vec![member()], vec![MemberId(7)]));
}

#[test]
fn changes_of_users_are_entries_like_others_and_unknown_ones_are_not_taken_over() {
    for index in [30, 50] {
        let (imported, log) =
            built(&left_with(&with(index, EntryKind::Normal, role_add()), STATE, &[])).expect("to be taken over");
        assert_eq!(imported.begin, at(1, 1));
        assert_eq!(log.entries_from(index, 1).expect("an entry").remove(0).data, role_add());
    }
    let unknown = left_with(&with(LAST, EntryKind::Normal, vec![0xf8, 0xff, 0x03, 1]), STATE, &[]);
    assert_eq!(error_of(&unknown), format!("entry {LAST} of etcd's log: command is unknown"));
}

#[test]
fn what_the_database_has_applied_is_committed() {
    let (imported, log) =
        built(&left_with(&entries(), HardState { commit: 10, ..STATE }, &[])).expect("to be taken over");
    assert_eq!((imported.hard_state.commit, log.hard_state.commit), (APPLIED, APPLIED));
}

#[test]
fn a_term_that_the_state_of_the_log_had_not_heard_of_has_no_vote() {
    let mut entries = entries();
    entries.iter_mut().skip(LAST as usize - 3).for_each(|entry| entry.term = 5);
    let (imported, log) = built(&left_with(&entries, STATE, &[])).expect("to be taken over");
    assert_eq!(imported.hard_state, HardState { term: 5, vote: 0, ..STATE });
    assert_eq!((log.hard_state, log.last), (imported.hard_state, at(5, LAST)));
}

#[test]
fn a_torn_write_at_the_end_is_left_out() {
    let disk = left_with(&entries(), HardState { commit: 0, term: 0, vote: 0, ..STATE }, &[]);
    let file = disk.open(&places().wal_dir.join("0000000000000000-0000000000000000.wal")).expect("the log");
    let len = file.len().expect("memory does not fail");
    file.set_len(len - 100).expect("memory does not fail");
    let (imported, log) = built(&disk).expect("to be taken over");
    assert!(imported.cut.expect("a cut").what.to_string().contains("does not fit"));
    assert_eq!((log.last, file.len().expect("memory does not fail")), (at(2, LAST - 1), len - 100));
}

#[test]
fn a_snapshot_that_etcd_received_and_did_not_put_in_its_place_is_the_state() {
    let disk = left_with(&entries(), STATE, &[]);
    let shared: Arc<dyn Disk> = Arc::new(disk.clone());
    let metrics = Metrics::register(&prometheus::Registry::new()).expect("a fresh registry");
    let settings = Settings { segment_bytes: 4_096, ..Settings::default() };
    let fatal = Box::new(|error| panic!("{error}"));
    let opened = Wal::open_stepped(shared, &places().wal_dir, settings, metrics, fatal);
    let (wal, mut writer, _) = opened.expect("the log");
    let members = ConfState { voters: vec![1], ..ConfState::default() };
    wal.reset_to(at(2, 500), members, Box::new(|_| ()));
    while writer.step() {}
    wal.close().expect("memory does not fail");
    writer.step();
    assert!(error_of(&disk).contains("does not match with snapshot (index 500)"));
    for name in ["state.new", "log.new"] {
        disk.remove_dir_all(&Path::new("/data/member").join(name)).ok();
    }
    write_database(&disk, "00000000000001f4.snap.db", 500, &[]);
    let (imported, log) = built(&disk).expect("to be taken over");
    assert!(imported.database.ends_with("00000000000001f4.snap.db"));
    assert_eq!((imported.applied, imported.begin, log.last), (at(2, 500), at(2, 500), at(2, 500)));
    assert_eq!(log.hard_state.commit, 500);
}
