//! `etcdctl endpoint`: each endpoint is asked by a client of its own.

use super::Call;
use super::connection;
use super::failure::{self, Failure, Outcome};
use super::flags::Flag;
use super::log::Logger;
use super::printer::{Hashed, Health, State};
use super::tree::{Command, Group};
use crate::client::{Client, Settings, methods};
use crate::config::value::GoDuration;
use keelstone_proto::etcdserverpb::alarm_request::AlarmAction;
use keelstone_proto::etcdserverpb::{
    AlarmRequest, AlarmType, HashKvRequest, MemberListRequest, RangeRequest, StatusRequest,
};
use std::sync::Arc;
use std::time::Instant;
use tokio::task::JoinSet;

/// For `defrag` too.
pub const CLUSTER: &[Flag] = &[Flag::switch("cluster", "ask all members that the cluster has, not --endpoints alone")];

pub static COMMAND: Command = Command {
    line: "endpoint <subcommand>",
    short: "State of endpoints. See `etcdctl endpoint --help`",
    long: "State of endpoints",
    group: Group::Cluster,
    persistent: CLUSTER,
    children: &[&HEALTH, &STATUS, &HASH],
    ..Command::PLAIN
};

static HEALTH: Command = Command {
    line: "health",
    short: "Tells of each endpoint whether it serves",
    run: Some(|call| Box::pin(health(call))),
    ..Command::PLAIN
};

static STATUS: Command = Command {
    line: "status",
    short: "Prints the status of each endpoint",
    long: "Prints the status of each endpoint. In the simple form a line is an endpoint: address, id, version, storage version,
size of the store, what of it is in use, what is not, quota, whether it leads, whether it is a learner, term, log
position, applied position, errors, target and state of a downgrade.
",
    run: Some(|call| Box::pin(status(call))),
    ..Command::PLAIN
};

static HASH: Command = Command {
    line: "hashkv",
    short: "Prints the hash of all keys and their history on each endpoint",
    persistent: &[Flag::int("rev", "up to this revision (0: the latest)")],
    run: Some(|call| Box::pin(hash(call))),
    ..Command::PLAIN
};

/// The endpoints to ask: those given, or with `--cluster` the client URLs of all members.
pub async fn endpoints(call: &Call, settings: &Settings) -> Result<Vec<String>, Failure> {
    if !call.values.switch("cluster") {
        return Ok(settings.given());
    }
    let client = Client::new(settings.clone(), Arc::new(Logger::named("etcd-client"))).await.map_err(Failure::error)?;
    let request = MemberListRequest { linearizable: true };
    let list = client.call(methods::MEMBER_LIST, request, call.deadline()).await.map_err(|error| {
        Failure::error(format_args!("failed to fetch endpoints from etcd cluster member list: {error}"))
    })?;
    Ok(list.members.into_iter().flat_map(|member| member.client_urls).collect())
}

async fn health(call: &mut Call) -> Outcome {
    let (settings, printer) = call.settings().await?;
    let mut asked = JoinSet::new();
    for endpoint in endpoints(call, &settings).await? {
        asked.spawn(health_of(settings.to_one(&endpoint)?, endpoint, call.values.duration("command-timeout")));
    }
    let healths = asked.join_all().await;
    let is_ill = healths.iter().any(|health| !health.error.is_empty());
    printer.show(&healths)?;
    if is_ill { Err(Failure::error("unhealthy cluster")) } else { Ok(()) }
}

/// Reads some key: what answers that has a leader and applies. Then asks for alarms.
async fn health_of(settings: Settings, endpoint: String, timeout: std::time::Duration) -> Health {
    let mut health = Health { endpoint, healthy: false, took: String::new(), error: String::new() };
    let client = match Client::new(settings, Arc::new(Logger::named("client"))).await {
        Ok(client) => client,
        Err(error) => return Health { error: error.to_string(), ..health },
    };
    let begun = Instant::now();
    let deadline = Some(tokio::time::Instant::now() + timeout);
    let request = RangeRequest { key: "health".into(), ..RangeRequest::default() };
    let answer = client.call(methods::RANGE, request, deadline).await;
    health.took = GoDuration::from(begun.elapsed()).to_string();
    match answer {
        // Who may not read the key learns by a consensus read of the permissions that it may not.
        Err(error) if !error.is("etcdserver: permission denied") => {
            return Health { error: error.to_string(), ..health };
        }
        _ => {}
    }
    let request = AlarmRequest { action: AlarmAction::Get.into(), ..AlarmRequest::default() };
    match client.call(methods::ALARM, request, deadline).await {
        Err(_) => health.error = "Unable to fetch the alarm list".to_owned(),
        Ok(response) if response.alarms.is_empty() => health.healthy = true,
        Ok(response) => {
            let name = |alarm: i32| match AlarmType::try_from(alarm) {
                Ok(AlarmType::Nospace) => "NOSPACE ",
                Ok(AlarmType::Corrupt) => "CORRUPT ",
                Ok(AlarmType::None) | Err(_) => "UNKNOWN ",
            };
            let names: String = response.alarms.iter().map(|alarm| name(alarm.alarm)).collect();
            health.error = format!("Active Alarm(s): {names}");
        }
    }
    health
}

async fn status(call: &mut Call) -> Outcome {
    let (settings, printer) = call.settings().await?;
    let (mut states, mut has_failed) = (Vec::new(), false);
    for endpoint in endpoints(call, &settings).await? {
        let client = connection::open(settings.to_one(&endpoint)?).await?;
        match client.call(methods::STATUS, StatusRequest {}, call.deadline()).await {
            Ok(status) => states.push(State(endpoint, status)),
            Err(error) => {
                has_failed = true;
                eprintln!("Failed to get the status of endpoint {endpoint} ({error})");
            }
        }
    }
    printer.show(&states)?;
    if has_failed { Err(Failure::silent(failure::ERROR)) } else { Ok(()) }
}

async fn hash(call: &mut Call) -> Outcome {
    let (settings, printer) = call.settings().await?;
    let revision = call.values.int("rev");
    let (mut hashes, mut failed) = (Vec::new(), None);
    for endpoint in endpoints(call, &settings).await? {
        let client = connection::open(settings.to_one(&endpoint)?).await?;
        match client.call(methods::HASH_KV, HashKvRequest { revision }, call.deadline()).await {
            Ok(hash) => hashes.push(Hashed(endpoint, hash)),
            Err(error) => {
                eprintln!("Failed to get the hash of endpoint {endpoint} ({error})");
                failed = Some(error);
            }
        }
    }
    printer.show(&hashes)?;
    failed.map_or(Ok(()), |error| Err(Failure::error(error)))
}
