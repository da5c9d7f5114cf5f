//! How users are known: the kind of tokens that the operator chose, with its keys, which are read once at the start.

use crate::api::TokenKind;
use crate::auth::{Jwt, Signer};
use crate::config::{Auth, TokenChoice};
use anyhow::Context;
use std::path::Path;

/// # Errors
/// A key cannot be read, or is none for the algorithm.
pub fn token_kind(settings: &Auth) -> anyhow::Result<TokenKind> {
    match &settings.tokens {
        TokenChoice::Simple => Ok(TokenKind::Simple),
        TokenChoice::None => Ok(TokenKind::None),
        TokenChoice::Jwt(choice) => {
            let read = |path: &Path| std::fs::read(path).with_context(|| format!("read {}", path.display()));
            let private = choice.private_key.as_deref().map(read).transpose()?;
            let public = choice.public_key.as_deref().map(read).transpose()?;
            let signer = Signer::load(&choice.algorithm, private.as_deref(), public.as_deref())?;
            Ok(TokenKind::Jwt(Box::new(Jwt::new(signer, choice.ttl))))
        }
    }
}
