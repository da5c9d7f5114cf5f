//! Telling systemd that the member serves (`Type=notify`), with etcd's lines around it.

use sd_notify::NotifyState;
use std::time::Duration;
use tracing::{error, info};

/// Sends READY=1 if `NOTIFY_SOCKET` is set. A failure is logged and changes nothing.
pub fn notify_ready() {
    info!("notifying init daemon");
    match sd_notify::notify(&[NotifyState::Ready]) {
        Ok(()) => info!("successfully notified init daemon"),
        Err(error) => error!(%error, "failed to notify systemd for readiness"),
    }
}

/// Asks for so much time before READY=1, if `NOTIFY_SOCKET` is set: systemd would end a start that takes long.
pub fn notify_delay(most: Duration) {
    let usec = u32::try_from(most.as_micros()).unwrap_or(u32::MAX);
    if let Err(error) = sd_notify::notify(&[NotifyState::ExtendTimeoutUsec(usec)]) {
        error!(%error, "failed to ask systemd for time");
    }
}
