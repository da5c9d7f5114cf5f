//! The fixed parts of the format and their bytes. All numbers are little-endian, lengths and offsets in bytes.
//!
//! ```text
//! page            id u64 | flags u16 | count u16 | overflow u32, then what the flags say
//! leaf element    flags u32 | pos u32 | key length u32 | value length u32
//! branch element  pos u32 | key length u32 | page u64
//! bucket          root page u64 | sequence u64, and its only page if root page is 0 (inline)
//! meta            magic u32 | version u32 | page size u32 | flags u32 | root bucket 16 | free list u64
//!                 | pages u64 | transaction u64 | FNV-1a of the 56 bytes before u64
//! ```
//! `pos` counts from the element itself; a value follows its key. A node of several pages says in `overflow` how many follow
//! the first. The elements of a node come first, then keys and values.

use super::MetaDamage;

/// Of the files that we write; those that we read may have another.
pub const PAGE_BYTES: usize = 4096;
pub const PAGE_HEADER_BYTES: usize = 16;
pub const ELEMENT_BYTES: usize = 16;
pub const BUCKET_BYTES: usize = 16;
pub const META_BYTES: usize = 64;
/// bbolt refuses longer keys and values (its bucket.go).
pub const MAX_KEY_BYTES: usize = 32_768;
pub const MAX_VALUE_BYTES: usize = (1 << 31) - 2;

pub const BRANCH: u16 = 0x01;
pub const LEAF: u16 = 0x02;
const META: u16 = 0x04;
const FREE_LIST: u16 = 0x10;
/// The flag of a leaf element whose value is a bucket.
pub const IS_BUCKET: u32 = 0x01;

const MAGIC: u32 = 0xED0C_DAED;
const VERSION: u32 = 2;
/// What bbolt takes as a page size when it is asked to write one; a system page is 4 to 64 KiB.
const PAGE_SIZES: std::ops::RangeInclusive<u32> = 1024..=65_536;

/// Where our writer puts the list of free pages, which is empty.
pub const FREE_LIST_PAGE: u64 = 2;

/// Of the newer of the two meta pages. It must be even: a transaction's meta page is that of its last bit.
const TRANSACTION: u64 = 2;

/// What a meta page says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Meta {
    pub page_bytes: u32,
    /// Root of the bucket of buckets.
    pub root: u64,
    /// Pages in use or free; none at or behind it counts.
    pub pages: u64,
    pub transaction: u64,
}

pub fn page_header(id: u64, flags: u16, count: u16, overflow: u32) -> [u8; PAGE_HEADER_BYTES] {
    let mut bytes = [0; PAGE_HEADER_BYTES];
    bytes[..8].copy_from_slice(&id.to_le_bytes());
    bytes[8..10].copy_from_slice(&flags.to_le_bytes());
    bytes[10..12].copy_from_slice(&count.to_le_bytes());
    bytes[12..].copy_from_slice(&overflow.to_le_bytes());
    bytes
}

/// The header of a bucket, with sequence 0: etcd uses none.
pub fn bucket(root: u64) -> [u8; BUCKET_BYTES] {
    let mut bytes = [0; BUCKET_BYTES];
    bytes[..8].copy_from_slice(&root.to_le_bytes());
    bytes
}

/// A bucket without rows as bbolt writes it: inline, with a leaf that has no elements.
pub fn empty_bucket() -> [u8; BUCKET_BYTES + PAGE_HEADER_BYTES] {
    let mut bytes = [0; BUCKET_BYTES + PAGE_HEADER_BYTES];
    bytes[BUCKET_BYTES..].copy_from_slice(&page_header(0, LEAF, 0, 0));
    bytes
}

/// The pages that a file of `pages` pages begins with: two metas and an empty free list. With that list the file is
/// complete for every bbolt; without, each open would look for free pages.
pub fn head(root: u64, pages: u64) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(3 * PAGE_BYTES);
    for id in 0..2 {
        bytes.extend_from_slice(&page_header(id, META, 0, 0));
        bytes.extend_from_slice(&meta(root, pages, TRANSACTION - id));
        bytes.resize((id as usize + 1) * PAGE_BYTES, 0);
    }
    bytes.extend_from_slice(&page_header(FREE_LIST_PAGE, FREE_LIST, 0, 0));
    bytes.resize(3 * PAGE_BYTES, 0);
    bytes
}

fn meta(root: u64, pages: u64, transaction: u64) -> [u8; META_BYTES] {
    let mut bytes = [0; META_BYTES];
    bytes[..4].copy_from_slice(&MAGIC.to_le_bytes());
    bytes[4..8].copy_from_slice(&VERSION.to_le_bytes());
    bytes[8..12].copy_from_slice(&(PAGE_BYTES as u32).to_le_bytes());
    bytes[16..32].copy_from_slice(&bucket(root));
    bytes[32..40].copy_from_slice(&FREE_LIST_PAGE.to_le_bytes());
    bytes[40..48].copy_from_slice(&pages.to_le_bytes());
    bytes[48..56].copy_from_slice(&transaction.to_le_bytes());
    let checksum = fnv1a(&bytes[..56]);
    bytes[56..].copy_from_slice(&checksum.to_le_bytes());
    bytes
}

impl Meta {
    /// Reads what follows the header of a meta page.
    ///
    /// # Errors
    /// It is none, or damaged, or of another version.
    pub fn parse(bytes: &[u8; META_BYTES]) -> Result<Self, MetaDamage> {
        let (magic, version, page_bytes) = (u32_at(bytes, 0), u32_at(bytes, 4), u32_at(bytes, 8));
        if magic != MAGIC {
            return Err(MetaDamage::Magic { found: magic });
        }
        if version != VERSION {
            return Err(MetaDamage::Version { found: version });
        }
        let (stored, computed) = (u64_at(bytes, 56), fnv1a(&bytes[..56]));
        if stored != computed {
            return Err(MetaDamage::Checksum { stored, computed });
        }
        if !page_bytes.is_power_of_two() || !PAGE_SIZES.contains(&page_bytes) {
            return Err(MetaDamage::PageSize { found: page_bytes });
        }
        Ok(Self { page_bytes, root: u64_at(bytes, 16), pages: u64_at(bytes, 40), transaction: u64_at(bytes, 48) })
    }

    /// Every size that a page may have.
    pub fn page_sizes() -> impl Iterator<Item = u64> {
        (0..)
            .map(|shift| u64::from(*PAGE_SIZES.start()) << shift)
            .take_while(|size| *size <= (*PAGE_SIZES.end()).into())
    }
}

fn fnv1a(bytes: &[u8]) -> u64 {
    const BASIS: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0100_0000_01b3;
    bytes.iter().fold(BASIS, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(PRIME))
}

/// The number at `at`.
///
/// # Panics
/// The bytes end before.
pub fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(bytes[at..at + 2].try_into().expect("two bytes"))
}

/// As [`u16_at`].
pub fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(bytes[at..at + 4].try_into().expect("four bytes"))
}

/// As [`u16_at`].
pub fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(bytes[at..at + 8].try_into().expect("eight bytes"))
}
