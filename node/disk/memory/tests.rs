//! What a disk in memory gives back after a crash, and what it fails when told to.

use super::*;

fn read(disk: &MemoryDisk, path: &str) -> Vec<u8> {
    let file = disk.open(Path::new(path)).unwrap();
    let mut bytes = vec![0; usize::try_from(file.len().unwrap()).unwrap()];
    file.read_at(0, &mut bytes).unwrap();
    bytes
}

#[test]
fn what_was_synced_survives_each_crash_and_the_rest_is_kept_or_lost_by_sectors() {
    let disk = MemoryDisk::new();
    let file = disk.create(Path::new("/a")).unwrap();
    disk.sync_dir(Path::new("/")).unwrap();
    file.allocate(2048).unwrap();
    file.write_at(0, &[1; 100]).unwrap();
    file.sync_data().unwrap();
    file.write_at(100, &[2; 1000]).unwrap();
    let mut images = HashSet::new();
    for seed in 0..200 {
        let bytes = read(&disk.crash(seed), "/a");
        assert_eq!(bytes[..100], [1; 100]);
        for sector in [100..512, 512..1024, 1024..1100] {
            let first = bytes[sector.start];
            assert!(bytes[sector].iter().all(|&byte| byte == first), "a sector is whole or not there");
        }
        images.insert(bytes);
    }
    assert_eq!(images.len(), 8);
    assert_eq!(read(&disk.kill(), "/a")[100..1100], [2; 1000]);
}

#[test]
fn a_sector_never_holds_a_later_write_without_the_one_before() {
    let disk = MemoryDisk::new();
    let file = disk.create(Path::new("/a")).unwrap();
    disk.sync_dir(Path::new("/")).unwrap();
    file.allocate(1024).unwrap();
    file.sync_data().unwrap();
    file.write_at(40, &[1; 40]).unwrap();
    file.write_at(80, &[2; 500]).unwrap();
    let held: HashSet<_> =
        (0..200).map(|seed| read(&disk.crash(seed), "/a")).map(|bytes| (bytes[40], bytes[80], bytes[512])).collect();
    let possible = [(0, 0), (1, 0), (1, 2)].map(|(one, two)| [(one, two, 0), (one, two, 2)]);
    assert_eq!(held, possible.into_iter().flatten().collect());
}

#[test]
fn what_a_failed_sync_was_for_is_not_brought_to_the_disk_by_a_later_one() {
    let disk = MemoryDisk::new();
    let file = disk.create(Path::new("a")).unwrap();
    disk.sync_dir(Path::new("/")).unwrap();
    file.write_at(0, &[1; 1024]).unwrap();
    disk.fail_at(disk.operations(), io::ErrorKind::Other);
    assert!(file.sync_data().is_err());
    file.write_at(1024, &[2; 512]).unwrap();
    file.sync_data().unwrap();
    assert_eq!(read(&disk.kill(), "a")[..1024], [1; 1024]);
    let images: HashSet<_> = (0..50).map(|seed| read(&disk.kill().crash(seed), "a")).collect();
    assert_eq!(images.len(), 4);
    assert!(images.iter().all(|bytes| bytes[1024..] == [2; 512]));
    // Written again, and thereby synced, in part of one sector.
    file.write_at(100, &[1; 10]).unwrap();
    file.sync_data().unwrap();
    let images: HashSet<_> = (0..50).map(|seed| read(&disk.crash(seed), "a")).collect();
    assert_eq!(images.len(), 2);
}

#[test]
fn names_survive_a_crash_once_their_directory_is_synced() {
    let disk = MemoryDisk::new();
    disk.create_dir_all(Path::new("/d")).unwrap();
    disk.sync_dir(Path::new("/")).unwrap();
    disk.create(Path::new("/d/a.tmp")).unwrap().sync_data().unwrap();
    disk.sync_dir(Path::new("/d")).unwrap();
    disk.rename(Path::new("/d/a.tmp"), Path::new("/d/a")).unwrap();
    disk.create(Path::new("/d/b")).unwrap();
    let images: HashSet<_> = (0..100).map(|seed| disk.crash(seed).list(Path::new("d")).unwrap()).collect();
    let all = [vec!["a"], vec!["a.tmp"], vec!["a", "b"], vec!["a.tmp", "b"]];
    assert_eq!(images, all.map(|names| names.into_iter().map(String::from).collect()).into());
    disk.sync_dir(Path::new("/d")).unwrap();
    assert!((0..100).all(|seed| disk.crash(seed).list(Path::new("d")).unwrap() == ["a", "b"]));
}

#[test]
fn an_operation_fails_when_it_is_told_to_and_a_lock_is_exclusive() {
    let disk = MemoryDisk::new();
    let file = disk.create(Path::new("a")).unwrap();
    disk.fail_at(2, io::ErrorKind::Other);
    file.write_at(0, b"abcd").unwrap();
    assert!(file.write_at(4, b"efgh").is_err());
    assert_eq!(read(&disk, "a"), b"abcd");
    disk.fail_access_at(disk.accesses() + 1, io::ErrorKind::Other);
    assert_eq!(file.len().unwrap(), 4);
    assert!(file.read_at(0, &mut [0]).is_err());
    assert!(file.read_at(0, &mut [0]).is_ok());
    disk.set_free_bytes(1);
    assert_eq!(file.allocate(10).unwrap_err().kind(), io::ErrorKind::StorageFull);

    let held = Disk::lock(&disk, Path::new("lock")).unwrap();
    assert_eq!(Disk::lock(&disk, Path::new("lock")).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    drop(held);
    assert!(Disk::lock(&disk, Path::new("lock")).is_ok());
}

#[test]
fn an_observer_sees_the_disk_after_each_operation_of_a_process_that_lives() {
    let disk = MemoryDisk::new();
    let seen = Arc::new(Mutex::new(Vec::new()));
    let lengths = seen.clone();
    disk.observe(move |disk| lengths.lock().unwrap().push(read(&disk.kill(), "a").len()));
    let file = disk.create(Path::new("a")).unwrap();
    file.write_at(0, b"abcd").unwrap();
    read(&disk, "a");
    let next = disk.next_process();
    file.write_at(0, b"efghi").unwrap();
    assert_eq!(read(&next, "a"), b"abcd");
    next.forget_observer();
    next.open(Path::new("a")).unwrap().sync_data().unwrap();
    assert_eq!((next.operations(), &seen.lock().unwrap()[..]), (3, &[0, 4][..]));
}
