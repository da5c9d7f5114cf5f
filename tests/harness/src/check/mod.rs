//! Judges of a run. Each takes plain data and returns what is wrong in words, so that a hand-made history
//! can test the judge itself.
//!
//! The measure of everything is the [`Truth`]: all events from revision 1, as a watch delivered them after
//! the run. [`truth`] says whether it is possible at all, [`linear`] whether what clients heard fits it,
//! [`watch`] whether a watcher was told all of it, [`lease`] whether keys of leases lived long enough,
//! [`agreement`] whether members hold the same.

pub mod agreement;
pub mod lease;
pub mod linear;
pub mod truth;
pub mod watch;

pub use truth::Truth;

/// What a judge found; empty is a pass.
pub type Faults = Vec<String>;

/// # Panics
/// If there are faults; the message lists the first ones.
pub fn assert_none(part: &str, faults: &[String]) {
    let shown = faults.iter().take(10).map(String::as_str).collect::<Vec<_>>().join("\n  ");
    assert!(faults.is_empty(), "{part}: {} faults\n  {shown}", faults.len());
}
