//! Committed entries become state, on one thread.
//!
//! Invariants: entries are applied once each, in log order; the entries of a batch and the position they bring
//! the state to are one storage batch (etcd #13766); what an entry does depends on the log alone: no clock, no
//! randomness, no map order, no setting that members may differ in. A refusal is a result like any other and
//! the same everywhere; a failing disk, or an entry that this version cannot read, stops the member.
//! Knows nothing of Raft and of connections; who asked stands in the entry, and was made sure of before.

mod alarm;
mod applier;
mod auth;
mod cluster;
mod command;
mod compact;
pub mod compare;
pub mod conf_change;
pub mod cost;
mod delete;
mod dispatch;
mod executor;
mod lease;
pub mod loggable;
mod metrics;
mod moving;
mod pace;
mod permit;
mod put;
pub mod range;
mod read;
mod reply;
mod scope;
pub mod slow;
mod state;
mod thread;
mod txn;
mod waiters;
mod worker;

#[cfg(test)]
mod auth_tests;
#[cfg(test)]
mod compare_tests;
#[cfg(test)]
mod testing;
#[cfg(test)]
mod txn_model_tests;
#[cfg(test)]
mod txn_tests;
#[cfg(test)]
mod worker_tests;

pub use applier::{Applier, Outcome, Parts, Published, StateSnapshot};
pub use command::{Committed, Payload, check_request};
pub use metrics::Metrics;
pub use moving::{Move, Rename, StateFile};
pub use permit::{Asked, Judge};
pub use reply::{ApplyError, AuthReply, Authenticated, Fatal, LogError, Reply, StateError};
pub use state::{check_state, place, stored_members};
pub use waiters::{Answer, Waiters};
pub use worker::{Settings, Start, Stopped, Worker};
