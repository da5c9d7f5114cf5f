//! Each option on each listener: who is served and who is not.

use crate::certs::{Authority, LOCAL, Pair, Usage, Wanted};
use crate::folder;
use crate::ports::{Listener, Server};
use crate::probe::{Outcome, Probe, certificates};
use Outcome::{Refused, Served};
use keelstone_harness::wait;
use rustls::CipherSuite;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinSet;

const LISTENERS: [Listener; 4] = [Listener::Client, Listener::ClientHttp, Listener::Metrics, Listener::Peer];

/// What all tests of this file show each other.
struct Papers {
    folder: std::path::PathBuf,
    authority: Authority,
    stranger: Authority,
    server: Pair,
    /// Of a client on this machine, named `ann`.
    ann: Pair,
}

impl Papers {
    fn new(name: &str) -> Self {
        let folder = folder(name);
        let (authority, stranger) = (Authority::new(&folder, "ca"), Authority::new(&folder, "stranger"));
        let server = authority.sign("server", LOCAL);
        let ann = authority.sign("ann", Wanted { common_name: "ann", serial: 1001, ..LOCAL });
        Self { folder, authority, stranger, server, ann }
    }

    /// The flags for a listener that shows the server's certificate, and more of them.
    fn flags(&self, listener: Listener, more: &[(&str, String)]) -> Vec<String> {
        let prefix = if listener == Listener::Peer { "peer-" } else { "" };
        let mut flags =
            vec![path_flag(prefix, "cert-file", &self.server.cert), path_flag(prefix, "key-file", &self.server.key)];
        flags.extend(more.iter().map(|(name, value)| format!("--{prefix}{name}={value}")));
        flags
    }

    /// Who connects is to show a certificate of our authority.
    fn trusting(&self) -> (&'static str, String) {
        ("trusted-ca-file", self.authority.file().display().to_string())
    }
}

fn path_flag(prefix: &str, name: &str, path: &Path) -> String {
    format!("--{prefix}{name}={}", path.display())
}

/// Holds what becomes of some clients against what should.
async fn judge(server: &Server, listener: Listener, cases: &[(&str, &Probe, Outcome)]) -> usize {
    for (who, probe, expected) in cases {
        let outcome = probe.outcome(server.port(listener)).await;
        assert_eq!(outcome, *expected, "{who} at the {listener:?} listener");
    }
    cases.len()
}

#[tokio::test]
async fn a_listener_shows_its_certificate_and_speaks_nothing_but_tls() {
    let papers = Papers::new("shown");
    for listener in LISTENERS {
        let server = Server::start(listener, &papers.flags(listener, &[])).await;
        let believes = Probe::default().trusting(&papers.authority.file());
        let does_not = Probe::default().trusting(&papers.stranger.file());
        let cases = [
            ("who trusts its authority", &believes, Served),
            ("who trusts another", &does_not, Refused),
            ("who shows a certificate that nobody has asked for", &believes.clone().showing(&papers.ann), Served),
            ("who speaks 1.2", &believes.clone().speaking(&rustls::version::TLS12), Served),
            ("who speaks 1.3", &believes.clone().speaking(&rustls::version::TLS13), Served),
        ];
        judge(&server, listener, &cases).await;
        let mut clear = TcpStream::connect(("127.0.0.1", server.port(listener))).await.expect("a listener");
        clear.write_all(b"GET /version HTTP/1.1\r\nHost: x\r\n\r\n").await.expect("an open connection");
        let mut answer = Vec::new();
        // It may be reset.
        clear.read_to_end(&mut answer).await.ok();
        assert!(!String::from_utf8_lossy(&answer).contains("200"), "in the clear at {listener:?}");
    }
}

#[tokio::test]
async fn certificates_of_clients_are_asked_for_and_verified() {
    let papers = Papers::new("asked");
    let expired = papers.authority.sign("expired", Wanted { expired: true, ..LOCAL });
    let not_for_it = papers.authority.sign("server-only", Wanted { usage: Usage::ServerOnly, ..LOCAL });
    let of_stranger = papers.stranger.sign("of-stranger", LOCAL);
    let mut judged = 0;
    for listener in LISTENERS {
        for asks in [vec![papers.trusting()], vec![papers.trusting(), ("client-cert-auth", "true".to_owned())]] {
            let server = Server::start(listener, &papers.flags(listener, &asks)).await;
            let bare = Probe::default();
            let cases = [
                ("who shows nothing", &bare, Refused),
                ("who shows what the authority has signed", &bare.clone().showing(&papers.ann), Served),
                ("who shows what a stranger has signed", &bare.clone().showing(&of_stranger), Refused),
                ("who shows what has expired", &bare.clone().showing(&expired), Refused),
                ("who shows what is for servers only", &bare.clone().showing(&not_for_it), Refused),
                ("who shows nothing in 1.2", &bare.clone().speaking(&rustls::version::TLS12), Refused),
                (
                    "who shows the right one in 1.2",
                    &bare.clone().speaking(&rustls::version::TLS12).showing(&papers.ann),
                    Served,
                ),
            ];
            judged += judge(&server, listener, &cases).await;
            let log = |text: &str| server.cluster[0].log_lines(text).len();
            let endpoint = if listener == Listener::Peer { "peer" } else { "client" };
            let refused = format!("rejected connection on {endpoint} endpoint");
            wait::until("each refusal to be logged", Duration::from_secs(30), || async {
                (log(&refused) == 5).then_some(())
            })
            .await;
        }
    }
    println!("{judged} handshakes judged");
}

#[tokio::test]
async fn revoked_certificates_are_refused() {
    let papers = Papers::new("revoked");
    let bob = papers.authority.sign("bob", Wanted { common_name: "bob", serial: 1002, ..LOCAL });
    for listener in LISTENERS {
        let list = papers.authority.revoke("revoked.crl", &[1002, 77]);
        let prefix = if listener == Listener::Peer { "--peer-crl-file=" } else { "--client-crl-file=" };
        let mut flags = papers.flags(listener, &[papers.trusting()]);
        flags.push(format!("{prefix}{}", list.display()));
        let server = Server::start(listener, &flags).await;
        let (as_ann, as_bob) = (Probe::default().showing(&papers.ann), Probe::default().showing(&bob));
        judge(&server, listener, &[("ann", &as_ann, Served), ("bob, revoked", &as_bob, Refused)]).await;
        // The list counts as it is, from the next handshake on.
        papers.authority.revoke("revoked.crl", &[1001]);
        judge(&server, listener, &[("ann, revoked", &as_ann, Refused), ("bob, no more", &as_bob, Served)]).await;
    }
}

#[tokio::test]
async fn only_certificates_with_the_names_that_were_given_are_taken() {
    let papers = Papers::new("names");
    let hosts = &["127.0.0.1", "a.example", "*.b.example"];
    let carl = papers.authority.sign("carl", Wanted { common_name: "carl", hosts, ..LOCAL });
    let (ann, carl) = (Probe::default().showing(&papers.ann), Probe::default().showing(&carl));
    let (by_cn, by_hostname) = ("--peer-cert-allowed-cn", "--peer-cert-allowed-hostname");
    for (listener, allowed, of_ann, of_carl) in [
        (Listener::Peer, format!("{by_cn}=ann,dora"), Served, Refused),
        (Listener::Peer, format!("{by_cn}=dora,carl"), Refused, Served),
        (Listener::Peer, format!("{by_hostname}=a.example"), Refused, Served),
        (Listener::Peer, format!("{by_hostname}=x.example,host.b.example"), Refused, Served),
        (Listener::Peer, format!("{by_hostname}=127.0.0.1"), Served, Served),
        (Listener::Client, "--client-cert-allowed-hostname=a.example".to_owned(), Refused, Served),
        (Listener::ClientHttp, "--client-cert-allowed-hostname=localhost".to_owned(), Served, Refused),
    ] {
        let mut flags = papers.flags(listener, &[papers.trusting(), ("client-cert-auth", "true".to_owned())]);
        flags.push(allowed);
        let server = Server::start(listener, &flags).await;
        judge(&server, listener, &[("ann", &ann, of_ann), ("carl", &carl, of_carl)]).await;
    }
}

#[tokio::test]
async fn a_peers_certificate_must_fit_the_address_that_it_comes_from() {
    let papers = Papers::new("addresses");
    let with =
        |file: &str, hosts: &[&str]| Probe::default().showing(&papers.authority.sign(file, Wanted { hosts, ..LOCAL }));
    let (elsewhere, by_name) = (with("elsewhere", &["192.0.2.1"]), with("by-name", &["localhost"]));
    let (nameless, unknown) = (with("nameless", &[]), with("unknown", &["no.such.host.invalid"]));
    let both = with("both", &["192.0.2.1", "localhost"]);
    for (listener, skips, mismatch) in [
        (Listener::Peer, None, Refused),
        (Listener::Peer, Some("--peer-skip-client-san-verification"), Served),
        (Listener::Client, None, Served),
        (Listener::ClientHttp, None, Served),
        (Listener::Metrics, None, Refused),
    ] {
        let mut flags = papers.flags(listener, &[papers.trusting()]);
        flags.extend(skips.map(str::to_owned));
        let server = Server::start(listener, &flags).await;
        let cases = [
            ("who is known by this address", &Probe::default().showing(&papers.ann), Served),
            ("who is known by another", &elsewhere, mismatch),
            ("who is known by the name of this machine", &by_name, Served),
            ("who is known by another address and the name", &both, Served),
            ("who has no names", &nameless, Served),
            ("who is known by a name that nobody knows", &unknown, mismatch),
        ];
        judge(&server, listener, &cases).await;
    }
}

#[tokio::test]
async fn versions_and_suites_are_those_that_were_given() {
    let papers = Papers::new("versions");
    let bare = Probe::default();
    let in_12 = bare.clone().speaking(&rustls::version::TLS12);
    let in_13 = bare.clone().speaking(&rustls::version::TLS13);
    let with_128 = bare.clone().offering(CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256);
    let with_256 = bare.clone().offering(CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384);
    let mut judged = 0;
    for listener in LISTENERS {
        for (flag, of_12, of_13, of_128, of_256) in [
            ("--tls-min-version=TLS1.3", Refused, Served, Refused, Refused),
            ("--tls-max-version=TLS1.2", Served, Refused, Served, Served),
            ("--cipher-suites=TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", Served, Served, Served, Refused),
        ] {
            let mut flags = papers.flags(listener, &[]);
            flags.push(flag.to_owned());
            let server = Server::start(listener, &flags).await;
            let cases = [
                ("1.2", &in_12, of_12),
                ("1.3", &in_13, of_13),
                ("AES-128", &with_128, of_128),
                ("AES-256", &with_256, of_256),
            ];
            judged += judge(&server, listener, &cases).await;
        }
    }
    println!("{judged} handshakes judged");
}

#[tokio::test]
async fn who_does_not_shake_hands_is_not_waited_for() {
    let papers = Arc::new(Papers::new("silent"));
    let mut listeners = JoinSet::new();
    for listener in LISTENERS {
        let papers = Arc::clone(&papers);
        listeners.spawn(async move {
            let server = Server::start(listener, &papers.flags(listener, &[])).await;
            let mut silent = TcpStream::connect(("127.0.0.1", server.port(listener))).await.expect("a listener");
            // Others are served meanwhile.
            judge(&server, listener, &[("another", &Probe::default(), Served)]).await;
            let mut byte = [0];
            let closed = tokio::time::timeout(Duration::from_secs(60), silent.read(&mut byte)).await;
            // Closed or reset.
            assert!(matches!(closed.expect("it is closed"), Ok(0) | Err(_)), "{listener:?}");
        });
    }
    listeners.join_all().await;
}

#[tokio::test]
async fn certificates_are_made_where_none_are_given() {
    for (listener, flag, kind) in
        [(Listener::Client, "--auto-tls", "client"), (Listener::Peer, "--peer-auto-tls", "peer")]
    {
        let mut server = Server::start(listener, &[flag.to_owned()]).await;
        judge(&server, listener, &[("who believes anybody", &Probe::default(), Served)]).await;
        let made = server.cluster[0].data_dir().join("fixtures").join(kind).join("cert.pem");
        let first = certificates(&made);
        // Whoever has been given it goes on to believe it.
        server.cluster[0].kill();
        server.cluster.restart(0).await;
        let stream = Probe::default().connect(server.port(listener), "h2").await.expect("a handshake");
        assert_eq!(stream.get_ref().1.peer_certificates(), Some(&first[..]));
    }
}

#[tokio::test]
async fn one_certificate_may_be_authority_and_server_and_client() {
    let papers = Papers::new("itself");
    let own = Pair { cert: papers.folder.join("own.crt"), key: papers.folder.join("own.key") };
    let key = rcgen::KeyPair::generate().expect("a key");
    let mut params = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()]).expect("a name");
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    std::fs::write(&own.cert, params.self_signed(&key).expect("a certificate").pem()).expect("write");
    std::fs::write(&own.key, key.serialize_pem()).expect("write");
    for listener in LISTENERS {
        let prefix = if listener == Listener::Peer { "peer-" } else { "" };
        let flags = [
            path_flag(prefix, "cert-file", &own.cert),
            path_flag(prefix, "key-file", &own.key),
            path_flag(prefix, "trusted-ca-file", &own.cert),
        ];
        let server = Server::start(listener, &flags).await;
        let cases = [
            ("who shows it", &Probe::default().showing(&own), Served),
            ("who shows another", &Probe::default().showing(&papers.ann), Refused),
        ];
        judge(&server, listener, &cases).await;
    }
}

#[tokio::test]
async fn pages_are_served_behind_tls() {
    let papers = Papers::new("pages");
    let probe = Probe::default().trusting(&papers.authority.file());
    for (listener, path) in
        [(Listener::Client, "/version"), (Listener::ClientHttp, "/version"), (Listener::Metrics, "/metrics")]
    {
        let server = Server::start(listener, &papers.flags(listener, &[])).await;
        let page = probe.get(server.port(listener), path).await.expect("a page");
        assert!(page.starts_with("HTTP/1.1 200"), "{listener:?}: {page}");
    }
}
