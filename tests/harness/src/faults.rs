//! Faults done to a running cluster, and the verdict over all that happened meanwhile.

use crate::check::{Truth, agreement, assert_none, lease, linear, watch};
use crate::history::Outcome;
use crate::load::{Load, LoadSpec};
use crate::proto::etcdserverpb::alarm_request::AlarmAction;
use crate::proto::etcdserverpb::{AlarmRequest, AlarmType, RangeResponse};
use crate::proto::mvccpb::Event;
use crate::{Client, Cluster, Flow, Random, wait};
use std::time::Duration;
use tokio::time::Instant;

/// Successful operations wanted between two faults.
const CALM: usize = 25;
const RECOVERY_LIMIT: Duration = Duration::from_secs(30);

/// One thing that goes wrong, and is put right again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// SIGKILL, and a restart once the others have gone on.
    Kill,
    /// SIGKILL of all members at once.
    KillAll,
    /// SIGSTOP for this long, then SIGCONT.
    Pause(Duration),
    /// No byte to or from the others for this long.
    Isolate(Duration),
    /// Connections to and from the others are closed and refused for this long.
    Disconnect(Duration),
    /// It hears the others and they do not hear it, for this long.
    Mute(Duration),
    /// They hear it and it does not hear them, for this long.
    Deafen(Duration),
}

/// Whom a fault hits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Target {
    Leader,
    Any,
}

fn choose(random: &mut Random, members: usize) -> (Fault, Target) {
    let span = Duration::from_millis(200 + random.below(2300));
    let target = if random.chance(50) { Target::Leader } else { Target::Any };
    if members == 1 {
        let fault = if random.chance(75) { Fault::Kill } else { Fault::Pause(span / 2) };
        return (fault, Target::Any);
    }
    let fault = match random.below(100) {
        0..40 => Fault::Kill,
        40..50 => Fault::KillAll,
        50..70 => Fault::Pause(span),
        70..80 => Fault::Isolate(span),
        80..88 => Fault::Disconnect(span),
        88..94 => Fault::Mute(span),
        _ => Fault::Deafen(span),
    };
    (fault, target)
}

/// Does one fault and returns once every member serves again.
async fn inject(cluster: &mut Cluster, load: &Load, fault: Fault, target: Target, random: &mut Random) {
    let place = match target {
        Target::Leader => cluster.leader().await,
        Target::Any => random.below(cluster.len() as u64) as usize,
    };
    println!("  {fault:?} of {target:?}, m{place}");
    match fault {
        Fault::Kill => {
            cluster[place].kill();
            if cluster.len() > 2 {
                load.progress(CALM, RECOVERY_LIMIT).await;
            }
            cluster.restart(place).await;
        }
        Fault::KillAll => {
            for member in 0..cluster.len() {
                cluster[member].kill();
            }
            cluster.start_all().await;
        }
        Fault::Pause(span) => {
            cluster[place].pause();
            wait::pass(span).await;
            cluster[place].resume();
        }
        Fault::Isolate(span) => {
            cluster.isolate(place);
            wait::pass(span).await;
            cluster.heal();
        }
        Fault::Disconnect(span) => {
            cluster.set_flows_around(place, Flow::Refuse);
            wait::pass(span).await;
            cluster.heal();
        }
        Fault::Mute(span) | Fault::Deafen(span) => {
            for other in (0..cluster.len()).filter(|&other| other != place) {
                let (from, to) = if matches!(fault, Fault::Mute(_)) { (place, other) } else { (other, place) };
                cluster.set_flow(from, to, Flow::Blackhole);
            }
            wait::pass(span).await;
            cluster.heal();
        }
    }
    for client in cluster.clients() {
        serves(&client, RECOVERY_LIMIT).await;
    }
}

/// Waits until a linearizable read through this member succeeds.
pub async fn serves(client: &Client, limit: Duration) {
    let client = client.with_deadline(Duration::from_secs(1));
    let what = format!("{} to serve a linearizable read", client.endpoint());
    wait::until(&what, limit, || async { client.get("serves").await.ok() }).await;
}

/// Runs `count` faults under load on a fresh cluster, then judges all that clients and watchers were told.
pub async fn run(cluster: &mut Cluster, count: usize, spec: LoadSpec, mut random: Random) {
    let begun = Instant::now();
    let load = Load::start(&cluster.clients(), spec, &mut random);
    for number in 1..=count {
        load.progress(CALM, RECOVERY_LIMIT).await;
        let (fault, target) = choose(&mut random, cluster.len());
        println!("fault {number} of {count} after {:.1?}", begun.elapsed());
        inject(cluster, &load, fault, target, &mut random).await;
    }
    load.progress(CALM, RECOVERY_LIMIT).await;
    println!("{}", judge(&cluster.clients(), load).await);
}

/// All keys, once no lease is left: those that still run out would move the last revision while somebody looks.
pub async fn once_leases_ended(client: &Client) -> RangeResponse {
    wait::until("the last lease to end", Duration::from_secs(60), || async {
        // So that this member knows of all leases by now; its list is its own.
        client.get("serves").await.ok()?;
        let left = client.leases().await.ok()?.leases.len();
        let scan = client.get_all().await.ok()?;
        (left == 0).then_some(scan)
    })
    .await
}

/// Stops the load and applies every checker.
///
/// # Panics
/// If any of them finds a fault.
pub async fn judge(clients: &[Client], mut load: Load) -> Summary {
    load.stop_workers().await;
    let everything = once_leases_ended(&clients[0]).await;
    let last = everything.header.as_ref().map_or(0, |header| header.revision);
    let remains = load.finish(last).await;

    // A watcher that is told a revision twice makes no possible history, so one will do for the truth.
    let (truth, faults) = Truth::replay(&remains.watched[0].events());
    assert_none("the history", &faults);
    assert_eq!(truth.last_revision(), last, "the history ends where the scan does");
    let listed = AlarmRequest { action: AlarmAction::Get.into(), ..Default::default() };
    let raised = clients[0].alarm(listed).await.expect("alarms").alarms;
    let corrupt = raised.iter().any(|alarm| alarm.alarm() == AlarmType::Corrupt);
    assert!(!corrupt, "a corruption check says that members differ: {raised:?}");
    let hash = clients[0].hash_kv(0).await.expect("HashKV");
    let kept_from = hash.compact_revision.max(0) + 1;
    let tail: Vec<Event> =
        truth.events().filter(|(at, _)| *at >= kept_from).flat_map(|(_, events)| events.to_vec()).collect();
    let tail: Vec<Event> = tail.into_iter().map(|event| Event { prev_kv: None, ..event }).collect();
    for (place, client) in clients.iter().enumerate() {
        let told = agreement::history(client, kept_from, last).await;
        assert!(told == tail, "m{place} tells another history from {kept_from} on than its watchers heard");
    }
    assert_none("the final scan", &agreement::check_scan(&everything, &truth));
    assert_none("linearizability", &linear::check(&remains.operations, &truth));
    for watched in &remains.watched {
        assert_none("a watcher", &watch::check(watched, &truth, last, kept_from));
    }
    assert_none("leases", &lease::check(&remains.operations, &truth, &remains.seen_at));
    assert_none("HashKV", &agreement::check_hashes(clients, last).await);
    let unknown = remains.operations.iter().filter(|operation| matches!(operation.outcome, Outcome::Unknown(_)));
    let done = remains.operations.iter().filter(|operation| matches!(operation.outcome, Outcome::Done(_)));
    Summary {
        operations: remains.operations.len(),
        done: done.count(),
        unknown: unknown.count(),
        revision: last,
        kept_from,
    }
}

/// What a judged history held.
#[derive(Debug, Clone, Copy)]
pub struct Summary {
    pub operations: usize,
    pub done: usize,
    pub unknown: usize,
    pub revision: i64,
    /// History before it was compacted.
    pub kept_from: i64,
}

impl std::fmt::Display for Summary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Summary { operations, done, unknown, revision, kept_from } = self;
        write!(f, "{operations} operations, {done} done, {unknown} unknown, revision {revision}, kept from {kept_from}")
    }
}
