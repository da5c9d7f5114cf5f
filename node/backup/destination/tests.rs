//! The contract of a destination, on the folder.

use super::*;
use crate::disk::{Disk, MemoryDisk, RealDisk};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;

fn folder(disk: &MemoryDisk) -> Folder {
    Folder::new(Arc::new(disk.clone()), "backups".into())
}

fn upload(folder: &Folder, key: &str, data: &[u8]) -> Object {
    let destination: Arc<dyn Destination> = Arc::new(folder.clone());
    let mut uploading = Uploading::begin(&destination, key).unwrap();
    data.chunks(100_000).for_each(|chunk| uploading.write(chunk).unwrap());
    uploading.complete().unwrap()
}

#[test]
fn an_object_is_read_back_as_it_was_stored() {
    let folder = folder(&MemoryDisk::new());
    let data: Vec<u8> = (0..3_000_000_u32).map(|at| (at % 251) as u8).collect();
    assert_eq!(upload(&folder, "c1/a.db", &data).bytes, 3_000_000);
    let destination: &dyn Destination = &folder;
    assert!(destination.read_all("c1/a.db", usize::MAX).unwrap() == data);
    assert_eq!(folder.read("c1/a.db", 2_999_990, 100).unwrap(), data[2_999_990..]);
    assert_eq!(folder.read("c1/a.db", 3_000_001, 100).unwrap().len(), 0);
    assert!(matches!(folder.begin_upload("c1/a.db"), Err(Failure::AlreadyExists { .. })));
    folder.put("c1/b.json", b"{}", Existing::Refuse).unwrap();
    assert!(matches!(folder.put("c1/b.json", b"", Existing::Refuse), Err(Failure::AlreadyExists { .. })));
    folder.put("c1/b.json", b"[1]", Existing::Replace).unwrap();
    assert_eq!(folder.stat("c1/b.json").unwrap().bytes, 3);
    assert!(matches!(folder.stat("c1/c"), Err(Failure::NotFound { .. })));
}

#[test]
fn what_is_on_its_way_is_no_object() {
    let folder = folder(&MemoryDisk::new());
    let destination: Arc<dyn Destination> = Arc::new(folder.clone());
    let mut uploading = Uploading::begin(&destination, "c1/a.db").unwrap();
    uploading.write(&[1; 2_000_000]).unwrap();
    assert_eq!(folder.list("", None, 10).unwrap(), Page::default());
    assert!(matches!(folder.read("c1/a.db", 0, 1), Err(Failure::NotFound { .. })));
    let uploads = folder.list_uploads("c1/").unwrap();
    assert_eq!(uploads.iter().map(|upload| upload.key.as_str()).collect::<Vec<_>>(), ["c1/a.db"]);
    assert_eq!(folder.list_uploads("c2/").unwrap(), []);
    uploading.abort().unwrap();
    assert_eq!(folder.list_uploads("").unwrap(), []);
    folder.abort_upload("c1/a.db").unwrap();
}

#[test]
fn pages_follow_each_other_and_a_batch_is_deleted() {
    let folder = folder(&MemoryDisk::new());
    let keys: Vec<String> = (0..25).map(|number| format!("c{}/{number:02}", number % 2)).collect();
    for key in &keys {
        folder.put(key, key.as_bytes(), Existing::Refuse).unwrap();
    }
    let (mut seen, mut cursor) = (Vec::new(), None);
    loop {
        let page = folder.list("", cursor.as_deref(), 4).unwrap();
        seen.extend(page.objects.into_iter().map(|object| object.key));
        let Some(next) = page.cursor else { break };
        cursor = Some(next);
    }
    let mut sorted = keys.clone();
    sorted.sort();
    assert_eq!(seen, sorted);
    let destination: &dyn Destination = &folder;
    assert_eq!(destination.list_all("c1/").unwrap().len(), 12);
    let batch = [keys[1].clone(), "c1/none".to_owned(), "../x".to_owned()];
    let outcomes = folder.delete(&batch).unwrap();
    assert!(matches!(outcomes[..], [Ok(()), Ok(()), Err(Failure::BadKey { .. })]), "{outcomes:?}");
    assert_eq!(destination.list_all("c1/").unwrap().len(), 11);
}

#[test]
fn a_power_loss_leaves_whole_objects_only() {
    for seed in 0..200 {
        let disk = MemoryDisk::new();
        disk.create_dir_all(Path::new("backups")).unwrap();
        disk.sync_dir(Path::new(".")).unwrap();
        let first = folder(&disk);
        upload(&first, "c1/done", &[7; 5_000]);
        let destination: Arc<dyn Destination> = Arc::new(first);
        let mut uploading = Uploading::begin(&destination, "c1/half").unwrap();
        uploading.write(&[8; 3_000_000]).unwrap();
        let after = folder(&disk.crash(seed));
        let destination: &dyn Destination = &after;
        assert_eq!(destination.list_all("").unwrap(), [Object { key: "c1/done".to_owned(), bytes: 5_000 }]);
        assert_eq!(destination.read_all("c1/done", 10_000).unwrap(), [7; 5_000]);
    }
}

#[test]
fn files_are_the_owners_alone_and_names_stay_within_the_folder() {
    let dir = tempfile::tempdir().unwrap();
    let folder = Folder::new(Arc::new(RealDisk), dir.path().join("a/b"));
    upload(&folder, "c1/x.db", b"data");
    let mode = |path: &str| std::fs::metadata(dir.path().join(path)).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode("a/b/c1/x.db"), mode("a/b/c1")), (0o600, 0o700));
    // Files of others are no objects.
    std::fs::write(dir.path().join("a/b/c1/.hidden"), "x").unwrap();
    std::fs::write(dir.path().join("a/b/not ours"), "x").unwrap();
    let destination: &dyn Destination = &folder;
    assert_eq!(destination.list_all("").unwrap().len(), 1);
    for key in ["", "/x", "a//b", "../x", "a/../b", ".x", "a b", "a/.x.part"] {
        assert!(matches!(folder.stat(key), Err(Failure::BadKey { .. })), "{key:?}");
    }
}
