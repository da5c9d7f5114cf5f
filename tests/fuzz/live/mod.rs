//! Targets against real processes on loopback. They live on through whatever is sent: after each input they take a put and
//! show it, all members agree, memory stays bounded, and nothing is logged that a human would have to look at.

mod client;
mod config;
mod http;
mod junk;
mod peer;

use keelstone_harness::proto::etcdserverpb::AlarmRequest;
use keelstone_harness::proto::etcdserverpb::alarm_request::AlarmAction;
use keelstone_harness::{Cluster, ClusterSpec, Member, Suite, wait};
use std::sync::OnceLock;
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};

/// Far above what a member of these sizes needs, far below what a length field can say.
const MEMORY_BYTES: u64 = 400 << 20;
/// Inputs that one cluster takes: what they write adds up.
const INPUTS_OF_A_CLUSTER: usize = 1_500;
const RECOVERY_LIMIT: Duration = Duration::from_secs(20);

fn suite() -> &'static Suite {
    static SUITE: OnceLock<Suite> = OnceLock::new();
    SUITE.get_or_init(|| Suite::new(env!("CARGO_BIN_EXE_keelstone"), env!("CARGO_TARGET_TMPDIR"), "fuzz"))
}

/// A cluster under test, replaced by a fresh one now and then.
struct Live {
    runtime: Runtime,
    members: usize,
    cluster: Option<Cluster>,
    inputs: usize,
    puts: u64,
}

impl Live {
    fn new(members: usize) -> Self {
        let runtime = Builder::new_multi_thread().worker_threads(1).enable_all().build().expect("a runtime");
        Self { runtime, members, cluster: None, inputs: 0, puts: 0 }
    }

    /// Lets `play` act on the cluster, and looks at what is left of it.
    fn judge(&mut self, play: impl AsyncFnOnce(&Cluster) -> String) -> Result<String, String> {
        self.inputs += 1;
        if self.inputs.is_multiple_of(INPUTS_OF_A_CLUSTER) {
            self.cluster = None;
        }
        let members = self.members;
        let runtime = &self.runtime;
        let cluster = self.cluster.get_or_insert_with(|| runtime.block_on(start(members)));
        let outcome = runtime.block_on(play(cluster));
        self.puts += 1;
        let verdict = runtime.block_on(is_well(cluster, self.puts));
        if verdict.is_err() {
            // Whoever makes the input smaller needs a cluster that is well.
            self.cluster = None;
        }
        verdict.map(|()| outcome)
    }
}

async fn start(members: usize) -> Cluster {
    let cluster = Cluster::start(suite(), &ClusterSpec::of(members)).await;
    let client = cluster[0].client();
    // The log is longer than the positions that inputs make up, so that they meet what is committed.
    for at in 0..200 {
        client.put(format!("kept-{at}"), "x").await.expect("put");
    }
    cluster
}

async fn is_well(cluster: &Cluster, number: u64) -> Result<(), String> {
    for member in cluster.iter() {
        is_alive(member)?;
    }
    let client = cluster[0].client().with_deadline(Duration::from_secs(2));
    // Whoever may write may raise an alarm.
    let written = wait_for(async || {
        let all = AlarmRequest { action: AlarmAction::Get.into(), ..AlarmRequest::default() };
        for raised in client.alarm(all).await.ok()?.alarms {
            let action = AlarmAction::Deactivate.into();
            client.alarm(AlarmRequest { action, member_id: raised.member_id, alarm: raised.alarm }).await.ok()?;
        }
        client.put("alive", number.to_string()).await.ok()
    });
    let revision = written.await.ok_or("it cannot be written to")?;
    let found = client.get("alive").await.map_err(|status| format!("it cannot be read: {status}"))?;
    if found.kvs.first().map(|kv| kv.value.to_vec()) != Some(number.to_string().into_bytes()) {
        return Err(format!("the put is not there: {found:?}"));
    }
    let mut hashes = Vec::new();
    for member in cluster.iter() {
        is_alive(member)?;
        let client = member.client();
        let hash = wait_for(async || client.hash_kv(revision).await.ok().map(|reply| reply.hash));
        hashes.push(hash.await.ok_or_else(|| format!("{} does not catch up", member.name))?);
    }
    if hashes.windows(2).any(|pair| pair[0] != pair[1]) {
        return Err(format!("members differ at revision {revision}: {hashes:08x?}"));
    }
    Ok(())
}

fn is_alive(member: &Member) -> Result<(), String> {
    let errors = member.unexpected_errors();
    if !errors.is_empty() {
        return Err(format!("{} logged: {}", member.name, errors.join("\n")));
    }
    let pid = member.pid().expect("a started member");
    // Of a process that has ended there is no such line, or no such file.
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:")?.trim().strip_suffix(" kB"));
    let Some(resident) = resident.and_then(|text| text.parse::<u64>().ok()) else {
        let lines = member.log_lines("");
        let last = lines.iter().rev().take(5).rev().cloned().collect::<Vec<_>>().join("\n");
        return Err(format!("{} has ended:\n{last}", member.name));
    };
    if resident * 1024 > MEMORY_BYTES {
        return Err(format!("{} has {resident} kB in memory", member.name));
    }
    Ok(())
}

async fn wait_for<T>(mut condition: impl AsyncFnMut() -> Option<T>) -> Option<T> {
    let polled = async {
        loop {
            if let Some(value) = condition().await {
                return value;
            }
            wait::pass(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(RECOVERY_LIMIT, polled).await.ok()
}
