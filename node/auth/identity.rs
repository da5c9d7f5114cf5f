//! Who asks, and by which state of access control that was found out.

use std::sync::Arc;

/// A user that was made sure of, or nobody. Cheap to clone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Identity {
    user: Option<Arc<str>>,
    revision: u64,
}

/// The same, as it stands in the header of a log entry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Who<'a> {
    /// Empty: nobody.
    pub user: &'a str,
    /// Of the state by which the user was made sure of; zero: nobody was.
    pub revision: u64,
}

impl Identity {
    pub const NOBODY: Identity = Identity { user: None, revision: 0 };

    pub fn user(name: impl Into<Arc<str>>, revision: u64) -> Self {
        Self { user: Some(name.into()), revision }
    }

    pub fn who(&self) -> Who<'_> {
        Who { user: self.user.as_deref().unwrap_or_default(), revision: self.revision }
    }

    /// True if somebody asks, whatever rights that one has.
    pub fn is_somebody(&self) -> bool {
        self.user.is_some()
    }
}
