//! Which browsers may ask: the rules for what is no gRPC on the client port (etcd `embed/serve.go`, accessController).

use super::answer::{Answer, error};
use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN, HOST, HeaderValue, ORIGIN,
};
use http::{HeaderMap, Request, StatusCode};

/// What the operator has allowed. The default is everything.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BrowserRules {
    /// Origins of pages that may read answers (`--cors`). Empty: all.
    pub origins: Vec<String>,
    /// Names by which this member may be called in the clear (`--host-whitelist`), since a foreign page may have made
    /// one that leads here. Empty, or `*` among them: all.
    pub hosts: Vec<String>,
}

impl BrowserRules {
    /// The answer to a request that must not be served.
    pub fn refuse<B>(&self, request: &Request<B>, is_secure: bool) -> Option<Answer> {
        if is_secure || self.hosts.is_empty() || self.hosts.iter().any(|host| host == "*") {
            return None;
        }
        let authority = request.uri().authority().map(http::uri::Authority::as_str);
        let named = request.headers().get(HOST).and_then(|host| host.to_str().ok());
        let host = host_name(authority.or(named).unwrap_or_default());
        if self.hosts.iter().any(|allowed| allowed == host) {
            return None;
        }
        tracing::warn!(host, "rejecting HTTP request to prevent DNS rebinding attacks");
        Some(error(StatusCode::MISDIRECTED_REQUEST, &not_whitelisted(host)))
    }

    /// Whom a browser may show the answer to.
    pub fn origin<B>(&self, request: &Request<B>) -> Option<HeaderValue> {
        if self.origins.is_empty() {
            return Some(HeaderValue::from_static("*"));
        }
        let origin = request.headers().get(ORIGIN)?;
        self.origins.iter().any(|allowed| allowed.as_bytes() == origin.as_bytes()).then(|| origin.clone())
    }
}

/// Tells browsers of it.
pub fn allow(origin: HeaderValue, headers: &mut HeaderMap) {
    headers.insert(ACCESS_CONTROL_ALLOW_METHODS, HeaderValue::from_static("POST, GET, OPTIONS, PUT, DELETE"));
    headers.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
    headers.insert(ACCESS_CONTROL_ALLOW_HEADERS, HeaderValue::from_static("accept, content-type, authorization"));
}

/// Without the port, if there is one.
fn host_name(host: &str) -> &str {
    match host.rsplit_once(':') {
        Some((name, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => {
            name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name)
        }
        _ => host,
    }
}

/// etcd's text (CVE-2018-5702).
fn not_whitelisted(host: &str) -> String {
    format!(
        "\netcd received your request, but the Host header was unrecognized.\n\n\
         To fix this, choose one of the following options:\n\
         - Enable TLS, then any HTTPS request will be allowed.\n\
         - Add the hostname you want to use to the whitelist in settings.\n  \
         - e.g. etcd --host-whitelist {host:?}\n\n\
         This requirement has been added to help prevent \"DNS Rebinding\" attacks (CVE-2018-5702).\n"
    )
}
