//! The audit log of a member, from its file to its thread.

use crate::api::{Audit, AuditMetrics};
use crate::config::AuditLog as Settings;
use crate::logging::RotatingFile;
use anyhow::Context;
use std::sync::Arc;
use std::thread::JoinHandle;

/// Written until it is closed.
#[derive(Debug)]
pub struct AuditLog {
    pub audit: Arc<Audit>,
    writing: JoinHandle<()>,
}

impl AuditLog {
    /// # Errors
    /// The file cannot be made or opened.
    pub fn open(settings: &Settings, metrics: AuditMetrics) -> anyhow::Result<Self> {
        let path = &settings.path;
        let file = RotatingFile::open(path, settings.rotation);
        let mut file = file.with_context(|| format!("open the audit log {}", path.display()))?;
        let (audit, writer) = Audit::new(metrics);
        let write = move || writer.run(|lines| file.write(lines));
        let writing = std::thread::Builder::new().name("audit-log".to_owned()).spawn(write);
        let writing = writing.context("start the thread of the audit log")?;
        tracing::info!(path = %path.display(), "recording the calls of clients");
        Ok(Self { audit, writing })
    }

    /// Returns when what was put in is written.
    pub fn close(self) {
        self.audit.close();
        if self.writing.join().is_err() {
            tracing::error!("the thread of the audit log has panicked");
        }
    }
}
