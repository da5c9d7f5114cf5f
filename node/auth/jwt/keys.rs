//! The key of tokens: read from files once, at the start.

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{self, EcdsaKeyPair, Ed25519KeyPair, KeyPair, RsaKeyPair, UnparsedPublicKey};
use aws_lc_rs::{hmac, signature as sig};
use std::fmt;
use x509_parser::pem::Pem;
use x509_parser::prelude::{FromDer, SubjectPublicKeyInfo, X509Certificate};

/// What is wrong with the options or the keys. etcd's words where it has some.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum JwtError {
    #[error("auth: invalid auth signature method")]
    Method,
    #[error("auth: missing key data")]
    MissingKey,
    #[error("auth: public and private keys don't match")]
    Mismatch,
    #[error("auth: the file of the private key holds none for {0}")]
    PrivateKey(&'static str),
    #[error("auth: the file of the public key holds none for {0}")]
    PublicKey(&'static str),
}

/// A way to sign, by its name in tokens.
struct Algorithm {
    name: &'static str,
    kind: Kind,
}

enum Kind {
    Hmac(hmac::Algorithm),
    Rsa {
        signs: &'static dyn sig::RsaEncoding,
        verifies: &'static sig::RsaParameters,
    },
    Ec {
        curve: &'static str,
        signs: &'static sig::EcdsaSigningAlgorithm,
        verifies: &'static sig::EcdsaVerificationAlgorithm,
    },
    Ed,
}

const RSA_ID: &str = "1.2.840.113549.1.1.1";
const EC_ID: &str = "1.2.840.10045.2.1";
const P256_ID: &str = "1.2.840.10045.3.1.7";
const P384_ID: &str = "1.3.132.0.34";
const P521_ID: &str = "1.3.132.0.35";
const ED25519_ID: &str = "1.3.101.112";

/// A public key, and what kind of one by its object identifiers.
struct PublicKey {
    algorithm: String,
    /// Of elliptic curves.
    curve: Option<String>,
    key: Vec<u8>,
}

impl PublicKey {
    fn of(info: &SubjectPublicKeyInfo<'_>) -> Self {
        let curve = info.algorithm.parameters.as_ref().and_then(|any| any.as_oid().ok());
        Self {
            algorithm: info.algorithm.algorithm.to_id_string(),
            curve: curve.map(|curve| curve.to_id_string()),
            key: info.subject_public_key.data.to_vec(),
        }
    }
}

impl Algorithm {
    fn find(name: &str) -> Result<Algorithm, JwtError> {
        let hmac = |name, algorithm| Algorithm { name, kind: Kind::Hmac(algorithm) };
        let rsa = |name, signs, verifies| Algorithm { name, kind: Kind::Rsa { signs, verifies } };
        let ec = |name, curve, signs, verifies| Algorithm { name, kind: Kind::Ec { curve, signs, verifies } };
        Ok(match name {
            "HS256" => hmac("HS256", hmac::HMAC_SHA256),
            "HS384" => hmac("HS384", hmac::HMAC_SHA384),
            "HS512" => hmac("HS512", hmac::HMAC_SHA512),
            "RS256" => rsa("RS256", &sig::RSA_PKCS1_SHA256, &sig::RSA_PKCS1_2048_8192_SHA256),
            "RS384" => rsa("RS384", &sig::RSA_PKCS1_SHA384, &sig::RSA_PKCS1_2048_8192_SHA384),
            "RS512" => rsa("RS512", &sig::RSA_PKCS1_SHA512, &sig::RSA_PKCS1_2048_8192_SHA512),
            "PS256" => rsa("PS256", &sig::RSA_PSS_SHA256, &sig::RSA_PSS_2048_8192_SHA256),
            "PS384" => rsa("PS384", &sig::RSA_PSS_SHA384, &sig::RSA_PSS_2048_8192_SHA384),
            "PS512" => rsa("PS512", &sig::RSA_PSS_SHA512, &sig::RSA_PSS_2048_8192_SHA512),
            "ES256" => ec("ES256", P256_ID, &sig::ECDSA_P256_SHA256_FIXED_SIGNING, &sig::ECDSA_P256_SHA256_FIXED),
            "ES384" => ec("ES384", P384_ID, &sig::ECDSA_P384_SHA384_FIXED_SIGNING, &sig::ECDSA_P384_SHA384_FIXED),
            "EdDSA" => Algorithm { name: "EdDSA", kind: Kind::Ed },
            "ES512" => ec("ES512", P521_ID, &sig::ECDSA_P521_SHA512_FIXED_SIGNING, &sig::ECDSA_P521_SHA512_FIXED),
            _ => return Err(JwtError::Method),
        })
    }
}

enum PrivateKey {
    Rsa(RsaKeyPair, &'static dyn sig::RsaEncoding),
    Ec(EcdsaKeyPair),
    Ed(Ed25519KeyPair),
}

impl PrivateKey {
    fn public(&self) -> &[u8] {
        match self {
            PrivateKey::Rsa(pair, _) => pair.public_key().as_ref(),
            PrivateKey::Ec(pair) => pair.public_key().as_ref(),
            PrivateKey::Ed(pair) => pair.public_key().as_ref(),
        }
    }
}

enum Keys {
    Shared(Box<hmac::Key>),
    Pair { private: Option<PrivateKey>, public: UnparsedPublicKey<Vec<u8>> },
}

/// Signs and verifies by one algorithm.
pub struct Signer {
    algorithm: &'static str,
    keys: Keys,
    random: SystemRandom,
}

impl fmt::Debug for Signer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Signer").field("algorithm", &self.algorithm).finish_non_exhaustive()
    }
}

impl Signer {
    /// From the content of files. A shared secret is the private one, as it is.
    ///
    /// # Errors
    /// The algorithm is not known; keys for it are missing, or do not belong together.
    pub fn load(algorithm: &str, private: Option<&[u8]>, public: Option<&[u8]>) -> Result<Self, JwtError> {
        let Algorithm { name, kind } = Algorithm::find(algorithm)?;
        let private = private.filter(|content| !content.is_empty());
        let public = public.filter(|content| !content.is_empty());
        let random = SystemRandom::new();
        let keys = match kind {
            Kind::Hmac(algorithm) => {
                let key = hmac::Key::new(algorithm, private.ok_or(JwtError::MissingKey)?);
                Keys::Shared(Box::new(key))
            }
            Kind::Rsa { signs, verifies } => {
                let private = private.map(|text| rsa_private(text, name).map(|pair| PrivateKey::Rsa(pair, signs)));
                let public = public.map(|text| public_of(text, name, |key| key.algorithm == RSA_ID));
                pair(private.transpose()?, public.transpose()?, verifies)?
            }
            Kind::Ec { curve, signs, verifies } => {
                let private = private.map(|text| ec_private(text, name, signs).map(PrivateKey::Ec));
                let public = public.map(|text| {
                    public_of(text, name, |key| key.algorithm == EC_ID && key.curve.as_deref() == Some(curve))
                });
                pair(private.transpose()?, public.transpose()?, verifies)?
            }
            Kind::Ed => {
                let private = private.map(|text| ed_private(text, name).map(PrivateKey::Ed));
                let public = public.map(|text| public_of(text, name, |key| key.algorithm == ED25519_ID));
                pair(private.transpose()?, public.transpose()?, &sig::ED25519)?
            }
        };
        Ok(Self { algorithm: name, keys, random })
    }

    /// As tokens name it.
    pub fn algorithm(&self) -> &'static str {
        self.algorithm
    }

    /// None: there is no private key, or it cannot sign.
    pub fn sign(&self, message: &[u8]) -> Option<Vec<u8>> {
        match &self.keys {
            Keys::Shared(key) => Some(hmac::sign(key, message).as_ref().to_vec()),
            Keys::Pair { private, .. } => match private.as_ref()? {
                PrivateKey::Rsa(pair, encoding) => {
                    let mut signature = vec![0; pair.public_modulus_len()];
                    pair.sign(*encoding, &self.random, message, &mut signature).ok().map(|()| signature)
                }
                PrivateKey::Ec(pair) => pair.sign(&self.random, message).ok().map(|done| done.as_ref().to_vec()),
                PrivateKey::Ed(pair) => Some(pair.sign(message).as_ref().to_vec()),
            },
        }
    }

    pub fn verify(&self, message: &[u8], signature: &[u8]) -> bool {
        match &self.keys {
            Keys::Shared(key) => hmac::verify(key, message, signature).is_ok(),
            Keys::Pair { public, .. } => public.verify(message, signature).is_ok(),
        }
    }
}

fn pair(
    private: Option<PrivateKey>,
    public: Option<PublicKey>,
    verifies: &'static dyn signature::VerificationAlgorithm,
) -> Result<Keys, JwtError> {
    let key = match (&private, public) {
        (None, None) => return Err(JwtError::MissingKey),
        (Some(private), Some(public)) if private.public() != public.key => return Err(JwtError::Mismatch),
        (Some(private), _) => private.public().to_vec(),
        (None, Some(public)) => public.key,
    };
    Ok(Keys::Pair { private, public: UnparsedPublicKey::new(verifies, key) })
}

/// The blocks of a file, up to one that is none.
fn blocks(text: &[u8]) -> impl Iterator<Item = Pem> + '_ {
    Pem::iter_from_buffer(text).map_while(Result::ok)
}

/// The first public key of a file that is of the right kind: by itself, or of a certificate.
fn public_of(text: &[u8], name: &'static str, is_right: impl Fn(&PublicKey) -> bool) -> Result<PublicKey, JwtError> {
    let read = |block: Pem| match block.label.as_str() {
        "PUBLIC KEY" => SubjectPublicKeyInfo::from_der(&block.contents).ok().map(|(_, info)| PublicKey::of(&info)),
        "CERTIFICATE" => {
            let (_, certificate) = X509Certificate::from_der(&block.contents).ok()?;
            Some(PublicKey::of(certificate.public_key()))
        }
        "RSA PUBLIC KEY" => Some(PublicKey { algorithm: RSA_ID.to_owned(), curve: None, key: block.contents }),
        _ => None,
    };
    blocks(text).filter_map(read).find(is_right).ok_or(JwtError::PublicKey(name))
}

/// The first block from which `read` makes a key.
fn private_of<K>(text: &[u8], name: &'static str, read: impl Fn(Pem) -> Option<K>) -> Result<K, JwtError> {
    blocks(text).find_map(read).ok_or(JwtError::PrivateKey(name))
}

fn rsa_private(text: &[u8], name: &'static str) -> Result<RsaKeyPair, JwtError> {
    private_of(text, name, |block| match block.label.as_str() {
        "RSA PRIVATE KEY" => RsaKeyPair::from_der(&block.contents).ok(),
        "PRIVATE KEY" => RsaKeyPair::from_pkcs8(&block.contents).ok(),
        _ => None,
    })
}

fn ec_private(
    text: &[u8],
    name: &'static str,
    algorithm: &'static sig::EcdsaSigningAlgorithm,
) -> Result<EcdsaKeyPair, JwtError> {
    private_of(text, name, |block| match block.label.as_str() {
        "EC PRIVATE KEY" | "PRIVATE KEY" => EcdsaKeyPair::from_private_key_der(algorithm, &block.contents).ok(),
        _ => None,
    })
}

fn ed_private(text: &[u8], name: &'static str) -> Result<Ed25519KeyPair, JwtError> {
    private_of(text, name, |block| match block.label.as_str() {
        "PRIVATE KEY" => Ed25519KeyPair::from_pkcs8_maybe_unchecked(&block.contents).ok(),
        _ => None,
    })
}
