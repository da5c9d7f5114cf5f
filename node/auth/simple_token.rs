//! Simple tokens: sixteen random letters, a point, and the index of the entry that assigned the token (etcd
//! `server/auth/simple_token.go`). Every member learns of a token when it applies that entry, so that a member which is
//! behind knows for which index to wait. Nothing is kept over a restart. A token ends when it was not used for its time
//! to live.

use crate::clock::{Clock, Ticks};
use rand::Rng;
use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

const LETTERS: &[u8; 52] = b"abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";
const PREFIX_LETTERS: usize = 16;
/// Between looks for tokens that have ended, which take a look at each.
const SWEEP_INTERVAL: Duration = Duration::from_secs(1);
/// Beyond it the one that ends next has to go. Each costs a comparison of a password, so that it takes hours to get
/// here.
const MAX_TOKENS: usize = 1 << 20;

/// Of a token to come.
pub fn new_prefix() -> String {
    let mut random = rand::rng();
    (0..PREFIX_LETTERS).map(|_| char::from(LETTERS[random.random_range(0..LETTERS.len())])).collect()
}

#[derive(Debug)]
struct Held {
    user: Arc<str>,
    ends: Ticks,
}

#[derive(Debug, Default)]
struct Inner {
    held: HashMap<String, Held>,
    swept: Ticks,
}

/// Which tokens count, and whose they are. Locked for look-ups only.
#[derive(Debug)]
pub struct SimpleTokens {
    inner: Mutex<Inner>,
    ttl: Duration,
    clock: Arc<dyn Clock>,
}

impl SimpleTokens {
    pub fn new(ttl: Duration, clock: Arc<dyn Clock>) -> Self {
        Self { inner: Mutex::default(), ttl, clock }
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // A panic ends the process, so a poisoned lock is never seen.
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Which entry of the log assigned the token, if it has the form of one.
    pub fn index_of(token: &str) -> Option<u64> {
        let (prefix, index) = token.split_once('.')?;
        let is_number = !index.is_empty() && index.bytes().all(|byte| byte.is_ascii_digit());
        if prefix.contains('.') || !is_number { None } else { index.parse().ok() }
    }

    /// Called by apply: all members do the same.
    pub fn assign(&self, token: String, user: &str) {
        let now = self.clock.now();
        let ends = now.saturating_add(self.ttl);
        let mut inner = self.lock();
        if inner.held.len() >= MAX_TOKENS || now.since(inner.swept) >= SWEEP_INTERVAL {
            inner.swept = now;
            inner.held.retain(|_, held| held.ends > now);
        }
        if inner.held.len() >= MAX_TOKENS
            && let Some(next) = inner.held.iter().min_by_key(|(_, held)| held.ends).map(|(token, _)| token.clone())
        {
            inner.held.remove(&next);
        }
        inner.held.insert(token, Held { user: user.into(), ends });
    }

    /// Whose the token is; it lives on from now.
    pub fn user_of(&self, token: &str) -> Option<Arc<str>> {
        let now = self.clock.now();
        let mut inner = self.lock();
        let held = inner.held.get_mut(token)?;
        if held.ends <= now {
            inner.held.remove(token);
            return None;
        }
        held.ends = now.saturating_add(self.ttl);
        Some(Arc::clone(&held.user))
    }

    /// The user has another password, or is gone.
    pub fn forget_user(&self, user: &str) {
        self.retain(|own| own != user);
    }

    pub fn forget_all(&self) {
        self.lock().held.clear();
    }

    pub(super) fn retain(&self, counts: impl Fn(&str) -> bool) {
        self.lock().held.retain(|_, held| counts(&held.user));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicU64, Ordering};
    use std::time::SystemTime;

    #[derive(Debug, Default)]
    struct HandClock(AtomicU64);

    impl HandClock {
        fn advance(&self, by: Duration) {
            self.0.fetch_add(by.as_millis() as u64, Ordering::Relaxed);
        }
    }

    impl Clock for HandClock {
        fn now(&self) -> Ticks {
            Ticks(self.0.load(Ordering::Relaxed))
        }

        fn wall(&self) -> SystemTime {
            SystemTime::UNIX_EPOCH
        }
    }

    fn tokens() -> (SimpleTokens, Arc<HandClock>) {
        let clock = Arc::new(HandClock::default());
        (SimpleTokens::new(Duration::from_secs(300), Arc::clone(&clock) as Arc<dyn Clock>), clock)
    }

    #[test]
    fn a_token_lives_as_long_as_it_is_used() {
        let (tokens, clock) = tokens();
        tokens.assign("a.1".to_owned(), "u");
        for _ in 0..3 {
            clock.advance(Duration::from_secs(299));
            assert_eq!(tokens.user_of("a.1").as_deref(), Some("u"));
        }
        clock.advance(Duration::from_secs(300));
        assert_eq!((tokens.user_of("a.1"), tokens.user_of("b.1")), (None, None));
    }

    #[test]
    fn tokens_end_with_their_user_and_unused_ones_are_swept() {
        let (tokens, clock) = tokens();
        tokens.assign("a.1".to_owned(), "u");
        tokens.assign("b.2".to_owned(), "v");
        tokens.forget_user("u");
        assert_eq!((tokens.user_of("a.1"), tokens.user_of("b.2").as_deref()), (None, Some("v")));
        clock.advance(Duration::from_secs(301));
        tokens.assign("c.3".to_owned(), "v");
        assert_eq!(tokens.lock().held.len(), 1);
        tokens.forget_all();
        assert!(tokens.user_of("c.3").is_none());
    }

    #[test]
    fn a_prefix_is_sixteen_letters_and_the_index_is_behind_the_point() {
        let prefix = new_prefix();
        assert!(prefix.len() == 16 && prefix.bytes().all(|byte| byte.is_ascii_alphabetic()), "{prefix}");
        assert_ne!(new_prefix(), prefix);
        assert_eq!(SimpleTokens::index_of(&format!("{prefix}.17")), Some(17));
        for none in ["", "a", "a.", "a.b", "a.1.2", "a.-1", "a.+1", "a.18446744073709551616"] {
            assert_eq!(SimpleTokens::index_of(none), None, "{none}");
        }
    }
}
