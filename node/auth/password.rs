//! Passwords and their bcrypt hashes. A hash takes long by intent: whoever makes or compares one does it aside.

use bcrypt::{BcryptError, Version};
use sha2::{Digest, Sha256};
use std::fmt;
use zeroize::Zeroizing;

/// bcrypt reads no more; what is longer is refused, as by Go.
pub const MAX_PASSWORD_BYTES: usize = 72;

/// For entries of etcd before 3.5, which hold the password: the default cost, since a setting may differ by member.
const COST_OF_OLD_ENTRIES: u32 = 10;

/// Shown to nobody, and wiped when it is dropped.
pub struct Password(Zeroizing<String>);

impl fmt::Debug for Password {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Password")
    }
}

/// Go's words.
#[derive(Debug, thiserror::Error)]
pub enum HashError {
    #[error("bcrypt: password length exceeds {MAX_PASSWORD_BYTES} bytes")]
    TooLong,
    #[error("bcrypt: {0}")]
    Bcrypt(#[from] BcryptError),
}

impl Password {
    pub fn new(text: String) -> Self {
        Self(Zeroizing::new(text))
    }

    /// With a random salt.
    ///
    /// # Errors
    /// The password is too long, the cost is not 4 to 31, or the system has no random numbers.
    pub fn hash(&self, cost: u32) -> Result<String, HashError> {
        if self.0.len() > MAX_PASSWORD_BYTES {
            return Err(HashError::TooLong);
        }
        // The version that Go writes. It differs from ours in name only.
        Ok(bcrypt::hash_with_result(self.0.as_bytes(), cost)?.format_for_version(Version::TwoA))
    }

    /// False as well for what is no hash.
    pub fn matches(&self, hash: &[u8]) -> bool {
        let hash = std::str::from_utf8(hash).ok();
        hash.is_some_and(|hash| bcrypt::verify(self.0.as_bytes(), hash).unwrap_or(false))
    }
}

/// A hash that depends on nothing but its arguments, so that all members come to the same. `place` is never the same
/// twice.
///
/// # Errors
/// None in practice: the cost is a constant.
pub fn hash_with_salt_of(place: &str, password: &str) -> Result<Vec<u8>, HashError> {
    let digest = Sha256::digest(place.as_bytes());
    let salt = digest.first_chunk().copied().unwrap_or_default();
    let parts = bcrypt::hash_with_salt(password.as_bytes(), COST_OF_OLD_ENTRIES, salt)?;
    Ok(parts.format_for_version(Version::TwoA).into_bytes())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn password(text: &str) -> Password {
        Password::new(text.to_owned())
    }

    /// Made by etcd 3.7.3 (Go's `bcrypt.GenerateFromPassword`), cost 4.
    #[test]
    fn hashes_are_those_of_go() {
        let hash = password("123").hash(4).expect("a hash");
        assert!(hash.starts_with("$2a$04$") && hash.len() == 60, "{hash}");
        assert!(password("123").matches(hash.as_bytes()) && !password("124").matches(hash.as_bytes()));
        assert!(!password("123").matches(b"") && !password("123").matches(b"123"));
        let go = b"$2a$10$XajjQvNhvvRt5GSeFk1xFeyqRrsxkhBkUiQeg0dt.wU1qD4aFDcga";
        assert!(password("allmine").matches(go), "from Go's own test");
    }

    #[test]
    fn a_password_that_bcrypt_would_cut_is_refused() {
        assert!(password(&"a".repeat(72)).hash(4).is_ok());
        let refused = password(&"a".repeat(73)).hash(4).expect_err("too long");
        assert_eq!(refused.to_string(), "bcrypt: password length exceeds 72 bytes");
    }

    #[test]
    fn a_hash_from_an_old_entry_is_the_same_on_all_members() {
        let hash = hash_with_salt_of("7/u", "p").expect("a hash");
        assert_eq!(hash_with_salt_of("7/u", "p").expect("a hash"), hash);
        assert_ne!(hash_with_salt_of("8/u", "p").expect("a hash"), hash);
        assert!(password("p").matches(&hash));
    }
}
