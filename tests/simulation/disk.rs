//! A member's disk: [`MemoryDisk`], with each operation in the trace.

use crate::host::HostTime;
use crate::trace::{Trace, digest};
use keelstone::disk::{Disk, DiskLock, File, MemoryDisk};
use std::io;
use std::path::Path;
use std::sync::Arc;

#[derive(Clone, Debug)]
pub struct TracedDisk {
    disk: MemoryDisk,
    /// The member's name.
    name: String,
    time: HostTime,
    trace: Trace,
}

impl TracedDisk {
    pub fn new(disk: MemoryDisk, name: String, time: HostTime, trace: Trace) -> Self {
        Self { disk, name, time, trace }
    }

    fn note(&self, what: &str, path: &Path) {
        self.trace.note(self.time.now(), format_args!("{} {what} {}", self.name, path.display()));
    }

    fn file(&self, file: Arc<dyn File>, path: &Path) -> Arc<dyn File> {
        Arc::new(TracedFile { file, path: path.display().to_string(), disk: self.clone() })
    }
}

impl Disk for TracedDisk {
    fn create(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        self.note("create", path);
        Ok(self.file(self.disk.create(path)?, path))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        self.note("open", path);
        Ok(self.file(self.disk.open(path)?, path))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.note("rename", to);
        self.disk.rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.note("remove", path);
        self.disk.remove_file(path)
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.note("create dir", path);
        self.disk.create_dir_all(path)
    }

    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        self.note("remove dir", path);
        self.disk.remove_dir_all(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.disk.list(dir)
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        self.disk.exists(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.note("sync dir", dir);
        self.disk.sync_dir(dir)
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn DiskLock>> {
        Disk::lock(&self.disk, path)
    }

    fn available_bytes(&self, dir: &Path) -> io::Result<u64> {
        self.disk.available_bytes(dir)
    }
}

#[derive(Debug)]
struct TracedFile {
    file: Arc<dyn File>,
    path: String,
    disk: TracedDisk,
}

impl TracedFile {
    fn note(&self, what: std::fmt::Arguments<'_>) {
        self.disk.trace.note(self.disk.time.now(), format_args!("{} {what} {}", self.disk.name, self.path));
    }
}

impl File for TracedFile {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn read_at(&self, offset: u64, out: &mut [u8]) -> io::Result<()> {
        self.file.read_at(offset, out)
    }

    fn write_at(&self, offset: u64, data: &[u8]) -> io::Result<()> {
        self.note(format_args!("write {offset}+{} {:08x}", data.len(), digest(data)));
        self.file.write_at(offset, data)
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.note(format_args!("set length {len}"));
        self.file.set_len(len)
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        self.note(format_args!("allocate {len}"));
        self.file.allocate(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.note(format_args!("sync"));
        self.file.sync_data()
    }
}
