//! The hub with a real store, its own task that catches up, and pairs before.

use super::model::{Model, STREAMS, Step, key, step};
use crate::mvcc::{self, RevisionEvents, Store};
use crate::storage::memory::MemoryFile;
use crate::storage::{self, Durability, Storage};
use crate::threads::{AtOnce, Threads};
use crate::types::{KeyInterval, LeaseId};
use crate::watch::{Hub, Metrics, Settings, WatchId, WatchSpec, WatchStream};
use bytes::Bytes;
use futures_util::FutureExt;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::task::{LocalSet, yield_now};
use tokio::time::Instant;

struct Node {
    store: Store,
    hub: Arc<Hub>,
    streams: Vec<WatchStream>,
    model: Model,
}

impl Node {
    fn new(settings: Settings) -> Self {
        let registry = prometheus::Registry::new();
        let metrics = storage::Metrics::register(&registry).unwrap();
        let storage = Storage::create(MemoryFile::new(), 1 << 20, metrics).unwrap();
        let store = Store::open(storage, mvcc::Metrics::register(&registry).unwrap()).unwrap().store;
        let hub = Hub::new(store.views(), settings, Metrics::register(&registry).unwrap());
        let streams = (0..STREAMS).map(|_| hub.open()).collect();
        Self { store, hub, streams, model: Model::new() }
    }

    /// One revision; deletes of what is not there change nothing.
    fn apply(&mut self, changes: &[(bool, u8)]) -> Option<Arc<RevisionEvents>> {
        let mut batch = self.store.begin().unwrap();
        let mut txn = batch.txn();
        for (number, put) in changes.iter().map(|&(put, number)| (number, put)).collect::<BTreeMap<_, _>>() {
            let key = Bytes::from(key(number));
            if put {
                txn.put(key, Bytes::from_static(b"value"), LeaseId::NONE);
            } else {
                txn.delete(&KeyInterval::One(key));
            }
        }
        let changed = txn.finish();
        batch.commit(Durability::Volatile).unwrap();
        if let Some(revision) = &changed {
            self.model.applied(revision);
        }
        changed
    }

    fn compact(&mut self, revision: i64) {
        let mut batch = self.store.begin().unwrap();
        if batch.compact(revision).is_ok() {
            self.model.compacted = revision;
        }
        batch.compaction_slice(2).unwrap();
        batch.commit(Durability::Volatile).unwrap();
    }

    fn consume(&mut self, stream: usize) -> bool {
        let Some(next) = self.streams[stream].next().now_or_never() else { return false };
        self.model.check(stream, next.expect("the hub is open"));
        true
    }

    async fn run(&mut self, step: Step) {
        match step {
            Step::Change(changes) => {
                let changed: Vec<_> = self.apply(&changes).into_iter().collect();
                self.hub.publish(&changed);
            }
            Step::Restore(count) => {
                (0..count).for_each(|key| drop(self.apply(&[(true, key)])));
                self.hub.restored();
            }
            Step::Create(create) => {
                let spec = WatchSpec { prev_kv: create.stream != 0, ..create.spec(self.model.latest) };
                self.model.asked(create.stream, spec.clone());
                let created = self.streams[create.stream].create(spec.clone());
                assert_eq!(created.is_err(), spec.interval.is_empty());
            }
            Step::Cancel { stream, id } => drop(self.streams[stream].cancel(WatchId(id))),
            Step::Consume { stream, count } => {
                for _ in 0..count {
                    self.consume(stream);
                }
            }
            Step::CatchUp { rows } => {
                for _ in 0..rows {
                    yield_now().await;
                }
            }
            Step::Compact(back) => self.compact(self.model.latest - back),
            Step::Progress { stream } => self.streams[stream].request_progress(),
        }
    }

    async fn finish(&mut self) {
        let metrics = self.hub.metrics().clone();
        let deadline = Instant::now() + Duration::from_secs(20);
        loop {
            // Each stream is asked, whether or not one before it moved.
            let moved = (0..STREAMS).filter(|&stream| self.consume(stream)).count() > 0;
            if !moved && metrics.slow_watchers.get() == 0 {
                break;
            }
            assert!(Instant::now() < deadline, "watchers do not catch up");
            // Lets the other task run, and the pause between rounds pass.
            tokio::time::sleep(Duration::from_micros(100)).await;
        }
        self.model.check_complete();
        assert_eq!(metrics.pending_events.get(), 0);
        self.streams.clear();
        assert_eq!((metrics.watchers.get(), metrics.streams.get()), (0, 0));
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    #[test]
    fn watchers_of_a_real_store_see_its_history_and_the_pairs_before(
        steps in prop::collection::vec(step(), 1..60),
        queue_deliveries in 0usize..4,
        queue_bytes in prop_oneof![Just(150usize), Just(400), Just(1 << 20)],
        slice_rows in 1usize..8,
        threads in prop_oneof![3 => Just(Threads::OnRuntime(Arc::new(AtOnce))), 1 => Just(Threads::Own)],
    ) {
        let gather = Duration::from_millis(1);
        let budget_bytes = 1 << 20;
        let settings = Settings { queue_deliveries, queue_bytes, budget_bytes, slice_rows, gather, threads };
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(LocalSet::new().run_until(async {
            let mut node = Node::new(settings);
            let hub = Arc::clone(&node.hub);
            let catching_up = tokio::task::spawn_local(async move { hub.catch_up().await });
            for step in steps {
                node.run(step).await;
            }
            node.finish().await;
            node.hub.close();
            catching_up.await.unwrap().unwrap();
        }));
    }
}

#[test]
fn a_closed_hub_ends_its_streams() {
    let node = Node::new(Settings::default());
    let mut next = Box::pin(node.streams[0].next());
    assert!(next.as_mut().now_or_never().is_none());
    node.hub.close();
    assert!(next.now_or_never().expect("ready").is_none());
    assert!(node.hub.open().next().now_or_never().expect("ready").is_none());
}
