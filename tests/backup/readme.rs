//! README's pages about the way from etcd and back, run as they stand: three members on this machine, each with a root of its
//! own below which its paths lie, and a `systemctl` that starts what is installed as etcd.

use crate::import::{fill, has_lease, same_hash};
use crate::programs::text_of;
use crate::suite;
use keelstone_harness::{Client, free_port, tools, wait};
use rustix::process::{Pid, Signal, kill_process};
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(90);
const MEMBERS: usize = 3;

/// The blocks below the heading `### <page>`.
fn blocks(page: &str) -> Vec<String> {
    let readme = include_str!("../../README.md");
    let start = readme.find(&format!("\n### {page}\n")).unwrap_or_else(|| panic!("README has no page {page:?}"));
    let rest = &readme[start + 1..];
    let end = rest[1..].find("\n##").map_or(rest.len(), |end| end + 1);
    let block = |part: &str| part.split_once("\n```").map(|(block, _)| block.to_owned());
    rest[..end].split("```sh\n").skip(1).filter_map(block).collect()
}

/// One machine's root and what its member is told.
struct Machine {
    root: PathBuf,
    variables: String,
    client_port: u16,
}

/// Three machines. What still runs on them ends with this value.
struct Machines(Vec<Machine>);

impl Machines {
    /// Each begins with `etcd` installed, and has `./keelstone`, `./etcd` and the official tools.
    fn new(etcd: &Path, etcdctl: &Path, etcdutl: &Path) -> Self {
        let ports: Vec<(u16, u16)> = (0..MEMBERS).map(|_| (free_port(), free_port())).collect();
        let join = |each: &dyn Fn(usize) -> String| (0..MEMBERS).map(each).collect::<Vec<_>>().join(",");
        let peer_url = |place: usize| format!("http://127.0.0.1:{}", ports[place].1);
        let cluster = join(&|place| format!("m{place}={}", peer_url(place)));
        let endpoints = join(&|place| format!("127.0.0.1:{}", ports[place].0));
        let machine = |place: usize| {
            let root = suite().make_folder(&format!("machine-{place}"));
            for folder in ["usr/local/bin", "var/lib", "home"] {
                std::fs::create_dir_all(root.join(folder)).expect("create");
            }
            std::fs::copy(etcd, root.join("usr/local/bin/etcd")).expect("install etcd");
            let programs =
                [("keelstone", &suite().server.binary), ("etcd", &etcd.to_owned()), ("etcdctl", &etcdctl.to_owned())];
            for (name, program) in programs.into_iter().chain([("etcdutl", &etcdutl.to_owned())]) {
                std::os::unix::fs::symlink(program, root.join("home").join(name)).expect("link");
            }
            let (client_port, url) = (ports[place].0, peer_url(place));
            let client_url = format!("http://127.0.0.1:{client_port}");
            let mut variables = String::new();
            let flags = format!(
                "--name m{place} --data-dir {}/var/lib/etcd --listen-client-urls {client_url} \
                 --advertise-client-urls {client_url} --listen-peer-urls {url} --initial-advertise-peer-urls {url} \
                 --initial-cluster {cluster}",
                text_of(&root)
            );
            let pairs = [("NAME", format!("m{place}")), ("PEER_URL", url), ("CLUSTER", cluster.clone())];
            for (name, value) in pairs.into_iter().chain([("ENDPOINTS", endpoints.clone()), ("ETCD_FLAGS", flags)]) {
                writeln!(variables, "{name}='{value}'").expect("a String takes all");
            }
            Machine { root, variables, client_port }
        };
        Self((0..MEMBERS).map(machine).collect())
    }

    fn clients(&self) -> Vec<Client> {
        self.0.iter().map(|machine| Client::new(&format!("http://127.0.0.1:{}", machine.client_port))).collect()
    }

    async fn serve(&self) {
        for client in self.clients() {
            wait::until("each member to serve", LIMIT, async || client.get("none").await.ok()).await;
        }
    }

    /// Runs a page: each block on the machines that its first line names. Answers what was printed.
    fn run(&self, page: &str) -> String {
        let mut printed = String::new();
        for block in blocks(page) {
            let first = block.lines().next().unwrap_or_default();
            let machines = match first {
                _ if first.starts_with("# on every member: ") => &self.0[..],
                _ if first.starts_with("# on one member: ") => &self.0[..1],
                _ => panic!("{page}: a block must say where it is run: {block}"),
            };
            for machine in machines {
                printed += &machine.run(&block);
            }
            // A file that is saved on one member is copied to the others.
            for file in ["snapshot.db", "back.db"].map(|file| self.0[0].root.join("home").join(file)) {
                if first.ends_with(": save") && file.exists() {
                    for machine in &self.0[1..] {
                        let to = machine.root.join("home").join(file.file_name().expect("a name"));
                        std::fs::copy(&file, to).expect("copy");
                    }
                }
            }
        }
        printed
    }

    fn is_etcd(&self) -> bool {
        let version = |machine: &Machine| {
            let output = Command::new(machine.root.join("usr/local/bin/etcd")).arg("--version").output();
            String::from_utf8_lossy(&output.expect("run").stdout).contains("Go Version: go")
        };
        self.0.iter().all(version)
    }
}

impl Drop for Machines {
    fn drop(&mut self) {
        for machine in &self.0 {
            machine.kill();
        }
    }
}

impl Machine {
    /// Ends what was started and not stopped, as when a test has failed.
    fn kill(&self) {
        let pid = std::fs::read_to_string(self.root.join("pid")).ok();
        let pid = pid.and_then(|pid| pid.trim().parse().ok()).and_then(Pid::from_raw);
        if let Some(Err(error)) = pid.map(|pid| kill_process(pid, Signal::KILL)) {
            eprintln!("{} is not killed: {error}", self.root.display());
        }
    }

    /// Runs a block of README with paths below the root.
    fn run(&self, block: &str) -> String {
        let root = text_of(&self.root);
        let block = block.replace("/var/lib/", &format!("{root}/var/lib/"));
        let block = block.replace("/usr/local/bin/", &format!("{root}/usr/local/bin/"));
        let script = format!(
            r#"set -eu
ROOT='{root}'
{variables}
systemctl() {{
    case "$1" in
    start)
        "$ROOT/usr/local/bin/etcd" $ETCD_FLAGS >>"$ROOT/log" 2>&1 </dev/null &
        echo $! >"$ROOT/pid"
        ;;
    stop)
        [ -e "$ROOT/pid" ] || return 0
        kill "$(cat "$ROOT/pid")"
        while kill -0 "$(cat "$ROOT/pid")" 2>/dev/null; do sleep 0.1; done
        rm "$ROOT/pid"
        ;;
    esac
}}
{block}
"#,
            variables = self.variables
        );
        let path = format!("{root}/home:{}", std::env::var("PATH").unwrap_or_default());
        let mut bash = Command::new("bash");
        bash.args(["-c", &script]).current_dir(self.root.join("home")).env("PATH", path);
        let output = bash.output().expect("run bash");
        let text = String::from_utf8_lossy(&output.stdout).into_owned() + &String::from_utf8_lossy(&output.stderr);
        let log = std::fs::read_to_string(self.root.join("log")).unwrap_or_default();
        let log: Vec<_> = log.lines().rev().take(10).collect();
        assert!(output.status.success(), "{block}\n{text}\n{}", log.join("\n"));
        text
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_pages_of_the_way_from_etcd_and_back_work_as_they_stand() {
    let name = "the_pages_of_the_way_from_etcd_and_back_work_as_they_stand";
    let (Some(etcd), Some(etcdctl), Some(etcdutl)) =
        (tools::etcd(name), tools::etcdctl(7, name), tools::etcdutl(7, name))
    else {
        return;
    };
    let machines = Machines::new(&etcd, &etcdctl, &etcdutl);
    for machine in &machines.0 {
        machine.run("systemctl start etcd");
    }
    machines.serve().await;
    assert!(machines.is_etcd());
    let clients = machines.clients();
    fill(&clients[0]).await;
    let before = same_hash(&clients).await;

    let printed = machines.run("By data directory");
    machines.serve().await;
    assert_eq!(printed.matches("yes: Keelstone can start in the place of this etcd").count(), MEMBERS, "{printed}");
    assert!(!machines.is_etcd());
    assert_eq!(same_hash(&clients).await, before);
    has_lease(&clients[0]).await;
    clients[0].put("of keelstone", "v").await.expect("put");
    let before = same_hash(&clients).await;

    machines.run("Back to etcd");
    machines.serve().await;
    assert!(machines.is_etcd());
    assert_eq!(same_hash(&clients).await, before);
    has_lease(&clients[0]).await;
    clients[1].put("of etcd", "v").await.expect("put");
    let before = same_hash(&clients).await;

    machines.run("By snapshot");
    machines.serve().await;
    assert!(!machines.is_etcd());
    assert_eq!(same_hash(&clients).await, before);
    has_lease(&clients[0]).await;
    clients[2].put("again", "v").await.expect("put");
    same_hash(&clients).await;
}
