//! What readers see of access control: the state, whether it counts, and when it changes.

use super::{AuthState, Metrics, SimpleTokens};
use crate::clock::SystemClock;
use arc_swap::ArcSwap;
use prometheus::Registry;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;
use tokio::sync::watch;

/// One for all of a member. Apply writes it, before the keys that follow from a change can be read.
#[derive(Debug)]
pub struct Access {
    state: ArcSwap<AuthState>,
    /// That of the state, for those who ask with each call.
    is_enabled: AtomicBool,
    changes: watch::Sender<()>,
    tokens: SimpleTokens,
    metrics: Metrics,
}

impl Access {
    /// Of a state without users.
    pub fn new(tokens: SimpleTokens, metrics: Metrics) -> Self {
        let state = AuthState::default();
        metrics.show(state.revision());
        let changes = watch::channel(()).0;
        Self { state: ArcSwap::from_pointee(state), is_enabled: AtomicBool::new(false), changes, tokens, metrics }
    }

    /// For whoever applies a log and serves nobody: no token counts.
    ///
    /// # Errors
    /// The registry has the metric already.
    pub fn unserved(registry: &Registry) -> Result<Arc<Self>, prometheus::Error> {
        let tokens = SimpleTokens::new(Duration::ZERO, Arc::new(SystemClock::new()));
        Ok(Arc::new(Self::new(tokens, Metrics::register(registry)?)))
    }

    /// False: everybody may do everything.
    pub fn is_enabled(&self) -> bool {
        self.is_enabled.load(Ordering::Acquire)
    }

    pub fn state(&self) -> Arc<AuthState> {
        self.state.load_full()
    }

    pub fn tokens(&self) -> &SimpleTokens {
        &self.tokens
    }

    /// Is woken after each change.
    pub fn changes(&self) -> watch::Receiver<()> {
        self.changes.subscribe()
    }

    /// Shows the state that a change led to.
    pub fn publish(&self, state: Arc<AuthState>) {
        self.is_enabled.store(state.is_enabled(), Ordering::Release);
        self.metrics.show(state.revision());
        self.state.store(state);
        self.changes.send_replace(());
    }

    /// Shows another state, of a snapshot. Nobody tells what its entries did with passwords and users: a token counts
    /// on only if its user has the same hash as before.
    pub fn replace(&self, state: Arc<AuthState>) {
        let before = self.state();
        if state.is_enabled() {
            self.tokens.retain(|user| state.password_of(user).is_some_and(|now| before.password_of(user) == Some(now)));
        } else {
            self.tokens.forget_all();
        }
        self.publish(state);
    }
}
