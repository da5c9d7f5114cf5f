//! A file in memory for tests, which remembers what was synced.

use crate::disk::File;
use std::io;
use std::sync::{Arc, Mutex};

/// A file that can be looked at as a crash would leave it.
#[derive(Debug, Default)]
pub(crate) struct MemoryFile {
    /// What is in the file, and what of it was there at the last sync.
    contents: Mutex<(Vec<u8>, Vec<u8>)>,
}

impl MemoryFile {
    pub(crate) fn new() -> Arc<Self> {
        Arc::default()
    }

    /// A file as the machine finds it after losing its power now.
    pub(crate) fn crashed(&self) -> Arc<Self> {
        let synced = self.contents.lock().unwrap().1.clone();
        Arc::new(Self { contents: Mutex::new((synced.clone(), synced)) })
    }
}

impl File for MemoryFile {
    fn len(&self) -> io::Result<u64> {
        Ok(self.contents.lock().unwrap().0.len() as u64)
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        let contents = self.contents.lock().unwrap();
        let start = offset as usize;
        let found = contents.0.get(start..start + out.len()).ok_or(io::ErrorKind::UnexpectedEof)?;
        out.copy_from_slice(found);
        Ok(())
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        let mut contents = self.contents.lock().unwrap();
        let end = offset as usize + data.len();
        if contents.0.len() < end {
            contents.0.resize(end, 0);
        }
        contents.0[offset as usize..end].copy_from_slice(data);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.contents.lock().unwrap().0.resize(len as usize, 0);
        Ok(())
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        let grown = self.len()?.max(len);
        self.set_len(grown)
    }

    fn sync_data(&self) -> io::Result<()> {
        let mut contents = self.contents.lock().unwrap();
        contents.1 = contents.0.clone();
        Ok(())
    }
}
