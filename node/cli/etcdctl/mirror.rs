//! `etcdctl make-mirror`: copies keys to another cluster, then what happens to them.

use super::connection::{self, split_user};
use super::failure::{Failure, Outcome};
use super::flags::{Flag, Kind};
use super::tree::{Command, Group};
use super::{Call, lock, printer, range};
use crate::client::{Client, methods};
use crate::net::tls::Secure;
use bytes::Bytes;
use keelstone_proto::etcdserverpb::request_op::Request;
use keelstone_proto::etcdserverpb::{
    DeleteRangeRequest, PutRequest, RangeRequest, RequestOp, TxnRequest, WatchCreateRequest,
};
use keelstone_proto::mvccpb::event::EventType;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

pub static COMMAND: Command = Command {
    line: "make-mirror [options] <destination>",
    short: "Copies keys to another cluster, and from then on each change of them",
    group: Group::Utility,
    flags: &[
        Flag::text("prefix", "only keys that begin so"),
        Flag::int("rev", "changes from this revision on, without what was there before"),
        Flag::new("max-txn-ops", Kind::Uint, "128", "changes at most that are written at once"),
        Flag::text("dest-prefix", "how the keys begin there, in place of --prefix"),
        Flag::switch("no-dest-prefix", "keys lose --prefix there"),
        Flag::text("dest-cert", "as --cert, for the destination"),
        Flag::text("dest-key", "as --key, for the destination"),
        Flag::text("dest-cacert", "as --cacert, for the destination"),
        Flag::new("dest-insecure-transport", Kind::Switch, "true", "as --insecure-transport, for the destination"),
        Flag::text("dest-user", "as --user, for the destination"),
        Flag::text("dest-password", "as --password, for the destination"),
    ],
    run: Some(|call| Box::pin(run(call))),
    ..Command::PLAIN
};

/// Pairs that are read at once.
const PAGE: i64 = 1000;
/// Between the counts that are printed.
const TOLD_EVERY: Duration = Duration::from_secs(30);

async fn run(call: &mut Call) -> Outcome {
    let [destination] = call.words() else {
        return Err(Failure::args("make-mirror takes one destination argument"));
    };
    let values = &call.values;
    let text = |flag: &str| values.text(flag).to_owned();
    let asked = Secure {
        cert: text("dest-cert"),
        key: text("dest-key"),
        cacert: text("dest-cacert"),
        server_name: String::new(),
        insecure_transport: values.switch("dest-insecure-transport"),
        // As in etcdctl there is no such flag for the destination.
        insecure_skip_verify: false,
    };
    let mut settings = connection::to_secured(values, std::slice::from_ref(destination), &asked)?;
    settings.user = split_user(values.text("dest-user"), values.text("dest-password"), "Destination Password: ")?
        .filter(|(_, password)| !password.is_empty());
    let to = connection::open(settings).await?;
    let (from, _) = call.client().await?;
    let values = &call.values;
    if values.switch("no-dest-prefix") && !values.text("dest-prefix").is_empty() {
        return Err(Failure::args("`--dest-prefix` and `--no-dest-prefix` cannot be set at the same time, choose one"));
    }
    let prefix = values.text("prefix").to_owned();
    let start = values.int("rev").max(1) - 1;
    // With --rev alone etcdctl takes the prefix off, and so do we.
    let keeps = start == 0 && !values.switch("no-dest-prefix") && values.text("dest-prefix").is_empty();
    let there = if keeps { prefix.clone() } else { values.text("dest-prefix").to_owned() };
    let mirror = Mirror { from, to, prefix, there, count: Arc::default() };
    let count = mirror.count.clone();
    let limit = usize::try_from(values.uint("max-txn-ops")).unwrap_or(usize::MAX);
    tokio::select! {
        ended = mirror.run(start, limit) => ended,
        outcome = tell(count) => outcome,
    }
}

async fn tell(count: Arc<AtomicI64>) -> Outcome {
    loop {
        tokio::time::sleep(TOLD_EVERY).await;
        printer::print(format!("{}\n", count.load(Ordering::Relaxed)).as_bytes())?;
    }
}

struct Mirror {
    from: Client,
    to: Client,
    prefix: String,
    /// What stands there in place of the prefix.
    there: String,
    /// Pairs and changes that were copied.
    count: Arc<AtomicI64>,
}

impl Mirror {
    async fn run(&self, start: i64, limit: usize) -> Outcome {
        let revision = if start == 0 { self.copy_all().await? } else { start };
        let (key, end) = range::with_prefix(&self.prefix);
        let request = WatchCreateRequest {
            key: key.into(),
            range_end: end.into(),
            start_revision: revision + 1,
            ..WatchCreateRequest::default()
        };
        let mut watches = crate::client::one(&self.from, request).await;
        while let Some(news) = watches.next().await {
            if let Some(error) = news.error {
                return Err(Failure::error(error));
            }
            // What was one revision there becomes one here, unless it is too large.
            let (mut ops, mut last): (Vec<RequestOp>, i64) = (Vec::new(), 0);
            for event in news.watched.events {
                let kind = event.r#type();
                let pair = event.kv.unwrap_or_default();
                if !ops.is_empty() && (pair.mod_revision > last || ops.len() >= limit) {
                    self.write(std::mem::take(&mut ops)).await?;
                }
                last = pair.mod_revision;
                let key = self.renamed(&pair.key);
                ops.push(lock::op(match kind {
                    EventType::Put => {
                        Request::RequestPut(PutRequest { key, value: pair.value, ..PutRequest::default() })
                    }
                    EventType::Delete => Request::RequestDeleteRange(DeleteRangeRequest { key, ..Default::default() }),
                }));
                self.count.fetch_add(1, Ordering::Relaxed);
            }
            if !ops.is_empty() {
                self.write(ops).await?;
            }
        }
        Err(Failure::error("the watch of the source has ended"))
    }

    async fn write(&self, success: Vec<RequestOp>) -> Outcome {
        let request = TxnRequest { success, ..TxnRequest::default() };
        self.to.call(methods::TXN, request, None).await.map(drop).map_err(Failure::error)
    }

    /// Copies what there is, all of one revision, and returns it.
    async fn copy_all(&self) -> Result<i64, Failure> {
        let probe = if self.prefix.is_empty() { "foo" } else { &self.prefix };
        let probed = self.from.call(methods::RANGE, lock::of_key(probe), None).await.map_err(Failure::error)?;
        let revision = probed.header.map_or(0, |header| header.revision);
        let (key, end) = range::with_prefix(&self.prefix);
        let mut request =
            RangeRequest { key: key.into(), range_end: end.into(), revision, limit: PAGE, ..RangeRequest::default() };
        loop {
            let page = self.from.call(methods::RANGE, request.clone(), None).await.map_err(Failure::error)?;
            if let Some(last) = page.kvs.last() {
                request.key = [&last.key[..], b"\0"].concat().into();
            }
            for pair in page.kvs {
                let put = PutRequest { key: self.renamed(&pair.key), value: pair.value, ..PutRequest::default() };
                self.to.call(methods::PUT, put, None).await.map_err(Failure::error)?;
                self.count.fetch_add(1, Ordering::Relaxed);
            }
            if !page.more {
                return Ok(revision);
            }
        }
    }

    fn renamed(&self, key: &[u8]) -> Bytes {
        let rest = key.strip_prefix(self.prefix.as_bytes()).unwrap_or(key);
        [self.there.as_bytes(), rest].concat().into()
    }
}
