//! Signatures of packages: Ed25519 in minisign's form, so that the stock tool signs and checks them too. A signature stands in
//! a file of its own and is over all bytes of the package.

use minisign_verify::{PublicKey, Signature};
use std::io::Cursor;

/// Keys that an operator trusts.
#[derive(Clone, Debug, Default)]
pub struct TrustedKeys(Vec<PublicKey>);

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    #[error("the public key cannot be read: {reason}")]
    BadKey { reason: String },
    #[error("the signature cannot be read: {reason}")]
    BadSignature { reason: String },
    /// Another key made it, or the bytes are not those that were signed.
    #[error("no trusted key made this signature of these bytes")]
    NotTrusted,
    #[error("sign: {reason}")]
    Sign { reason: String },
}

impl TrustedKeys {
    /// Of keys as minisign writes them: a line of base64, with or without the comment line above.
    ///
    /// # Errors
    /// `BadKey` for the first that is none.
    pub fn parse<'a>(keys: impl IntoIterator<Item = &'a str>) -> Result<Self, SignatureError> {
        let key = |text: &str| {
            let line = text.lines().map(str::trim).rfind(|line| !line.is_empty()).unwrap_or_default();
            PublicKey::from_base64(line).map_err(|error| SignatureError::BadKey { reason: error.to_string() })
        };
        keys.into_iter().map(key).collect::<Result<_, _>>().map(Self)
    }

    /// The comment that was signed with the package, if one of the keys made this signature of these bytes.
    ///
    /// # Errors
    /// `BadSignature` or `NotTrusted`.
    pub fn verify(&self, package: &[u8], signature: &str) -> Result<String, SignatureError> {
        let bad = |error: minisign_verify::Error| SignatureError::BadSignature { reason: error.to_string() };
        let signature = Signature::decode(signature).map_err(bad)?;
        // Not the old form, which is over the bytes themselves instead of their hash.
        let is_signer = |key: &&PublicKey| key.verify(package, &signature, false).is_ok();
        self.0.iter().find(is_signer).ok_or(SignatureError::NotTrusted)?;
        Ok(signature.trusted_comment().to_owned())
    }
}

/// A signature of a package.
///
/// `secret_key` is the text of minisign's key file, `password` what it is encrypted with; none for a key that is not.
///
/// # Errors
/// `Sign` with what the key says.
pub fn sign(
    package: &[u8],
    secret_key: &str,
    password: Option<String>,
    comment: &str,
) -> Result<String, SignatureError> {
    let failed = |error: minisign::PError| SignatureError::Sign { reason: error.to_string() };
    let key = minisign::SecretKeyBox::from_string(secret_key).map_err(failed)?;
    let key = match password {
        Some(password) => key.into_secret_key(Some(password)),
        None => key.into_unencrypted_secret_key(),
    };
    let signature = minisign::sign(None, &key.map_err(failed)?, Cursor::new(package), Some(comment), None);
    signature.map(minisign::SignatureBox::into_string).map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn keys() -> (String, String) {
        let pair = minisign::KeyPair::generate_unencrypted_keypair().unwrap();
        (pair.pk.to_box().unwrap().to_string(), pair.sk.to_box(None).unwrap().to_string())
    }

    #[test]
    fn only_a_trusted_key_and_the_same_bytes_will_do() {
        let (public, secret) = keys();
        let (other, _) = keys();
        let signature = sign(b"package", &secret, None, "key-policy 1.4.0").unwrap();
        let trusted = TrustedKeys::parse([other.as_str(), public.as_str()]).unwrap();
        assert_eq!(trusted.verify(b"package", &signature).unwrap(), "key-policy 1.4.0");
        let verify =
            |trusted: &TrustedKeys, package: &[u8], signature: &str| trusted.verify(package, signature).unwrap_err();
        assert_eq!(verify(&trusted, b"Package", &signature), SignatureError::NotTrusted);
        assert_eq!(
            verify(&TrustedKeys::parse([other.as_str()]).unwrap(), b"package", &signature),
            SignatureError::NotTrusted
        );
        assert_eq!(verify(&TrustedKeys::default(), b"package", &signature), SignatureError::NotTrusted);
        let renamed = signature.replace("key-policy 1.4.0", "key-policy 1.5.0");
        assert_eq!(verify(&trusted, b"package", &renamed), SignatureError::NotTrusted);
        assert!(matches!(verify(&trusted, b"package", "x"), SignatureError::BadSignature { .. }));
        assert!(matches!(TrustedKeys::parse(["x"]), Err(SignatureError::BadKey { .. })));
        assert!(matches!(sign(b"package", "x", None, ""), Err(SignatureError::Sign { .. })));
    }
}
