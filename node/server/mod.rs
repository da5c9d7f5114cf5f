//! The root: reads what is on the disk, wires every part, and takes them down in order.

mod bootstrap;
mod expiry;
mod listen;
mod publish;
mod shutdown;

use crate::config::Settings;
use anyhow::Context;

/// Runs a member until it is told to stop.
///
/// # Errors
/// What kept it from starting, or ended it: each is final for the process.
pub fn run(settings: Settings) -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().context("start runtime")?;
    runtime.block_on(async { member(settings).await })
}
