//! The one place where a test waits. A test never sleeps to let something happen: it polls a condition
//! with a deadline, and says what it waited for when the deadline passes.

use std::future::Future;
use std::time::Duration;
use tokio::time::Instant;

const POLL_INTERVAL: Duration = Duration::from_millis(5);

/// Polls `condition` until it returns `Some`, and returns that.
///
/// # Panics
/// When `limit` has passed; the message names `what`.
pub async fn until<T, F>(what: &str, limit: Duration, mut condition: impl FnMut() -> F) -> T
where
    F: Future<Output = Option<T>>,
{
    let deadline = Instant::now() + limit;
    loop {
        if let Some(value) = condition().await {
            return value;
        }
        assert!(Instant::now() < deadline, "waited {limit:?} in vain for: {what}");
        tokio::time::sleep(POLL_INTERVAL).await;
    }
}

/// As [`until`], for a condition that needs no waiting of its own.
pub async fn until_true(what: &str, limit: Duration, mut condition: impl FnMut() -> bool) {
    until(what, limit, || {
        let met = condition().then_some(());
        async move { met }
    })
    .await;
}

/// Lets time pass where time itself is the input of the test: how long a process stays stopped, how
/// long a lease is left alone. Never a way to wait for a state.
pub async fn pass(duration: Duration) {
    tokio::time::sleep(duration).await;
}
