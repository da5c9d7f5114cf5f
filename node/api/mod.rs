//! The gRPC and HTTP edge: parses requests, asks the gate, and answers in etcd's words.
//!
//! Invariants: [`status`] is the only place that knows a gRPC code or an error text; every answer's header is filled by
//! [`header`]; every call passes [`edge`], which counts it and checks its metadata, and [`gate`], which says what it
//! needs and asks for it. Refuses to know how a request is agreed on, applied or stored.

mod answer;
mod asker;
mod audit;
mod auth;
mod backup;
mod browsers;
mod call;
mod call_timer;
mod checks;
mod cluster;
mod debug;
mod downgrade;
mod edge;
#[cfg(test)]
mod edge_tests;
mod election;
mod frames;
mod gate;
mod gateway;
mod handler;
mod header;
mod health;
mod health_page;
mod http;
mod kv;
mod kv_call;
mod lease;
mod lock;
mod maintenance;
#[cfg(test)]
mod metric_names_test;
mod metrics;
mod node;
mod profile;
mod range;
mod range_codec;
mod range_stream;
mod read_txn;
mod recipe;
mod rpc;
mod serve;
mod services;
mod slow_read;
mod snapshot_stream;
mod status;
mod stream_end;
pub mod watch;

pub use audit::{Audit, AuditDoor, Metrics as AuditMetrics, Writer as AuditWriter};
pub use backup::{BackupDoor, BackupJob, BackupRefused, BackupRhythm, Drilled};
pub use browsers::BrowserRules;
pub use edge::{CallDoor, Doors, Edge, PageDoor};
pub use gate::{Gate, GateSettings, TokenKind};
pub use gateway::Gateway;
pub use header::Answerer;
pub use health::HealthService;
pub use http::{PageSet, Pages};
pub use metrics::Metrics;
pub use node::{Node, Parts, Settings, StorageStats};
pub use profile::PREFIX as PPROF_PREFIX;
pub use serve::{ConnectionSettings, serve_client};
pub use services::Services;
pub use status::ApiError;
pub use stream_end::{StreamEnder, StreamEnds};
