//! Families made at scrape time, for collectors that keep their numbers outside of `prometheus` types.

use prometheus::proto::{Counter, Gauge, LabelPair, Metric, MetricFamily, MetricType};

pub fn label(name: &str, value: &str) -> LabelPair {
    let mut pair = LabelPair::default();
    pair.set_name(name.to_owned());
    pair.set_value(value.to_owned());
    pair
}

pub fn family(name: &str, help: &str, kind: MetricType, metrics: Vec<Metric>) -> MetricFamily {
    let mut family = MetricFamily::default();
    family.set_name(name.to_owned());
    family.set_help(help.to_owned());
    family.set_field_type(kind);
    family.set_metric(metrics);
    family
}

/// One value of a counter. Counters above 2^53 lose their last digits, as in every Prometheus client.
#[allow(clippy::cast_precision_loss, reason = "the exposition format knows floats only")]
pub fn counter_value(labels: Vec<LabelPair>, value: u64) -> Metric {
    let mut counter = Counter::default();
    counter.set_value(value as f64);
    let mut metric = Metric::from_label(labels);
    metric.set_counter(counter);
    metric
}

/// One value of a gauge.
#[allow(clippy::cast_precision_loss, reason = "the exposition format knows floats only")]
pub fn gauge_value(labels: Vec<LabelPair>, value: i64) -> Metric {
    let mut gauge = Gauge::default();
    gauge.set_value(value as f64);
    let mut metric = Metric::from_label(labels);
    metric.set_gauge(gauge);
    metric
}

/// A counter without labels.
pub fn counter(name: &str, help: &str, value: u64) -> MetricFamily {
    family(name, help, MetricType::COUNTER, vec![counter_value(Vec::new(), value)])
}

/// A gauge without labels.
pub fn gauge(name: &str, help: &str, value: i64) -> MetricFamily {
    family(name, help, MetricType::GAUGE, vec![gauge_value(Vec::new(), value)])
}
