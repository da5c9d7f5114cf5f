//! Which servers are asked, and how, as `/etc/resolv.conf` says (Go `net/dnsconfig_unix.go`).

use resolv_conf::Config;
use std::net::SocketAddr;
use std::time::Duration;

const PATH: &str = "/etc/resolv.conf";
const PORT: u16 = 53;
/// More are not asked.
const MAX_SERVERS: usize = 3;
const MAX_NDOTS: u32 = 15;

/// How names are looked up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ResolvConf {
    /// At least one.
    pub servers: Vec<SocketAddr>,
    /// What a name may lack, each with a dot at its end.
    pub search: Vec<String>,
    /// A name with so many dots stands for itself first.
    pub ndots: usize,
    /// For one answer.
    pub timeout: Duration,
    /// At least one round of all servers.
    pub attempts: u32,
    /// The first to be asked is drawn.
    pub rotate: bool,
    /// UDP is not tried.
    pub use_tcp: bool,
}

impl Default for ResolvConf {
    fn default() -> Self {
        Self::parse(b"", "")
    }
}

impl ResolvConf {
    /// What cannot be read says nothing, as in Go: then a server on this machine is asked.
    pub fn read() -> Self {
        let text = std::fs::read(PATH).unwrap_or_default();
        Self::parse(&text, &rustix::system::uname().nodename().to_string_lossy())
    }

    fn parse(text: &[u8], host: &str) -> Self {
        let (config, _) = Config::parse_with_errors(text);
        let servers = config.get_nameservers_or_local().into_iter().take(MAX_SERVERS);
        let mut search: Vec<String> =
            config.get_last_search_or_domain().map(|suffix| rooted(suffix)).filter(|suffix| suffix != ".").collect();
        if search.is_empty()
            && let Some((_, domain)) = host.split_once('.').filter(|(_, domain)| !domain.is_empty())
        {
            search.push(rooted(domain));
        }
        Self {
            servers: servers.map(|address| SocketAddr::new(address.into(), PORT)).take(MAX_SERVERS).collect(),
            search,
            ndots: config.ndots.min(MAX_NDOTS) as usize,
            timeout: Duration::from_secs(config.timeout.max(1).into()),
            attempts: config.attempts.max(1),
            rotate: config.rotate,
            use_tcp: config.use_vc,
        }
    }
}

fn rooted(suffix: &str) -> String {
    format!("{}.", suffix.trim_end_matches('.'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_file_is_read_as_go_reads_it() {
        let text = b"# c\nstrange line\nnameserver 10.0.0.1\nnameserver ::1\nnameserver nobody\nsearch a.b c.\n\
                     options ndots:20 timeout:0 attempts:3 use-vc rotate bogus edns0\nnameserver 1.1.1.1\nnameserver 1.1.1.2\n";
        let config = ResolvConf::parse(text, "h.d.e");
        let servers: Vec<String> = config.servers.iter().map(ToString::to_string).collect();
        assert_eq!(servers, ["10.0.0.1:53", "[::1]:53", "1.1.1.1:53"]);
        assert_eq!(config.search, ["a.b.", "c."]);
        assert_eq!((config.ndots, config.timeout, config.attempts), (15, Duration::from_secs(1), 3));
        assert!(config.use_tcp && config.rotate);
    }

    #[test]
    fn without_a_file_this_machine_is_asked_for_names_of_its_domain() {
        let config = ResolvConf::parse(b"", "h.d.e");
        let servers: Vec<String> = config.servers.iter().map(ToString::to_string).collect();
        assert_eq!(servers, ["127.0.0.1:53", "[::1]:53"]);
        assert_eq!((config.search, config.ndots, config.attempts), (vec!["d.e.".to_owned()], 1, 2));
        assert_eq!(ResolvConf::parse(b"domain x\n", "h.d.e").search, ["x."]);
        assert!(ResolvConf::parse(b"", "h").search.is_empty());
    }
}
