//! `etcdctl elect`: etcd's recipe (`client/v3/concurrency/election.go`), on the queue that locks have too.

use super::failure::{Failure, Outcome};
use super::flags::Flag;
use super::lock::{Interrupts, Place, by_creation, created_at, of_key, op};
use super::printer::Printer;
use super::session::Session;
use super::tree::{Command, Group};
use super::{Call, range};
use crate::client::{CallError, Client, methods};
use keelstone_proto::etcdserverpb::range_request::SortOrder;
use keelstone_proto::etcdserverpb::request_op::Request;
use keelstone_proto::etcdserverpb::{
    DeleteRangeRequest, PutRequest, RangeResponse, ResponseHeader, TxnRequest, WatchCreateRequest,
};
use keelstone_proto::mvccpb::KeyValue;
use keelstone_proto::mvccpb::event::EventType;

pub static COMMAND: Command = Command {
    line: "elect <election-name> [proposal]",
    short: "Stands in an election, or tells who is elected",
    group: Group::Concurrency,
    flags: &[Flag::switch("listen", "only tell who is elected").or_short('l')],
    run: Some(|call| Box::pin(run(call))),
    ..Command::PLAIN
};

/// Seconds until another is elected after this program was lost.
const TTL: i64 = 60;

async fn run(call: &mut Call) -> Outcome {
    let listens = call.values.switch("listen");
    match call.words() {
        [_] if !listens => Err(Failure::args("no proposal argument but -l not set")),
        [_, _] if listens => Err(Failure::args("proposal given but -l is set")),
        [name] => {
            let prefix = format!("{name}/");
            let (client, printer) = call.client().await?;
            observe(&client, printer, &prefix).await
        }
        [name, proposal] => {
            let (prefix, proposal) = (format!("{name}/"), proposal.clone());
            let (client, printer) = call.client().await?;
            campaign(&client, printer, &prefix, proposal.as_bytes()).await
        }
        _ => Err(Failure::args("elect takes one election name argument and an optional proposal argument")),
    }
}

async fn observe(client: &Client, printer: Printer, prefix: &str) -> Outcome {
    let mut interrupts = Interrupts::new()?;
    tokio::select! {
        outcome = follow(client, printer, prefix) => outcome,
        () = interrupts.next() => Ok(()),
    }
}

/// Tells who leads, whatever he proclaims, and who follows him.
async fn follow(client: &Client, printer: Printer, prefix: &str) -> Outcome {
    let lost = || Failure::error("elect: observer lost");
    loop {
        let first = client.call(methods::RANGE, by_creation(prefix, SortOrder::Ascend), None).await;
        let first = first.map_err(|_| lost())?;
        let (header, leader) = match first.kvs.into_iter().next() {
            Some(pair) => (first.header.unwrap_or_default(), pair),
            None => {
                first_put(client, prefix, first.header.map_or(0, |header| header.revision)).await.ok_or_else(lost)?
            }
        };
        let key = leader.key.clone();
        show(printer, header, leader)?;
        let start_revision = header.revision + 1;
        let request = WatchCreateRequest { key, start_revision, ..WatchCreateRequest::default() };
        let mut watches = crate::client::one(client, request).await;
        'reign: loop {
            let news = watches.next().await.ok_or_else(lost)?;
            for event in news.watched.events {
                if event.r#type() == EventType::Delete {
                    break 'reign;
                }
                show(printer, news.watched.header.unwrap_or_default(), event.kv.unwrap_or_default())?;
            }
        }
    }
}

/// The first key that is put below the prefix from a revision on.
async fn first_put(client: &Client, prefix: &str, revision: i64) -> Option<(ResponseHeader, KeyValue)> {
    let (key, end) = range::with_prefix(prefix);
    let request = WatchCreateRequest {
        key: key.into(),
        range_end: end.into(),
        start_revision: revision,
        ..WatchCreateRequest::default()
    };
    let mut watches = crate::client::one(client, request).await;
    while let Some(news) = watches.next().await.filter(|news| news.error.is_none()) {
        let put = news.watched.events.into_iter().find(|event| event.r#type() == EventType::Put);
        if let Some(pair) = put.and_then(|event| event.kv) {
            let header = news.watched.header.unwrap_or_default();
            return Some((ResponseHeader { revision: pair.mod_revision, ..header }, pair));
        }
    }
    None
}

fn show(printer: Printer, header: ResponseHeader, pair: KeyValue) -> Outcome {
    printer.show(&RangeResponse { header: Some(header), kvs: vec![pair], ..RangeResponse::default() })
}

async fn campaign(client: &Client, printer: Printer, prefix: &str, proposal: &[u8]) -> Outcome {
    let mut session = Session::start(client, TTL).await.map_err(Failure::error)?;
    let mut interrupts = Interrupts::new()?;
    let place = Place::take(client, prefix, session.lease, proposal).await.map_err(Failure::error)?;
    if place.found.as_ref().is_some_and(|found| found != proposal) {
        let put = PutRequest {
            key: crate::client::text(&place.key),
            value: bytes::Bytes::copy_from_slice(proposal),
            lease: session.lease,
            ..PutRequest::default()
        };
        if_ours(client, &place, Request::RequestPut(put)).await.map_err(Failure::error)?;
    }
    let elected = tokio::select! {
        waited = place.wait_for_turn(client, prefix) => waited.map(drop).map_err(Failure::error),
        () = interrupts.next() => Err(Failure::error("context canceled")),
    };
    if let Err(failure) = elected {
        resign(client, &place).await.map_err(Failure::error)?;
        return Err(failure);
    }
    printer.show(&client.call(methods::RANGE, of_key(&place.key), None).await.map_err(Failure::error)?)?;
    tokio::select! {
        () = interrupts.next() => resign(client, &place).await.map_err(Failure::error),
        lost = session.lost() => lost.and(Err(Failure::error("elect: session expired"))),
    }
}

async fn resign(client: &Client, place: &Place) -> Result<(), CallError> {
    let delete = DeleteRangeRequest { key: crate::client::text(&place.key), ..DeleteRangeRequest::default() };
    if_ours(client, place, Request::RequestDeleteRange(delete)).await
}

/// Does something as long as the place is the one that we took.
async fn if_ours(client: &Client, place: &Place, request: Request) -> Result<(), CallError> {
    let compare = vec![created_at(&place.key, place.revision)];
    let request = TxnRequest { compare, success: vec![op(request)], failure: Vec::new() };
    client.call(methods::TXN, request, None).await.map(drop)
}
