//! Seeded defects: faults that a suite has to find. `.ci/defects` turns each on, by its name in `KEELSTONE_DEFECT`, and
//! says which suite saw it. The switch exists in builds with debug assertions only: elsewhere [`on`] is a constant, and
//! nothing of this is left in the binary.
//!
//! Beside them, in the same builds, `point` has the places at which etcd's own suites make a member fail.

#[cfg(debug_assertions)]
mod endpoint;
mod point;

#[cfg(debug_assertions)]
pub use endpoint::serve_points;
pub use point::{BeforeEach, Point, before_each, error_at, may_wait, reach, reach_in_task};

/// A fault, as somebody might make it by mistake.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Defect {
    /// Entries are acknowledged once they are written to the log, before they are synced.
    AckBeforeSync,
    /// A vote is given before it is synced.
    VoteNotSynced,
    /// The directory is not synced after a segment of the log got its name.
    SegmentNameNotSynced,
    /// A record of the log counts whatever its checksum says, so that a torn one does.
    TornRecordAccepted,
    /// A block of the state file that changed at rest is handed out as it is.
    FlippedBitServed,
    /// The directory is not synced after a received state took the place of the old one.
    ReceivedStateNotSynced,
    /// Rows and the index of the entry that they come from are two commits.
    AppliedIndexApart,
    /// The log is purged up to what is applied, be it durable or not.
    PurgedBeforeDurable,
    /// A compaction removes the tombstones of its own revision too.
    TombstoneLost,
    /// A compaction keeps the newest version of a key, not the newest of its own revision.
    CompactedVersionLost,
    /// A compare sees the keys as they were before the batch.
    StaleCompare,
    /// After a restart the revision of the last delete is given to another change.
    RevisionUsedTwice,
    /// A linearizable read looks at the state as it was before its ReadIndex round.
    ViewBeforeReadIndex,
    /// The leader answers ReadIndex without asking a quorum whether it still leads.
    StaleReadIndex,
    /// A forwarded request is tried again although the leader may have taken it.
    ForwardedTwice,
    /// A leader that wakes up ends leases by its own clock, without asking whether it still leads.
    StalledLeaderEndsLease,
    /// A leader renews leases whether or not a quorum still follows it.
    DeposedLeaderRenews,
    /// After a restart no key hangs on its lease.
    LeaseKeysForgotten,
    /// A watcher whose queue is full goes on behind the revision that did not fit.
    EventDropped,
    /// Watchers are not told what a received snapshot brought.
    SnapshotNotTold,
    /// A put writes its value only on the member that was asked for it.
    ValueOnlyWhereAsked,
    /// Operations of nested transactions need no right (CVE-2026-33343).
    NestedOpsUnchecked,
    /// To see what a put or delete replaced needs no right to read (CVE-2026-44283).
    PreviousPairUnchecked,
    /// To hang a key on a lease needs no right to the keys that it has (CVE-2026-44283).
    LeaseAttachUnchecked,
    /// A watch from a key on needs the right to that key alone (GHSA-xg4h-6gfc-h4m8).
    FromKeyWatchUnchecked,
    /// Keys of a lease are told to everybody (CVE-2023-32082).
    LeaseKeysUnchecked,
    /// What is for operators is for everybody (CVE-2026-33413).
    OperatorCallsOpen,
    /// The password of a user enters the log beside its hash (CVE-2021-28235).
    PasswordProposed,
    /// A right counts as of the revision that an entry names.
    OldRightCounts,
    /// A watch goes on when the right to it is withdrawn.
    WithdrawnWatchGoesOn,
    /// A token counts on when the password of its user has changed.
    TokenOutlivesPassword,
    /// A certificate names whoever a gateway calls for (CVE-2018-16886).
    GatewayNamesUser,
}

#[cfg(debug_assertions)]
const ALL: [Defect; 32] = [
    Defect::AckBeforeSync,
    Defect::VoteNotSynced,
    Defect::SegmentNameNotSynced,
    Defect::TornRecordAccepted,
    Defect::FlippedBitServed,
    Defect::ReceivedStateNotSynced,
    Defect::AppliedIndexApart,
    Defect::PurgedBeforeDurable,
    Defect::TombstoneLost,
    Defect::CompactedVersionLost,
    Defect::StaleCompare,
    Defect::RevisionUsedTwice,
    Defect::ViewBeforeReadIndex,
    Defect::StaleReadIndex,
    Defect::ForwardedTwice,
    Defect::StalledLeaderEndsLease,
    Defect::DeposedLeaderRenews,
    Defect::LeaseKeysForgotten,
    Defect::EventDropped,
    Defect::SnapshotNotTold,
    Defect::ValueOnlyWhereAsked,
    Defect::NestedOpsUnchecked,
    Defect::PreviousPairUnchecked,
    Defect::LeaseAttachUnchecked,
    Defect::FromKeyWatchUnchecked,
    Defect::LeaseKeysUnchecked,
    Defect::OperatorCallsOpen,
    Defect::PasswordProposed,
    Defect::OldRightCounts,
    Defect::WithdrawnWatchGoesOn,
    Defect::TokenOutlivesPassword,
    Defect::GatewayNamesUser,
];

/// Whether this is the fault that was asked for.
///
/// # Panics
/// If there is none of the name that was asked for.
#[cfg(debug_assertions)]
pub fn on(defect: Defect) -> bool {
    use std::sync::OnceLock;
    // A global: handed on, it would be in the signature of all that could be wrong.
    static CHOSEN: OnceLock<Option<Defect>> = OnceLock::new();
    let choose = || {
        let name = std::env::var("KEELSTONE_DEFECT").ok()?;
        let chosen = ALL.into_iter().find(|defect| format!("{defect:?}") == name);
        Some(chosen.unwrap_or_else(|| panic!("there is no defect {name}")))
    };
    *CHOSEN.get_or_init(choose) == Some(defect)
}

/// There are none here.
#[cfg(not(debug_assertions))]
pub const fn on(_: Defect) -> bool {
    false
}

/// There are no places to fail at here.
///
/// # Errors
/// None.
#[cfg(not(debug_assertions))]
pub const fn serve_points() -> std::io::Result<()> {
    Ok(())
}
