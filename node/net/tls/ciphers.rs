//! Cipher suites and versions of TLS by Go's names, as etcd's flags take them (`client/pkg/tlsutil`).

use super::TlsError;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::{CipherSuite, SupportedCipherSuite, SupportedProtocolVersion};

/// Least and highest version of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Version {
    Tls12,
    Tls13,
}

/// Which versions and suites are spoken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Protocol {
    pub min: Version,
    pub max: Version,
    /// By Go's names, the first preferred; empty: all that are safe. They choose among the suites of TLS 1.2 only, as in Go.
    pub cipher_suites: Vec<String>,
}

impl Default for Protocol {
    fn default() -> Self {
        Self { min: Version::Tls12, max: Version::Tls13, cipher_suites: Vec::new() }
    }
}

/// Go's names of what is spoken here too.
const SPOKEN: [(&str, CipherSuite); 11] = [
    ("TLS_AES_128_GCM_SHA256", CipherSuite::TLS13_AES_128_GCM_SHA256),
    ("TLS_AES_256_GCM_SHA384", CipherSuite::TLS13_AES_256_GCM_SHA384),
    ("TLS_CHACHA20_POLY1305_SHA256", CipherSuite::TLS13_CHACHA20_POLY1305_SHA256),
    ("TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256", CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256),
    ("TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384", CipherSuite::TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384),
    ("TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305", CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256),
    ("TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256", CipherSuite::TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256),
    ("TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", CipherSuite::TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256),
    ("TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384", CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384),
    ("TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305", CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256),
    ("TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256", CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256),
];

/// Go's names of what it speaks and rustls does not: no forward secrecy, or CBC, or broken.
const UNSPOKEN: [&str; 16] = [
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA",
    "TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256",
    "TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA",
    "TLS_ECDHE_ECDSA_WITH_RC4_128_SHA",
    "TLS_ECDHE_RSA_WITH_3DES_EDE_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_AES_128_CBC_SHA256",
    "TLS_ECDHE_RSA_WITH_AES_256_CBC_SHA",
    "TLS_ECDHE_RSA_WITH_RC4_128_SHA",
    "TLS_RSA_WITH_3DES_EDE_CBC_SHA",
    "TLS_RSA_WITH_AES_128_CBC_SHA",
    "TLS_RSA_WITH_AES_128_CBC_SHA256",
    "TLS_RSA_WITH_AES_128_GCM_SHA256",
    "TLS_RSA_WITH_AES_256_CBC_SHA",
    "TLS_RSA_WITH_AES_256_GCM_SHA384",
    "TLS_RSA_WITH_RC4_128_SHA",
];

impl Protocol {
    /// The names among [`Self::cipher_suites`] that Go speaks and this member does not.
    ///
    /// # Errors
    /// A name that Go does not know, or none that is spoken here.
    pub fn unspoken(&self) -> Result<Vec<&str>, TlsError> {
        let is_spoken = |name: &str| SPOKEN.iter().any(|(known, _)| *known == name);
        let is_known = |name: &str| is_spoken(name) || UNSPOKEN.contains(&name);
        if let Some(strange) = self.cipher_suites.iter().find(|name| !is_known(name)) {
            return Err(TlsError::UnknownCipherSuite(strange.clone()));
        }
        let unspoken: Vec<&str> =
            self.cipher_suites.iter().map(String::as_str).filter(|name| !is_spoken(name)).collect();
        if !unspoken.is_empty() && unspoken.len() == self.cipher_suites.len() {
            return Err(TlsError::NoCipherSuite(self.cipher_suites.join(",")));
        }
        Ok(unspoken)
    }

    pub(super) fn versions(&self) -> Vec<&'static SupportedProtocolVersion> {
        let all = [(Version::Tls13, &rustls::version::TLS13), (Version::Tls12, &rustls::version::TLS12)];
        all.into_iter()
            .filter(|(version, _)| (self.min..=self.max).contains(version))
            .map(|(_, spoken)| spoken)
            .collect()
    }

    /// What does the cryptography, with the suites that were asked for.
    pub(super) fn provider(&self) -> CryptoProvider {
        let mut provider = aws_lc_rs::default_provider();
        if !self.cipher_suites.is_empty() {
            let all = std::mem::take(&mut provider.cipher_suites);
            let by_id = |id: CipherSuite| all.iter().find(|suite| suite.suite() == id).copied();
            let asked = self.cipher_suites.iter().filter_map(|name| SPOKEN.iter().find(|(known, _)| known == name));
            let asked = asked.filter_map(|(_, id)| by_id(*id));
            let of_12 = asked.filter(|suite| matches!(suite, SupportedCipherSuite::Tls12(_)));
            let of_13 = all.iter().filter(|suite| matches!(suite, SupportedCipherSuite::Tls13(_))).copied();
            provider.cipher_suites = of_13.chain(of_12).collect();
        }
        provider
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with(names: &[&str]) -> Protocol {
        Protocol { cipher_suites: names.iter().map(ToString::to_string).collect(), ..Protocol::default() }
    }

    #[test]
    fn every_name_that_is_spoken_is_in_the_library() {
        let all = aws_lc_rs::default_provider().cipher_suites;
        for (name, id) in SPOKEN {
            assert!(all.iter().any(|suite| suite.suite() == id), "{name}");
        }
    }

    #[test]
    fn suites_are_chosen_by_gos_names_in_the_order_given() {
        let chosen =
            with(&["TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384", "TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305"]).provider();
        let of_12: Vec<CipherSuite> = chosen.cipher_suites.iter().map(|suite| suite.suite()).skip(3).collect();
        let expected = [
            CipherSuite::TLS_ECDHE_RSA_WITH_AES_256_GCM_SHA384,
            CipherSuite::TLS_ECDHE_RSA_WITH_CHACHA20_POLY1305_SHA256,
        ];
        assert_eq!(of_12, expected);
        assert_eq!(
            Protocol::default().provider().cipher_suites.len(),
            aws_lc_rs::default_provider().cipher_suites.len()
        );
    }

    #[test]
    fn what_is_not_spoken_is_told_and_what_go_does_not_know_is_refused() {
        let mixed = with(&["TLS_RSA_WITH_AES_128_CBC_SHA", "TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256"]);
        assert_eq!(mixed.unspoken().unwrap(), ["TLS_RSA_WITH_AES_128_CBC_SHA"]);
        let strange = with(&["TLS_ECDHE_RSA_WITH_AES_128_GCM_SHA256", "invalid"]).unspoken().unwrap_err();
        assert_eq!(strange.to_string(), "unexpected TLS cipher suite \"invalid\"");
        assert!(matches!(with(&["TLS_RSA_WITH_RC4_128_SHA"]).unspoken(), Err(TlsError::NoCipherSuite(_))));
    }
}
