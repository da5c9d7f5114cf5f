//! How users are known: `--auth-token`, `--auth-token-ttl`, `--bcrypt-cost` (etcd `server/auth/store.go` and `options.go`).

use super::notice::Notice;
use super::value::GoDuration;
use super::values::Values;
use std::path::PathBuf;
use std::time::Duration;

/// Of a simple token, if zero is given.
const DEFAULT_TOKEN_TTL: Duration = Duration::from_secs(300);
/// Of a signed one, if none is given.
const DEFAULT_JWT_TTL: Duration = Duration::from_secs(300);
/// What bcrypt takes; etcd goes on with its default for others.
const COSTS: std::ops::RangeInclusive<u64> = 4..=31;
const DEFAULT_COST: u32 = 10;

/// Settings of access control. Whether access is controlled at all is part of the replicated state.
#[derive(Clone, Debug)]
pub struct Auth {
    pub tokens: TokenChoice,
    /// Of a simple token, since it was last used.
    pub token_ttl: Duration,
    pub bcrypt_cost: u32,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TokenChoice {
    Simple,
    Jwt(JwtChoice),
    /// No tokens are given.
    None,
}

/// Signed tokens. Which keys an algorithm needs is known where they are read.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct JwtChoice {
    /// By its name in tokens (`RS256`).
    pub algorithm: String,
    pub public_key: Option<PathBuf>,
    pub private_key: Option<PathBuf>,
    pub ttl: Duration,
}

/// Why `--auth-token` is refused. etcd says the same of all.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum AuthTokenError {
    #[error("auth: invalid auth options ({0:?} is no `key=value`, or is there twice)")]
    Option(String),
    #[error("auth: invalid auth options (unknown token type {0:?})")]
    Kind(String),
    #[error("auth: invalid auth options (ttl {0:?})")]
    Ttl(String),
    #[error("auth: invalid auth signature method (sign-method is not set)")]
    NoMethod,
}

impl TokenChoice {
    /// Reads `simple`, or `jwt,sign-method=RS256,priv-key=…,pub-key=…,ttl=5m`.
    pub fn parse(text: &str) -> Result<Self, AuthTokenError> {
        let mut words = text.split(',');
        let kind = words.next().unwrap_or_default();
        let mut options: Vec<(&str, &str)> = Vec::new();
        for word in words {
            let wrong = || AuthTokenError::Option(word.to_owned());
            let (key, value) = word.split_once('=').ok_or_else(wrong)?;
            if value.contains('=') || options.iter().any(|(earlier, _)| *earlier == key) {
                return Err(wrong());
            }
            options.push((key, value));
        }
        match kind {
            "simple" => Ok(TokenChoice::Simple),
            "jwt" => Ok(TokenChoice::Jwt(jwt(&options)?)),
            "" => Ok(TokenChoice::None),
            _ => Err(AuthTokenError::Kind(kind.to_owned())),
        }
    }
}

fn jwt(options: &[(&str, &str)]) -> Result<JwtChoice, AuthTokenError> {
    let mut choice = JwtChoice { ttl: DEFAULT_JWT_TTL, ..JwtChoice::default() };
    // An option that etcd does not know is passed over there as well.
    for (key, value) in options.iter().filter(|(_, value)| !value.is_empty()) {
        match *key {
            "sign-method" => choice.algorithm = (*value).to_owned(),
            "pub-key" => choice.public_key = Some(value.into()),
            "priv-key" => choice.private_key = Some(value.into()),
            "ttl" => {
                let ttl = GoDuration::parse(value).map_err(|_| AuthTokenError::Ttl((*value).to_owned()))?;
                choice.ttl = ttl.or_zero();
            }
            _ => {}
        }
    }
    if choice.algorithm.is_empty() { Err(AuthTokenError::NoMethod) } else { Ok(choice) }
}

/// `values` has passed [`check`].
pub(super) fn read(values: &Values, notices: &mut Vec<Notice>) -> Auth {
    let cost = values.uint("bcrypt-cost");
    if !COSTS.contains(&cost) {
        notices.push(Notice::BcryptCost { given: cost, default: DEFAULT_COST });
    }
    let ttl = Duration::from_secs(values.uint("auth-token-ttl"));
    Auth {
        tokens: TokenChoice::parse(values.text("auth-token")).expect("checked before"),
        token_ttl: if ttl.is_zero() { DEFAULT_TOKEN_TTL } else { ttl },
        bcrypt_cost: if COSTS.contains(&cost) { u32::try_from(cost).unwrap_or(DEFAULT_COST) } else { DEFAULT_COST },
    }
}

pub(super) fn check(values: &Values) -> Result<(), AuthTokenError> {
    TokenChoice::parse(values.text("auth-token")).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_of_tokens_are_read_as_etcd_reads_them() {
        assert_eq!(TokenChoice::parse("simple"), Ok(TokenChoice::Simple));
        assert_eq!(TokenChoice::parse("simple,any=thing"), Ok(TokenChoice::Simple));
        assert_eq!(TokenChoice::parse(""), Ok(TokenChoice::None));
        let jwt = JwtChoice {
            algorithm: "RS256".into(),
            public_key: Some("a".into()),
            private_key: Some("b".into()),
            ttl: Duration::from_secs(3600),
        };
        let text = "jwt,pub-key=a,priv-key=b,sign-method=RS256,ttl=1h,x=y";
        assert_eq!(TokenChoice::parse(text), Ok(TokenChoice::Jwt(jwt)));
        for wrong in ["simpl", "jwt", "jwt,sign-method", "jwt,sign-method=RS256,sign-method=RS256", "jwt,ttl=forever"] {
            assert!(TokenChoice::parse(wrong).is_err(), "{wrong}");
        }
    }
}
