//! What each block of the state file held when this process last wrote or read it, so that bits which change at rest
//! are found when they are read again: redb itself compares its checksums only when it opens a file.
//!
//! In memory only, four bytes for each 4 KiB. At an open redb reads and compares every page that counts
//! (`set_check_integrity_on_open`), so that from then on every page that is read was seen right once.

use crate::defect::{self, Defect};
use std::io;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// redb's page, below which nothing is read but the head of the file.
const BLOCK_BYTES: u64 = 4096;

/// Nothing is known of a block.
const UNKNOWN: u32 = 0;

/// A block is not what it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the block at offset {offset} has checksum {found:08x}, {known:08x} was written there")]
pub(super) struct Changed {
    pub offset: u64,
    found: u32,
    known: u32,
}

/// By block number; blocks behind the last are unknown.
#[derive(Debug, Default)]
pub(super) struct BlockSums(Mutex<Vec<u32>>);

impl BlockSums {
    fn lock(&self) -> MutexGuard<'_, Vec<u32>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Compares what was read at `offset` with what is known, and remembers what is not.
    pub fn read(&self, offset: u64, data: &[u8]) -> Result<(), Changed> {
        for (block, data) in whole_blocks(offset, data) {
            let found = sum(data);
            let mut sums = self.lock();
            reach(&mut sums, block);
            let known = std::mem::replace(&mut sums[block], found);
            if known != UNKNOWN && known != found && !defect::on(Defect::FlippedBitServed) {
                sums[block] = known;
                return Err(Changed { offset: block as u64 * BLOCK_BYTES, found, known });
            }
        }
        Ok(())
    }

    /// Remembers what was written. A block that was written in part is unknown from then on.
    pub fn written(&self, offset: u64, data: &[u8]) {
        for (block, data) in blocks(offset, data) {
            let sum = if data.len() as u64 == BLOCK_BYTES { sum(data) } else { UNKNOWN };
            let mut sums = self.lock();
            reach(&mut sums, block);
            sums[block] = sum;
        }
    }

    /// Forgets what was behind the new end of the file.
    pub fn resized(&self, len: u64) {
        let whole = usize::try_from(len / BLOCK_BYTES).unwrap_or(usize::MAX);
        self.lock().truncate(whole);
    }
}

impl From<Changed> for io::Error {
    fn from(changed: Changed) -> Self {
        io::Error::new(io::ErrorKind::InvalidData, changed)
    }
}

/// Never [`UNKNOWN`].
fn sum(block: &[u8]) -> u32 {
    crc32c::crc32c(block).max(UNKNOWN + 1)
}

fn reach(sums: &mut Vec<u32>, block: usize) {
    if sums.len() <= block {
        sums.resize(block + 1, UNKNOWN);
    }
}

/// Numbers of the blocks that `data` covers, with its share of each.
fn blocks(offset: u64, data: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    let first = usize::try_from(BLOCK_BYTES - offset % BLOCK_BYTES).expect("at most a block").min(data.len());
    let (head, rest) = data.split_at(first);
    let number = usize::try_from(offset / BLOCK_BYTES).expect("a file that fits in the memory of its checksums");
    let parts = std::iter::once(head).chain(rest.chunks(BLOCK_BYTES as usize));
    (number..).zip(parts).filter(|(_, part)| !part.is_empty())
}

fn whole_blocks(offset: u64, data: &[u8]) -> impl Iterator<Item = (usize, &[u8])> {
    blocks(offset, data).filter(|(_, part)| part.len() as u64 == BLOCK_BYTES)
}

#[cfg(test)]
mod tests {
    use super::*;

    const BLOCK: usize = BLOCK_BYTES as usize;

    #[test]
    fn a_block_that_changed_since_it_was_written_or_read_is_named() {
        let sums = BlockSums::default();
        let mut data = vec![7; 3 * BLOCK];
        sums.written(BLOCK_BYTES, &data[..2 * BLOCK]);
        assert_eq!(sums.read(BLOCK_BYTES, &data), Ok(()));
        data[2 * BLOCK + 5] ^= 1;
        let changed = sums.read(BLOCK_BYTES, &data).unwrap_err();
        assert_eq!(changed.offset, 3 * BLOCK_BYTES);
        assert!(sums.read(3 * BLOCK_BYTES, &data[2 * BLOCK..]).is_err(), "it stays wrong");
        sums.written(3 * BLOCK_BYTES, &data[2 * BLOCK..]);
        assert_eq!(sums.read(BLOCK_BYTES, &data), Ok(()));
    }

    #[test]
    fn parts_of_blocks_and_what_was_cut_off_are_not_compared() {
        let sums = BlockSums::default();
        sums.written(0, &[1; 2 * BLOCK]);
        sums.written(100, &[2; 320]);
        assert_eq!(sums.read(0, &[3; BLOCK]), Ok(()));
        assert_eq!(sums.read(BLOCK_BYTES, &[4; 10]), Ok(()));
        sums.resized(BLOCK_BYTES + 1);
        assert_eq!(sums.read(BLOCK_BYTES, &[5; BLOCK]), Ok(()));
    }
}
