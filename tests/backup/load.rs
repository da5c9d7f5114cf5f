//! Databases of etcd become states of ours, row by row, and what no member could read does not.

use crate::stored::{content, file_of, open, saved};
use keelstone::backup::bolt::{BoltError, Database, Writer};
use keelstone::backup::{LoadError, Loaded, load};
use keelstone::mvcc;
use keelstone::storage::{Import, Metrics, Table};
use keelstone::types::LogPosition;
use prometheus::Registry;

const ETCD_3_5: &[u8] = include_bytes!("etcd-3.5.1/snapshot.db");
const ETCD_3_7: &[u8] = include_bytes!("etcd-3.7.3/snapshot.db");
/// The rows of [`ETCD_3_7`], written by bbolt 1.5 with pages of 1 KiB and of 16 KiB.
const PAGES_OF_1_KIB: &[u8] = include_bytes!("etcd-3.7.3/pages-1024.db");
const PAGES_OF_16_KIB: &[u8] = include_bytes!("etcd-3.7.3/pages-16384.db");

fn try_load(database: &Database, without: &[Table]) -> Result<Loaded, LoadError> {
    let metrics = Metrics::register(&Registry::new()).expect("a fresh registry");
    load(database, Import::new(file_of(&[]), 1 << 20, metrics).expect("memory does not fail"), without)
}

type Rows<'r> = &'r [(&'r [u8], &'r [u8])];

/// A file with these rows.
fn database(buckets: &[(&'static str, Rows<'_>)]) -> Database {
    let write = |mut writer: Writer| {
        for (name, rows) in buckets {
            writer.bucket(name);
            for (key, value) in *rows {
                writer.row(key.to_vec().into(), value.to_vec().into()).expect("in order");
            }
        }
        (writer.finish(), writer.finished().to_vec())
    };
    let (plan, _) = write(Writer::new());
    let (_, bytes) = write(Writer::planned(&plan));
    open(&bytes).expect("a database")
}

#[test]
fn a_file_of_etcd_is_loaded_and_saved_again_with_all_its_rows() {
    // What both files say of themselves.
    let applied = LogPosition { term: 2, index: 56 };
    for bytes in [ETCD_3_5, ETCD_3_7, PAGES_OF_1_KIB, PAGES_OF_16_KIB] {
        let database = open(bytes).expect("a database");
        let loaded = try_load(&database, &[]).expect("a file of etcd");
        assert_eq!((loaded.meta.applied, loaded.unknown_buckets), (applied, Vec::new()));
        let ours = content(&open(&saved(&loaded.storage)).expect("a database")).expect("a whole file");
        assert!(ours == content(&database).expect("a whole file"), "rows differ");
    }
}

#[test]
fn tables_that_are_not_wanted_stay_empty_whatever_they_hold() {
    let file = database(&[("cluster", &[(b"clusterVersion", b"3.7.0")]), ("members", &[(b"no id", b"no member")])]);
    let loaded = try_load(&file, &[Table::Members]).expect("nothing else is wrong");
    let version = loaded.storage.version().expect("a version");
    assert_eq!(version.rows(Table::Members).expect("rows"), []);
    assert_eq!(version.rows(Table::Cluster).expect("rows"), [(b"clusterVersion".to_vec(), b"3.7.0".to_vec())]);
}

#[test]
fn missing_buckets_are_empty_and_unknown_ones_are_named() {
    let file = database(&[("future", &[(b"k", b"v")]), ("key", &[])]);
    let loaded = try_load(&file, &[]).expect("a database of etcd");
    assert_eq!(loaded.unknown_buckets, ["future"]);
    let ours = content(&open(&saved(&loaded.storage)).expect("a database")).expect("a whole file");
    assert!(ours.len() == 10 && ours.iter().all(|(_, rows)| rows.is_empty()), "{ours:?}");
    let nothing = try_load(&database(&[]), &[]).expect("etcd takes an empty database");
    assert_eq!(nothing.meta.applied, LogPosition::default());
}

#[test]
fn rows_about_a_file_of_ours_do_not_come_from_elsewhere() {
    let rows: Rows<'_> = &[
        (b"consistent_index", &7_u64.to_be_bytes()),
        (b"keelstone_format", b"hostile"),
        (b"keelstone_membership", b"\xff"),
    ];
    let loaded = try_load(&database(&[("meta", rows)]), &[]).expect("etcd ignores them");
    assert_eq!((loaded.meta.applied, loaded.meta.membership), (LogPosition { term: 0, index: 7 }, None));
    let loaded = try_load(&open(&saved(&loaded.storage)).expect("a database"), &[]).expect("our own file");
    assert_eq!(loaded.meta.applied.index, 7);
}

#[test]
fn schemas_are_read_as_a_server_of_etcd_reads_them() {
    let with = |version: &[u8]| try_load(&database(&[("meta", &[(b"storageVersion", version)])]), &[]);
    for version in ["3.5.0", "3.6.0", "3.7.0", "3.7.9-rc.1"] {
        assert_eq!(with(version.as_bytes()).expect(version).meta.storage_version.as_deref(), Some(version));
    }
    for absent in [b"".as_slice(), b"3.7", b"new", b"\xff\xfe"] {
        assert_eq!(with(absent).expect("as if it were absent").meta.storage_version, None);
    }
    for (version, text) in [
        ("3.8.1", "version \"3.8.0\" is not supported"),
        ("4.0.0", "changing major storage version is not supported"),
        ("3.99.0-alpha", "version \"3.99.0\" is not supported"),
    ] {
        assert_eq!(with(version.as_bytes()).expect_err(version).to_string(), text);
    }
}

#[test]
fn a_row_that_no_member_could_read_is_refused_by_name() {
    let key = |main: i64, tail: &[u8]| [&main.to_be_bytes()[..], b"_\0\0\0\0\0\0\0\0", tail].concat();
    let (put, negative, large) = (key(2, b""), key(-2, b""), key(i64::MAX, b""));
    let cases: &[(&'static str, &[u8], &[u8], &str)] = &[
        ("alarm", b"\x08\x07", b"", "read state: alarm type 0 is unknown"),
        ("auth", b"authRevision", b"\x01", "bucket auth: the row"),
        ("authRoles", b"reader", b"\x0a\x06writer", "bucket authRoles: the row"),
        ("authUsers", b"alice", b"\x0a\x63", "bucket authUsers: the row"),
        ("cluster", b"clusterVersion", b"three", "read state: read cluster version"),
        ("cluster", b"downgrade", b"{", "read state: read downgrade record"),
        ("key", b"key", b"", "table key holds a malformed row [6b, 65, 79]"),
        ("key", &put, b"\x0a\x63", "table key holds a malformed row"),
        ("key", &negative, b"", "table key holds a malformed row"),
        ("key", &large, b"", "table key holds a malformed row"),
        ("lease", b"\0\0\0\0\0\0\0\x07", b"\x08\x08", "read state: lease 8 stands under the key of another"),
        ("members", b"1", b"[]", "read state: read member 1"),
        ("members_removed", b"01", b"removed", "read state: member id \"01\" is not lower-case hex"),
        ("meta", b"consistent_index", b"7", "table meta holds a malformed row"),
        ("meta", b"scheduledCompactRev", b"7", "table meta holds a malformed row"),
        ("meta", b"row", &[0; 2 << 20], "bucket meta has more than 1048576 bytes"),
    ];
    for &(bucket, key, value, text) in cases {
        let error = try_load(&database(&[(bucket, &[(key, value)])]), &[]).expect_err(text);
        assert!(error.to_string().starts_with(text), "{bucket}: {error}");
    }
}

#[test]
fn a_damaged_page_ends_the_loading() {
    const PAGE_BYTES: usize = 4096;
    let ends_it = |page: &usize| {
        let mut bytes = ETCD_3_7.to_vec();
        bytes[page * PAGE_BYTES..][..16].fill(0xff);
        let loaded = open(&bytes).map_err(LoadError::from).and_then(|database| try_load(&database, &[]));
        match loaded {
            Ok(_) => false,
            Err(LoadError::Bolt(BoltError::Page { page: named, .. })) => named == *page as u64,
            Err(other) => panic!("page {page}: {other}"),
        }
    };
    // The others are free, or go on with what began before.
    assert!((2..ETCD_3_7.len() / PAGE_BYTES).filter(ends_it).count() >= 4);
}

#[test]
fn marks_of_compactions_and_a_bumped_revision_are_what_the_store_opens_with() {
    let key = |main: i64| [&main.to_be_bytes()[..], b"_\0\0\0\0\0\0\0\0"].concat();
    let put = |main: u8| [b"\x0a\x01k\x10\x02\x18".as_slice(), &[main], b"\x20\x01\x2a\x01v"].concat();
    let opened = |keys: &[(i64, Vec<u8>)], marks: Rows<'_>| {
        let keys: Vec<_> = keys.iter().map(|(main, value)| (key(*main), value.clone())).collect();
        let keys: Vec<(&[u8], &[u8])> = keys.iter().map(|(key, value)| (&key[..], &value[..])).collect();
        let loaded = try_load(&database(&[("key", &keys), ("meta", marks)]), &[]).expect("rows of etcd");
        let metrics = mvcc::Metrics::register(&Registry::new()).expect("a fresh registry");
        let store = mvcc::Store::open(loaded.storage, metrics).expect("it was read before").store;
        (store.revision(), store.compacted(), store.is_compacting())
    };
    assert_eq!(opened(&[(2, put(2))], &[]), (2, -1, false));
    let (three, five, bumped) = (key(3), key(5), key(1_000));
    // etcd #17780: all rows of the newest revisions were compacted.
    assert_eq!(
        opened(&[(2, put(2))], &[(b"finishedCompactRev", &five), (b"scheduledCompactRev", &five)]),
        (5, 5, false)
    );
    assert_eq!(
        opened(&[(2, put(2))], &[(b"finishedCompactRev", &three), (b"scheduledCompactRev", &five)]),
        (5, 5, true)
    );
    // As `etcdutl snapshot restore --bump-revision --mark-compacted` leaves it: a record without a key.
    assert_eq!(opened(&[(2, put(2)), (1_000, Vec::new())], &[(b"scheduledCompactRev", &bumped)]), (1_000, 1_000, true));
}
