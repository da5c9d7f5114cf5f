//! What a client of one member is told, case by case: replies, codes and texts exactly as etcd's. Every case
//! passes on real etcd 3.7 (`KEELSTONE_SERVER=/path/to/etcd`); those that need 3.7 or 3.6 pass by on older ones.

mod auth;
mod cluster;
mod compact;
mod delete;
mod downgrade;
mod gateway;
mod health;
mod lease;
mod lock;
mod maintenance;
mod matrix;
mod metrics;
mod overload;
mod pings;
mod profile;
mod put;
mod range;
mod range_stream;
mod slow;
mod space;
mod txn;
mod txn_refused;
mod watch;
mod watch_history;
mod watch_slow;

use bytes::Bytes;
use keelstone_harness::proto::etcdserverpb::{RangeRequest, ResponseHeader};
use keelstone_harness::proto::mvccpb::KeyValue;
use keelstone_harness::{Client, Cluster, ClusterSpec, KeepFoldersOfFailures, Suite, prefix_end};
use std::fmt::Debug;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};
use tokio::sync::OnceCell;
use tonic::{Code, Status};

fn suite() -> &'static Suite {
    static SUITE: OnceLock<Suite> = OnceLock::new();
    SUITE.get_or_init(|| Suite::new(env!("CARGO_BIN_EXE_keelstone"), env!("CARGO_TARGET_TMPDIR"), "api"))
}

/// True if the server behaves as this etcd version or a later one; says so when a case passes by.
fn since(major: u32, minor: u32) -> bool {
    let there = suite().server.is_at_least(major, minor);
    if !there {
        println!("passed by: not before {major}.{minor}");
    }
    there
}

/// A case's server, and a place of its own among the keys.
struct Case {
    client: Client,
    port: u16,
    prefix: String,
}

impl Case {
    fn key(&self, name: &str) -> Bytes {
        format!("{}{name}", self.prefix).into()
    }

    /// A request for all keys of this case.
    fn all(&self) -> RangeRequest {
        let key = Bytes::from(self.prefix.clone());
        RangeRequest { range_end: prefix_end(&key), key, ..Default::default() }
    }

    /// Puts a key of this case, and returns the revision of that.
    async fn put(&self, name: &str, value: &str) -> i64 {
        self.client.put(self.key(name), value.to_owned()).await.expect("put")
    }

    /// The record of a key, read at the newest revision.
    async fn get(&self, name: &str) -> Option<KeyValue> {
        self.client.get(self.key(name)).await.expect("get").kvs.pop()
    }

    /// Keys of this case in the order of an answer, without the prefix.
    fn names(&self, kvs: &[KeyValue]) -> Vec<String> {
        let name = |kv: &KeyValue| String::from_utf8_lossy(&kv.key[self.prefix.len()..]).into_owned();
        kvs.iter().map(name).collect()
    }
}

/// Runs a case on the one server that most cases share; it must not depend on the store's revision.
async fn check(case: impl AsyncFnOnce(&Case)) {
    static SHARED: OnceCell<Cluster> = OnceCell::const_new();
    static CASES: AtomicUsize = AtomicUsize::new(0);
    let shared = SHARED.get_or_init(|| async { Cluster::start(suite(), &ClusterSpec::of(1)).await }).await;
    let _keep = KeepFoldersOfFailures;
    let prefix = format!("case-{}/", CASES.fetch_add(1, Ordering::Relaxed));
    case(&Case { client: shared[0].client(), port: shared[0].client_port, prefix }).await;
    shared.assert_no_unexpected_errors();
}

/// Runs a case on a server of its own, fresh at revision 1.
async fn check_alone(flags: &[&str], case: impl AsyncFnOnce(&Case)) {
    let cluster = Cluster::start(suite(), &ClusterSpec::of(1).with_flags(flags)).await;
    case(&Case { client: cluster[0].client(), port: cluster[0].client_port, prefix: String::new() }).await;
    cluster.assert_no_unexpected_errors();
}

/// The answer must be this code with this text.
#[track_caller]
fn refused<T: Debug>(answer: Result<T, Status>, code: Code, text: &str) {
    match answer {
        Ok(reply) => panic!("wanted {code:?} {text:?}, was answered {reply:?}"),
        Err(status) => assert_eq!((status.code(), status.message()), (code, text)),
    }
}

fn revision(header: &Option<ResponseHeader>) -> i64 {
    header.as_ref().expect("a header").revision
}
