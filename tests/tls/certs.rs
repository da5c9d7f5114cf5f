//! Certificates for tests, made anew each time.

use rcgen::{
    BasicConstraints, Certificate, CertificateParams, CertificateRevocationListParams, DnType, ExtendedKeyUsagePurpose,
    IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose, RevokedCertParams, SerialNumber,
};
use std::path::{Path, PathBuf};
use time::{Duration, OffsetDateTime};

/// One that signs, and the folder in which everything lies.
pub struct Authority {
    folder: PathBuf,
    name: String,
    certificate: Certificate,
    issuer: Issuer<'static, KeyPair>,
}

/// Files of a certificate and its key.
#[derive(Clone, Debug)]
pub struct Pair {
    pub cert: PathBuf,
    pub key: PathBuf,
}

/// What a certificate says.
#[derive(Clone, Copy, Debug)]
pub struct Wanted<'a> {
    pub common_name: &'a str,
    /// Names and addresses.
    pub hosts: &'a [&'a str],
    pub serial: u64,
    pub expired: bool,
    pub usage: Usage,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Usage {
    Both,
    ServerOnly,
}

/// For everything on this machine.
pub const LOCAL: Wanted<'static> =
    Wanted { common_name: "local", hosts: &["127.0.0.1", "localhost"], serial: 7, expired: false, usage: Usage::Both };

impl Authority {
    pub fn new(folder: &Path, name: &str) -> Self {
        std::fs::create_dir_all(folder).expect("a folder for certificates");
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let key = KeyPair::generate().expect("a key");
        let certificate = params.self_signed(&key).expect("a certificate");
        let authority =
            Self { folder: folder.to_owned(), name: name.to_owned(), certificate, issuer: Issuer::new(params, key) };
        std::fs::write(authority.file(), authority.certificate.pem()).expect("write a certificate");
        authority
    }

    /// Its own certificate.
    pub fn file(&self) -> PathBuf {
        self.folder.join(format!("{}.pem", self.name))
    }

    pub fn sign(&self, file: &str, wanted: Wanted<'_>) -> Pair {
        let hosts: Vec<String> = wanted.hosts.iter().map(ToString::to_string).collect();
        let mut params = CertificateParams::new(hosts).expect("names");
        params.distinguished_name.push(DnType::CommonName, wanted.common_name);
        params.serial_number = Some(SerialNumber::from(wanted.serial));
        params.extended_key_usages = match wanted.usage {
            Usage::Both => vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth],
            Usage::ServerOnly => vec![ExtendedKeyUsagePurpose::ServerAuth],
        };
        let now = OffsetDateTime::now_utc();
        let day = Duration::days(1);
        (params.not_before, params.not_after) =
            if wanted.expired { (now - 2 * day, now - day) } else { (now - day, now + day) };
        let key = KeyPair::generate().expect("a key");
        let certificate = params.signed_by(&key, &self.issuer).expect("a certificate");
        let pair = self.pair(file);
        std::fs::write(&pair.cert, certificate.pem()).expect("write a certificate");
        std::fs::write(&pair.key, key.serialize_pem()).expect("write a key");
        pair
    }

    pub fn pair(&self, file: &str) -> Pair {
        Pair { cert: self.folder.join(format!("{file}.crt")), key: self.folder.join(format!("{file}.key")) }
    }

    /// A list of revoked certificates, as DER.
    pub fn revoke(&self, file: &str, serials: &[u64]) -> PathBuf {
        let now = OffsetDateTime::now_utc();
        let revoked = serials.iter().map(|&serial| RevokedCertParams {
            serial_number: SerialNumber::from(serial),
            revocation_time: now,
            reason_code: None,
            invalidity_date: None,
        });
        let params = CertificateRevocationListParams {
            this_update: now,
            next_update: now + Duration::days(1),
            crl_number: SerialNumber::from(1),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: KeyIdMethod::Sha256,
        };
        let list = params.signed_by(&self.issuer).expect("a list");
        let path = self.folder.join(file);
        std::fs::write(&path, list.der()).expect("write a list");
        path
    }
}
