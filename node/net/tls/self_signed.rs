//! A certificate that a member makes for itself (`--auto-tls`, `--peer-auto-tls`): who listens on the wire learns nothing,
//! but nobody knows whom he talks to.

use super::{KeyPair, TlsError};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, KeyUsagePurpose,
};
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use time::{Duration, OffsetDateTime};

/// What is made, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SelfSigned {
    /// `cert.pem` and `key.pem` are in it.
    pub folder: PathBuf,
    /// Names and addresses that it is for.
    pub hosts: Vec<String>,
    pub years: u64,
}

/// The certificate that is there already, as from the start before, or a new one.
///
/// # Errors
/// There is none, and it cannot be made or written.
pub fn make_or_find(wanted: &SelfSigned) -> Result<KeyPair, TlsError> {
    let folder = std::path::absolute(&wanted.folder);
    let pair = folder.map(|folder| KeyPair { cert: folder.join("cert.pem"), key: folder.join("key.pem") });
    let failed =
        |source: Box<dyn std::error::Error + Send + Sync>| TlsError::SelfSigned { path: wanted.folder.clone(), source };
    let pair = pair.map_err(|error| failed(error.into()))?;
    if !(pair.cert.exists() && pair.key.exists()) {
        make(wanted, &pair).map_err(failed)?;
    }
    Ok(pair)
}

fn make(wanted: &SelfSigned, pair: &KeyPair) -> Result<(), Box<dyn std::error::Error + Send + Sync>> {
    if wanted.years == 0 {
        return Err("selfSignedCertValidity is invalid,it should be greater than 0".into());
    }
    fs::create_dir_all(&wanted.folder)?;
    let mut params = CertificateParams::new(wanted.hosts.clone())?;
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::OrganizationName, "keelstone");
    params.not_before = OffsetDateTime::now_utc();
    let days = i64::try_from(wanted.years.saturating_mul(365)).unwrap_or(i64::MAX);
    params.not_after = params.not_before.checked_add(Duration::days(days)).ok_or("it would be valid for too long")?;
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages =
        vec![KeyUsagePurpose::KeyEncipherment, KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::CrlSign];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
    tracing::warn!(
        "certificate-validity-bound-not-after" = %params.not_after,
        "automatically generate certificates"
    );
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ECDSA_P256_SHA256)?;
    let certificate = params.self_signed(&key)?;
    write(&pair.cert, &certificate.pem(), 0o644)?;
    tracing::info!(path = %pair.cert.display(), "created cert file");
    write(&pair.key, &key.serialize_pem(), 0o600)?;
    tracing::info!(path = %pair.key.display(), "created key file");
    Ok(())
}

fn write(path: &Path, text: &str, mode: u32) -> io::Result<()> {
    let file = OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(path);
    file.and_then(|mut file| file.write_all(text.as_bytes()))
}
