//! The two engines: one for checks and hooks, which compute and never wait, and one for destinations, which wait for servers.

use crate::error::{HostError, chain};
use crate::limits::{MAX_CORE_INSTANCES, MAX_MEMORIES, MAX_TABLE_ELEMENTS, MAX_TABLES};
use crate::ticker::Ticker;
use std::time::Duration;
use wasmtime::{Config, Engine, InstanceAllocationStrategy, PoolingAllocationConfig};

/// Instances of checks and hooks that can be there at once, of all plugins together.
const POOL_INSTANCES: u32 = 64;
/// Bytes of a memory that are cleaned by hand instead of being given back to the system.
const KEPT_BYTES: usize = 256 << 10;
/// How exactly a check's time is kept, and how long a destination computes before others get their turn.
const CHECK_TICK: Duration = Duration::from_millis(1);
const IO_TICK: Duration = Duration::from_millis(5);

/// Where instances of checks get their memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Allocation {
    /// From a pool, which reserves half a tebibyte of addresses.
    Pool,
    /// From the system each time, since there are not so many addresses (`ulimit -v`, strict overcommit). About twice as slow.
    OnDemand,
}

#[derive(Debug)]
pub(crate) struct Engines {
    pub check: Engine,
    pub check_ticker: Ticker,
    pub allocation: Allocation,
    pub io: Engine,
    pub io_ticker: Ticker,
}

impl Engines {
    pub fn new() -> Result<Self, HostError> {
        let failed = |error: wasmtime::Error| HostError::Engine { reason: chain(&error) };
        let mut config = config();
        config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool()));
        let (check, allocation) = match Engine::new(&config) {
            Ok(engine) => (engine, Allocation::Pool),
            Err(_) => (Engine::new(&self::config()).map_err(failed)?, Allocation::OnDemand),
        };
        let io = Engine::new(&self::config()).map_err(failed)?;
        let check_ticker = Ticker::start(&check, "plugin-tick", CHECK_TICK)?;
        let io_ticker = Ticker::start(&io, "plugin-io-tick", IO_TICK)?;
        Ok(Self { check, check_ticker, allocation, io, io_ticker })
    }
}

fn config() -> Config {
    let mut config = Config::new();
    // 64-bit memories have no guard pages to lean on, and nobody's toolchain makes them unasked.
    config.epoch_interruption(true).concurrency_support(false).wasm_memory64(false);
    config
}

fn pool() -> PoolingAllocationConfig {
    let mut pool = PoolingAllocationConfig::new();
    // What one component may have is checked by ourselves, where the error can say so.
    pool.total_component_instances(POOL_INSTANCES)
        .total_core_instances(POOL_INSTANCES * 8)
        .total_memories(POOL_INSTANCES * 2)
        .total_tables(POOL_INSTANCES * 8)
        .total_stacks(0)
        .max_core_instances_per_component(2 * MAX_CORE_INSTANCES as u32)
        .max_memories_per_component(2 * MAX_MEMORIES as u32)
        .max_tables_per_component(2 * MAX_TABLES as u32)
        .max_memories_per_module(2 * MAX_MEMORIES as u32)
        .max_tables_per_module(2 * MAX_TABLES as u32)
        .max_core_instance_size(4 << 20)
        .max_component_instance_size(4 << 20)
        .table_elements(MAX_TABLE_ELEMENTS)
        .linear_memory_keep_resident(KEPT_BYTES)
        .table_keep_resident(KEPT_BYTES);
    pool
}
