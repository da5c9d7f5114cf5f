//! Signed tokens (RFC 7519), which name a user and the revision of access control that they were given at (etcd
//! `server/auth/jwt.go`). Who has the key can make some elsewhere; a member may have the public key alone, and verify
//! only.
//!
//! ```text
//! base64url({"alg":"RS256","typ":"JWT"}) . base64url({"exp":…,"revision":…,"username":…}) . base64url(signature)
//! ```
//!
//! The algorithm is the configured one, whatever a token says. (Written on the cryptography that TLS has as well: what a JWT
//! crate would add is the choice of algorithms by the token, which is what must not be, and a reading of claims that is laxer
//! than etcd's.)

mod keys;

pub use keys::{JwtError, Signer};

use super::{AuthError, Identity};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde::{Deserialize, Serialize};
use std::time::Duration;

#[derive(Deserialize)]
struct Header {
    alg: String,
}

/// In the order in which Go writes them.
#[derive(Serialize)]
struct OwnClaims<'a> {
    exp: i64,
    revision: u64,
    username: &'a str,
}

/// Times in seconds since 1970; zero is none, as for Go.
#[derive(Deserialize)]
struct Claims {
    username: String,
    revision: f64,
    #[serde(default)]
    exp: f64,
    #[serde(default)]
    nbf: f64,
}

/// Makes and verifies tokens.
#[derive(Debug)]
pub struct Jwt {
    signer: Signer,
    ttl: Duration,
}

impl Jwt {
    pub fn new(signer: Signer, ttl: Duration) -> Self {
        Self { signer, ttl }
    }

    /// `now` in seconds since 1970.
    ///
    /// # Errors
    /// `VerifyOnly`: there is no private key.
    pub fn sign(&self, user: &str, revision: u64, now: i64) -> Result<String, AuthError> {
        let lives = i64::try_from(self.ttl.as_secs()).unwrap_or(i64::MAX);
        let claims = OwnClaims { exp: now.saturating_add(lives), revision, username: user };
        let header = format!("{{\"alg\":\"{}\",\"typ\":\"JWT\"}}", self.signer.algorithm());
        let claims = serde_json::to_vec(&claims).map_err(|_| AuthError::AuthFailed)?;
        let message = format!("{}.{}", URL_SAFE_NO_PAD.encode(header), URL_SAFE_NO_PAD.encode(claims));
        let signature = self.signer.sign(message.as_bytes()).ok_or(AuthError::VerifyOnly)?;
        Ok(format!("{message}.{}", URL_SAFE_NO_PAD.encode(signature)))
    }

    /// The user that the token names, as of the revision that it names. None if it is not signed by our key, or its
    /// time is not now.
    pub fn verify(&self, token: &str, now: i64) -> Option<Identity> {
        let (message, signature) = token.rsplit_once('.')?;
        let (header, claims) = message.split_once('.')?;
        let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).ok();
        let header: Header = serde_json::from_slice(&decode(header)?).ok()?;
        if header.alg != self.signer.algorithm() || !self.signer.verify(message.as_bytes(), &decode(signature)?) {
            return None;
        }
        let claims: Claims = serde_json::from_slice(&decode(claims)?).ok()?;
        let is_over = claims.exp != 0.0 && now as f64 >= claims.exp;
        let is_to_come = claims.nbf != 0.0 && (now as f64) < claims.nbf;
        if is_over || is_to_come || claims.username.is_empty() {
            return None;
        }
        // Saturates: a negative one is that of nobody.
        Some(Identity::user(claims.username, claims.revision as u64))
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
