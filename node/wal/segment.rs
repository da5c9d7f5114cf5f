//! Files of the log: their names, and how one is begun.

use super::codec;
use super::record::{Encoder, Kind};
use super::{HardState, Identity, WalError};
use crate::disk::{Disk, File};
use crate::types::LogPosition;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// An open segment.
#[derive(Clone, Debug)]
pub struct Segment {
    pub sequence: u64,
    /// The first entry that may be in it.
    pub first_index: u64,
    pub path: PathBuf,
    pub file: Arc<dyn File>,
}

pub fn file_name(sequence: u64, first_index: u64) -> String {
    format!("{sequence:016x}-{first_index:016x}.wal")
}

/// Sequence and first index, if it is the name of a segment.
pub fn parse_name(name: &str) -> Option<(u64, u64)> {
    let (sequence, index) = name.strip_suffix(".wal")?.split_once('-')?;
    if sequence.len() != 16 || index.len() != 16 {
        return None;
    }
    Some((u64::from_str_radix(sequence, 16).ok()?, u64::from_str_radix(index, 16).ok()?))
}

/// What a segment begins with. The first one of a log has an empty snapshot record where others have the state.
#[derive(Clone, Copy, Debug)]
pub struct Head {
    pub crc: u32,
    pub identity: Identity,
    pub state: Option<HardState>,
}

impl Head {
    pub fn encode(&self) -> Encoder {
        let mut encoder = Encoder::new(self.crc);
        encoder.crc_record();
        encoder.record(Kind::Metadata, &codec::identity_to_bytes(self.identity));
        match self.state {
            Some(state) => encoder.record(Kind::State, &codec::hard_state_to_bytes(state)),
            None => encoder.record(Kind::Snapshot, &codec::snapshot_to_bytes(LogPosition::default(), None)),
        }
        encoder
    }
}

/// Makes the file of a segment with `content`, under a name that readers ignore; the caller renames it. Space behind
/// the content is reserved and reads as zeros, which is what ends the data.
pub fn create(
    disk: &dyn Disk,
    path: &Path,
    content: &[u8],
    segment_bytes: u64,
) -> Result<Arc<dyn File>, WalError> {
    if disk.exists(path).map_err(WalError::io("look for", path))? {
        // Left by a crash before the rename: nothing refers to it.
        disk.remove_file(path).map_err(WalError::io("remove", path))?;
    }
    let file = disk.create(path).map_err(WalError::io("create", path))?;
    file.allocate(segment_bytes.max(content.len() as u64)).map_err(WalError::io("allocate", path))?;
    file.write_at(0, content).map_err(WalError::io("write", path))?;
    file.sync_data().map_err(WalError::io("sync", path))?;
    Ok(file)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_etcds() {
        assert_eq!(file_name(1, 0x1f), "0000000000000001-000000000000001f.wal");
        assert_eq!(parse_name("0000000000000001-000000000000001f.wal"), Some((1, 0x1f)));
        assert_eq!(parse_name("1-1f.wal"), None);
        assert_eq!(parse_name("0.tmp"), None);
    }
}
