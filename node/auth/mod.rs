//! Access control: users, their roles, what those permit, and the tokens by which users are known.
//!
//! Two halves. [`AuthState`] is replicated: it is changed by the apply thread only, depends on nothing but the log, and
//! every change but that of a switch raises its revision. [`SimpleTokens`] are this member's memory: apply tells it of
//! each token, it knows the time, and nothing of it is kept over a restart. [`Access`] shows both to readers.
//!
//! Invariants: a right is judged by one state, never by parts of two; a request that was judged by an older state is
//! refused when it is applied under a newer one; no password is kept, logged or compared, only its hash.
//! Knows nothing of requests, connections and the log: which right a request needs is said in `apply::permit`, and who
//! asks in `api::gate`.

mod access;
mod error;
mod identity;
mod jwt;
mod keys;
mod metrics;
mod password;
mod row;
mod simple_token;
mod state;

#[cfg(test)]
mod state_tests;

pub use access::Access;
pub use error::AuthError;
pub use identity::{Identity, Who};
pub use jwt::{Jwt, JwtError, Signer};
pub use keys::KeySet;
pub use metrics::Metrics;
pub use password::{HashError, MAX_PASSWORD_BYTES, Password, hash_with_salt_of};
pub use row::{AuthRowError, Permission, Right, RoleRow, UserOptions, UserRow};
pub use simple_token::{SimpleTokens, new_prefix};
pub use state::{AuthReadError, AuthState, Change, FIRST_REVISION};

/// Who may do everything, and cannot be taken away while access is controlled.
pub const ROOT_USER: &str = "root";
/// The role of [`ROOT_USER`]; others may have it too.
pub const ROOT_ROLE: &str = "root";
