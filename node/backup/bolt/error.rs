//! What can be wrong with a bbolt file, and where.

use std::io;

/// Why a file cannot be read as a database.
#[derive(Debug, thiserror::Error)]
pub enum BoltError {
    #[error("read {len} bytes at offset {offset}: {source}")]
    Io { offset: u64, len: usize, source: io::Error },
    #[error("file of {bytes} bytes is too short for a bbolt database")]
    TooShort { bytes: u64 },
    /// A database has two; one would do.
    #[error("neither meta page is valid: page 0: {first}; page 1: {second}")]
    NoMeta { first: MetaDamage, second: MetaDamage },
    #[error("database has {pages} pages of {page_bytes} bytes by its meta page, the file has only {bytes} bytes")]
    Truncated { pages: u64, page_bytes: u32, bytes: u64 },
    #[error("page {page}: {damage}")]
    Page { page: u64, damage: Damage },
    #[error("more than {max} buckets")]
    TooManyBuckets { max: usize },
}

/// What is wrong with a meta page.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum MetaDamage {
    #[error("no bbolt database: it begins with {found:#010x}")]
    Magic { found: u32 },
    #[error("format version {found}, not 2")]
    Version { found: u32 },
    #[error("checksum {stored:#018x}, its bytes have {computed:#018x}")]
    Checksum { stored: u64, computed: u64 },
    #[error("pages of {found} bytes")]
    PageSize { found: u32 },
}

/// What is wrong with a page of a tree. Elements are counted from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Damage {
    #[error("is outside of the database of {pages} pages")]
    Outside { pages: u64 },
    #[error("says that it is page {found}")]
    WrongId { found: u64 },
    #[error("is neither branch nor leaf (flags {flags:#06x})")]
    NoNode { flags: u16 },
    #[error("goes on for {overflow} more pages, beyond the {pages} of the database")]
    OverflowOutside { overflow: u32, pages: u64 },
    #[error("is a node of {bytes} bytes, more than the {max} that are read")]
    TooLarge { bytes: u64, max: u64 },
    #[error("has no place for its {count} elements")]
    Elements { count: u16 },
    #[error("has no elements below a branch")]
    Empty,
    #[error("is a branch without elements")]
    Childless,
    #[error("is a branch inside of an inline bucket")]
    InlineBranch,
    #[error("element {element} reaches outside of the page")]
    ElementOutside { element: usize },
    #[error("element {element} has an empty key")]
    EmptyKey { element: usize },
    #[error("element {element} does not come after the one before it")]
    KeyOrder { element: usize },
    #[error("element {element} is not in the range that its branch says")]
    OutsideOfBranch { element: usize },
    #[error("lies deeper than {max} levels")]
    TooDeep { max: usize },
    #[error("element {element} is a row where only buckets are")]
    RowAmongBuckets { element: usize },
    #[error("element {element} is a bucket inside of a bucket, which etcd has not")]
    BucketAmongRows { element: usize },
    #[error("element {element} is a bucket of {bytes} bytes, which is too short for one")]
    BucketTooShort { element: usize, bytes: usize },
}
