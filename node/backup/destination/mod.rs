//! Where backups go: objects under keys, in the operations that a plugin will offer (`keelstone:plugin`, world
//! `backup-destination`). The local folder is the only one so far; the trait is here before its second user because the
//! node's side must not come to lean on what only a file system can do. What only remote stores need (digests and attributes
//! that are passed on, parts of an upload that another member goes on with, object locks) comes with them.
//!
//! The contract: an object is there whole or not at all, from the return of [`Destination::put`] and
//! [`Destination::complete_upload`] on, and survives a crash then. All calls block; they belong on no runtime's thread.

mod folder;
#[cfg(test)]
mod tests;

pub use folder::Folder;

use bytes::Bytes;
use std::fmt::Debug;
use std::io;
use std::sync::Arc;

/// What a place can take, in bytes where it is a size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Profile {
    /// For people, without credentials: `file:///var/backups`.
    pub location: String,
    pub max_part_bytes: usize,
    pub max_delete_batch: usize,
}

/// An object that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Object {
    pub key: String,
    pub bytes: u64,
}

/// Whether an object may take the place of one that is there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Existing {
    Replace,
    Refuse,
}

/// A large object on its way. The token is all that is needed to go on with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upload {
    pub token: String,
    pub key: String,
}

/// A part that has arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// From 0.
    pub index: u32,
    pub bytes: u64,
}

/// Some objects, in the order of their keys.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    pub objects: Vec<Object>,
    /// To be handed in for the next page; none is left without it.
    pub cursor: Option<String>,
}

/// Why an operation was not done. The key stands in each, as an operation on many fails for one.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    #[error("{key}: not there")]
    NotFound { key: String },
    #[error("{key}: is there already")]
    AlreadyExists { key: String },
    /// An operator has to do something first.
    #[error("{key}: {source}")]
    Denied { key: String, source: io::Error },
    #[error("{key}: no space left at the destination: {source}")]
    OutOfSpace { key: String, source: io::Error },
    #[error("{key}: {action}: {source}")]
    Io { key: String, action: &'static str, source: io::Error },
    #[error("{key:?} is no name for an object")]
    BadKey { key: String },
    #[error("{key}: part {found} came where part {expected} was due")]
    PartOrder { key: String, expected: u32, found: u32 },
}

impl Failure {
    /// One word, for metrics.
    pub fn reason(&self) -> &'static str {
        match self {
            Failure::NotFound { .. } => "not_found",
            Failure::AlreadyExists { .. } => "already_exists",
            Failure::Denied { .. } => "denied",
            Failure::OutOfSpace { .. } => "out_of_space",
            Failure::Io { .. } => "io",
            Failure::BadKey { .. } | Failure::PartOrder { .. } => "protocol",
        }
    }
}

/// A place for backups.
pub trait Destination: Debug + Send + Sync {
    fn profile(&self) -> Profile;

    /// Stores a small object.
    ///
    /// # Errors
    /// `AlreadyExists` if it may not take the place of one.
    fn put(&self, key: &str, data: &[u8], existing: Existing) -> Result<Object, Failure>;

    /// Begins a large object. Nothing of it is an object before [`Self::complete_upload`].
    ///
    /// # Errors
    /// `AlreadyExists` for a key that is there or on its way.
    fn begin_upload(&self, key: &str) -> Result<Upload, Failure>;

    /// Hands over the next part.
    ///
    /// # Errors
    /// `NotFound` for an upload that was aborted.
    fn put_part(&self, token: &str, part: Part, data: &[u8]) -> Result<(), Failure>;

    /// Makes an object of all parts.
    ///
    /// # Errors
    /// It did not become one.
    fn complete_upload(&self, token: &str, parts: &[Part]) -> Result<Object, Failure>;

    /// Drops what has arrived. Fine if there is nothing.
    ///
    /// # Errors
    /// It stays.
    fn abort_upload(&self, token: &str) -> Result<(), Failure>;

    /// Uploads that were begun and neither completed nor aborted.
    ///
    /// # Errors
    /// They cannot be listed.
    fn list_uploads(&self, prefix: &str) -> Result<Vec<Upload>, Failure>;

    /// # Errors
    /// `NotFound`.
    fn stat(&self, key: &str) -> Result<Object, Failure>;

    /// Bytes from `offset` on, perhaps fewer than `len`; none behind the end.
    ///
    /// # Errors
    /// `NotFound`, or it cannot be read.
    fn read(&self, key: &str, offset: u64, len: usize) -> Result<Bytes, Failure>;

    /// Objects whose keys begin with `prefix`, at most `limit`.
    ///
    /// # Errors
    /// They cannot be listed. That there are none is none.
    fn list(&self, prefix: &str, cursor: Option<&str>, limit: usize) -> Result<Page, Failure>;

    /// Deletes each of them, with an outcome for each. One that is not there is deleted.
    ///
    /// # Errors
    /// Nothing was deleted.
    fn delete(&self, keys: &[String]) -> Result<Vec<Result<(), Failure>>, Failure>;
}

/// Objects on one page of a listing.
const PAGE_OBJECTS: usize = 1_000;

impl dyn Destination + '_ {
    /// All objects below a prefix, page by page.
    ///
    /// # Errors
    /// As [`Destination::list`].
    pub fn list_all(&self, prefix: &str) -> Result<Vec<Object>, Failure> {
        let (mut objects, mut cursor) = (Vec::new(), None);
        loop {
            let page = self.list(prefix, cursor.as_deref(), PAGE_OBJECTS)?;
            objects.extend(page.objects);
            match page.cursor {
                Some(next) => cursor = Some(next),
                None => return Ok(objects),
            }
        }
    }

    /// A small object, whole.
    ///
    /// # Errors
    /// As [`Destination::read`].
    pub fn read_all(&self, key: &str, max_bytes: usize) -> Result<Vec<u8>, Failure> {
        let mut whole = Vec::new();
        while whole.len() < max_bytes {
            let next = self.read(key, whole.len() as u64, max_bytes - whole.len())?;
            if next.is_empty() {
                break;
            }
            whole.extend_from_slice(&next);
        }
        Ok(whole)
    }

    /// Deletes in batches that the place takes.
    ///
    /// # Errors
    /// The first that failed; those before it are gone.
    pub fn delete_all(&self, keys: &[String]) -> Result<(), Failure> {
        for batch in keys.chunks(self.profile().max_delete_batch.max(1)) {
            self.delete(batch)?.into_iter().collect::<Result<(), _>>()?;
        }
        Ok(())
    }
}

/// Fills an upload part by part, holding one part in memory.
#[derive(Debug)]
pub struct Uploading {
    destination: Arc<dyn Destination>,
    upload: Upload,
    parts: Vec<Part>,
    buffer: Vec<u8>,
    part_bytes: usize,
}

/// Bytes of a part unless the place takes less.
const PART_BYTES: usize = 1 << 20;

impl Uploading {
    /// # Errors
    /// As [`Destination::begin_upload`].
    pub fn begin(destination: &Arc<dyn Destination>, key: &str) -> Result<Self, Failure> {
        let part_bytes = destination.profile().max_part_bytes.clamp(1, PART_BYTES);
        let upload = destination.begin_upload(key)?;
        Ok(Self { destination: Arc::clone(destination), upload, parts: Vec::new(), buffer: Vec::new(), part_bytes })
    }

    /// # Errors
    /// A part could not be handed over: the upload is to be aborted.
    pub fn write(&mut self, mut data: &[u8]) -> Result<(), Failure> {
        while self.buffer.len() + data.len() >= self.part_bytes {
            let (now, rest) = data.split_at(self.part_bytes - self.buffer.len());
            self.buffer.extend_from_slice(now);
            data = rest;
            self.send()?;
        }
        self.buffer.extend_from_slice(data);
        Ok(())
    }

    fn send(&mut self) -> Result<(), Failure> {
        let part = Part { index: u32::try_from(self.parts.len()).unwrap_or(u32::MAX), bytes: self.buffer.len() as u64 };
        self.destination.put_part(&self.upload.token, part, &self.buffer)?;
        self.parts.push(part);
        self.buffer.clear();
        Ok(())
    }

    /// # Errors
    /// It did not become an object.
    pub fn complete(mut self) -> Result<Object, Failure> {
        if !self.buffer.is_empty() || self.parts.is_empty() {
            self.send()?;
        }
        self.destination.complete_upload(&self.upload.token, &self.parts)
    }

    /// # Errors
    /// What has arrived stays, and is swept later.
    pub fn abort(self) -> Result<(), Failure> {
        self.destination.abort_upload(&self.upload.token)
    }
}
