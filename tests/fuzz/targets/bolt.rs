//! Files that etcd wrote, damaged. They are read twice the same, with a word about the page where they cannot be; rows ascend;
//! and a file whose digest is right is the file as it was.

use crate::engine::{Target, Verdict, run};
use crate::file::PlainFile;
use keelstone::backup::bolt::{BoltError, Database};
use keelstone::backup::{self, DIGEST_BYTES, Status, StatusError};
use keelstone::disk::File;
use keelstone::mvcc;
use keelstone::storage::{self, Import};
use keelstone_harness::Random;
use prost::Message;
use prost::bytes::Bytes;
use std::sync::{Arc, OnceLock};

const FILES: [&[u8]; 2] =
    [include_bytes!("../../backup/etcd-3.7.3/snapshot.db"), include_bytes!("../../backup/etcd-3.5.1/snapshot.db")];
const PAGE_BYTES: usize = 4096;
/// Of the two meta pages, behind their headers.
const META: std::ops::Range<usize> = 16..72;

#[derive(Clone, PartialEq, Message)]
struct Damage {
    /// Place in [`FILES`].
    #[prost(uint32, tag = "1")]
    file: u32,
    #[prost(message, repeated, tag = "2")]
    places: Vec<Place>,
    /// The checksums of the meta pages are made to fit.
    #[prost(bool, tag = "3")]
    seal: bool,
}

#[derive(Clone, PartialEq, Message)]
struct Place {
    #[prost(uint32, tag = "1")]
    page: u32,
    #[prost(uint32, tag = "2")]
    offset: u32,
    /// 0: written over, 1: cut here, 2: zeros to the end of the page, 3: the page is replaced by the one that `bytes` names,
    /// which keeps its own id or is given this one's (4), 5: the bit is flipped that `bytes` names.
    #[prost(uint32, tag = "3")]
    kind: u32,
    #[prost(bytes = "bytes", tag = "4")]
    bytes: Bytes,
}

fn damage(bytes: &mut Vec<u8>, place: &Place) {
    let pages = bytes.len() / PAGE_BYTES;
    if pages == 0 {
        return;
    }
    let page = place.page as usize % pages * PAGE_BYTES;
    let at = page + place.offset as usize % PAGE_BYTES;
    let named = place.bytes.iter().fold(0_usize, |value, &byte| value << 8 | usize::from(byte));
    match place.kind {
        0 => bytes[at..].iter_mut().zip(&place.bytes).for_each(|(to, from)| *to = *from),
        1 => bytes.truncate(at),
        2 => bytes[at..page + PAGE_BYTES].fill(0),
        3 | 4 => {
            let donor = named % pages * PAGE_BYTES;
            bytes.copy_within(donor..donor + PAGE_BYTES, page);
            if place.kind == 4 {
                bytes[page..page + 8].copy_from_slice(&((page / PAGE_BYTES) as u64).to_le_bytes());
            }
        }
        5 => bytes[at] ^= 1 << (named % 8),
        _ => {}
    }
}

/// FNV-1a, from its description and not from the code under test.
fn seal(bytes: &mut [u8]) {
    for page in bytes.chunks_mut(PAGE_BYTES).take(2).filter(|page| page.len() == PAGE_BYTES) {
        let sum = page[META]
            .iter()
            .fold(0xcbf2_9ce4_8422_2325_u64, |sum, byte| (sum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3));
        page[META.end..META.end + 8].copy_from_slice(&sum.to_le_bytes());
    }
}

fn file_of(bytes: &[u8]) -> Arc<dyn File> {
    let file = PlainFile::default();
    file.write_at(0, bytes).expect("memory does not fail");
    Arc::new(file)
}

fn status_of(file: &Arc<dyn File>, database_bytes: u64) -> Result<Status, StatusError> {
    backup::status(&Database::open(Arc::clone(file), database_bytes)?)
}

/// Reads all rows, and says what is against their order.
fn walk(file: &Arc<dyn File>, database_bytes: u64) -> Result<Result<usize, String>, BoltError> {
    let database = Database::open(Arc::clone(file), database_bytes)?;
    let (mut names, mut count) = (Vec::new(), 0);
    for bucket in database.buckets()? {
        let mut last = Bytes::new();
        for row in database.rows(&bucket)? {
            let (key, _) = row?;
            if key <= last {
                return Ok(Err(format!("bucket {:?}: {key:02x?} after {last:02x?}", bucket.name)));
            }
            (last, count) = (key, count + 1);
        }
        names.push(bucket.name);
    }
    Ok(if names.is_sorted() { Ok(count) } else { Err(format!("buckets {names:?}")) })
}

/// What can be loaded is a state that a member opens: else it would stop at its next start.
fn load(file: &Arc<dyn File>, database_bytes: u64) -> Result<(), String> {
    let Ok(database) = Database::open(Arc::clone(file), database_bytes) else { return Ok(()) };
    let import = Import::new(Arc::new(PlainFile::default()), 1 << 20, storage::Metrics::detached());
    let Ok(loaded) = backup::load(&database, import.expect("memory does not fail"), &[]) else { return Ok(()) };
    let metrics = mvcc::Metrics::register(&prometheus::Registry::new()).expect("a fresh registry");
    mvcc::Store::open(loaded.storage, metrics).map(drop).map_err(|error| format!("loaded, and then refused: {error}"))
}

fn whole() -> &'static [Status] {
    static WHOLE: OnceLock<Vec<Status>> = OnceLock::new();
    WHOLE.get_or_init(|| {
        let status = |bytes: &[u8]| status_of(&file_of(bytes), (bytes.len() - DIGEST_BYTES) as u64);
        FILES.iter().map(|bytes| status(bytes).expect("as etcd wrote it")).collect()
    })
}

fn check(input: &[u8]) -> Verdict {
    let Ok(script) = Damage::decode(input) else { return Ok("no damage".to_owned()) };
    let number = script.file as usize % FILES.len();
    let mut bytes = FILES[number].to_vec();
    script.places.iter().for_each(|place| damage(&mut bytes, place));
    if script.seal {
        seal(&mut bytes);
    }
    let file = file_of(&bytes);
    let (database_bytes, _) = backup::database_bytes(bytes.len() as u64);
    let (status, again) = (status_of(&file, database_bytes), status_of(&file, database_bytes));
    if format!("{status:?}") != format!("{again:?}") {
        return Err(format!("not the same twice: {status:?}, {again:?}"));
    }
    if backup::verify(file.as_ref()).is_ok() && status.as_ref().ok() != Some(&whole()[number]) {
        return Err(format!("the digest is right, yet: {status:?}"));
    }
    load(&file, database_bytes)?;
    match (walk(&file, database_bytes), status) {
        (Ok(Err(why)), _) => Err(why),
        (Ok(Ok(_)), Ok(status)) => Ok(format!("read, {}", status == whole()[number])),
        // Pages may be whole while rows are not.
        (Ok(Ok(_)), Err(StatusError::Bolt(error))) => Err(format!("walked, and then refused: {error}")),
        (Ok(Ok(_)), Err(StatusError::Open(error))) => Err(format!("there is nothing to open: {error}")),
        (Ok(Ok(_)), Err(StatusError::Revision { .. })) => Ok("no revision".to_owned()),
        (Ok(Ok(_)), Err(StatusError::Record { source, .. })) => Ok(source.to_string()),
        (Err(BoltError::Io { offset, len, .. }), _) => Err(format!("read outside of the file: {len} at {offset}")),
        (Err(error), _) => Ok(error.to_string()),
    }
}

fn generate(random: &mut Random) -> Vec<u8> {
    let place = |random: &mut Random| Place {
        page: random.below(16) as u32,
        offset: match random.below(4) {
            0 => random.below(16) as u32,
            1 => (16 + 4 * random.below(40)) as u32,
            2 => (random.below(64)) as u32,
            _ => random.below(PAGE_BYTES as u64) as u32,
        },
        kind: random.below(6) as u32,
        bytes: match random.below(3) {
            0 => vec![random.below(16) as u8],
            1 => vec![0; 1 + random.below(8) as usize],
            _ => (0..1 + random.below(9)).map(|_| random.draw() as u8).collect(),
        }
        .into(),
    };
    let places = (0..1 + random.below(3)).map(|_| place(random)).collect();
    Damage { file: random.below(2) as u32, places, seal: random.chance(50) }.encode_to_vec()
}

fn seeds() -> Vec<(String, Vec<u8>)> {
    let one = |page, offset, kind, bytes: &'static [u8]| {
        let place = Place { page, offset, kind, bytes: Bytes::from_static(bytes) };
        Damage { file: 0, places: vec![place], seal: true }.encode_to_vec()
    };
    [
        ("whole", Damage::default().encode_to_vec()),
        ("whole-3-5", Damage { file: 1, ..Damage::default() }.encode_to_vec()),
        ("cut", one(9, 100, 1, b"")),
        ("root-outside", one(0, 32, 0, b"\xff\xff\xff\xff\xff\xff\xff\x7f")),
        ("pages-without-end", one(0, 56, 0, b"\xff\xff\xff\xff\xff\xff\xff\xff")),
        ("page-size-zero", one(0, 24, 0, b"\0\0\0\0")),
        ("overflow", one(5, 12, 0, b"\xff\xff\xff\xff")),
        ("copied-page", one(6, 0, 4, b"\x05")),
        ("elements", one(7, 10, 0, b"\xff\xff")),
    ]
    .map(|(name, input)| (name.to_owned(), input))
    .to_vec()
}

#[test]
fn bolt_files_are_read_or_refused_with_the_page() {
    run(&mut Target { name: "bolt", check: &mut check, generate: &generate, seeds: &seeds });
}
