//! PromQL by construction: what is built knows which families of metrics it reads.

use std::collections::BTreeSet;

/// Stands in a query for the matchers of whom it is about, until it is known where the query goes.
const WHOM: &str = "%WHOM%";
/// Stands for the window of rates.
const WINDOW: &str = "%WINDOW%";

/// Where a query is used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Place {
    /// A panel, with variables for job and instance.
    Panel,
    /// A rule, over all jobs that etcd's own rules look at.
    Rule,
}

/// The jobs of rules: those that etcd's mixin matches, and those that are named after this server.
pub const RULE_JOBS: &str = r#"job=~".*(etcd|keelstone).*""#;

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Query {
    text: String,
    families: BTreeSet<&'static str>,
    /// Binds as tightly as a name does.
    is_atom: bool,
}

/// The series of a family.
pub fn metric(family: &'static str) -> Query {
    labelled(family, family, "")
}

/// The series of a family whose labels fit, in PromQL's words: `grpc_type="unary"`.
pub fn metric_with(family: &'static str, matchers: &str) -> Query {
    labelled(family, family, matchers)
}

/// The `quantile` of a histogram over the window, for each combination of the labels in `by`. Nothing where nothing was observed:
/// that would be no number, which no comparison holds of.
pub fn quantile(quantile: f64, family: &'static str, matchers: &str, by: &[&str]) -> Query {
    let buckets = labelled(family, &format!("{family}_bucket"), matchers);
    let by: Vec<&str> = by.iter().copied().chain(["le"]).collect();
    let rate = buckets.rate().sum_by(&by);
    Query { text: format!("histogram_quantile({quantile}, {}) >= 0", rate.text), is_atom: false, ..rate }
}

/// How often a histogram has observed something.
pub fn observations(family: &'static str, matchers: &str) -> Query {
    labelled(family, &format!("{family}_count"), matchers)
}

/// The sum of what a histogram has observed.
pub fn observed(family: &'static str, matchers: &str) -> Query {
    labelled(family, &format!("{family}_sum"), matchers)
}

fn labelled(family: &'static str, series: &str, matchers: &str) -> Query {
    let separator = if matchers.is_empty() { "" } else { ", " };
    let text = format!("{series}{{{WHOM}{separator}{matchers}}}");
    Query { text, families: BTreeSet::from([family]), is_atom: true }
}

impl Query {
    /// Per second, over the window.
    pub fn rate(self) -> Self {
        self.call("rate", &format!("[{WINDOW}]"))
    }

    /// Growth of a counter over `window`.
    pub fn increase(self, window: &str) -> Self {
        self.call("increase", &format!("[{window}]"))
    }

    /// How often a value has changed in `window`.
    pub fn changes(self, window: &str) -> Self {
        self.call("changes", &format!("[{window}]"))
    }

    pub fn sum(self) -> Self {
        self.call("sum", "")
    }

    pub fn max(self) -> Self {
        self.call("max", "")
    }

    pub fn sum_by(self, labels: &[&str]) -> Self {
        self.call(&format!("sum by ({}) ", labels.join(", ")), "")
    }

    pub fn max_by(self, labels: &[&str]) -> Self {
        self.call(&format!("max by ({}) ", labels.join(", ")), "")
    }

    /// The largest `count` series.
    pub fn top(self, count: usize) -> Self {
        let Query { text, families, .. } = self;
        Query { text: format!("topk({count}, {text})"), families, is_atom: true }
    }

    pub fn minus(self, other: Self) -> Self {
        self.with("-", other)
    }

    /// For each job, whatever else tells the two sides apart.
    pub fn from_max_of_job(self, other: Self) -> Self {
        let (this, max) = (self.atom(), other.max_by(&["job"]));
        let families = this.families.union(&max.families).copied().collect();
        Query { text: format!("{} - on (job) group_right () {}", max.text, this.text), families, is_atom: false }
    }

    pub fn over(self, other: Self) -> Self {
        self.with("/", other)
    }

    /// Where `other` has the same labels.
    pub fn and(self, other: Self) -> Self {
        self.with("and", other)
    }

    /// In those places where there is no `other` of the same labels.
    pub fn unless(self, other: Self) -> Self {
        self.with("unless", other)
    }

    pub fn above(self, limit: f64) -> Self {
        let Query { text, families, .. } = self.atom();
        Query { text: format!("{text} > {limit}"), families, is_atom: false }
    }

    fn with(self, operator: &str, other: Self) -> Self {
        let (left, right) = (self.atom(), other.atom());
        let families = left.families.union(&right.families).copied().collect();
        Query { text: format!("{} {operator} {}", left.text, right.text), families, is_atom: false }
    }

    fn call(self, function: &str, range: &str) -> Self {
        Query { text: format!("{function}({}{range})", self.text), families: self.families, is_atom: true }
    }

    fn atom(self) -> Self {
        if self.is_atom { self } else { Query { text: format!("({})", self.text), is_atom: true, ..self } }
    }

    /// The families that it reads.
    pub fn families(&self) -> &BTreeSet<&'static str> {
        &self.families
    }

    /// As it is written in `place`.
    pub fn text(&self, place: Place) -> String {
        let (whom, window) = match place {
            Place::Panel => (r#"job="$job", instance=~"$instance""#, "$__rate_interval"),
            Place::Rule => (RULE_JOBS, "5m"),
        };
        self.text.replace(WHOM, whom).replace(WINDOW, window)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_query_says_the_same_of_panels_and_of_rules() {
        let failed = metric_with("grpc_server_handled_total", r#"grpc_code!="OK""#).rate().sum_by(&["instance"]);
        let all = metric("grpc_server_handled_total").rate().sum_by(&["instance"]);
        let share = failed.over(all).above(0.01);
        assert_eq!(
            share.text(Place::Panel),
            "(sum by (instance) (rate(grpc_server_handled_total{job=\"$job\", instance=~\"$instance\", grpc_code!=\"OK\"}\
             [$__rate_interval])) / sum by (instance) (rate(grpc_server_handled_total{job=\"$job\", \
             instance=~\"$instance\"}[$__rate_interval]))) > 0.01"
        );
        assert!(share.text(Place::Rule).contains(r#"{job=~".*(etcd|keelstone).*"}[5m]"#));
        assert_eq!(share.families().iter().copied().collect::<Vec<_>>(), ["grpc_server_handled_total"]);
    }
}
