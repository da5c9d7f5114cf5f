//! The digest that stands behind the database in a file of `etcdctl snapshot save`.

use crate::disk::File;
use sha2::{Digest, Sha256};
use std::io;

/// Of a SHA-256.
pub const DIGEST_BYTES: usize = 32;
/// The smallest unit of a disk: a database is a multiple of it, so the rest of a length tells whether there is a digest
/// (etcd `etcdutl/snapshot/v3_snapshot.go`, hasChecksum).
const SECTOR_BYTES: u64 = 512;
const READ_BYTES: usize = 64 * 1024;

/// Why a file cannot be relied on.
#[derive(Debug, thiserror::Error)]
pub enum VerifyError {
    #[error("read snapshot: {0}")]
    Io(#[from] io::Error),
    /// It may be a copy of a database file, which has none.
    #[error("file of {bytes} bytes has no digest at its end")]
    NoDigest { bytes: u64 },
    /// As Go prints bytes.
    #[error("expected sha256 {}, got {}", decimal(.expected), decimal(.computed))]
    Mismatch { expected: [u8; DIGEST_BYTES], computed: [u8; DIGEST_BYTES] },
}

fn decimal(bytes: &[u8]) -> String {
    let numbers: Vec<String> = bytes.iter().map(u8::to_string).collect();
    format!("[{}]", numbers.join(" "))
}

/// How much of a file of this length is the database, and whether a digest follows.
pub fn database_bytes(file_bytes: u64) -> (u64, bool) {
    let has_digest = file_bytes % SECTOR_BYTES == DIGEST_BYTES as u64;
    (if has_digest { file_bytes - DIGEST_BYTES as u64 } else { file_bytes }, has_digest)
}

/// Compares the database with the digest behind it. Returns the length of the database.
///
/// # Errors
/// There is none, or it is that of other bytes.
pub fn verify(file: &dyn File) -> Result<u64, VerifyError> {
    let bytes = file.len()?;
    let (database_bytes, has_digest) = database_bytes(bytes);
    if !has_digest {
        return Err(VerifyError::NoDigest { bytes });
    }
    let mut hasher = Sha256::new();
    let mut buffer = vec![0; READ_BYTES];
    let mut at = 0;
    while at < database_bytes {
        let len = (database_bytes - at).min(READ_BYTES as u64) as usize;
        file.read_at(at, &mut buffer[..len])?;
        hasher.update(&buffer[..len]);
        at += len as u64;
    }
    let mut expected = [0; DIGEST_BYTES];
    file.read_at(database_bytes, &mut expected)?;
    let computed = hasher.finalize().into();
    if expected == computed { Ok(database_bytes) } else { Err(VerifyError::Mismatch { expected, computed }) }
}
