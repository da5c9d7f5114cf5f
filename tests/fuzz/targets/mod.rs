//! The targets. Each is a file: the shape of its input, what is done with it, and what must hold.

mod admission;
pub mod apply;
mod bolt;
mod config;
mod import;
pub mod peer;
mod peer_answers;
mod place;
mod state;
mod wal_damage;
mod wal_records;
