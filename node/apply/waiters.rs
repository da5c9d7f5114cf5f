//! Who waits for which request: filled by proposers, emptied when their entries are applied.

use super::{ApplyError, Reply};
use std::collections::HashMap;
use std::sync::{Mutex, MutexGuard, PoisonError};
use tokio::sync::oneshot;

/// The outcome of one request.
pub type Answer = Result<Reply, ApplyError>;

/// Waiting proposers by request id. Ids are unique in the cluster, so that an entry which another member proposed
/// is nobody's here. Locked for look-ups only.
#[derive(Debug, Default)]
pub struct Waiters {
    senders: Mutex<HashMap<u64, oneshot::Sender<Answer>>>,
}

impl Waiters {
    fn lock(&self) -> MutexGuard<'_, HashMap<u64, oneshot::Sender<Answer>>> {
        // A panic ends the process, so a poisoned lock is never seen.
        self.senders.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Registers a request, which must happen before it is proposed. An error from the receiver means that the
    /// outcome is unknown: the member stops.
    pub fn register(&self, request_id: u64) -> oneshot::Receiver<Answer> {
        let (sender, receiver) = oneshot::channel();
        let replaced = self.lock().insert(request_id, sender);
        debug_assert!(replaced.is_none(), "request id {request_id} is in use");
        receiver
    }

    /// Gives up waiting, after a timeout or a proposal that failed.
    pub fn forget(&self, request_id: u64) {
        self.lock().remove(&request_id);
    }

    pub fn is_waiting(&self, request_id: u64) -> bool {
        self.lock().contains_key(&request_id)
    }

    /// Hands over the answers of a batch. Those that nobody waits for any more are dropped.
    pub fn complete(&self, replies: Vec<(u64, Answer)>) {
        let mut senders = self.lock();
        let matched: Vec<_> = replies
            .into_iter()
            .filter_map(|(request_id, answer)| senders.remove(&request_id).map(|sender| (sender, answer)))
            .collect();
        drop(senders);
        for (sender, answer) in matched {
            // The receiver may have timed out meanwhile.
            drop(sender.send(answer));
        }
    }

    /// How many wait: proposals without an outcome yet.
    pub fn len(&self) -> usize {
        self.lock().len()
    }

    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Ends all waits with an unknown outcome.
    pub fn abandon_all(&self) {
        self.lock().clear();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_goes_to_the_one_who_waits_for_it() {
        let waiters = Waiters::default();
        let (mut first, mut second) = (waiters.register(1), waiters.register(2));
        assert!(waiters.is_waiting(1) && !waiters.is_waiting(3));
        waiters.complete(vec![(2, Ok(Reply::Done)), (3, Ok(Reply::Done))]);
        assert_eq!(second.try_recv(), Ok(Ok(Reply::Done)));
        assert!(first.try_recv().is_err());
        waiters.forget(1);
        assert!(waiters.is_empty());
    }

    #[test]
    fn abandoned_requests_have_an_unknown_outcome() {
        let waiters = Waiters::default();
        let mut receiver = waiters.register(1);
        waiters.abandon_all();
        assert_eq!(receiver.try_recv(), Err(oneshot::error::TryRecvError::Closed));
    }
}
