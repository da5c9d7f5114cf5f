//! etcd's metric of access control.

use prometheus::{IntGauge, Registry};

#[derive(Clone, Debug)]
pub struct Metrics {
    revision: IntGauge,
}

impl Metrics {
    /// # Errors
    /// The registry already has this name.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let revision = IntGauge::new("etcd_debugging_auth_revision", "The current revision of auth store.")?;
        registry.register(Box::new(revision.clone()))?;
        Ok(Self { revision })
    }

    pub(super) fn show(&self, revision: u64) {
        self.revision.set(i64::try_from(revision).unwrap_or(i64::MAX));
    }
}
