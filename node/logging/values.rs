//! Values that `tracing` has no type for.

use std::error::Error;
use std::fmt;

/// A list of texts, written as a JSON array (zap's `Strings`).
///
/// `tracing` hands a field on as text, number, bool or error. An error can be recognised by its type, which a text
/// cannot: so the list travels as one, and no text that a client sends can pass for a list.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Strings(pub Vec<String>);

impl Strings {
    pub fn new<T: ToString>(items: impl IntoIterator<Item = T>) -> Strings {
        Strings(items.into_iter().map(|item| item.to_string()).collect())
    }

    /// As a field: `info!(args = list.field(), "Running: ")`.
    pub fn field(&self) -> &(dyn Error + 'static) {
        self
    }
}

impl fmt::Display for Strings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.0)
    }
}

impl Error for Strings {}
