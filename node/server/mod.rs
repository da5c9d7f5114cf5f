//! The root: wires every part.

/// Stands in until the server is merged: waits for a signal and ends by it.
pub fn run(settings: crate::config::Settings) -> anyhow::Result<()> {
    use crate::logging::{notify_ready, shutdown};
    use tracing::info;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let mut signals = shutdown::Signals::listen()?;
        info!(name = settings.member.name, "ready to serve client requests");
        notify_ready();
        let signal = signals.wait().await;
        shutdown::reraise(signal)
    })
}
