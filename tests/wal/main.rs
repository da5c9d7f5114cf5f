//! The Raft log against its files: what etcd's format says, what a crash leaves, what a failing disk does.
//! `decoder.rs` reads the files with nothing of the node's code.

mod crash;
mod decoder;
mod etcd;
mod faults;
mod flips;
mod recovery;
mod support;
mod threads;
