//! A log file that is put aside when it is full, and begun anew, by the rules and under the names of lumberjack, which
//! etcd uses: `etcd.log` is followed by `etcd-2026-11-27T07-46-05.000.log`, with `.gz` behind it once it is compressed.

use crate::config::Rotation;
use chrono::{DateTime, Local, NaiveDateTime, Utc};
use flate2::Compression;
use flate2::write::GzEncoder;
use std::collections::BTreeSet;
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const TIME: &str = "%Y-%m-%dT%H-%M-%S%.3f";
const COMPRESSED: &str = ".gz";
/// As lumberjack makes what is not there.
const FILE_MODE: u32 = 0o600;
const FOLDER_MODE: u32 = 0o755;
const DAY: Duration = Duration::from_secs(24 * 3600);

/// The file that is written now.
#[derive(Debug)]
pub struct RotatingFile {
    path: PathBuf,
    rules: Rotation,
    file: File,
    len: u64,
    /// Held by whoever cleans up.
    cleaning: Arc<Mutex<()>>,
}

impl RotatingFile {
    /// Goes on with the file that is there.
    ///
    /// # Errors
    /// It cannot be made or opened.
    pub fn open(path: &Path, rules: Rotation) -> io::Result<Self> {
        if let Some(folder) = path.parent().filter(|folder| !folder.as_os_str().is_empty()) {
            DirBuilder::new().recursive(true).mode(FOLDER_MODE).create(folder)?;
        }
        let file = OpenOptions::new().append(true).create(true).mode(FILE_MODE).open(path)?;
        let len = file.metadata()?.len();
        let rotating = Self { path: path.to_owned(), rules, file, len, cleaning: Arc::default() };
        rotating.clean_up();
        Ok(rotating)
    }

    /// Writes lines, to the next file if they would make this one too long.
    ///
    /// # Errors
    /// They are not written, or not all.
    pub fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        let len = lines.len() as u64;
        if self.len > 0 && self.len + len > self.rules.max_bytes() {
            self.rotate()?;
        }
        self.file.write_all(lines)?;
        self.len += len;
        Ok(())
    }

    fn rotate(&mut self) -> io::Result<()> {
        let mode = self.file.metadata().map_or(FILE_MODE, |metadata| metadata.mode() & 0o777);
        let now = Utc::now();
        fs::rename(&self.path, aside(&self.path, now, self.rules.local_time))?;
        self.file = OpenOptions::new().append(true).create(true).mode(mode).open(&self.path)?;
        // Whatever the umask says, as lumberjack does.
        self.file.set_permissions(Permissions::from_mode(mode))?;
        self.len = 0;
        self.clean_up();
        Ok(())
    }

    /// On a thread of its own, since compressing takes long.
    fn clean_up(&self) {
        let (path, rules, cleaning) = (self.path.clone(), self.rules, Arc::clone(&self.cleaning));
        let cleans = move || {
            let _one_at_a_time = cleaning.lock();
            if let Err(error) = clean_up(&path, rules, Utc::now()) {
                tracing::warn!(path = %path.display(), %error, "failed to clean up rotated log files");
            }
        };
        if let Err(error) = std::thread::Builder::new().name("log-rotation".to_owned()).spawn(cleans) {
            tracing::warn!(%error, "failed to clean up rotated log files");
        }
    }
}

/// Stem and ending of a file's name: `etcd` and `.log`.
fn parts(path: &Path) -> (String, String) {
    let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
    match name.rfind('.') {
        Some(dot) => (name[..dot].to_owned(), name[dot..].to_owned()),
        None => (name, String::new()),
    }
}

fn aside(path: &Path, now: DateTime<Utc>, in_local_time: bool) -> PathBuf {
    let (stem, ending) = parts(path);
    let time = if in_local_time { now.with_timezone(&Local).format(TIME) } else { now.format(TIME) };
    path.with_file_name(format!("{stem}-{time}{ending}"))
}

/// When a file was put aside, if it was one of `path`'s. As lumberjack reads it: local time is taken for UTC.
fn put_aside_at(name: &str, path: &Path) -> Option<NaiveDateTime> {
    let (stem, ending) = parts(path);
    let name = name.strip_suffix(COMPRESSED).unwrap_or(name);
    let time = name.strip_prefix(&stem)?.strip_prefix('-')?.strip_suffix(&ending)?;
    NaiveDateTime::parse_from_str(time, TIME).ok()
}

/// Removes what is too much or too old, and compresses the rest, as the rules say.
fn clean_up(path: &Path, rules: Rotation, now: DateTime<Utc>) -> io::Result<()> {
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut found: Vec<(NaiveDateTime, String)> = Vec::new();
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        found.extend(put_aside_at(&name, path).map(|time| (time, name)));
    }
    // The newest first.
    found.sort_by(|a, b| b.cmp(a));
    let oldest = (rules.max_age_days > 0).then(|| now.naive_utc() - DAY * rules.max_age_days);
    let mut kept = BTreeSet::new();
    for (time, name) in found {
        let plain = name.strip_suffix(COMPRESSED).unwrap_or(&name).to_owned();
        kept.insert(plain.clone());
        let is_too_much = rules.max_backups > 0 && kept.len() > rules.max_backups;
        let file = folder.join(&name);
        if is_too_much || oldest.is_some_and(|oldest| time < oldest) {
            fs::remove_file(file)?;
        } else if rules.compress && plain == name {
            compress(&file)?;
        }
    }
    Ok(())
}

/// The file is gone only once all of it is in the other one.
fn compress(path: &Path) -> io::Result<()> {
    let mut plain = File::open(path)?;
    let metadata = plain.metadata()?;
    let mut name = path.as_os_str().to_owned();
    name.push(COMPRESSED);
    let mode = metadata.mode() & 0o777;
    let target = OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(&name)?;
    let mut target = GzEncoder::new(target, Compression::default());
    let done = io::copy(&mut plain, &mut target).and_then(|_| target.finish()).and_then(|file| file.sync_all());
    if done.is_err() {
        fs::remove_file(&name)?;
        return done;
    }
    fs::remove_file(path)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    const RULES: Rotation =
        Rotation { max_megabytes: 1, max_age_days: 0, max_backups: 0, local_time: false, compress: false };

    fn names(folder: &Path) -> Vec<String> {
        let mut names: Vec<String> =
            fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn a_full_file_is_put_aside_and_no_line_is_lost() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("logs/etcd.log");
        let lines = vec![b'x'; 400 << 10];
        let mut file = RotatingFile::open(&path, RULES).unwrap();
        for _ in 0..3 {
            file.write(&lines).unwrap();
        }
        // It goes on where it was.
        drop(file);
        let mut file = RotatingFile::open(&path, RULES).unwrap();
        for _ in 0..2 {
            // Two of one millisecond would have one name.
            std::thread::sleep(Duration::from_millis(2));
            file.write(&lines).unwrap();
        }
        let names = names(path.parent().unwrap());
        assert_eq!((names.len(), names[2].as_str()), (3, "etcd.log"), "{names:?}");
        assert!(names[..2].iter().all(|name| put_aside_at(name, &path).is_some()), "{names:?}");
        let lens = names.iter().map(|name| fs::metadata(path.with_file_name(name)).unwrap().len());
        assert_eq!(lens.collect::<Vec<_>>(), [800 << 10, 800 << 10, 400 << 10]);
        assert_eq!(fs::metadata(&path).unwrap().mode() & 0o777, FILE_MODE);
    }

    #[test]
    fn what_is_too_much_or_too_old_goes_and_the_rest_is_compressed() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("etcd.log");
        let now: DateTime<Utc> = "2026-11-27T12:00:00Z".parse().unwrap();
        for name in [
            "etcd.log",
            "etcd-2026-11-27T11-00-00.000.log",
            "etcd-2026-11-26T11-00-00.000.log.gz",
            "etcd-2026-11-25T11-00-00.000.log",
            "etcd-2026-11-20T11-00-00.000.log",
            "etcd-notes.log",
            "other-2026-11-20T11-00-00.000.log",
        ] {
            fs::write(folder.path().join(name), name).unwrap();
        }
        clean_up(&path, Rotation { max_age_days: 3, compress: true, ..RULES }, now).unwrap();
        let others = ["etcd-notes.log", "etcd.log", "other-2026-11-20T11-00-00.000.log"];
        let kept = [
            "etcd-2026-11-25T11-00-00.000.log.gz",
            "etcd-2026-11-26T11-00-00.000.log.gz",
            "etcd-2026-11-27T11-00-00.000.log.gz",
        ];
        assert_eq!(names(folder.path()), [&kept[..], &others].concat());
        let mut text = String::new();
        let packed = File::open(folder.path().join(kept[2])).unwrap();
        flate2::read::GzDecoder::new(packed).read_to_string(&mut text).unwrap();
        assert_eq!(text, "etcd-2026-11-27T11-00-00.000.log");
        clean_up(&path, Rotation { max_backups: 1, ..RULES }, now).unwrap();
        assert_eq!(names(folder.path()), [&kept[2..], &others].concat());
    }

    #[test]
    fn names_are_lumberjacks() {
        let at: DateTime<Utc> = "2026-11-27T07:46:05.012Z".parse().unwrap();
        assert_eq!(aside(Path::new("/l/etcd.log"), at, false), Path::new("/l/etcd-2026-11-27T07-46-05.012.log"));
        assert_eq!(aside(Path::new("etcd"), at, false), Path::new("etcd-2026-11-27T07-46-05.012"));
    }
}
