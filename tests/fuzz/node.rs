//! A state machine in memory, and all that can be seen of it.

use crate::file::PlainFile;
use keelstone::apply::{Applier, Fatal, Parts};
use keelstone::disk::File;
use keelstone::lease::Lessor;
use keelstone::mvcc::RangeQuery;
use keelstone::storage::Storage;
use keelstone::types::{KeyInterval, MemberId};
use prometheus::Registry;
use std::sync::Arc;

pub const LOCAL: MemberId = MemberId(1);
const CACHE_BYTES: usize = 1 << 20;

/// An empty file that nobody else has.
pub fn file() -> Arc<dyn File> {
    Arc::new(PlainFile::default())
}

pub fn storage_metrics() -> keelstone::storage::Metrics {
    keelstone::storage::Metrics::register(&Registry::new()).expect("fresh registry")
}

pub fn create(file: Arc<dyn File>) -> Storage {
    Storage::create(file, CACHE_BYTES, storage_metrics()).expect("memory does not fail")
}

pub fn open(file: Arc<dyn File>) -> Result<Storage, keelstone::storage::StorageError> {
    Storage::open(file, CACHE_BYTES, storage_metrics())
}

pub fn applier(storage: Storage) -> Result<Applier, Fatal> {
    let registry = Registry::new();
    let lease_metrics = keelstone::lease::Metrics::register(&registry).expect("fresh registry");
    Applier::open(Parts {
        storage,
        lessor: Arc::new(Lessor::new(2, lease_metrics)),
        access: keelstone::auth::Access::unserved(&registry).expect("fresh registry"),
        local: LOCAL,
        mvcc_metrics: keelstone::mvcc::Metrics::register(&registry).expect("fresh registry"),
        cluster_metrics: keelstone::cluster::Metrics::register(&registry).expect("fresh registry"),
        alarm_metrics: keelstone::alarm::Metrics::register(&registry).expect("fresh registry"),
    })
}

/// Everything that readers see, and what members compare. Two members that applied the same entries have the same.
pub fn fingerprint(applier: &Applier) -> Result<String, String> {
    let published = applier.published();
    let view = published.views.load();
    let everything = KeyInterval::Range { start: Default::default(), end: None };
    let rows = view.range(&RangeQuery::latest(everything)).map_err(|error| format!("range: {error}"))?;
    let hash_kv = view.hash_kv(0).map_err(|error| format!("hash of the keys: {error}"))?;
    let hash = view.hash().map_err(|error| format!("hash: {error}"))?;
    let leases = published.lessor.ids().into_iter().map(|id| (id, published.lessor.keys(id))).collect::<Vec<_>>();
    Ok(format!(
        "applied {:?} revision {} compacted {} keys {:?} {hash_kv:?} hash {hash:08x} leases {leases:?} cluster {:?} \
         alarms {:?}",
        applier.applied(),
        view.revision(),
        view.compacted(),
        rows.kvs,
        published.cluster.load(),
        published.alarms.load(),
    ))
}

/// Removes what compactions have marked.
pub fn finish_compaction(applier: &mut Applier) -> Result<(), Fatal> {
    while applier.is_compacting() {
        applier.compaction_slice(1_000)?;
    }
    Ok(())
}
