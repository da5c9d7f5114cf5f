//! Files and states in memory.

use keelstone::backup::bolt::{BoltError, Database};
use keelstone::backup::{self, Save};
use keelstone::disk::{Disk, File, MemoryDisk};
use keelstone::storage::{Durability, Metrics, Storage, Table};
use std::path::Path;
use std::sync::Arc;

/// Rows of each bucket, in the order of the file.
pub type Content = Vec<(String, Vec<(Vec<u8>, Vec<u8>)>)>;

pub fn file_of(bytes: &[u8]) -> Arc<dyn File> {
    let disk = MemoryDisk::new();
    disk.create_dir_all(Path::new("/d")).expect("memory does not fail");
    let file = disk.create(Path::new("/d/file")).expect("memory does not fail");
    file.write_at(0, bytes).expect("memory does not fail");
    file
}

/// The database of a snapshot file, digest or not.
pub fn open(bytes: &[u8]) -> Result<Database, BoltError> {
    Database::open(file_of(bytes), backup::database_bytes(bytes.len() as u64).0)
}

pub fn content(database: &Database) -> Result<Content, BoltError> {
    let mut content = Content::new();
    for bucket in database.buckets()? {
        let rows = database.rows(&bucket)?.map(|row| row.map(|(key, value)| (key.to_vec(), value.to_vec())));
        content.push((String::from_utf8_lossy(&bucket.name).into_owned(), rows.collect::<Result<_, _>>()?));
    }
    Ok(content)
}

/// A state with these rows beside those that every state file has.
pub fn storage_of(content: &Content) -> Storage {
    let metrics = Metrics::register(&prometheus::Registry::new()).expect("a fresh registry");
    let storage = Storage::create(file_of(&[]), 1 << 20, metrics).expect("memory does not fail");
    let mut batch = storage.begin().expect("memory does not fail");
    for (bucket, rows) in content {
        let table = Table::named(bucket).expect("a bucket of etcd");
        rows.iter().for_each(|(key, value)| batch.put(table, key, value));
    }
    batch.commit(Durability::Durable).expect("memory does not fail");
    storage
}

/// The snapshot file of a state.
pub fn saved(storage: &Storage) -> Vec<u8> {
    let mut save = Save::plan(&storage.version().expect("a version")).expect("rows of etcd");
    let total = save.total_bytes();
    let mut bytes = Vec::new();
    while !save.is_finished() {
        for blob in save.next_blobs().expect("rows of etcd") {
            bytes.extend_from_slice(&blob.bytes);
            assert_eq!(blob.remaining_bytes, total.saturating_sub(bytes.len() as u64));
        }
    }
    assert_eq!(bytes.len() as u64, total + backup::DIGEST_BYTES as u64);
    bytes
}
