//! What a client is told.

use super::endpoint::Endpoint;
use crate::net::tls::{Allowed, ClientSettings, Protocol, Tls, TlsError, Trust};
use crate::net::{Reach, Sockets};
use std::sync::Arc;
use std::time::Duration;

/// Two MiB, as the server's limit with what gRPC adds.
const MAX_REQUEST: usize = 2 << 20;
/// What Go calls `math.MaxInt32`.
const MAX_RECEIVE: usize = 0x7fff_ffff;

/// Name and password.
pub type User = (String, String);

/// How to reach a cluster, and as whom.
#[derive(Clone, Debug)]
pub struct Settings {
    pub endpoints: Vec<Endpoint>,
    /// Zero: as long as it takes.
    pub dial_timeout: Duration,
    /// Zero: connections are not tested.
    pub keepalive_time: Duration,
    pub keepalive_timeout: Duration,
    pub max_request_bytes: usize,
    pub max_receive_bytes: usize,
    pub user: Option<User>,
    pub token: Option<String>,
    pub reach: Reach,
}

impl Settings {
    /// Nobody in particular who reaches `endpoints` behind TLS as it was `asked` for, or as the system has it where an
    /// endpoint alone asks. No time is set, and sizes are etcd's.
    ///
    /// # Errors
    /// Files that cannot be used.
    pub fn new(endpoints: &[String], asked: Option<ClientSettings>) -> Result<Self, TlsError> {
        let is_secure = asked.is_some();
        let endpoints: Vec<Endpoint> = endpoints.iter().map(|given| Endpoint::parse(given, is_secure)).collect();
        Ok(Self {
            reach: reach(asked, &endpoints)?,
            endpoints,
            dial_timeout: Duration::ZERO,
            keepalive_time: Duration::ZERO,
            keepalive_timeout: Duration::ZERO,
            max_request_bytes: MAX_REQUEST,
            max_receive_bytes: MAX_RECEIVE,
            user: None,
            token: None,
        })
    }

    /// Limits other than etcd's, in bytes; what is not above zero is no limit of its own.
    ///
    /// # Errors
    /// A request may be larger than an answer, in etcd's words.
    pub fn limit(&mut self, request_bytes: i64, receive_bytes: i64) -> Result<(), String> {
        if receive_bytes > 0 && request_bytes > receive_bytes {
            return Err(format!(
                "gRPC message recv limit ({receive_bytes} bytes) must be greater than send limit ({request_bytes} bytes)"
            ));
        }
        let given = |bytes: i64| usize::try_from(bytes).ok().filter(|&bytes| bytes > 0);
        self.max_request_bytes = given(request_bytes).unwrap_or(MAX_REQUEST);
        self.max_receive_bytes = given(receive_bytes).unwrap_or(MAX_RECEIVE);
        Ok(())
    }

    /// The same with one endpoint.
    ///
    /// # Errors
    /// If it asks for TLS, and that needs what this machine does not have.
    pub fn to_one(&self, endpoint: &str) -> Result<Self, TlsError> {
        let endpoints = vec![Endpoint::parse(endpoint, self.reach.tls.is_some())];
        let reach = if self.reach.tls.is_some() { self.reach.clone() } else { reach(None, &endpoints)? };
        Ok(Self { endpoints, reach, ..self.clone() })
    }

    /// As they were given.
    pub fn given(&self) -> Vec<String> {
        self.endpoints.iter().map(|endpoint| endpoint.given.clone()).collect()
    }

    /// How log lines name the cluster.
    pub fn target(&self) -> String {
        format!("etcd-endpoints:///{}", self.endpoints.first().map_or("", |endpoint| &endpoint.given))
    }
}

fn reach(asked: Option<ClientSettings>, endpoints: &[Endpoint]) -> Result<Reach, TlsError> {
    let by_url = || ClientSettings {
        shown: None,
        trust: Trust::System,
        server_name: None,
        allowed: Allowed::All,
        protocol: Protocol::default(),
    };
    let settings = asked.or_else(|| endpoints.iter().any(Endpoint::is_secure).then(by_url));
    let tls = settings.map(Tls::new).transpose()?;
    Ok(Reach { dial: Arc::new(Sockets::default()), tls: tls.map(Arc::new) })
}
