//! A lease that is renewed as long as it is needed: for `lease keep-alive`, locks and elections
//! (etcd `client/v3/lease.go`, `concurrency/session.go`).

use super::failure::{Failure, Outcome};
use crate::client::{CallError, Client, methods};
use keelstone_proto::etcdserverpb::{LeaseGrantRequest, LeaseKeepAliveRequest, LeaseKeepAliveResponse};
use std::time::Duration;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, sleep, sleep_until, timeout_at};
use tokio_stream::wrappers::ReceiverStream;

/// How long the first answer may take: nobody knows yet how long the lease lives.
pub const FIRST_RENEWAL: Duration = Duration::from_secs(5);
/// Between attempts to open a stream.
const RECONNECT_PAUSE: Duration = Duration::from_millis(500);
/// Renewals that the stream may hold; one is under way at a time.
const QUEUE: usize = 1;

/// Renews the lease three times in its life and tells each answer, until it is gone or was not renewed in time.
///
/// # Errors
/// Whatever `told` returns.
pub async fn renew(
    client: &Client,
    id: i64,
    first: Duration,
    mut told: impl FnMut(&LeaseKeepAliveResponse) -> Outcome,
) -> Outcome {
    let mut expires = Instant::now() + first;
    while Instant::now() < expires {
        let (requests, queue) = mpsc::channel(QUEUE);
        let opened = client.stream(methods::LEASE_KEEP_ALIVE, ReceiverStream::new(queue));
        // A server of Go answers nothing, not even that the stream is open, before it has a request.
        let mut waiting = requests.send(LeaseKeepAliveRequest { id }).await.is_ok();
        if let Ok(Ok(mut answers)) = timeout_at(expires, opened).await {
            while waiting && let Ok(Ok(Some(answer))) = timeout_at(expires, answers.message()).await {
                let Some(ttl) = u64::try_from(answer.ttl).ok().filter(|&ttl| ttl > 0) else { return Ok(()) };
                told(&answer)?;
                let ttl = Duration::from_secs(ttl);
                expires = Instant::now() + ttl;
                sleep(ttl / 3).await;
                waiting = requests.send(LeaseKeepAliveRequest { id }).await.is_ok();
            }
        }
        sleep_until(expires.min(Instant::now() + RECONNECT_PAUSE)).await;
    }
    Ok(())
}

/// A lease that lives as long as this does, and its time to live beyond.
#[derive(Debug)]
pub struct Session {
    pub lease: i64,
    renewing: JoinHandle<Outcome>,
}

impl Session {
    /// Grants a lease of so many seconds.
    ///
    /// # Errors
    /// If it is not granted.
    pub async fn start(client: &Client, ttl: i64) -> Result<Self, CallError> {
        let request = LeaseGrantRequest { ttl, ..LeaseGrantRequest::default() };
        let granted = client.call(methods::LEASE_GRANT, request, None).await?;
        let client = client.clone();
        let renewing = tokio::spawn(async move { renew(&client, granted.id, FIRST_RENEWAL, |_| Ok(())).await });
        Ok(Self { lease: granted.id, renewing })
    }

    /// Returns once the lease is lost.
    pub async fn lost(&mut self) -> Outcome {
        (&mut self.renewing).await.map_err(Failure::error)?
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        self.renewing.abort();
    }
}
