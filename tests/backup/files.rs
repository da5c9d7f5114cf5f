//! Files of `etcdctl snapshot save` against etcd 3.5.1 and 3.7.3, with users, roles, a lease, free pages, inline buckets and a
//! value of several pages. What they hold was counted by etcdutl 3.7.3.

use crate::stored::{content, file_of, open, saved, storage_of};
use keelstone::backup::{self, Status, VerifyError};

const ETCD_3_5: &[u8] = include_bytes!("etcd-3.5.1/snapshot.db");
const ETCD_3_7: &[u8] = include_bytes!("etcd-3.7.3/snapshot.db");

fn status_of_3_5() -> Status {
    Status { hash: 448561354, revision: 46, total_keys: 41, total_bytes: 61440, version: String::new() }
}

fn status_of_3_7() -> Status {
    Status { hash: 1630944834, revision: 46, total_keys: 41, total_bytes: 61440, version: "3.7.0".to_owned() }
}

#[test]
fn files_of_etcd_are_read_as_etcdutl_reads_them() {
    for (bytes, status) in [(ETCD_3_5, status_of_3_5()), (ETCD_3_7, status_of_3_7())] {
        assert_eq!(backup::verify(file_of(bytes).as_ref()).expect("the right digest"), status.total_bytes);
        let database = open(bytes).expect("a database");
        assert_eq!(backup::status(&database).expect("a whole file"), status);
        let counts: Vec<_> =
            content(&database).expect("a whole file").into_iter().map(|(name, rows)| (name, rows.len())).collect();
        let of = |bucket: &str| counts.iter().find(|(name, _)| name == bucket).expect("a bucket of etcd").1;
        assert_eq!((counts.len(), of("authUsers"), of("authRoles"), of("lease"), of("alarm")), (10, 2, 1, 1, 0));
        let large = content(&database)
            .expect("a whole file")
            .iter()
            .flat_map(|(_, rows)| rows.clone())
            .map(|row| row.1.len())
            .max();
        assert!(large > Some(10_000), "the large value is whole");
    }
}

#[test]
fn a_state_with_the_rows_of_etcd_is_saved_as_etcd_would() {
    for (bytes, status) in [(ETCD_3_5, status_of_3_5()), (ETCD_3_7, status_of_3_7())] {
        let rows = content(&open(bytes).expect("a database")).expect("a whole file");
        // It has rows of its own too, which must not come out.
        let ours = saved(&storage_of(&rows));
        assert_eq!(ours.len() % 512, 32);
        backup::verify(file_of(&ours).as_ref()).expect("the right digest");
        let database = open(&ours).expect("a database");
        assert!(content(&database).expect("a whole file") == rows, "rows differ");
        let saved = backup::status(&database).expect("a whole file");
        assert_eq!(Status { total_bytes: status.total_bytes, ..saved }, status);
    }
}

#[test]
fn a_state_without_rows_has_all_buckets() {
    let ours = saved(&storage_of(&Vec::new()));
    let names: Vec<_> = content(&open(&ours).expect("a database")).expect("a whole file");
    let names: Vec<_> = names.iter().map(|(name, rows)| (name.as_str(), rows.len())).collect();
    let wanted =
        ["alarm", "auth", "authRoles", "authUsers", "cluster", "key", "lease", "members", "members_removed", "meta"];
    assert_eq!(names, wanted.map(|name| (name, 0)));
}

#[test]
fn memory_for_a_file_is_that_of_a_few_pieces_and_the_largest_row() {
    let rows = (0..2_000_u64).map(|number| (number.to_be_bytes().to_vec(), vec![1; 10_000])).collect();
    let storage = storage_of(&vec![("key".to_owned(), rows)]);
    let mut save = backup::Save::plan(&storage.version().expect("a version")).expect("rows of etcd");
    assert!(save.total_bytes() > 20_000_000);
    while !save.is_finished() {
        let blobs = save.next_blobs().expect("rows of etcd");
        let bytes: usize = blobs.iter().map(|blob| blob.bytes.len()).sum();
        assert!(bytes < 512 * 1024, "{bytes} bytes at once");
        assert!(blobs.iter().all(|blob| blob.bytes.len() <= backup::BLOB_BYTES));
    }
    assert_eq!(save.next_blobs().expect("the end"), []);
}

#[test]
fn a_digest_tells_a_changed_file_and_a_missing_digest() {
    let mut changed = ETCD_3_7.to_vec();
    changed[20_000] ^= 1;
    let error = backup::verify(file_of(&changed).as_ref()).expect_err("a changed byte");
    assert!(matches!(error, VerifyError::Mismatch { expected, computed } if expected != computed), "{error}");
    let cut = &ETCD_3_7[..ETCD_3_7.len() - backup::DIGEST_BYTES];
    let error = backup::verify(file_of(cut).as_ref()).expect_err("no digest");
    assert!(matches!(error, VerifyError::NoDigest { bytes: 61440 }), "{error}");
    assert_eq!(backup::status(&open(cut).expect("a database")).expect("a whole file"), status_of_3_7());
}
