//! What a guest may take, and the error of having taken more. The engine enforces part of it through [`Limiter`].

use crate::manifest::World;
use crate::units::{Size, Span};
use serde::Deserialize;
use std::time::Duration;
use wasmtime::ResourceLimiter;

/// Elements of all tables of an instance together.
pub const MAX_TABLE_ELEMENTS: usize = 60_000;
/// Memories, tables and core instances of an instance.
pub const MAX_MEMORIES: usize = 8;
pub const MAX_TABLES: usize = 40;
pub const MAX_CORE_INSTANCES: usize = 40;
/// Handles of resources that an instance may hold, in its own tables and in the node's.
pub const MAX_HANDLES: usize = 4_096;
/// Keys and bytes that a call may read from the store.
pub const MAX_READ_KEYS: usize = 256;
pub const MAX_READ_BYTES: usize = 1 << 20;
/// Metrics of a plugin's own.
pub const MAX_METRICS: usize = 32;
/// Connections that a plugin may have open.
pub const MAX_CONNECTIONS: usize = 8;
/// Bytes of a secret.
pub const MAX_SECRET_BYTES: u64 = 64 << 10;
/// Bytes of a package.
pub const MAX_PACKAGE_BYTES: usize = 32 << 20;

/// What an operator may set.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// All memories of an instance together.
    pub memory_bytes: usize,
    /// Of one call, by the clock on the wall: a guest that waits spends it as well as one that computes.
    pub time: Duration,
    /// Calls to the node within one call.
    pub host_calls: u32,
    /// What a guest may hand over, in one call to the node or as the result of one from it.
    pub call_bytes: usize,
    /// Instances at once. Further calls are refused, they do not wait.
    pub instances: usize,
    /// Calls that one instance serves before it is given up; 1 is a fresh instance for each.
    pub uses: u32,
    /// Of the body of a response.
    pub http_response_bytes: u64,
}

/// `[limits]` in an operator's file.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
pub struct Given {
    pub memory: Option<Size>,
    pub time: Option<Span>,
    pub host_calls: Option<u32>,
    pub call_bytes: Option<Size>,
    pub instances: Option<usize>,
    pub uses: Option<u32>,
    pub http_response: Option<Size>,
}

impl Limits {
    /// Those of a plugin whose operator says nothing.
    pub fn of(world: World) -> Self {
        let check = Self {
            memory_bytes: 32 << 20,
            time: Duration::from_millis(10),
            host_calls: 1_000,
            call_bytes: 4 << 20,
            instances: 8,
            uses: 1,
            http_response_bytes: 0,
        };
        match world {
            World::AdmissionCheck => check,
            World::RestoreHook => Self { memory_bytes: 64 << 20, time: Duration::from_secs(5), uses: 1_000, ..check },
            World::BackupDestination => Self {
                memory_bytes: 128 << 20,
                time: Duration::from_secs(180),
                host_calls: 100_000,
                call_bytes: 32 << 20,
                uses: 100,
                http_response_bytes: 32 << 20,
                ..check
            },
        }
    }

    pub fn with(self, given: Given) -> Self {
        let size =
            |given: Option<Size>, or: usize| given.map_or(or, |Size(bytes)| usize::try_from(bytes).unwrap_or(or));
        Self {
            memory_bytes: size(given.memory, self.memory_bytes),
            time: given.time.map_or(self.time, |Span(time)| time),
            host_calls: given.host_calls.unwrap_or(self.host_calls),
            call_bytes: size(given.call_bytes, self.call_bytes),
            instances: given.instances.unwrap_or(self.instances),
            uses: given.uses.unwrap_or(self.uses).max(1),
            http_response_bytes: given.http_response.map_or(self.http_response_bytes, |Size(bytes)| bytes),
        }
    }
}

/// A limit that a guest ran into. The call failed and its instance is gone.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Limit {
    #[error("its memories would take {asked} bytes, more than {limit}")]
    Memory { asked: usize, limit: usize },
    #[error("its tables would take {asked} elements, more than {limit}")]
    Tables { asked: usize, limit: usize },
    #[error("it took longer than {} ms", limit.as_millis())]
    Time { limit: Duration },
    #[error("it called the node more than {limit} times")]
    HostCalls { limit: u32 },
}

impl Limit {
    /// One word, for metrics.
    pub fn name(self) -> &'static str {
        match self {
            Self::Memory { .. } => "memory",
            Self::Tables { .. } => "tables",
            Self::Time { .. } => "time",
            Self::HostCalls { .. } => "host_calls",
        }
    }
}

/// Counts the memories and tables of one store: the engine's own limits are for each of them.
#[derive(Debug)]
pub(crate) struct Limiter {
    limit_bytes: usize,
    memory_bytes: usize,
    table_elements: usize,
}

impl Limiter {
    pub fn new(limit_bytes: usize) -> Self {
        Self { limit_bytes, memory_bytes: 0, table_elements: 0 }
    }

    pub fn memory_bytes(&self) -> usize {
        self.memory_bytes
    }
}

impl ResourceLimiter for Limiter {
    // An error and not `Ok(false)`: a guest that is told "no" mostly ends in a trap that does not say why.
    fn memory_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        let asked = self.memory_bytes.saturating_add(desired.saturating_sub(current));
        if asked > self.limit_bytes {
            return Err(Limit::Memory { asked, limit: self.limit_bytes }.into());
        }
        self.memory_bytes = asked;
        Ok(true)
    }

    fn table_growing(&mut self, current: usize, desired: usize, _: Option<usize>) -> wasmtime::Result<bool> {
        let asked = self.table_elements.saturating_add(desired.saturating_sub(current));
        if asked > MAX_TABLE_ELEMENTS {
            return Err(Limit::Tables { asked, limit: MAX_TABLE_ELEMENTS }.into());
        }
        self.table_elements = asked;
        Ok(true)
    }

    fn instances(&self) -> usize {
        MAX_CORE_INSTANCES
    }

    fn tables(&self) -> usize {
        MAX_TABLES
    }

    fn memories(&self) -> usize {
        MAX_MEMORIES
    }
}
