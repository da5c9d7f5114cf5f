//! Where a service is, by the SRV records of DNS. Asked as Go's resolver asks (`net/dnsclient_unix.go`), whose errors are part
//! of what etcd prints: the servers and search list of `/etc/resolv.conf`, over UDP, and over TCP what does not fit.
//! Addresses of hosts are the system's to look up.

mod exchange;
mod resolv_conf;

use exchange::{Failed, NO_SUCH_HOST, ask};
use rand::Rng;
use resolv_conf::ResolvConf;
use std::fmt;
use std::net::SocketAddr;

/// Where a service is to be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Service {
    /// A name with a dot at its end.
    pub target: String,
    pub port: u16,
    priority: u16,
    weight: u16,
}

impl Service {
    pub fn host_port(&self) -> String {
        format!("{}:{}", self.target, self.port)
    }
}

/// What could not be found out of a name, in Go's words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LookupError {
    name: String,
    /// Who was asked last.
    server: Option<SocketAddr>,
    why: String,
}

impl std::error::Error for LookupError {}

impl fmt::Display for LookupError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "lookup {}", self.name)?;
        if let Some(server) = self.server {
            write!(f, " on {server}")?;
        }
        write!(f, ": {}", self.why)
    }
}

/// Records of `_<service>._tcp.<domain>`, by priority, and by chance as their weights say.
///
/// # Errors
/// There are none, one of them names no host, or no server answers.
pub async fn services(service: &str, domain: &str) -> Result<Vec<Service>, LookupError> {
    let name = format!("_{service}._tcp.{domain}");
    let config = ResolvConf::read();
    let mut found = Err(Failed { server: None, why: NO_SUCH_HOST.to_owned() });
    for full_name in full_names(&name, &config) {
        found = ask(&full_name, &config).await;
        if found.is_ok() {
            break;
        }
    }
    let mut services = found.map_err(|Failed { server, why }| LookupError { name, server, why })?;
    if !services.iter().all(|service| is_domain_name(&service.target)) {
        let why = "DNS response contained records which contain invalid names".to_owned();
        return Err(LookupError { name: domain.to_owned(), server: None, why });
    }
    put_in_order(&mut services, |below| rand::rng().random_range(0..below));
    Ok(services)
}

/// The address of `host:port`, one of IPv4 if there is one, as Go's `ResolveTCPAddr` has it.
///
/// # Errors
/// The port is missing or no number, or the host has no address.
pub async fn address(host_port: &str) -> Result<SocketAddr, String> {
    let port = host_port.rsplit_once(':').map(|(_, port)| port).filter(|port| !port.contains(']'));
    let port = port.ok_or_else(|| format!("address {host_port}: missing port in address"))?;
    let port: u16 = port.parse().map_err(|_| format!("lookup tcp/{port}: unknown port"))?;
    let host = super::host_of(host_port).to_owned();
    let name = host.clone();
    // The system's own tables know no name with a dot at its end.
    let looked_up = tokio::task::spawn_blocking(move || {
        dns_lookup::lookup_host(&name).map(Iterator::collect::<Vec<_>>).or_else(|error| match name.strip_suffix('.') {
            Some(name) => dns_lookup::lookup_host(name).map(Iterator::collect),
            None => Err(error),
        })
    });
    let found = looked_up.await.expect("looking up a name does not panic");
    let found = found.unwrap_or_default();
    let chosen = found.iter().find(|address| address.is_ipv4()).or_else(|| found.first());
    let chosen = chosen.ok_or_else(|| format!("lookup {host}: {NO_SUCH_HOST}"))?;
    Ok(SocketAddr::new(*chosen, port))
}

/// What `name` may stand for, most likely first.
fn full_names(name: &str, config: &ResolvConf) -> Vec<String> {
    if !is_domain_name(name) {
        return Vec::new();
    }
    if name.ends_with('.') {
        return vec![name.to_owned()];
    }
    let itself = format!("{name}.");
    let with_suffixes = config.search.iter().map(|suffix| format!("{itself}{suffix}")).filter(|name| name.len() <= 254);
    let mut names: Vec<String> = with_suffixes.collect();
    let at = if name.matches('.').count() >= config.ndots { 0 } else { names.len() };
    names.insert(at, itself);
    names
}

/// Sorts by priority. Among equals `draw`, which gives a number below its argument, says who is first: each as often as its
/// weight says (RFC 2782).
fn put_in_order(services: &mut [Service], mut draw: impl FnMut(u32) -> u32) {
    services.sort_by_key(|service| (service.priority, service.weight));
    for equals in services.chunk_by_mut(|a, b| a.priority == b.priority) {
        let mut rest = equals;
        let mut sum: u32 = rest.iter().map(|service| u32::from(service.weight)).sum();
        while sum > 0 && rest.len() > 1 {
            let drawn = draw(sum);
            let mut passed = 0;
            let chosen = rest.iter().position(|service| {
                passed += u32::from(service.weight);
                passed > drawn
            });
            rest.swap(0, chosen.unwrap_or(0));
            sum -= u32::from(rest[0].weight);
            rest = &mut rest[1..];
        }
    }
}

/// Go's `isDomainName`.
fn is_domain_name(name: &str) -> bool {
    if name == "." {
        return true;
    }
    let bare = name.strip_suffix('.').unwrap_or(name);
    let is_label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'))
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    (1..=253).contains(&bare.len())
        && bare.split('.').all(is_label)
        && bare.bytes().any(|byte| byte.is_ascii_alphabetic() || matches!(byte, b'_' | b'-'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_stands_for_itself_first_if_it_has_dots_enough() {
        let config =
            |ndots| ResolvConf { ndots, search: vec!["a.".to_owned(), "b.c.".to_owned()], ..ResolvConf::default() };
        assert_eq!(full_names("x.y", &config(1)), ["x.y.", "x.y.a.", "x.y.b.c."]);
        assert_eq!(full_names("x.y", &config(2)), ["x.y.a.", "x.y.b.c.", "x.y."]);
        assert_eq!(full_names("x.y.", &config(5)), ["x.y."]);
        assert!(full_names("x..y", &config(1)).is_empty());
    }

    #[test]
    fn records_are_sorted_by_priority_and_drawn_by_weight() {
        let service = |port, priority, weight| Service { target: "a.".to_owned(), port, priority, weight };
        let all = [service(1, 5, 0), service(2, 1, 10), service(3, 1, 30), service(4, 1, 0)];
        let ordered = |drawn: u32| {
            let mut services = all.to_vec();
            put_in_order(&mut services, |below| drawn.min(below - 1));
            services.iter().map(|service| service.port).collect::<Vec<_>>()
        };
        assert_eq!(ordered(0), [2, 3, 4, 1]);
        assert_eq!(ordered(10), [3, 2, 4, 1]);
        assert_eq!(ordered(9), [2, 3, 4, 1]);
    }

    #[test]
    fn names_are_valid_as_in_go() {
        for valid in [".", "a", "_etcd-server._tcp.a.b.", "1.a"] {
            assert!(is_domain_name(valid), "{valid}");
        }
        for wrong in ["", "..", "a..b", "-a", "a-.b", "1.2", "a b", "é"] {
            assert!(!is_domain_name(wrong), "{wrong}");
        }
        assert!(
            is_domain_name(&"a.".repeat(126)) && !is_domain_name(&"a.".repeat(128)) && !is_domain_name(&"a".repeat(64))
        );
    }

    #[tokio::test]
    async fn an_address_is_of_the_family_that_go_prefers() {
        assert_eq!(address("127.0.0.1:5").await, Ok("127.0.0.1:5".parse().expect("an address")));
        assert_eq!(address("[::1]:5").await, Ok("[::1]:5".parse().expect("an address")));
        assert_eq!(address("localhost.:5").await, Ok("127.0.0.1:5".parse().expect("an address")));
        assert_eq!(address("localhost").await, Err("address localhost: missing port in address".to_owned()));
        assert_eq!(address("nobody.invalid:1").await, Err("lookup nobody.invalid: no such host".to_owned()));
    }
}
