//! Compiled code on disk, so that a start does not compile. Compiled code is loaded without a look at it: whoever can write
//! it runs what he likes. So each file carries a MAC with a key that only this directory has, and one that does not fit is
//! compiled anew.
//!
//! ```text
//! <sha256 of the package>-<engine's hash>.code    HMAC-SHA256 over name and code (32 bytes) | code
//! key                                             32 random bytes
//! ```

mod load;

use crate::package::Hash;
use aws_lc_rs::{hmac, rand};
use std::fs::{self, DirBuilder, File, OpenOptions, Permissions};
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::io::{self, ErrorKind, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use wasmtime::Engine;
use wasmtime::component::Component;

const KEY_FILE: &str = "key";
const KEY_BYTES: usize = 32;
const MAC_BYTES: usize = 32;

/// A directory that only the node's user reads.
#[derive(Debug)]
pub struct CodeCache {
    folder: PathBuf,
    key: hmac::Key,
    /// Names for files that are not whole yet.
    next: AtomicU64,
}

/// How compiled code was come by.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compiled {
    /// No cache is kept, or it was not there.
    Anew,
    /// It was there and is not what was stored.
    AnewSinceForged,
    FromCache,
}

#[derive(Debug, thiserror::Error)]
#[error("{action} {path}: {source}")]
pub struct CacheError {
    action: &'static str,
    path: String,
    source: io::Error,
}

fn failed<'p>(action: &'static str, path: &'p Path) -> impl FnOnce(io::Error) -> CacheError + 'p {
    move |source| CacheError { action, path: path.display().to_string(), source }
}

impl CodeCache {
    /// Makes the directory and the key if they are not there.
    ///
    /// # Errors
    /// They cannot be made or read, or others may write there.
    pub fn open(folder: &Path) -> Result<Self, CacheError> {
        DirBuilder::new().recursive(true).mode(0o700).create(folder).map_err(failed("create", folder))?;
        fs::set_permissions(folder, Permissions::from_mode(0o700)).map_err(failed("restrict", folder))?;
        let path = folder.join(KEY_FILE);
        let key = match fs::read(&path) {
            Ok(key) if key.len() == KEY_BYTES => key,
            Ok(_) => return Err(failed("read", &path)(io::Error::other("it is no key"))),
            Err(error) if error.kind() == ErrorKind::NotFound => {
                let mut key = vec![0; KEY_BYTES];
                rand::fill(&mut key).map_err(|_| failed("make", &path)(io::Error::other("there is no randomness")))?;
                write_new(&path, &[&key]).map_err(failed("create", &path))?;
                key
            }
            Err(error) => return Err(failed("read", &path)(error)),
        };
        Ok(Self { folder: folder.to_owned(), key: hmac::Key::new(hmac::HMAC_SHA256, &key), next: AtomicU64::new(0) })
    }

    fn name(hash: Hash, engine: &Engine) -> String {
        let mut hasher = DefaultHasher::new();
        engine.precompile_compatibility_hash().hash(&mut hasher);
        format!("{hash}-{:016x}.code", hasher.finish())
    }

    /// The code of this package, if what is stored is what this directory's owner stored.
    fn read(&self, name: &str) -> Result<Option<Vec<u8>>, Forged> {
        let Ok(mut stored) = fs::read(self.folder.join(name)) else { return Ok(None) };
        let code = stored.split_off(stored.len().min(MAC_BYTES));
        hmac::verify(&self.key, &signed(name, &code), &stored).map_err(|_| Forged)?;
        Ok(Some(code))
    }

    fn write(&self, name: &str, code: &[u8]) -> io::Result<()> {
        let mac = hmac::sign(&self.key, &signed(name, code));
        let part = self.folder.join(format!("{}-{}.part", std::process::id(), self.next.fetch_add(1, Relaxed)));
        let written = write_new(&part, &[mac.as_ref(), code]);
        written.and_then(|()| fs::rename(&part, self.folder.join(name))).inspect_err(|_| drop(fs::remove_file(&part)))
    }
}

struct Forged;

/// The name is in it: code of one plugin is no code of another.
fn signed(name: &str, code: &[u8]) -> Vec<u8> {
    [name.as_bytes(), b"\0", code].concat()
}

fn write_new(path: &Path, pieces: &[&[u8]]) -> io::Result<()> {
    let mut file: File = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)?;
    pieces.iter().try_for_each(|piece| file.write_all(piece))?;
    file.sync_all()
}

pub(crate) struct Found {
    pub component: Component,
    pub compiled: Compiled,
    /// Why it was not stored: the next start compiles again.
    pub not_stored: Option<String>,
}

/// The component of a package, from the cache if it is there.
///
/// # Errors
/// It does not compile. That the cache cannot be read or written is none.
pub(crate) fn component(
    cache: Option<&CodeCache>,
    engine: &Engine,
    hash: Hash,
    bytes: &[u8],
) -> wasmtime::Result<Found> {
    let Some(cache) = cache else {
        let component = Component::from_binary(engine, bytes)?;
        return Ok(Found { component, compiled: Compiled::Anew, not_stored: None });
    };
    let name = CodeCache::name(hash, engine);
    let compiled = match cache.read(&name) {
        // One that the engine does not take although it is ours is of another build of it.
        Ok(Some(code)) => match load::authentic(engine, &code) {
            Ok(component) => return Ok(Found { component, compiled: Compiled::FromCache, not_stored: None }),
            Err(_) => Compiled::Anew,
        },
        Ok(None) => Compiled::Anew,
        Err(Forged) => Compiled::AnewSinceForged,
    };
    let component = Component::from_binary(engine, bytes)?;
    let written = cache.write(&name, &component.serialize()?);
    Ok(Found { component, compiled, not_stored: written.err().map(|error| error.to_string()) })
}
