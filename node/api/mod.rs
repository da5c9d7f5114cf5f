//! The gRPC and HTTP edge: parses requests, asks the gate, and answers in etcd's words.
//!
//! Invariants: [`status`] is the only place that knows a gRPC code or an error text; every answer's header is
//! filled by [`header`]; every call passes [`edge`], which counts it and checks its metadata. Refuses to know how
//! a request is agreed on, applied or stored.

mod answer;
mod auth;
mod call;
mod checks;
mod cluster;
mod edge;
#[cfg(test)]
mod edge_tests;
pub mod election;
pub mod frames;
pub mod header;
pub mod health;
pub mod lock;
pub mod metrics;
pub mod range_stream;
pub mod rpc;
pub mod serve;
pub mod status;
pub mod stream_end;
pub mod watch;
