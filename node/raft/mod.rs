//! openraft on our terms: [`Consensus`] is all that the rest of the node sees of it.
//!
//! Invariants: nothing is acknowledged before this member has applied it, which needs it synced on a quorum; a
//! linearizable read waits for a ReadIndex round that began after it; "a leader is known" has one answer
//! ([`leadership`]). Refuses to know what a request means: that is `apply`'s.

mod bootstrap;
mod calling_back;
mod catching_up;
mod config;
mod consensus;
mod defragment;
mod hash;
mod late;
mod leadership;
mod lease;
mod log_store;
mod may_change;
mod membership;
mod metrics;
mod network;
mod propose;
mod read_index;
mod request_id;
mod snapshot;
mod state_files;
mod state_machine;
mod transfer;
mod types;

#[cfg(test)]
mod suite_tests;

pub use bootstrap::{bootstrap_log, lone_member_log};
pub use consensus::{Consensus, Limits, Parts, Progress, RaftReport, RaftStatus, RequestError, Role, RunningConsensus};
pub use defragment::{DefragmentError, Shrunk, defragment, say_defragmented, say_defragmenting};
pub use hash::{HashRefused, NoHash, NotHashed, PeerHash};
pub use lease::LeaseAnswer;
pub use may_change::{ChangeRefused, ChangeRules};
pub use membership::ChangeError;
pub use metrics::Metrics;
pub use network::{Identity, PROTOCOL, PeerClients, PeerService, Purpose, Timing, WAS_REMOVED, ask_members};
pub use snapshot::conf_state;
pub use state_files::{COPIED, OnFatal, RECEIVED, StateFileError, StateFiles};
pub use state_machine::OnApplied;
pub use transfer::TransferError;
pub use types::DecodeError;
