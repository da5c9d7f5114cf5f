//! redb's file, on the node's own notion of a file, so that tests can fail and tear it (D14). redb's
//! locks are left out: the node holds one on the data directory.

use super::Usage;
use crate::disk::File;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

#[derive(Debug)]
pub(super) struct Backend {
    file: Arc<dyn File>,
    usage: Arc<Usage>,
}

impl Backend {
    pub(super) fn new(file: Arc<dyn File>, usage: Arc<Usage>) -> Self {
        Self { file, usage }
    }
}

impl redb::StorageBackend for Backend {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read_at(offset, out)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.usage.written_end.fetch_min(len, Ordering::Relaxed);
        self.file.set_len(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.file.sync_data()
    }

    fn write(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.usage.written_end.fetch_max(offset + data.len() as u64, Ordering::Relaxed);
        self.file.write_at(offset, data)
    }
}
