//! The pages beside gRPC: health, version and metrics, with etcd's codes, bodies and headers (etcd
//! `server/etcdserver/api/etcdhttp`, `server/embed/serve.go`).

use super::answer::{Answer, JSON, error, method_not_allowed, not_found, text, with_type};
use super::checks::{Check, CheckGroup, LIVEZ, READYZ};
use super::debug;
use super::edge::PageDoor;
use super::health_page;
use super::metrics::Metrics;
use super::node::Node;
use super::profile;
use crate::metrics::{CONTENT_TYPE as METRICS_CONTENT_TYPE, render};
use http::header::{HeaderValue, X_CONTENT_TYPE_OPTIONS};
use http::request::Parts;
use http::{Method, StatusCode};
use percent_encoding::percent_decode_str;
use prometheus::Registry;
use std::sync::Arc;

/// Which pages a listener has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PageSet {
    /// The client port: all of them.
    Client,
    /// `--listen-metrics-urls`: health and metrics only.
    Metrics,
}

/// The pages of one listener. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Pages {
    pub node: Arc<Node>,
    pub registry: Registry,
    pub set: PageSet,
    /// On the client port: pages of profiles too.
    pub has_profiles: bool,
}

impl Pages {
    /// The way of requests to these pages.
    pub fn door(self) -> PageDoor {
        let pages = Arc::new(self);
        PageDoor(Box::new(move |request| {
            let pages = Arc::clone(&pages);
            Box::pin(async move { pages.answer(&request).await })
        }))
    }

    async fn answer(&self, request: &Parts) -> Answer {
        let path = request.uri.path();
        if let Some((group, checks)) = find_checks(path) {
            return self.checks(request, group, checks).await;
        }
        match (path, self.set) {
            ("/health", _) => self.health(request).await,
            ("/metrics", _) => self.metrics(),
            ("/version", PageSet::Client) => self.version(request),
            ("/debug/vars", PageSet::Client) => self.vars(request),
            (_, PageSet::Client) if self.has_profiles && path.starts_with(profile::PREFIX) => {
                let query = Query::of(request);
                profile::page(&self.node, path, query.first("seconds")).await.unwrap_or_else(not_found)
            }
            (_, PageSet::Client | PageSet::Metrics) => not_found(),
        }
    }

    async fn health(&self, request: &Parts) -> Answer {
        if request.method != Method::GET {
            return method_not_allowed();
        }
        let query = Query::of(request);
        let excluded: Vec<_> = query.all("exclude").collect();
        let is_serializable = query.first("serializable").is_some_and(|value| value == "true");
        let reason = health_page::reason(&self.node, &excluded, is_serializable).await;
        let metrics: &Metrics = &self.node.metrics;
        match reason {
            None => {
                metrics.health_success.inc();
                text(StatusCode::OK, health_page::body(None))
            }
            Some(reason) => {
                metrics.health_failures.inc();
                tracing::warn!(reason, "/health error");
                error(StatusCode::SERVICE_UNAVAILABLE, &health_page::body(Some(&reason)))
            }
        }
    }

    async fn checks(&self, request: &Parts, group: &CheckGroup, checks: &'static [Check]) -> Answer {
        if request.method != Method::GET {
            return method_not_allowed();
        }
        let query = Query::of(request);
        let excluded: Vec<_> = query.all("exclude").collect();
        let report = group.run(&self.node, checks, &excluded).await;
        if !report.is_ok {
            tracing::error!(path = request.uri.path(), reason = report.lines, "Health check error");
            return error(StatusCode::SERVICE_UNAVAILABLE, &report.lines);
        }
        let body = if query.has("verbose") { report.lines + "ok\n" } else { "ok\n".to_owned() };
        let mut answer = text(StatusCode::OK, body);
        answer.headers_mut().insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        answer
    }

    fn metrics(&self) -> Answer {
        match render(&self.registry) {
            Ok(page) => with_type(StatusCode::OK, HeaderValue::from_static(METRICS_CONTENT_TYPE), page),
            Err(failed) => error(
                StatusCode::INTERNAL_SERVER_ERROR,
                &format!("An error has occurred while serving metrics:\n\n{failed}"),
            ),
        }
    }

    fn vars(&self, request: &Parts) -> Answer {
        if request.method == Method::GET { debug::vars(&self.node) } else { method_not_allowed() }
    }

    fn version(&self, request: &Parts) -> Answer {
        if request.method != Method::GET {
            return method_not_allowed();
        }
        let versions = self.node.versions();
        let body = format!(
            r#"{{"etcdserver":"{}","etcdcluster":"{}","storage":"{}"}}"#,
            crate::ETCD_VERSION,
            versions.cluster.as_deref().unwrap_or("not_decided"),
            versions.storage,
        );
        with_type(StatusCode::OK, JSON, body)
    }
}

/// `/livez` and `/readyz` run all their checks, a path below them runs one.
fn find_checks(path: &str) -> Option<(&'static CheckGroup, &'static [Check])> {
    [&LIVEZ, &READYZ].into_iter().find_map(|group| {
        let rest = path.strip_prefix('/')?.strip_prefix(group.name)?;
        if rest.is_empty() {
            return Some((group, group.checks));
        }
        let name = rest.strip_prefix('/')?;
        let at = group.checks.iter().position(|check| check.name() == name)?;
        Some((group, &group.checks[at..=at]))
    })
}

/// The query of a URL, decoded as Go does it.
struct Query(Vec<(String, String)>);

impl Query {
    fn of(request: &Parts) -> Self {
        let decode = |text: &str| percent_decode_str(&text.replace('+', " ")).decode_utf8_lossy().into_owned();
        let pairs = request.uri.query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
        Self(
            pairs.map(|pair| pair.split_once('=').unwrap_or((pair, ""))).map(|(k, v)| (decode(k), decode(v))).collect(),
        )
    }

    fn all(&self, key: &str) -> impl Iterator<Item = &str> {
        self.0.iter().filter(move |(found, value)| found == key && !value.is_empty()).map(|(_, value)| value.as_str())
    }

    fn first(&self, key: &str) -> Option<&str> {
        self.0.iter().find(|(found, _)| found == key).map(|(_, value)| value.as_str())
    }

    fn has(&self, key: &str) -> bool {
        self.first(key).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(path: &str) -> Option<Vec<&'static str>> {
        find_checks(path).map(|(_, checks)| checks.iter().map(|check| check.name()).collect())
    }

    #[test]
    fn paths_lead_to_checks_as_in_etcd() {
        assert_eq!(names("/livez"), Some(vec!["serializable_read"]));
        assert_eq!(names("/livez/serializable_read"), Some(vec!["serializable_read"]));
        let ready = vec!["data_corruption", "serializable_read", "linearizable_read", "non_learner"];
        assert_eq!(names("/readyz"), Some(ready));
        assert_eq!(names("/readyz/non_learner"), Some(vec!["non_learner"]));
        for nothing in ["/livez/non_learner", "/readyz/", "/readyzz", "/livez/serializable_read/", "/"] {
            assert_eq!(names(nothing), None, "{nothing}");
        }
    }

    #[test]
    fn queries_are_read_as_go_reads_them() {
        let request = |uri: &str| http::Request::get(uri).body(()).expect("a request").into_parts().0;
        let query = Query::of(&request("/health?exclude=NOSPACE&exclude=&exclude=a%2Fb+c&serializable=true"));
        assert_eq!(query.all("exclude").collect::<Vec<_>>(), ["NOSPACE", "a/b c"]);
        assert_eq!(query.first("serializable"), Some("true"));
        assert!(!query.has("verbose"));
        assert!(Query::of(&request("/livez?verbose")).has("verbose"));
    }
}
