//! etcd's metric of alarms.

use super::Alarms;
use prometheus::{IntGaugeVec, Opts, Registry};

#[derive(Clone, Debug)]
pub struct Metrics {
    alarms: IntGaugeVec,
}

impl Metrics {
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let alarms = IntGaugeVec::new(
            Opts::new(
                "etcd_debugging_server_alarms",
                "Alarms for every member in cluster. 1 for 'server_id' label with current ID. \
                 2 for 'alarm_type' label with type of this alarm",
            ),
            &["server_id", "alarm_type"],
        )?;
        registry.register(Box::new(alarms.clone()))?;
        Ok(Self { alarms })
    }

    /// Shows the raised alarms in place of those shown before.
    pub fn show(&self, alarms: &Alarms) {
        self.alarms.reset();
        for alarm in alarms.get(None) {
            self.alarms.with_label_values(&[alarm.member.to_string().as_str(), alarm.kind.name()]).set(1);
        }
    }
}
