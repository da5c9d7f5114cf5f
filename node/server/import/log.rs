//! What goes over from etcd's log, and its way into ours: every entry at its term and index, from behind the last one before
//! the state that could not be said again to a member that lags. Our own log begins there; such a member gets a snapshot.

use super::entry::{self, Meaning};
use super::members::RaftMembers;
use super::{ENTRIES_BYTES, Tools};
use crate::cluster::{MemberChange, MemberTable};
use crate::types::LogPosition;
use crate::wal::{self, HardState, Survey, Wal, WalError};
use anyhow::Context;
use keelstone_proto::raftpb::ConfState;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

/// What was found in the log.
#[derive(Debug)]
pub(super) struct Plan {
    /// Entries from behind here go over.
    pub(super) begin: LogPosition,
    /// Of the state: `None` if the log does not tell.
    pub(super) members: Option<RaftMembers>,
}

impl Plan {
    /// Looks at every entry. `applied` is where the state stands, `first` who the members are at the snapshot.
    pub(super) fn of(survey: &Survey, applied: u64, first: Option<&RaftMembers>) -> anyhow::Result<Self> {
        let begins_at_one = survey.snapshot.index == 0;
        let mut plan = Plan {
            begin: survey.snapshot,
            members: first.cloned().or_else(|| begins_at_one.then(RaftMembers::default)),
        };
        for_each_entry(survey, survey.snapshot.index + 1, |found| {
            let is_applied = found.index <= applied;
            match entry::meaning(found) {
                Ok(Meaning::Ready(_)) => {}
                Ok(Meaning::Members(change)) if is_applied => plan.pass(found, Some(&change)),
                Ok(Meaning::Members(_)) => {}
                Err(_) if is_applied => plan.pass(found, None),
                Err(error) => Err(error).with_context(|| format!("entry {} of etcd's log", found.index))?,
            }
            Ok(())
        })?;
        Ok(plan)
    }

    fn pass(&mut self, found: &wal::Entry, change: Option<&MemberChange>) {
        self.begin = LogPosition { term: found.term, index: found.index };
        if let (Some(members), Some(change)) = (&mut self.members, change) {
            members.change(change);
        }
    }
}

fn for_each_entry(
    survey: &Survey,
    from: u64,
    mut look: impl FnMut(&wal::Entry) -> anyhow::Result<()>,
) -> anyhow::Result<()> {
    let mut next = from;
    while next <= survey.last.index {
        for found in survey.entries_from(next, ENTRIES_BYTES)? {
            next = found.index + 1;
            look(&found)?;
        }
    }
    Ok(())
}

/// Term, vote and commit index as etcd left them. Entries of a term that the state did not reach show that the term began:
/// the state of the log comes behind them in one write, which may be torn. What the database has applied is committed.
pub(super) fn hard_state(survey: &Survey, applied: u64) -> HardState {
    let HardState { term, vote, commit, .. } = survey.hard_state;
    let vote = if survey.last.term > term { 0 } else { vote };
    HardState { term: term.max(survey.last.term), vote, vote_committed: false, commit: commit.max(applied) }
}

fn conf_state(members: &MemberTable) -> ConfState {
    let ids = |learners: bool| members.iter().filter(move |member| member.is_learner == learners).map(|m| m.id.0);
    ConfState { voters: ids(false).collect(), learners: ids(true).collect(), ..Default::default() }
}

/// Makes our log in `dir`, durable on return. `members` are those at `plan.begin`.
pub(super) fn write(
    tools: &Tools<'_>,
    dir: &Path,
    survey: &Survey,
    plan: &Plan,
    members: &MemberTable,
    hard_state: HardState,
) -> anyhow::Result<()> {
    let action = || format!("write the log to {}", dir.display());
    let failed = Arc::new(Mutex::new(None::<WalError>));
    let seen = Arc::clone(&failed);
    let on_fatal = Box::new(move |error| *seen.lock().unwrap_or_else(PoisonError::into_inner) = Some(error));
    wal::create(&**tools.disk, dir, survey.identity, &[], HardState::default()).with_context(action)?;
    let settings = wal::Settings {
        segment_bytes: tools.segment_bytes,
        max_segments: 0,
        // What is read back from the files needs no place in memory.
        tail_bytes: 0,
        ..wal::Settings::default()
    };
    let disk = Arc::clone(tools.disk);
    let (wal, mut writer, _) = Wal::open_stepped(disk, dir, settings, tools.wal_metrics.clone(), on_fatal)?;
    // Callbacks tell nothing that the end does not: after a failure all that follows fails.
    let done = || Box::new(|_| ());
    if plan.begin.index > 0 {
        wal.reset_to(plan.begin, conf_state(members), done());
    }
    let mut table = members.clone();
    let mut next = plan.begin.index + 1;
    while next <= survey.last.index {
        let mut entries = survey.entries_from(next, ENTRIES_BYTES)?;
        for found in &mut entries {
            next = found.index + 1;
            found.data = match entry::meaning(found)? {
                Meaning::Ready(data) => data,
                Meaning::Members(change) => {
                    // As every member decides when it applies it.
                    if table.check(&change, usize::MAX).is_ok() {
                        table.change(&change);
                    }
                    entry::with_members(&found.data, &table)?
                }
            };
        }
        wal.append(entries, done());
        while writer.step() {}
    }
    wal.save_hard_state(hard_state, done());
    while writer.step() {}
    let closed = wal.close();
    // It ends the files.
    writer.step();
    if let Some(error) = failed.lock().unwrap_or_else(PoisonError::into_inner).take() {
        return Err(error).with_context(action);
    }
    closed.and_then(|()| wal.close()).with_context(action)
}
