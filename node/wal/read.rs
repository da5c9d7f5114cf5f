//! Entries for those who ask: from memory, and from the files what is not there any more.

use super::encode::kind;
use super::entry::Entry;
use super::error::{Corruption, WalError};
use super::places::Stretch;
use super::reader::{EntryView, ReadError, RecordReader};
use super::shared::Shared;
use std::ops::Range;

/// What one read of a file fetches: few reads for a follower that lags, little memory.
const CHUNK_BYTES: u64 = 256 << 10;

/// Collects entries up to a bound of data bytes, and one at least.
struct Collected {
    entries: Vec<Entry>,
    bytes_left: u64,
}

impl Collected {
    /// False if there is no room for `data_len` bytes more.
    fn has_room(&mut self, data_len: usize) -> bool {
        let len = data_len as u64;
        if len > self.bytes_left && !self.entries.is_empty() {
            return false;
        }
        self.bytes_left = self.bytes_left.saturating_sub(len);
        true
    }
}

impl Shared {
    pub(crate) fn read(&self, range: Range<u64>, max_bytes: u64) -> Result<Vec<Entry>, WalError> {
        let read = self.collect(range, max_bytes);
        if let Err(error) = &read
            && !matches!(error, WalError::Purged { .. })
        {
            self.fail(error.again());
        }
        read
    }

    fn collect(&self, range: Range<u64>, max_bytes: u64) -> Result<Vec<Entry>, WalError> {
        let mut found = Collected { entries: Vec::new(), bytes_left: max_bytes };
        let mut next = range.start;
        // Files first, memory last; entries may leave the memory meanwhile.
        loop {
            let stretches = {
                let state = self.lock();
                let first = state.log.purged().index + 1;
                let end = range.end.min(state.log.last().index + 1);
                if next >= end {
                    return Ok(found.entries);
                }
                if next < first {
                    // What was read before it was purged is still right, and short is allowed.
                    if !found.entries.is_empty() {
                        return Ok(found.entries);
                    }
                    return Err(WalError::Purged { wanted: next, first });
                }
                let tail_start = state.log.tail_start();
                if next >= tail_start {
                    for entry in state.log.tail_from(next).take_while(|entry| entry.index < end) {
                        if !found.has_room(entry.data.len()) {
                            break;
                        }
                        found.entries.push(entry.clone());
                    }
                    return Ok(found.entries);
                }
                state.log.places.stretches(next, end.min(tail_start))
            };
            for stretch in stretches {
                next = stretch.to();
                if !read_stretch(&stretch, &mut found)? {
                    return Ok(found.entries);
                }
            }
        }
    }
}

/// Reads one segment's share. False if the bound is reached.
fn read_stretch(stretch: &Stretch, found: &mut Collected) -> Result<bool, WalError> {
    let segment = &stretch.segment;
    let corrupt = |offset, what| WalError::Corrupt { file: segment.path.clone(), offset, what };
    let mut reader = RecordReader::new(segment.file.clone(), stretch.offset, segment.end(), None, CHUNK_BYTES);
    for (index, offset) in stretch.places() {
        let misplaced = Corruption::Misplaced(index);
        let record = loop {
            let at = reader.offset();
            if at > offset {
                return Err(corrupt(offset, misplaced));
            }
            match reader.next() {
                Ok(Some(record)) if record.offset == offset => break record,
                Ok(Some(_)) => {}
                Ok(None) => return Err(corrupt(at, misplaced)),
                Err(ReadError::Bad(bad)) => return Err(corrupt(bad.offset, bad.what)),
                Err(ReadError::Io(source)) => {
                    return Err(WalError::Io { action: "read", path: segment.path.clone(), source });
                }
            }
        };
        if record.kind != kind::ENTRY {
            return Err(corrupt(offset, misplaced));
        }
        let entry = EntryView::parse(record.data).map_err(|what| corrupt(offset, what))?;
        if entry.index != index {
            return Err(corrupt(offset, misplaced));
        }
        if !found.has_room(entry.data_len()) {
            return Ok(false);
        }
        found.entries.push(entry.to_entry());
    }
    Ok(true)
}
