//! What a member must be able to do with what a crash, or the end of its process, left on the disk.

use crate::history::normal;
use crate::member::{Ended, Member, Promises, Shared};
use crate::state::{self, Compaction};
use bytes::Bytes;
use keelstone::disk::MemoryDisk;
use keelstone::types::LogPosition;
use keelstone::wal::HardState;

/// Opens what is there, applies again what was committed, and goes on. Panics if anything that was promised is not so.
pub fn recover(disk: &MemoryDisk, promises: &Shared) {
    recover_or_refuse(disk, promises).unwrap_or_else(|text| panic!("{text}"));
}

/// As [`recover`], on a disk that may be damaged.
///
/// # Errors
/// The member says that it cannot start, or cannot go on, and why.
pub fn recover_or_refuse(disk: &MemoryDisk, promises: &Shared) -> Result<(), String> {
    let mut member = Member::start(disk, promises).map_err(|error| format!("it does not start: {error:#}"))?;
    let shown = promises.copy();
    // A leader commits what it finds, or knows that it was committed.
    let replayed = shown.history.last_index().min(agreeing(&member, &shown));
    assert!(replayed >= shown.acknowledged, "{} entries of {} are left", replayed, shown.acknowledged);
    let went_on = replay(&mut member, replayed).and_then(|()| write_on(&mut member, replayed));
    went_on.map_err(|ended| ended.to_string())?;
    let kept = promises.copy();
    let position = LogPosition { term: member.log.last().term, index: replayed + 1 };
    assert_eq!((kept.durable, member.wal.last()), (replayed + 1, position));
    state::check(&member.published, kept.history.state(replayed + 1), Compaction::IsDone);
    Ok(())
}

/// Up to where the log holds what was committed.
fn agreeing(member: &Member, promises: &Promises) -> u64 {
    let log = &member.log;
    let differs = |index: &u64| promises.history.position(*index).term != log.term_at(*index).unwrap_or_default();
    let first = (log.purged.index + 1..=log.last().index).find(differs);
    first.map_or(log.last().index, |index| index - 1)
}

fn replay(member: &mut Member, index: u64) -> Result<(), Ended> {
    member.commit(index);
    if index > member.applied() { member.apply_to(index) } else { Ok(()) }
}

/// The member is as good as new: it takes an entry behind `applied` and keeps it.
fn write_on(member: &mut Member, applied: u64) -> Result<(), Ended> {
    let term = member.log.vote.term.max(member.log.last().term) + 1;
    member.vote(HardState { term, vote: 1, vote_committed: true, commit: 0 });
    let entry = normal(term, applied + 1, Bytes::new());
    {
        let mut promises = member.promises.lock();
        promises.history.truncate_after(applied);
        promises.history.push(entry.clone());
    }
    member.append(vec![entry]);
    while member.step_log()? {}
    member.commit(applied + 1);
    member.apply_to(applied + 1)?;
    member.compact()?;
    member.commit_durably()
}
