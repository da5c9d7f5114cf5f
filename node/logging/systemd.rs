//! Telling systemd that the member serves (`Type=notify`), with etcd's lines around it.

use sd_notify::NotifyState;
use tracing::{error, info};

/// Sends READY=1 if `NOTIFY_SOCKET` is set. A failure is logged and changes nothing.
pub fn notify_ready() {
    info!("notifying init daemon");
    match sd_notify::notify(&[NotifyState::Ready]) {
        Ok(()) => info!("successfully notified init daemon"),
        Err(error) => error!(%error, "failed to notify systemd for readiness"),
    }
}
