//! A plugin as one file: the component, with its manifest in a custom section at the end.
//!
//! ```text
//! \0asm 0d 00 01 00 | sections of the component | 00 | LEB128 size | 12 "keelstone:manifest" | plugin.toml
//! ```
//!
//! So a package is a component that every tool reads, and its SHA-256 and its signature are those of the file.

use crate::limits::MAX_PACKAGE_BYTES;
use crate::manifest::{Manifest, ManifestError};
use aws_lc_rs::digest;
use std::fmt;

const SECTION: &str = "keelstone:manifest";
/// Magic, version and layer of a component in binary form.
const PREAMBLE: &[u8; 8] = b"\0asm\x0d\0\x01\0";

/// SHA-256 of a package.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Hash(pub [u8; 32]);

impl fmt::Display for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// A package that was read.
#[derive(Clone, Debug)]
pub struct Package {
    manifest: Manifest,
    hash: Hash,
    bytes: Vec<u8>,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PackageError {
    #[error("{bytes} bytes are more than {max}")]
    TooLarge { bytes: usize, max: usize },
    /// Text, a core module, or something else.
    #[error("it is no WebAssembly component")]
    NoComponent,
    #[error("it ends within a section, at byte {at}")]
    Truncated { at: usize },
    #[error("it has {found} manifests instead of one")]
    Manifests { found: usize },
    #[error(transparent)]
    Manifest(#[from] ManifestError),
}

impl Package {
    /// # Errors
    /// It is no package.
    pub fn read(bytes: Vec<u8>) -> Result<Self, PackageError> {
        if bytes.len() > MAX_PACKAGE_BYTES {
            return Err(PackageError::TooLarge { bytes: bytes.len(), max: MAX_PACKAGE_BYTES });
        }
        let manifests = manifests(&bytes)?;
        let [manifest] = manifests[..] else {
            return Err(PackageError::Manifests { found: manifests.len() });
        };
        let text = std::str::from_utf8(manifest).map_err(|error| ManifestError { message: error.to_string() })?;
        let manifest = Manifest::parse(text)?;
        let mut hash = [0; 32];
        hash.copy_from_slice(digest::digest(&digest::SHA256, &bytes).as_ref());
        Ok(Self { manifest, hash: Hash(hash), bytes })
    }

    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    pub fn hash(&self) -> Hash {
        self.hash
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        &self.bytes
    }
}

/// Makes a package of a component and `plugin.toml`.
///
/// # Errors
/// They are none, or the component has a manifest already.
pub fn pack(component: &[u8], manifest: &str) -> Result<Vec<u8>, PackageError> {
    Manifest::parse(manifest)?;
    let there = manifests(component)?.len();
    if there > 0 {
        return Err(PackageError::Manifests { found: there + 1 });
    }
    let mut contents = Vec::with_capacity(SECTION.len() + manifest.len() + 5);
    put_leb128(&mut contents, SECTION.len());
    contents.extend_from_slice(SECTION.as_bytes());
    contents.extend_from_slice(manifest.as_bytes());
    let mut package = component.to_vec();
    package.push(0);
    put_leb128(&mut package, contents.len());
    package.extend_from_slice(&contents);
    Ok(package)
}

/// What the custom sections of that name hold, at the outermost level.
fn manifests(bytes: &[u8]) -> Result<Vec<&[u8]>, PackageError> {
    let mut rest = bytes.strip_prefix(PREAMBLE).ok_or(PackageError::NoComponent)?;
    let mut found = Vec::new();
    while let [id, after @ ..] = rest {
        let truncated = PackageError::Truncated { at: bytes.len() - rest.len() };
        let (contents, after) = take_sized(after).ok_or_else(|| truncated.clone())?;
        if *id == 0 {
            let (name, contents) = take_sized(contents).ok_or(truncated)?;
            if name == SECTION.as_bytes() {
                found.push(contents);
            }
        }
        rest = after;
    }
    Ok(found)
}

/// The bytes whose number stands before them, and what follows.
fn take_sized(bytes: &[u8]) -> Option<(&[u8], &[u8])> {
    let (mut size, mut shift) = (0_usize, 0);
    // A u32 has at most five groups of seven bits.
    for (at, byte) in bytes.iter().enumerate().take(5) {
        size |= usize::from(byte & 0x7f) << shift;
        shift += 7;
        if byte & 0x80 == 0 {
            return bytes[at + 1..].split_at_checked(size);
        }
    }
    None
}

fn put_leb128(into: &mut Vec<u8>, mut number: usize) {
    while number >= 0x80 {
        into.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    into.push(number as u8);
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOML: &str = "[plugin]\nname = 'p'\nversion = '1.0.0'\nworld = 'restore-hook'\nabi = '0.1'\n";

    #[test]
    fn what_was_packed_is_read() {
        let toml = format!("{TOML}description = '{}'\n", "x".repeat(1_000));
        for component in [&PREAMBLE[..], b"\0asm\x0d\0\x01\0\x00\x05\x04name"] {
            let package = pack(component, &toml).unwrap();
            assert!(package.starts_with(component));
            assert_eq!(Package::read(package.clone()).unwrap().manifest().plugin.name.as_str(), "p");
            assert_eq!(pack(&package, TOML), Err(PackageError::Manifests { found: 2 }));
        }
    }

    #[test]
    fn what_is_no_package_is_told_apart() {
        let read = |bytes: &[u8]| Package::read(bytes.to_vec()).unwrap_err();
        assert_eq!(read(b"(component)"), PackageError::NoComponent);
        assert_eq!(read(b"\0asm\x01\0\0\0"), PackageError::NoComponent);
        assert_eq!(read(PREAMBLE), PackageError::Manifests { found: 0 });
        let package = pack(PREAMBLE, TOML).unwrap();
        for end in PREAMBLE.len() + 1..package.len() {
            assert_eq!(read(&package[..end]), PackageError::Truncated { at: 8 });
        }
        let mut huge = PREAMBLE.to_vec();
        huge.extend([0, 0xff, 0xff, 0xff, 0xff, 0x7f]);
        assert_eq!(read(&huge), PackageError::Truncated { at: 8 });
        assert_eq!(
            read(&vec![0; MAX_PACKAGE_BYTES + 1]),
            PackageError::TooLarge { bytes: MAX_PACKAGE_BYTES + 1, max: MAX_PACKAGE_BYTES }
        );
        let twice = [package.as_slice(), &package[PREAMBLE.len()..]].concat();
        assert_eq!(read(&twice), PackageError::Manifests { found: 2 });
        assert!(matches!(pack(PREAMBLE, "x"), Err(PackageError::Manifest(_))));
    }
}
