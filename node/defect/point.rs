//! Places where a member can be made to end, to wait or to fail, for etcd's own suites (`tests/conformance/run`). Each has
//! etcd's name for the place that corresponds to it, and is set as there, in gofail's words: `panic`, `sleep("100ms")`,
//! `return("text")`, by `endpoint`. Builds with debug assertions have them; elsewhere nothing happens at any.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};
use tokio_stream::Stream;

/// A place, by etcd's name for it but for the first letter's case.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Point {
    /// The leader has requests that Raft is to write and send.
    RaftBeforeLeaderSend,
    /// A follower has done what the leader asked and is to say so.
    RaftBeforeFollowerSend,
    /// The log is to be written.
    RaftBeforeSave,
    /// It is written and synced, and nobody has been told.
    RaftAfterSave,
    /// It is written.
    WalBeforeSync,
    WalAfterSync,
    /// The log is to begin anew behind a received state: in memory, then on the disk, then its old files go.
    RaftBeforeApplySnap,
    RaftAfterApplySnap,
    RaftBeforeSaveSnap,
    RaftAfterSaveSnap,
    RaftAfterWALRelease,
    /// A received state is whole, and is to take the place of the old one.
    ApplyBeforeOpenSnapshot,
    /// It has, and nothing was read from it yet.
    ApplyAfterOpenSnapshot,
    BeforeApplyOneEntryNormal,
    BeforeApplyOneConfChange,
    /// A batch of the state gets the index of the last entry that it has.
    CommitBeforePreCommitHook,
    CommitAfterPreCommitHook,
    /// A write transaction of the state.
    BeforeStartDBTxn,
    AfterStartDBTxn,
    /// A durable commit of it.
    BeforeCommit,
    AfterCommit,
    /// What was applied is to be seen by readers.
    BeforeWritebackBuf,
    AfterWritebackBuf,
    /// The commit from which on nobody reads below a compaction's revision.
    CompactBeforeCommitScheduledCompact,
    CompactAfterCommitScheduledCompact,
    /// A slice of a compaction begins.
    CompactAfterAcquiredBatchTxLock,
    CompactBeforeCommitBatch,
    CompactAfterCommitBatch,
    /// The last rows of it are gone, in a batch that is not committed.
    CompactBeforeSetFinishedCompact,
    CompactAfterSetFinishedCompact,
    /// The file of a copy of the state cannot be made.
    DefragOpenFileError,
    DefragBeforeCopy,
    /// It cannot be written.
    DefragdbFail,
    DefragBeforeRename,
    BeforeSendWatchResponse,
    /// The leader is to renew a lease.
    BeforeCheckpointInLeaseRenew,
}

#[cfg(debug_assertions)]
pub use set::{BeforeEach, error_at, may_wait, reach, reach_in_task};

#[cfg(not(debug_assertions))]
pub use unset::{BeforeEach, error_at, may_wait, reach, reach_in_task};

/// Reaches the point before each item of the stream.
pub fn before_each<S: Stream>(point: Point, stream: S) -> BeforeEach<S> {
    BeforeEach::new(point, stream)
}

#[cfg(debug_assertions)]
pub(super) mod set {
    use super::*;
    use crate::config::value::GoDuration;
    use futures_util::future::BoxFuture;
    use std::collections::BTreeMap;
    use std::sync::atomic::{AtomicBool, Ordering};
    use std::sync::{Mutex, MutexGuard, PoisonError};
    use std::task::ready;
    use std::time::Duration;

    const ALL: [Point; 36] = [
        Point::RaftBeforeLeaderSend,
        Point::RaftBeforeFollowerSend,
        Point::RaftBeforeSave,
        Point::RaftAfterSave,
        Point::WalBeforeSync,
        Point::WalAfterSync,
        Point::RaftBeforeApplySnap,
        Point::RaftAfterApplySnap,
        Point::RaftBeforeSaveSnap,
        Point::RaftAfterSaveSnap,
        Point::RaftAfterWALRelease,
        Point::ApplyBeforeOpenSnapshot,
        Point::ApplyAfterOpenSnapshot,
        Point::BeforeApplyOneEntryNormal,
        Point::BeforeApplyOneConfChange,
        Point::CommitBeforePreCommitHook,
        Point::CommitAfterPreCommitHook,
        Point::BeforeStartDBTxn,
        Point::AfterStartDBTxn,
        Point::BeforeCommit,
        Point::AfterCommit,
        Point::BeforeWritebackBuf,
        Point::AfterWritebackBuf,
        Point::CompactBeforeCommitScheduledCompact,
        Point::CompactAfterCommitScheduledCompact,
        Point::CompactAfterAcquiredBatchTxLock,
        Point::CompactBeforeCommitBatch,
        Point::CompactAfterCommitBatch,
        Point::CompactBeforeSetFinishedCompact,
        Point::CompactAfterSetFinishedCompact,
        Point::DefragOpenFileError,
        Point::DefragBeforeCopy,
        Point::DefragdbFail,
        Point::DefragBeforeRename,
        Point::BeforeSendWatchResponse,
        Point::BeforeCheckpointInLeaseRenew,
    ];

    /// What happens at a point.
    #[derive(Clone, Debug, PartialEq, Eq)]
    enum Term {
        Off,
        Panic,
        Sleep(Duration),
        Return(String),
    }

    /// What is set, as it was said and as it is understood. A global, as the defects are.
    static SET: Mutex<BTreeMap<Point, (String, Term)>> = Mutex::new(BTreeMap::new());
    /// For those who pass by.
    static IS_ANY_SET: AtomicBool = AtomicBool::new(false);

    /// Why a point is not set, in gofail's words.
    #[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
    pub enum NotSet {
        #[error("failpoint: could not parse")]
        Unclear,
        #[error("failpoint: failpoint does not exist")]
        Unknown,
        #[error("failpoint: failpoint is disabled")]
        Off,
    }

    fn all_set() -> MutexGuard<'static, BTreeMap<Point, (String, Term)>> {
        SET.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets a point to a term.
    pub fn set(name: &str, term: &str) -> Result<(), NotSet> {
        let point = named(name)?;
        let understood = parse(term).ok_or(NotSet::Unclear)?;
        all_set().insert(point, (term.to_owned(), understood));
        IS_ANY_SET.store(true, Ordering::Release);
        Ok(())
    }

    pub fn unset(name: &str) -> Result<(), NotSet> {
        let mut all = all_set();
        all.remove(&named(name)?).ok_or(NotSet::Off)?;
        IS_ANY_SET.store(!all.is_empty(), Ordering::Release);
        Ok(())
    }

    /// Every point with its term, which may be empty.
    pub fn list() -> Vec<(String, String)> {
        let all = all_set();
        let term = |point| all.get(&point).map(|(said, _)| said.clone()).unwrap_or_default();
        ALL.into_iter().map(|point| (name(point), term(point))).collect()
    }

    fn name(point: Point) -> String {
        let mut name = format!("{point:?}");
        name[..1].make_ascii_lowercase();
        name
    }

    fn named(wanted: &str) -> Result<Point, NotSet> {
        ALL.into_iter().find(|&point| name(point) == wanted).ok_or(NotSet::Unknown)
    }

    /// One term of gofail's, without a probability or a successor.
    fn parse(text: &str) -> Option<Term> {
        let (word, argument) = match text.trim().split_once('(') {
            Some((word, rest)) => (word, Some(rest.strip_suffix(')')?)),
            None => (text.trim(), None),
        };
        let quoted = |argument: &str| Some(argument.strip_prefix('"')?.strip_suffix('"')?.to_owned());
        match (word, argument) {
            ("off", None) => Some(Term::Off),
            ("panic", _) => Some(Term::Panic),
            ("sleep", Some(argument)) => {
                let millis = argument.parse().ok().map(Duration::from_millis);
                millis.or_else(|| Some(GoDuration::parse(&quoted(argument)?).ok()?.or_zero())).map(Term::Sleep)
            }
            ("return", Some(argument)) => quoted(argument).map(Term::Return),
            _ => None,
        }
    }

    fn term_at(point: Point) -> Term {
        if !IS_ANY_SET.load(Ordering::Acquire) {
            return Term::Off;
        }
        all_set().get(&point).map_or(Term::Off, |(_, term)| term.clone())
    }

    /// Ends the process at once, as a panic of Go's does.
    fn end(point: Point) -> ! {
        eprintln!("panic: failpoint panic: {}", name(point));
        std::process::exit(2);
    }

    /// How long to wait there. Ends the process if that is what was asked for.
    fn wait_at(point: Point) -> Duration {
        match term_at(point) {
            Term::Panic => end(point),
            Term::Sleep(duration) => duration,
            Term::Off | Term::Return(_) => Duration::ZERO,
        }
    }

    /// Does what was asked for at a point of a thread. On that of the runtime a sleep stops the whole member.
    pub fn reach(point: Point) {
        let wait = wait_at(point);
        if !wait.is_zero() {
            std::thread::sleep(wait);
        }
    }

    /// As [`reach`]; a sleep stops this task alone.
    pub async fn reach_in_task(point: Point) {
        let wait = wait_at(point);
        if !wait.is_zero() {
            tokio::time::sleep(wait).await;
        }
    }

    /// # Errors
    /// The one that was asked for.
    pub fn error_at(point: Point) -> io::Result<()> {
        match term_at(point) {
            Term::Return(text) => Err(io::Error::other(text)),
            Term::Off | Term::Panic | Term::Sleep(_) => Ok(()),
        }
    }

    /// True if somebody may be stopped at a point for a while. Who does the work of another thread leaves it to that then.
    pub fn may_wait() -> bool {
        IS_ANY_SET.load(Ordering::Acquire) && all_set().values().any(|(_, term)| matches!(term, Term::Sleep(_)))
    }

    /// A stream that reaches a point before each item.
    pub struct BeforeEach<S: Stream> {
        point: Point,
        stream: Pin<Box<S>>,
        held: Option<(BoxFuture<'static, ()>, S::Item)>,
    }

    impl<S: Stream> BeforeEach<S> {
        pub(super) fn new(point: Point, stream: S) -> Self {
            Self { point, stream: Box::pin(stream), held: None }
        }
    }

    impl<S: Stream> std::fmt::Debug for BeforeEach<S> {
        fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            f.debug_struct("BeforeEach").field("point", &self.point).finish_non_exhaustive()
        }
    }

    impl<S: Stream<Item: Unpin>> Stream for BeforeEach<S> {
        type Item = S::Item;

        fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<S::Item>> {
            let this = self.get_mut();
            if this.held.is_none() {
                let Some(item) = ready!(this.stream.as_mut().poll_next(cx)) else { return Poll::Ready(None) };
                this.held = Some((Box::pin(reach_in_task(this.point)), item));
            }
            if let Some((waiting, _)) = &mut this.held {
                ready!(waiting.as_mut().poll(cx));
            }
            Poll::Ready(this.held.take().map(|(_, item)| item))
        }
    }

    #[cfg(test)]
    mod tests {
        use super::*;

        #[test]
        fn names_are_those_of_etcd_and_each_is_found_by_its_name() {
            assert_eq!(name(Point::RaftAfterWALRelease), "raftAfterWALRelease");
            for point in ALL {
                assert_eq!(named(&name(point)), Ok(point));
            }
            assert_eq!(named("RaftBeforeSave"), Err(NotSet::Unknown));
        }

        #[test]
        fn terms_are_read_as_gofail_reads_them() {
            let sleep = |millis| Some(Term::Sleep(Duration::from_millis(millis)));
            assert_eq!(parse("panic"), Some(Term::Panic));
            assert_eq!(parse("off"), Some(Term::Off));
            assert_eq!(parse("sleep(100)"), sleep(100));
            assert_eq!(parse(r#"sleep("1.5s")"#), sleep(1500));
            assert_eq!(parse(r#"return("no space")"#), Some(Term::Return("no space".to_owned())));
            for unclear in ["", "panics", "sleep", "sleep(", "sleep(x)", "return(x)", r#"return("x)"#] {
                assert_eq!(parse(unclear), None, "{unclear}");
            }
        }
    }
}

/// Nothing is left of any of it here.
#[cfg(not(debug_assertions))]
mod unset {
    use super::*;

    #[inline]
    pub const fn reach(_: Point) {}

    #[inline]
    pub async fn reach_in_task(_: Point) {}

    /// # Errors
    /// None.
    #[inline]
    pub const fn error_at(_: Point) -> io::Result<()> {
        Ok(())
    }

    #[inline]
    pub const fn may_wait() -> bool {
        false
    }

    /// The stream itself.
    #[derive(Debug)]
    pub struct BeforeEach<S>(S);

    impl<S> BeforeEach<S> {
        #[inline]
        pub(super) fn new(_: Point, stream: S) -> Self {
            Self(stream)
        }
    }

    impl<S: Stream + Unpin> Stream for BeforeEach<S> {
        type Item = S::Item;

        #[inline]
        fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<S::Item>> {
            Pin::new(&mut self.get_mut().0).poll_next(cx)
        }
    }
}
