//! Certificates, keys, authorities and revocations as files, in PEM. They may change while a member runs: what is made of
//! them is made anew when one of them has changed.

use super::TlsError;
use arc_swap::ArcSwap;
use rustls::RootCertStore;
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use std::collections::HashSet;
use std::fmt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::SystemTime;
use x509_parser::prelude::{CertificateRevocationList, FromDer};

/// A certificate, its chain in the same file, and its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyPair {
    pub cert: PathBuf,
    pub key: PathBuf,
}

impl KeyPair {
    pub(super) fn read(&self) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), TlsError> {
        let key = PrivateKeyDer::from_pem_slice(&read(&self.key)?);
        let key = key.map_err(|source| TlsError::Pem { path: self.key.clone(), source })?;
        Ok((certificates(&self.cert)?, key))
    }
}

fn read(path: &Path) -> Result<Vec<u8>, TlsError> {
    std::fs::read(path).map_err(|source| TlsError::Read { path: path.to_owned(), source })
}

/// All certificates of a file; at least one.
pub(super) fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let bytes = read(path)?;
    let found: Result<Vec<_>, pem::Error> = CertificateDer::pem_slice_iter(&bytes).collect();
    let found = found.map_err(|source| TlsError::Pem { path: path.to_owned(), source })?;
    if found.is_empty() {
        return Err(TlsError::NoCertificate { path: path.to_owned() });
    }
    Ok(found)
}

/// Who signs the certificates of others.
#[derive(Clone, Debug)]
pub(super) struct Authorities {
    pub roots: Arc<RootCertStore>,
    /// The same as they stand in the file; none of the system's.
    pub certificates: Arc<[CertificateDer<'static>]>,
}

impl Authorities {
    /// Those of a file, or else of the system, as in Go.
    pub fn read(path: Option<&Path>) -> Result<Self, TlsError> {
        let mut roots = RootCertStore::empty();
        let Some(path) = path else {
            // What of the system's cannot be read or used is left out, as Go does.
            roots.add_parsable_certificates(rustls_native_certs::load_native_certs().certs);
            return Ok(Self { roots: Arc::new(roots), certificates: Arc::new([]) });
        };
        let certificates = certificates(path)?;
        for certificate in &certificates {
            let added = roots.add(certificate.clone());
            added.map_err(|source| TlsError::Authority { path: path.to_owned(), source })?;
        }
        Ok(Self { roots: Arc::new(roots), certificates: certificates.into() })
    }
}

/// Serial numbers of a list of revoked certificates, DER or PEM. As in etcd nothing else of the list counts: not who
/// signed it, nor when it ends.
pub(super) fn revoked_serials(path: &Path) -> Result<HashSet<Vec<u8>>, TlsError> {
    let bytes = read(path)?;
    let der = match pem::from_buf(&mut &bytes[..]) {
        Ok(Some((pem::SectionKind::Crl, der))) => der,
        _ => bytes,
    };
    let (_, list) = CertificateRevocationList::from_der(&der)
        .map_err(|error| TlsError::Revocations { path: path.to_owned(), reason: error.to_string() })?;
    Ok(list.iter_revoked_certificates().map(|revoked| without_zeros(revoked.raw_serial()).to_vec()).collect())
}

/// A serial number's bytes; DER puts a zero before a high bit.
pub(super) fn without_zeros(serial: &[u8]) -> &[u8] {
    let zeros = serial.iter().take_while(|byte| **byte == 0).count();
    &serial[zeros..]
}

/// When a file was written, how long it is, and its inode. A missing file has none.
type Stamp = Option<(SystemTime, u64, u64)>;

/// What was made of files, and is made anew once one has changed.
pub(super) struct Reloading<T> {
    files: Vec<PathBuf>,
    make: Box<dyn Fn() -> Result<T, TlsError> + Send + Sync>,
    made: ArcSwap<T>,
    stamps: Mutex<Vec<Stamp>>,
}

impl<T> fmt::Debug for Reloading<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Reloading").field("files", &self.files).finish_non_exhaustive()
    }
}

impl<T> Reloading<T> {
    /// # Errors
    /// Of `make`.
    pub fn new(
        files: Vec<PathBuf>,
        make: impl Fn() -> Result<T, TlsError> + Send + Sync + 'static,
    ) -> Result<Self, TlsError> {
        // Before they are read: what changes meanwhile is seen at the next look.
        let stamps = Mutex::new(stamps(&files));
        let made = ArcSwap::from_pointee(make()?);
        Ok(Self { files, make: Box::new(make), made, stamps })
    }

    /// As the files are now. While they do not fit together, as in the middle of a change, what they were before.
    pub fn current(&self) -> Arc<T> {
        let now = stamps(&self.files);
        let mut known = self.stamps.lock().expect("no holder of this lock panics");
        if *known != now {
            *known = now;
            match (self.make)() {
                Ok(made) => {
                    self.made.store(Arc::new(made));
                    tracing::info!(files = ?self.files, "reloaded TLS files");
                }
                Err(error) => tracing::warn!(%error, "failed to reload TLS files; the ones before stay in use"),
            }
        }
        drop(known);
        self.made.load_full()
    }
}

fn stamps(files: &[PathBuf]) -> Vec<Stamp> {
    let stamp = |path: &PathBuf| {
        let metadata = std::fs::metadata(path).ok()?;
        Some((metadata.modified().ok()?, metadata.len(), metadata.ino()))
    };
    files.iter().map(stamp).collect()
}
