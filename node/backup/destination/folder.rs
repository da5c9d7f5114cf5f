//! A directory of this machine. A key is a path in it; parts of an upload are added to a file whose name begins with a dot
//! and ends in `.part`, which is synced and gets its name when it is whole. No name that a key can have begins with a dot.

use super::{Destination, Existing, Failure, Object, Page, Part, Profile, Upload};
use crate::disk::{Disk, File, parent_of};
use bytes::Bytes;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

const PART_SUFFIX: &str = ".part";
/// Folders below the root that are looked into.
const MAX_DEPTH: usize = 4;
const MAX_KEY_BYTES: usize = 512;
const MAX_PART_BYTES: usize = 8 << 20;

/// The directory. It is made with the first object.
#[derive(Clone, Debug)]
pub struct Folder {
    disk: Arc<dyn Disk>,
    root: PathBuf,
}

impl Folder {
    pub fn new(disk: Arc<dyn Disk>, root: PathBuf) -> Self {
        Self { disk, root }
    }

    fn path(&self, key: &str) -> Result<PathBuf, Failure> {
        let is_name = |name: &str| {
            let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'-' | b'_');
            !name.is_empty() && !name.starts_with('.') && name.bytes().all(is_plain)
        };
        if key.len() > MAX_KEY_BYTES || !key.split('/').all(is_name) {
            return Err(Failure::BadKey { key: key.to_owned() });
        }
        Ok(self.root.join(key))
    }

    /// Where the object is while it is not whole.
    fn part_path(&self, key: &str) -> Result<PathBuf, Failure> {
        let path = self.path(key)?;
        let name = path.file_name().unwrap_or_default().to_string_lossy();
        Ok(path.with_file_name(format!(".{name}{PART_SUFFIX}")))
    }

    /// Makes the folder of a path, with a durable name.
    fn make_folder_of(&self, key: &str, path: &Path) -> Result<(), Failure> {
        let folder = parent_of(path);
        if self.disk.exists(folder).map_err(failed(key, "look for folder"))? {
            return Ok(());
        }
        self.disk.create_dir_all(folder).map_err(failed(key, "create folder"))?;
        let above = folder.ancestors().skip(1).take_while(|above| above.starts_with(&self.root));
        for above in above.chain([parent_of(&self.root)]) {
            self.disk.sync_dir(above).map_err(failed(key, "sync folder"))?;
        }
        Ok(())
    }

    fn create_part(&self, key: &str) -> Result<Arc<dyn File>, Failure> {
        let part = self.part_path(key)?;
        self.make_folder_of(key, &part)?;
        self.disk.create(&part).map_err(failed(key, "create"))
    }

    /// Syncs what was written and gives it its name.
    fn put_in_place(&self, key: &str, file: &dyn File) -> Result<Object, Failure> {
        let (part, path) = (self.part_path(key)?, self.path(key)?);
        file.sync_data().map_err(failed(key, "sync"))?;
        let bytes = file.len().map_err(failed(key, "measure"))?;
        self.disk.rename(&part, &path).map_err(failed(key, "rename"))?;
        self.sync_folder_of(key, &path)?;
        Ok(Object { key: key.to_owned(), bytes })
    }

    fn sync_folder_of(&self, key: &str, path: &Path) -> Result<(), Failure> {
        self.disk.sync_dir(parent_of(path)).map_err(failed(key, "sync folder"))
    }

    fn exists(&self, key: &str) -> Result<bool, Failure> {
        self.disk.exists(&self.path(key)?).map_err(failed(key, "look for"))
    }

    /// Shows the files below a folder, by their paths in the root, in order.
    fn walk(&self, folder: &str, depth: usize, visit: &mut dyn FnMut(&str)) -> Result<(), Failure> {
        let names = match self.disk.list(&self.root.join(folder)) {
            Ok(names) => names,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(failed(folder, "list")(error)),
        };
        for name in names {
            let path = if folder.is_empty() { name } else { format!("{folder}/{name}") };
            match self.disk.list(&self.root.join(&path)) {
                Ok(_) if depth < MAX_DEPTH => self.walk(&path, depth + 1, visit)?,
                Ok(_) => {}
                Err(error) if error.kind() == io::ErrorKind::NotADirectory => visit(&path),
                // Deleted meanwhile, or a folder that is none of ours.
                Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::PermissionDenied) => {}
                Err(error) => return Err(failed(&path, "list")(error)),
            }
        }
        Ok(())
    }

    fn remove(&self, key: &str, path: &Path) -> Result<(), Failure> {
        match self.disk.remove_file(path) {
            Ok(()) => self.sync_folder_of(key, path),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(failed(key, "remove")(error)),
        }
    }
}

fn failed<'k>(key: &'k str, action: &'static str) -> impl FnOnce(io::Error) -> Failure + 'k {
    move |source| {
        let key = key.to_owned();
        match source.kind() {
            io::ErrorKind::NotFound => Failure::NotFound { key },
            io::ErrorKind::AlreadyExists => Failure::AlreadyExists { key },
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => Failure::Denied { key, source },
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Failure::OutOfSpace { key, source },
            _ => Failure::Io { key, action, source },
        }
    }
}

impl Destination for Folder {
    fn profile(&self) -> Profile {
        Profile {
            location: format!("file://{}", self.root.display()),
            max_part_bytes: MAX_PART_BYTES,
            max_delete_batch: 1_000,
        }
    }

    fn put(&self, key: &str, data: &[u8], existing: Existing) -> Result<Object, Failure> {
        // Keys are of one member and one moment: nobody else makes this one in between.
        if existing == Existing::Refuse && self.exists(key)? {
            return Err(Failure::AlreadyExists { key: key.to_owned() });
        }
        self.abort_upload(key)?;
        let file = self.create_part(key)?;
        file.write_at(0, data).map_err(failed(key, "write"))?;
        self.put_in_place(key, file.as_ref())
    }

    fn begin_upload(&self, key: &str) -> Result<Upload, Failure> {
        if self.exists(key)? {
            return Err(Failure::AlreadyExists { key: key.to_owned() });
        }
        self.create_part(key)?;
        Ok(Upload { token: key.to_owned(), key: key.to_owned() })
    }

    fn put_part(&self, token: &str, part: Part, data: &[u8]) -> Result<(), Failure> {
        let file = self.disk.open(&self.part_path(token)?).map_err(failed(token, "open"))?;
        let at = file.len().map_err(failed(token, "measure"))?;
        if (part.index == 0) != (at == 0) {
            return Err(Failure::PartOrder { key: token.to_owned(), expected: 0, found: part.index });
        }
        file.write_at(at, data).map_err(failed(token, "write"))
    }

    fn complete_upload(&self, token: &str, parts: &[Part]) -> Result<Object, Failure> {
        let file = self.disk.open(&self.part_path(token)?).map_err(failed(token, "open"))?;
        let (len, sum) =
            (file.len().map_err(failed(token, "measure"))?, parts.iter().map(|part| part.bytes).sum::<u64>());
        if len != sum {
            let source = io::Error::new(io::ErrorKind::UnexpectedEof, "its parts do not add up");
            return Err(Failure::Io { key: token.to_owned(), action: "complete", source });
        }
        self.put_in_place(token, file.as_ref())
    }

    fn abort_upload(&self, token: &str) -> Result<(), Failure> {
        self.remove(token, &self.part_path(token)?)
    }

    fn list_uploads(&self, prefix: &str) -> Result<Vec<Upload>, Failure> {
        let mut uploads = Vec::new();
        self.walk("", 0, &mut |path| {
            let (folder, name) = path.rsplit_once('/').unwrap_or(("", path));
            let Some(name) = name.strip_prefix('.').and_then(|name| name.strip_suffix(PART_SUFFIX)) else { return };
            let key = if folder.is_empty() { name.to_owned() } else { format!("{folder}/{name}") };
            if key.starts_with(prefix) && self.path(&key).is_ok() {
                uploads.push(Upload { token: key.clone(), key });
            }
        })?;
        Ok(uploads)
    }

    fn stat(&self, key: &str) -> Result<Object, Failure> {
        let file = self.disk.open(&self.path(key)?).map_err(failed(key, "open"))?;
        Ok(Object { key: key.to_owned(), bytes: file.len().map_err(failed(key, "measure"))? })
    }

    fn read(&self, key: &str, offset: u64, len: usize) -> Result<Bytes, Failure> {
        let file = self.disk.open(&self.path(key)?).map_err(failed(key, "open"))?;
        let left = file.len().map_err(failed(key, "measure"))?.saturating_sub(offset);
        let len = usize::try_from(left).unwrap_or(usize::MAX).min(len).min(MAX_PART_BYTES);
        let mut data = vec![0; len];
        if len == 0 {
            return Ok(Bytes::new());
        }
        file.read_at(offset, &mut data).map_err(failed(key, "read"))?;
        Ok(data.into())
    }

    fn list(&self, prefix: &str, cursor: Option<&str>, limit: usize) -> Result<Page, Failure> {
        let mut keys = Vec::new();
        self.walk("", 0, &mut |path| {
            if path.starts_with(prefix) && self.path(path).is_ok() {
                keys.push(path.to_owned());
            }
        })?;
        // Folders come before or after files with the same beginning, as their names stand without the slash.
        keys.sort();
        let mut keys = keys.into_iter().filter(|key| cursor.is_none_or(|cursor| key.as_str() > cursor)).peekable();
        let mut page = Page::default();
        while page.objects.len() < limit
            && let Some(key) = keys.next()
        {
            match self.stat(&key) {
                Ok(object) => page.objects.push(object),
                // Deleted meanwhile.
                Err(Failure::NotFound { .. }) => {}
                Err(failure) => return Err(failure),
            }
        }
        if keys.peek().is_some() {
            page.cursor = page.objects.last().map(|object| object.key.clone());
        }
        Ok(page)
    }

    fn delete(&self, keys: &[String]) -> Result<Vec<Result<(), Failure>>, Failure> {
        Ok(keys.iter().map(|key| self.path(key).and_then(|path| self.remove(key, &path))).collect())
    }
}
