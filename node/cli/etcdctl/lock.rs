//! `etcdctl lock`: etcd's recipe over keys, leases and watches (`client/v3/concurrency/mutex.go`, `key.go`), so that
//! all clients queue for the same keys.

use super::failure::{self, Failure, Outcome};
use super::flags::{Flag, Kind};
use super::session::Session;
use super::tree::{Command, Group};
use super::{Call, range};
use crate::client::{CallError, Client, methods};
use keelstone_proto::etcdserverpb::compare::{CompareResult, CompareTarget, TargetUnion};
use keelstone_proto::etcdserverpb::range_request::{SortOrder, SortTarget};
use keelstone_proto::etcdserverpb::request_op::Request;
use keelstone_proto::etcdserverpb::response_op::Response;
use keelstone_proto::etcdserverpb::*;
use keelstone_proto::mvccpb::event::EventType;
use std::os::unix::process::ExitStatusExt;
use std::process::{Command as Process, ExitStatus};
use tokio::signal::unix::{Signal, SignalKind, signal};

pub static COMMAND: Command = Command {
    line: "lock <lockname> [exec-command arg1 arg2 ...]",
    short: "Holds a lock until it is interrupted, or as long as a command runs",
    group: Group::Concurrency,
    flags: &[Flag::new("ttl", Kind::Int, "10", "seconds until the lock is free after this program was lost")],
    run: Some(|call| Box::pin(run(call))),
    ..Command::PLAIN
};

/// A session without one.
const DEFAULT_TTL: i64 = 60;

async fn run(call: &mut Call) -> Outcome {
    let [name, command @ ..] = call.words() else {
        return Err(Failure::args("lock takes a lock name argument and an optional command to execute"));
    };
    let (prefix, command) = (format!("{name}/"), command.to_vec());
    let ttl = Some(call.values.int("ttl")).filter(|&ttl| ttl > 0).unwrap_or(DEFAULT_TTL);
    let (client, printer) = call.client().await?;
    let mut session = Session::start(&client, ttl).await.map_err(Failure::error)?;
    let mut interrupts = Interrupts::new()?;
    let place = Place::take(&client, &prefix, session.lease, b"").await.map_err(Failure::error)?;
    let waited = tokio::select! {
        waited = place.wait_for_turn(&client, &prefix) => waited.map_err(Failure::error),
        () = interrupts.next() => Err(Failure::error("context canceled")),
    };
    let revision = match waited {
        Ok(revision) => revision,
        Err(failure) => {
            place.leave(&client).await.map_err(Failure::error)?;
            return Err(failure);
        }
    };
    if let Some((program, args)) = command.split_first() {
        let mut process = Process::new(program);
        process.args(args).env("ETCD_LOCK_KEY", &place.key).env("ETCD_LOCK_REV", revision.to_string());
        process.stdin(std::process::Stdio::null());
        let ended = run_to_its_end(process).await;
        let left = place.leave(&client).await.map_err(Failure::error);
        ended.map_err(|(text, code)| Failure::new(code, text))?;
        return left;
    }
    let held = client.call(methods::RANGE, of_key(&place.key), None).await.map_err(Failure::error)?;
    if held.kvs.is_empty() {
        return Err(Failure::error("lock lost on init"));
    }
    printer.show(&held)?;
    tokio::select! {
        () = interrupts.next() => place.leave(&client).await.map_err(Failure::error),
        lost = session.lost() => lost.and(Err(Failure::error("session expired"))),
    }
}

/// SIGINT and SIGTERM, which end a wait in order.
#[derive(Debug)]
pub struct Interrupts(Signal, Signal);

impl Interrupts {
    pub fn new() -> Result<Self, Failure> {
        Ok(Self(signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?))
    }

    pub async fn next(&mut self) {
        tokio::select! {
            _ = self.0.recv() => {}
            _ = self.1.recv() => {}
        }
    }
}

/// Runs a process without holding up what renews leases and connections.
///
/// # Errors
/// In Go's words, with the exit code of the process.
pub async fn run_to_its_end(mut process: Process) -> Result<(), (String, u8)> {
    let program = process.get_program().to_string_lossy().into_owned();
    let ended = tokio::task::spawn_blocking(move || process.status()).await;
    match ended.map_err(std::io::Error::other).and_then(|status| status) {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(told(status)),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            let why =
                if program.contains('/') { "no such file or directory" } else { "executable file not found in $PATH" };
            let text = if program.contains('/') {
                format!("fork/exec {program}: {why}")
            } else {
                format!("exec: {program:?}: {why}")
            };
            Err((text, failure::ERROR))
        }
        Err(error) => Err((error.to_string(), failure::ERROR)),
    }
}

fn told(status: ExitStatus) -> (String, u8) {
    match (status.code(), status.signal()) {
        (Some(code), _) => (format!("exit status {code}"), u8::try_from(code).unwrap_or(u8::MAX)),
        (None, Some(9)) => ("signal: killed".to_owned(), u8::MAX),
        (None, Some(15)) => ("signal: terminated".to_owned(), u8::MAX),
        (None, signal) => (format!("signal: {}", signal.unwrap_or(0)), u8::MAX),
    }
}

pub fn of_key(key: &str) -> RangeRequest {
    RangeRequest { key: crate::client::text(key), ..RangeRequest::default() }
}

/// The pair that was created first of all that begin so, or last.
pub fn by_creation(prefix: &str, order: SortOrder) -> RangeRequest {
    let (key, end) = range::with_prefix(prefix);
    let mut request = RangeRequest { key: key.into(), range_end: end.into(), limit: 1, ..RangeRequest::default() };
    request.set_sort_target(SortTarget::Create);
    request.set_sort_order(order);
    request
}

pub fn created_at(key: &str, revision: i64) -> Compare {
    let union = Some(TargetUnion::CreateRevision(revision));
    let mut compare = Compare { key: crate::client::text(key), target_union: union, ..Compare::default() };
    compare.set_target(CompareTarget::Create);
    compare.set_result(CompareResult::Equal);
    compare
}

pub fn op(request: Request) -> RequestOp {
    RequestOp { request: Some(request) }
}

/// A place in the queue for a prefix: a key of our own, which goes when our lease does.
#[derive(Debug)]
pub struct Place {
    pub key: String,
    /// When it was created, which is its number in the queue.
    pub revision: i64,
    /// The value that it was found with, if it was there before.
    pub found: Option<Vec<u8>>,
}

impl Place {
    /// Creates the key, or finds it if this lease has it already.
    pub async fn take(client: &Client, prefix: &str, lease: i64, value: &[u8]) -> Result<Self, CallError> {
        let key = format!("{prefix}{lease:x}");
        let value = bytes::Bytes::copy_from_slice(value);
        let put = PutRequest { key: crate::client::text(&key), value, lease, ..PutRequest::default() };
        let request = TxnRequest {
            compare: vec![created_at(&key, 0)],
            success: vec![op(Request::RequestPut(put))],
            failure: vec![op(Request::RequestRange(of_key(&key)))],
        };
        let response = client.call(methods::TXN, request, None).await?;
        let found = response.responses.into_iter().find_map(|op| match op.response {
            Some(Response::ResponseRange(range)) => range.kvs.into_iter().next(),
            _ => None,
        });
        let created = response.header.map_or(0, |header| header.revision);
        Ok(match found {
            Some(pair) => Self { key, revision: pair.create_revision, found: Some(pair.value.to_vec()) },
            None => Self { key, revision: created, found: None },
        })
    }

    /// Returns once nobody is before us, with the revision of the store then.
    pub async fn wait_for_turn(&self, client: &Client, prefix: &str) -> Result<i64, String> {
        loop {
            let mut request = by_creation(prefix, SortOrder::Descend);
            request.max_create_revision = self.revision - 1;
            let before = client.call(methods::RANGE, request, None).await.map_err(|error| error.to_string())?;
            let revision = before.header.map_or(0, |header| header.revision);
            let Some(pair) = before.kvs.into_iter().next() else {
                let own =
                    client.call(methods::RANGE, of_key(&self.key), None).await.map_err(|error| error.to_string())?;
                return if own.kvs.is_empty() { Err("mutex: session is expired".to_owned()) } else { Ok(revision) };
            };
            until_deleted(client, &pair.key, revision).await?;
        }
    }

    pub async fn leave(&self, client: &Client) -> Result<(), CallError> {
        let request = DeleteRangeRequest { key: crate::client::text(&self.key), ..DeleteRangeRequest::default() };
        client.call(methods::DELETE, request, None).await.map(drop)
    }
}

async fn until_deleted(client: &Client, key: &[u8], revision: i64) -> Result<(), String> {
    let request = WatchCreateRequest {
        key: bytes::Bytes::copy_from_slice(key),
        start_revision: revision,
        ..WatchCreateRequest::default()
    };
    let mut watches = crate::client::one(client, request).await;
    while let Some(news) = watches.next().await {
        if news.watched.events.iter().any(|event| event.r#type() == EventType::Delete) {
            return Ok(());
        }
        if let Some(error) = news.error {
            return Err(error);
        }
    }
    Err("lost watcher waiting for delete".to_owned())
}
