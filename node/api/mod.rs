//! The gRPC and HTTP edge: parses requests, asks the gate, and answers in etcd's words.
//!
//! Invariants: [`status`] is the only place that knows a gRPC code or an error text; every answer's header is
//! filled by [`header`]; every call passes [`edge`], which counts it and checks its metadata. Refuses to know how
//! a request is agreed on, applied or stored.

pub mod answer;
pub mod auth;
pub mod call;
pub mod checks;
pub mod cluster;
pub mod edge;
#[cfg(test)]
mod edge_tests;
pub mod election;
pub mod frames;
pub mod header;
pub mod health;
pub mod health_page;
pub mod http;
pub mod kv;
pub mod lease;
pub mod lock;
pub mod maintenance;
#[cfg(test)]
mod metric_names_test;
pub mod metrics;
pub mod node;
pub mod range;
pub mod range_codec;
pub mod range_stream;
pub mod read_txn;
pub mod rpc;
pub mod serve;
pub mod services;
pub mod status;
pub mod stream_end;
pub mod watch;
