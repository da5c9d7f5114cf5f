//! A disk in memory that forgets as a real one does: what was not synced may be there after a crash, or not, or in
//! part. For simulations and crash tests.
//!
//! A crash takes, of each file, any subset of the unsynced writes, each cut at sectors of 512 bytes, and any
//! subset of the unsynced changes of length; of each directory, any subset of the unsynced changes of names, a
//! rename being one change. Kept changes keep their order. Writes whose sync failed stay like this for ever, as on
//! Linux, whose page cache takes them for clean: only what is written again can be synced.

mod file;
mod image;

use super::{Disk, DiskLock, File};
use file::MemoryFile;
use image::{Change, DirNode, FileNode, Image, Node};
use std::collections::HashSet;
use std::fmt;
use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// A file system in memory. Clones share it. Paths begin at one root, absolute or not.
#[derive(Clone)]
pub struct MemoryDisk {
    inner: Arc<Mutex<Inner>>,
}

struct Inner {
    image: Image,
    operations: Calls,
    accesses: Calls,
    free_bytes: u64,
    locked: HashSet<PathBuf>,
    observer: Option<Observer>,
}

/// Calls of one kind so far, and those that are to fail.
#[derive(Default)]
struct Calls {
    count: u64,
    failures: Vec<Failure>,
}

struct Failure {
    call: u64,
    kind: io::ErrorKind,
    lasting: bool,
}

type Observer = Arc<dyn Fn(&MemoryDisk) + Send + Sync>;

#[derive(Debug)]
struct MemoryLock {
    disk: MemoryDisk,
    path: PathBuf,
}

impl Default for MemoryDisk {
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for MemoryDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MemoryDisk").field("operations", &self.operations()).finish_non_exhaustive()
    }
}

impl MemoryDisk {
    /// Empty, and as large as one likes.
    pub fn new() -> Self {
        Self::of(Image::new())
    }

    fn of(image: Image) -> Self {
        Self { inner: Arc::new(Mutex::new(Inner { image, ..Inner::new() })) }
    }

    /// What a power loss now would leave, chosen by `seed`: a disk of its own. This one, with the files that are open
    /// on it, stays as it is.
    pub fn crash(&self, seed: u64) -> MemoryDisk {
        Self::of(self.lock().image.after_crash(seed))
    }

    /// What a process that ends now leaves: all that was written, synced or not.
    pub fn kill(&self) -> MemoryDisk {
        Self::of(self.lock().image.clone())
    }

    /// This disk for the next process, with all counts, failures to come and the observer. The process before may not
    /// know yet that it has ended: what it does from now on happens to a copy that nobody sees.
    pub fn next_process(&self) -> MemoryDisk {
        let mut inner = self.lock();
        let image = inner.image.clone();
        let left_behind = Inner { image, ..Inner::new() };
        let next = std::mem::replace(&mut *inner, left_behind);
        Self { inner: Arc::new(Mutex::new(Inner { locked: HashSet::new(), ..next })) }
    }

    /// How many operations have changed or synced something; each file system call of that kind counts as one.
    pub fn operations(&self) -> u64 {
        self.lock().operations.count
    }

    /// How many calls have only looked: opened, read, measured or listed.
    pub fn accesses(&self) -> u64 {
        self.lock().accesses.count
    }

    /// Lets the operation fail that is number `operation`, from 0, and that one alone. A failing write may have
    /// written its first sectors.
    pub fn fail_at(&self, operation: u64, kind: io::ErrorKind) {
        self.lock().operations.fail(Failure { call: operation, kind, lasting: false });
    }

    /// Lets every operation fail from number `operation` on.
    pub fn fail_from(&self, operation: u64, kind: io::ErrorKind) {
        self.lock().operations.fail(Failure { call: operation, kind, lasting: true });
    }

    /// As [`Self::fail_at`] for the calls that [`Self::accesses`] counts.
    pub fn fail_access_at(&self, access: u64, kind: io::ErrorKind) {
        self.lock().accesses.fail(Failure { call: access, kind, lasting: false });
    }

    /// Calls `observer` after each operation, failed or not, and before its caller goes on: the place to look at what
    /// a crash then would leave. It must not change this disk.
    pub fn observe(&self, observer: impl Fn(&MemoryDisk) + Send + Sync + 'static) {
        self.lock().observer = Some(Arc::new(observer));
    }

    /// Ends [`Self::observe`].
    pub fn forget_observer(&self) {
        self.lock().observer = None;
    }

    /// Files may grow by this much in total from now on; then `StorageFull`. Nothing is given back.
    pub fn set_free_bytes(&self, bytes: u64) {
        self.lock().free_bytes = bytes;
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Something that changes or syncs. `injected` is the error that the test asked for; `operate` returns it, after
    /// what a failing call may have done.
    fn operation_with<R>(&self, operate: impl FnOnce(&mut Inner, io::Result<()>) -> io::Result<R>) -> io::Result<R> {
        let (result, observer) = {
            let mut inner = self.lock();
            let injected = inner.operations.call();
            (operate(&mut inner, injected), inner.observer.clone())
        };
        if let Some(observer) = observer {
            observer(self);
        }
        result
    }

    fn operation<R>(&self, operate: impl FnOnce(&mut Inner) -> io::Result<R>) -> io::Result<R> {
        self.operation_with(|inner, injected| {
            injected?;
            operate(inner)
        })
    }

    /// Something that only looks.
    fn access<R>(&self, look: impl FnOnce(&mut Inner) -> io::Result<R>) -> io::Result<R> {
        let mut inner = self.lock();
        inner.accesses.call()?;
        look(&mut inner)
    }
}

impl Calls {
    fn fail(&mut self, failure: Failure) {
        self.failures.push(failure);
    }

    /// Counts one; an error if it is to fail.
    fn call(&mut self) -> io::Result<()> {
        let number = self.count;
        self.count += 1;
        let hit = |failure: &&Failure| failure.call == number || (failure.lasting && failure.call < number);
        self.failures.iter().find(hit).map_or(Ok(()), |failure| Err(failure.kind.into()))
    }
}

impl Inner {
    fn new() -> Self {
        Self {
            image: Image::new(),
            operations: Calls::default(),
            accesses: Calls::default(),
            free_bytes: u64::MAX,
            locked: HashSet::new(),
            observer: None,
        }
    }

    fn file(&mut self, node: u64) -> io::Result<&mut FileNode> {
        match self.image.nodes.get_mut(&node) {
            Some(Node::File(file)) => Ok(file),
            _ => Err(io::ErrorKind::IsADirectory.into()),
        }
    }

    fn grow(&mut self, node: u64, len: u64) -> io::Result<()> {
        let more = len.saturating_sub(self.file(node)?.current.len() as u64);
        self.free_bytes = self.free_bytes.checked_sub(more).ok_or(io::ErrorKind::StorageFull)?;
        Ok(())
    }

    fn change(&mut self, node: u64, change: Change) -> io::Result<()> {
        let file = self.file(node)?;
        change.apply(&mut file.current);
        file.pending.push(change);
        Ok(())
    }

    /// The node at `path`.
    fn find(&self, path: &Path) -> io::Result<u64> {
        let mut node = Image::ROOT;
        for name in names(path)? {
            node = *self.image.dir(node)?.current.get(&name).ok_or(io::ErrorKind::NotFound)?;
        }
        Ok(node)
    }

    /// The directory that holds `path`, and the last name.
    fn parent(&self, path: &Path) -> io::Result<(u64, String)> {
        let name = names(path)?.pop().ok_or(io::ErrorKind::InvalidInput)?;
        let parent = self.find(path.parent().unwrap_or(Path::new("")))?;
        self.image.dir(parent)?;
        Ok((parent, name))
    }

    fn new_node(&mut self, node: Node) -> u64 {
        let id = self.image.next;
        self.image.next += 1;
        self.image.nodes.insert(id, node);
        id
    }
}

/// The names a path is made of.
fn names(path: &Path) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for component in path.components() {
        match component {
            Component::Normal(name) => {
                names.push(name.to_str().ok_or(io::ErrorKind::InvalidFilename)?.to_owned());
            }
            Component::RootDir | Component::CurDir => {}
            Component::ParentDir | Component::Prefix(_) => return Err(io::ErrorKind::InvalidFilename.into()),
        }
    }
    Ok(names)
}

impl Disk for MemoryDisk {
    fn create(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        let node = self.operation(|inner| {
            let (parent, name) = inner.parent(path)?;
            if inner.image.dir(parent)?.current.contains_key(&name) {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            let node = inner.new_node(Node::File(FileNode::default()));
            inner.image.dir_mut(parent)?.link(name, node);
            Ok(node)
        })?;
        Ok(Arc::new(MemoryFile { disk: self.clone(), node }))
    }

    fn open(&self, path: &Path) -> io::Result<Arc<dyn File>> {
        let node = self.access(|inner| {
            let node = inner.find(path)?;
            inner.file(node).map(|_| node)
        })?;
        Ok(Arc::new(MemoryFile { disk: self.clone(), node }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.operation(|inner| {
            let ((parent, from), (to_parent, to)) = (inner.parent(from)?, inner.parent(to)?);
            if parent != to_parent {
                // One change of two directories: not modelled.
                return Err(io::ErrorKind::CrossesDevices.into());
            }
            let replaced = inner.image.dir(parent)?.current.get(&to);
            if let Some(Node::Dir(replaced)) = replaced.and_then(|node| inner.image.nodes.get(node))
                && !replaced.current.is_empty()
            {
                return Err(io::ErrorKind::DirectoryNotEmpty.into());
            }
            inner.image.dir_mut(parent)?.rename(from, to)
        })
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.operation(|inner| {
            let (parent, name) = inner.parent(path)?;
            let node = inner.find(path)?;
            inner.file(node)?;
            inner.image.dir_mut(parent)?.unlink(name)
        })
    }

    fn create_dir_all(&self, path: &Path) -> io::Result<()> {
        self.operation(|inner| {
            let mut parent = Image::ROOT;
            for name in names(path)? {
                parent = match inner.image.dir(parent)?.current.get(&name) {
                    Some(&node) => node,
                    None => {
                        let node = inner.new_node(Node::Dir(DirNode::default()));
                        inner.image.dir_mut(parent)?.link(name, node);
                        node
                    }
                };
            }
            inner.image.dir(parent).map(|_| ())
        })
    }

    fn remove_dir_all(&self, path: &Path) -> io::Result<()> {
        self.operation(|inner| {
            let (parent, name) = inner.parent(path)?;
            let node = inner.find(path)?;
            inner.image.dir(node)?;
            inner.image.dir_mut(parent)?.unlink(name)
        })
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.access(|inner| Ok(inner.image.dir(inner.find(dir)?)?.current.keys().cloned().collect()))
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        self.access(|inner| match inner.find(path) {
            Ok(_) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        })
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.operation(|inner| {
            let node = inner.find(dir)?;
            inner.image.dir_mut(node)?.sync();
            Ok(())
        })
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn DiskLock>> {
        if !self.exists(path)? {
            self.create(path)?;
        }
        if !MemoryDisk::lock(self).locked.insert(path.to_owned()) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        Ok(Box::new(MemoryLock { disk: self.clone(), path: path.to_owned() }))
    }

    fn available_bytes(&self, dir: &Path) -> io::Result<u64> {
        self.access(|inner| inner.find(dir).map(|_| inner.free_bytes))
    }
}

impl DiskLock for MemoryLock {}

impl Drop for MemoryLock {
    fn drop(&mut self) {
        self.disk.lock().locked.remove(&self.path);
    }
}

#[cfg(test)]
mod tests;
