//! Files and directories as they are, as they were synced, and what lies between.

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::collections::{BTreeMap, HashMap, HashSet};
use std::io;

pub(super) const SECTOR_BYTES: u64 = 512;

/// All nodes; the root is a directory. A node that no directory holds may still be open.
#[derive(Clone)]
pub(super) struct Image {
    pub(super) nodes: HashMap<u64, Node>,
    pub(super) next: u64,
}

#[derive(Clone)]
pub(super) enum Node {
    File(FileNode),
    Dir(DirNode),
}

/// Invariant: `current` is `synced` with `stale` and `pending` applied.
#[derive(Clone, Default)]
pub(super) struct FileNode {
    synced: Vec<u8>,
    pub(super) current: Vec<u8>,
    pub(super) pending: Vec<Change>,
    /// Sectors that a failed sync was to bring to the disk. Kernels take them for written: they can be read, no later
    /// sync brings them there, and only a crash shows whether they are.
    stale: Vec<Change>,
}

#[derive(Clone)]
pub(super) enum Change {
    Write { offset: u64, data: Vec<u8> },
    Len(u64),
}

/// Invariant: `current` is `synced` with `pending` applied.
#[derive(Clone, Default)]
pub(super) struct DirNode {
    synced: BTreeMap<String, u64>,
    pub(super) current: BTreeMap<String, u64>,
    pending: Vec<DirChange>,
}

#[derive(Clone)]
enum DirChange {
    Link { name: String, node: u64 },
    Unlink { name: String, node: u64 },
    Rename { from: String, to: String, node: u64 },
}

/// How much of what was not synced a crash takes.
#[derive(Clone, Copy)]
enum Loss {
    Nothing,
    All,
    Some,
}

fn size(bytes: u64) -> usize {
    usize::try_from(bytes).expect("a file in memory")
}

impl Change {
    pub(super) fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Change::Len(len) => bytes.resize(size(*len), 0),
            Change::Write { offset, data } => {
                let start = size(*offset);
                if bytes.len() < start + data.len() {
                    bytes.resize(start + data.len(), 0);
                }
                bytes[start..start + data.len()].copy_from_slice(data);
            }
        }
    }

    /// Applies what a crash leaves of it. A sector is written as the cache has it, so what is `lost` of an earlier change
    /// to it goes with all later ones.
    fn apply_in_part(&self, bytes: &mut Vec<u8>, lost: &mut HashSet<u64>, random: &mut StdRng) {
        match self {
            Change::Len(_) => {
                if random.random() {
                    self.apply(bytes);
                }
            }
            Change::Write { .. } => {
                for (sector, part) in self.sectors() {
                    if random.random() && !lost.contains(&sector) {
                        part.apply(bytes);
                    } else {
                        lost.insert(sector);
                    }
                }
            }
        }
    }

    /// A write cut at the sectors of the disk, each with its number; nothing of a change of the length.
    fn sectors(&self) -> impl Iterator<Item = (u64, Change)> {
        let (offset, data) = match self {
            Change::Write { offset, data } => (*offset, data.as_slice()),
            Change::Len(_) => (0, &[][..]),
        };
        let mut at = 0;
        std::iter::from_fn(move || {
            let start = at;
            let sector = SECTOR_BYTES - (offset + start as u64) % SECTOR_BYTES;
            at = data.len().min(start + size(sector));
            let begin = offset + start as u64;
            let part = || Change::Write { offset: begin, data: data[start..at].to_vec() };
            (start < at).then(|| (begin / SECTOR_BYTES, part()))
        })
    }

    /// Whether this writes to the sector of `sector` too, or cuts it off.
    fn replaces(&self, sector: &Change) -> bool {
        let Change::Write { offset: start, .. } = sector else { return false };
        match self {
            Change::Len(len) => start >= len,
            Change::Write { offset, data } => {
                let first = offset - offset % SECTOR_BYTES;
                (first..offset + data.len() as u64).contains(start)
            }
        }
    }
}

impl FileNode {
    pub(super) fn sync(&mut self) {
        for change in self.pending.drain(..) {
            // The sector is written as the cache has it.
            for stale in self.stale.extract_if(.., |stale| change.replaces(stale)) {
                stale.apply(&mut self.synced);
            }
            change.apply(&mut self.synced);
        }
    }

    pub(super) fn fail_to_sync(&mut self) {
        for change in std::mem::take(&mut self.pending) {
            match change {
                Change::Write { .. } => self.stale.extend(change.sectors().map(|(_, part)| part)),
                Change::Len(_) => self.pending.push(change),
            }
        }
    }

    fn after_crash(&self, random: &mut StdRng) -> Self {
        let mut synced = self.synced.clone();
        let (loss, mut lost) = (Loss::choose(random), HashSet::new());
        for change in self.stale.iter().chain(&self.pending) {
            match loss {
                Loss::Nothing => change.apply(&mut synced),
                Loss::All => {}
                Loss::Some => change.apply_in_part(&mut synced, &mut lost, random),
            }
        }
        Self { current: synced.clone(), synced, pending: Vec::new(), stale: Vec::new() }
    }
}

impl Loss {
    fn choose(random: &mut StdRng) -> Self {
        match random.random_range(0..4) {
            0 => Loss::Nothing,
            1 => Loss::All,
            _ => Loss::Some,
        }
    }
}

impl DirChange {
    fn apply(&self, names: &mut BTreeMap<String, u64>) {
        match self {
            DirChange::Link { name, node } => {
                names.insert(name.clone(), *node);
            }
            DirChange::Unlink { name, node } => {
                if names.get(name) == Some(node) {
                    names.remove(name);
                }
            }
            DirChange::Rename { from, to, node } => {
                if names.get(from) == Some(node) {
                    names.remove(from);
                }
                names.insert(to.clone(), *node);
            }
        }
    }
}

impl DirNode {
    fn change(&mut self, change: DirChange) {
        change.apply(&mut self.current);
        self.pending.push(change);
    }

    pub(super) fn link(&mut self, name: String, node: u64) {
        self.change(DirChange::Link { name, node });
    }

    pub(super) fn unlink(&mut self, name: String) -> io::Result<()> {
        let node = *self.current.get(&name).ok_or(io::ErrorKind::NotFound)?;
        self.change(DirChange::Unlink { name, node });
        Ok(())
    }

    pub(super) fn rename(&mut self, from: String, to: String) -> io::Result<()> {
        let node = *self.current.get(&from).ok_or(io::ErrorKind::NotFound)?;
        self.change(DirChange::Rename { from, to, node });
        Ok(())
    }

    pub(super) fn sync(&mut self) {
        for change in self.pending.drain(..) {
            change.apply(&mut self.synced);
        }
    }

    fn after_crash(&self, random: &mut StdRng) -> Self {
        let mut synced = self.synced.clone();
        let loss = Loss::choose(random);
        for change in &self.pending {
            if matches!(loss, Loss::Nothing) || (matches!(loss, Loss::Some) && random.random()) {
                change.apply(&mut synced);
            }
        }
        Self { current: synced.clone(), synced, pending: Vec::new() }
    }
}

impl Image {
    pub(super) const ROOT: u64 = 0;

    pub(super) fn new() -> Self {
        Self { nodes: HashMap::from([(Self::ROOT, Node::Dir(DirNode::default()))]), next: Self::ROOT + 1 }
    }

    pub(super) fn dir(&self, node: u64) -> io::Result<&DirNode> {
        match self.nodes.get(&node) {
            Some(Node::Dir(dir)) => Ok(dir),
            _ => Err(io::ErrorKind::NotADirectory.into()),
        }
    }

    pub(super) fn dir_mut(&mut self, node: u64) -> io::Result<&mut DirNode> {
        match self.nodes.get_mut(&node) {
            Some(Node::Dir(dir)) => Ok(dir),
            _ => Err(io::ErrorKind::NotADirectory.into()),
        }
    }

    pub(super) fn after_crash(&self, seed: u64) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let mut image = Self { nodes: HashMap::new(), next: self.next };
        // In the order of names, so that one seed always gives one image.
        let mut reached = vec![Self::ROOT];
        while let Some(id) = reached.pop() {
            match self.nodes.get(&id) {
                Some(Node::Dir(dir)) => {
                    let dir = dir.after_crash(&mut random);
                    reached.extend(dir.current.values());
                    image.nodes.insert(id, Node::Dir(dir));
                }
                Some(Node::File(file)) => {
                    image.nodes.insert(id, Node::File(file.after_crash(&mut random)));
                }
                None => {}
            }
        }
        image
    }
}
