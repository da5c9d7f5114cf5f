//! SRV records. The test starts itself once more with a network and an `/etc/resolv.conf` of its own, serves DNS there, and
//! all that it starts asks it.

use crate::dns::{Known, Zone};
use crate::{is_one_cluster, refusal, said, suite, suites, untold};
use keelstone_harness::{Cluster, ClusterSpec, Suite, tools};
use rcgen::{BasicConstraints, CertificateParams, IsCa, Issuer, KeyPair};
use std::ffi::OsStr;
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::{Command, Output};

const TEST: &str = "srv::members_find_each_other_by_srv_records";
/// Set in the process that has a network of its own.
const APART: &str = "KEELSTONE_TEST_APART";
const DOMAIN: &str = "srv.test";

#[test]
fn members_find_each_other_by_srv_records() {
    if std::env::var_os(APART).is_some() {
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        return runtime.expect("a runtime").block_on(apart());
    }
    let Some(prefix) = tools::apart(TEST) else { return };
    let conf = suite().make_folder("resolv").join("resolv.conf");
    std::fs::write(&conf, "nameserver 127.0.0.1\noptions timeout:5 attempts:1\n").expect("write a file");
    // It may be a link to a file that is not there.
    let script = "ip link set lo up && mount --bind \"$0\" \"$(realpath -m /etc/resolv.conf)\" && exec \"$@\"";
    let mut command = Command::new(prefix[0]);
    command.args(&prefix[1..]).args(["sh", "-c", script]).arg(&conf);
    command.arg(std::env::current_exe().expect("our own path")).args(["--exact", TEST, "--nocapture"]);
    let output = command.env(APART, "1").output().expect("start ourselves");
    print!("{}", String::from_utf8_lossy(&output.stdout));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    assert!(String::from_utf8_lossy(&output.stdout).contains("1 passed"), "it did not run");
}

async fn apart() {
    let zone = Zone::default();
    zone.serve().await;
    for suite in suites("SRV records") {
        by_records(&suite, &zone).await;
        behind_tls(&suite, &zone).await;
    }
    said_of_failures(&zone).await;
    if !suite().server.is_etcd {
        by_client(&zone).await;
    }
}

/// Names of the members of a cluster and their ports stand in the zone.
fn publish(zone: &Zone, service: &str, ports: impl Iterator<Item = u16>) {
    let services: Vec<(String, u16)> = ports.enumerate().map(|(at, port)| (format!("m{at}.{DOMAIN}"), port)).collect();
    for (host, _) in &services {
        zone.set(host, Known::Host(Ipv4Addr::LOCALHOST));
    }
    zone.set(&format!("{service}._tcp.{DOMAIN}"), Known::Services(services));
}

fn peer_ports(cluster: &Cluster) -> impl Iterator<Item = u16> {
    (0..cluster.len()).map(|place| cluster.peer_port(place))
}

/// Three members by the records of a service with a suffix; once they have a log they ask nobody.
async fn by_records(suite: &Suite, zone: &Zone) {
    let flags = [format!("--discovery-srv={DOMAIN}"), "--discovery-srv-name=blue".to_owned()];
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let mut cluster = Cluster::prepare(suite, &untold(3, &flags)).await;
    publish(zone, "_etcd-server-blue", peer_ports(&cluster));
    cluster.start_all().await;
    is_one_cluster(&cluster).await;
    let list = cluster[0].client().member_list(true).await.expect("member list").members;
    for (place, port) in peer_ports(&cluster).enumerate() {
        let urls = [format!("http://m{place}.{DOMAIN}:{port}")];
        assert!(list.iter().any(|member| member.name == format!("m{place}") && member.peer_urls == urls), "{list:?}");
        let nodes = said(&cluster, place, "got bootstrap from DNS for etcd-server", "node");
        assert!(nodes.len() == 3 && nodes.contains(&format!("m{place}={}", urls[0])), "{nodes:?}");
        let mut others: Vec<&str> = nodes.iter().filter_map(|node| node.split('=').next()).collect();
        others.sort_unstable();
        assert_eq!(others, ["0", "1", &format!("m{place}")]);
    }
    zone.clear();
    cluster[2].terminate().await;
    // Its peers are reached by name.
    publish(zone, "_unused", peer_ports(&cluster));
    cluster.restart(2).await;
    is_one_cluster(&cluster).await;
}

/// Certificates of members are for the domain, and no file says who has signed them: the system's authorities do.
async fn behind_tls(suite: &Suite, zone: &Zone) {
    let folder = suite.make_folder("certificates");
    let file = |name: &str| folder.join(name);
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let key = KeyPair::generate().expect("a key");
    std::fs::write(file("ca.pem"), params.self_signed(&key).expect("a certificate").pem()).expect("write");
    let issuer = Issuer::new(params, key);
    let (key, names) = (KeyPair::generate().expect("a key"), vec![DOMAIN.to_owned()]);
    let signed = CertificateParams::new(names).expect("a name").signed_by(&key, &issuer).expect("a certificate");
    std::fs::write(file("cert.pem"), signed.pem()).expect("write");
    std::fs::write(file("key.pem"), key.serialize_pem()).expect("write");

    let flag = |name: &str, path: &Path| format!("--peer-{name}-file={}", path.display());
    let flags = [format!("--discovery-srv={DOMAIN}"), flag("cert", &file("cert.pem")), flag("key", &file("key.pem"))];
    let flags: Vec<&str> = flags.iter().map(String::as_str).collect();
    let spec = ClusterSpec { secure_peers: true, ..untold(3, &flags) };
    let mut cluster = Cluster::prepare(suite, &spec).await;
    for place in 0..cluster.len() {
        cluster[place].set_variable("SSL_CERT_FILE", file("ca.pem").as_os_str());
        cluster[place].set_variable("SSL_CERT_DIR", OsStr::new("/nowhere"));
    }
    zone.clear();
    publish(zone, "_etcd-server-ssl", peer_ports(&cluster));
    cluster.start_all().await;
    is_one_cluster(&cluster).await;
}

/// What etcd tells of a name on a server, as the system's resolver tells it, which knows no server.
fn without_server(text: &str) -> String {
    text.replace(" on 127.0.0.1:53", "")
}

/// Each way to fail, with etcd's words where there is an etcd.
async fn said_of_failures(zone: &Zone) {
    let flag = format!("--discovery-srv={DOMAIN}");
    let [http, https] = ["", "-ssl"].map(|kind| format!("_etcd-server{kind}._tcp.{DOMAIN}"));
    let elsewhere = || Known::Services(vec![(format!("m0.{DOMAIN}"), 1)]);
    let mut all = Vec::new();
    for suite in suites("failures of SRV records") {
        let mut told = Vec::new();
        for case in ["nothing", "broken", "elsewhere", "no address", "other scheme"] {
            zone.clear();
            let mut cluster = Cluster::prepare(&suite, &untold(1, &[&flag])).await;
            zone.set(&format!("m0.{DOMAIN}"), Known::Host(Ipv4Addr::LOCALHOST));
            let own = || Known::Services(vec![(format!("m0.{DOMAIN}"), cluster.peer_port(0))]);
            match case {
                "broken" => zone.set(&http, Known::Broken),
                "elsewhere" => zone.set(&http, elsewhere()),
                "no address" => zone.set(&http, Known::Services(vec![("gone.test".to_owned(), 1)])),
                "other scheme" => zone.set(&https, own()),
                _ => {}
            }
            let error = refusal(&mut cluster, 0, "discovery failed").await;
            let port = cluster.peer_port(0).to_string();
            told.push(format!("{case}: {}", without_server(&error).replace(&port, "PORT")));
        }
        all.push(told);
    }
    let missing = |kind: &str| {
        format!("error querying DNS SRV records for _etcd-server{kind} lookup _etcd-server{kind}._tcp.{DOMAIN}")
    };
    let ssl = format!("{}: no such host", missing("-ssl"));
    let begun = "error setting up initial cluster:";
    let no_http = format!("{}: no such host", missing(""));
    let expected = [
        format!("nothing: {begun} {ssl}\n{no_http}"),
        format!("broken: {begun} {ssl}\n{}: server misbehaving", missing("")),
        format!("elsewhere: {begun} cannot find local etcd member \"m0\" in SRV records"),
        format!(
            "no address: {begun} {ssl}\nerror querying DNS SRV records for _etcd-server lookup gone.test.: no such host"
        ),
        format!(
            "other scheme: {begun} error querying DNS SRV records for _etcd-server-ssl bootstrap at https://m0.{DOMAIN}:PORT \
             from DNS for etcd-server-ssl has scheme mismatch with expected peer http://127.0.0.1:PORT\n{no_http}"
        ),
    ];
    for told in all {
        assert_eq!(told, expected);
    }
}

/// Our etcdctl and the official one find the same members, and say the same of what they do not find.
async fn by_client(zone: &Zone) {
    zone.clear();
    let cluster = Cluster::start(suite(), &ClusterSpec { proxied: false, ..ClusterSpec::of(1) }).await;
    cluster[0].client().put("found", "by SRV").await.expect("put");
    publish(zone, "_etcd-client", std::iter::once(cluster[0].client_port));
    publish(zone, "_etcd-client-blue", std::iter::once(cluster[0].client_port));
    let official = tools::etcdctl(7, "etcdctl by SRV records");
    let run = |program: Option<&Path>, args: &[&str]| -> Output {
        let mut command = program.map_or_else(|| Command::new(&suite().server.binary), Command::new);
        if program.is_none() {
            command.arg("ctl");
        }
        let args = args.iter().copied().chain(["--command-timeout=1s", "--dial-timeout=1s"]);
        command.args(args).env_clear().output().expect("run etcdctl")
    };
    let endpoint = format!("http://m0.{DOMAIN}.:{}", cluster[0].client_port);
    let ignored = format!("ignoring discovered insecure endpoint {endpoint:?}");
    let lookup = |kind: &str| format!("lookup _etcd-client{kind}._tcp.nowhere.test on 127.0.0.1:53: no such host");
    let unknown = format!("Error: dns lookup errors: {} and {}", lookup("-ssl"), lookup(""));
    for (args, code, told) in [
        (&["get", "found"][..], 0, "found\nby SRV\n"),
        (&["get", "found", "--discovery-srv-name=blue"], 0, "found\nby SRV\n"),
        (&["get", "found", "--discovery-srv=nowhere.test"], 1, &unknown),
        (&["endpoint", "health", "--cluster"], 0, "is healthy: successfully committed proposal"),
        // What is left then is the default of --endpoints, where nobody is.
        (&["get", "found", "--insecure-discovery=false"], 1, &ignored),
    ] {
        let mut args = args.to_vec();
        let domain = format!("--discovery-srv={DOMAIN}");
        if !args.iter().any(|arg| arg.starts_with("--discovery-srv=")) {
            args.push(&domain);
        }
        for program in [None].into_iter().chain(official.iter().map(|path| Some(path.as_path()))) {
            let output = run(program, &args);
            let text =
                format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
            assert_eq!(output.status.code(), Some(code), "{program:?} {args:?}: {text}");
            assert!(text.contains(told), "{program:?} {args:?}: {text}");
        }
    }
    let status = run(None, &["endpoint", "status", &format!("--discovery-srv={DOMAIN}")]);
    let text = String::from_utf8_lossy(&status.stdout);
    assert!(text.starts_with(&format!("{endpoint}, ")), "{text}");
}
