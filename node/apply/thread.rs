//! The apply thread: hands jobs to the [`Executor`] one by one, and wakes it when something is due.

use super::Fatal;
use super::executor::{Executor, Next};
use super::worker::Queued;
use crate::threads::{self, Work};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use tokio::sync::mpsc;

/// The executor, until it has ended. It is the thread's; a caller may use it while the thread waits.
#[derive(Clone)]
pub(super) struct Shared(Arc<Mutex<Option<Executor>>>);

impl Shared {
    pub fn new(executor: Executor) -> Self {
        Self(Arc::new(Mutex::new(Some(executor))))
    }

    fn lock(&self) -> MutexGuard<'_, Option<Executor>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// `None` while the thread is at work.
    pub fn try_lock(&self) -> Option<MutexGuard<'_, Option<Executor>>> {
        self.0.try_lock().ok()
    }
}

/// Ends the executor if it failed.
pub(super) fn unless_fatal<R>(slot: &mut Option<Executor>, result: Result<R, Fatal>) -> Option<R> {
    result.map_err(|fatal| slot.take().map(|executor| executor.fail(fatal))).ok()
}

pub(super) struct Thread {
    executor: Shared,
    queue: mpsc::UnboundedReceiver<Queued>,
}

impl Thread {
    pub fn new(executor: Shared, queue: mpsc::UnboundedReceiver<Queued>) -> Self {
        Self { executor, queue }
    }

    pub fn run(mut self) {
        let waker = threads::waker_of_this_thread();
        let mut context = Context::from_waker(&waker);
        loop {
            let mut received = self.queue.poll_recv(&mut context);
            if received.is_pending() {
                let Some(pause) = self.executor.lock().as_ref().map(Executor::pause) else { return };
                std::thread::park_timeout(pause);
                // Either way there may be something to do.
                received = self.queue.poll_recv(&mut context);
            }
            if self.step(received) == Next::End {
                return;
            }
        }
    }

    /// As [`Self::run`], as a task.
    pub async fn run_on_runtime(mut self, pace: Arc<dyn threads::Pace>) {
        loop {
            let Some(pause) = self.executor.lock().as_ref().map(Executor::pause) else { return };
            let received = tokio::time::timeout(pause, self.queue.recv()).await;
            pace.wait(Work::Apply).await;
            if self.step(received.map_or(Poll::Pending, Poll::Ready)) == Next::End {
                return;
            }
        }
    }

    /// `Poll::Ready(None)`: there will be no job any more.
    fn step(&mut self, received: Poll<Option<Queued>>) -> Next {
        let mut slot = self.executor.lock();
        let Some(executor) = slot.as_mut() else { return Next::End };
        // The job's room in the queue is free only when it is done.
        let (result, _permit) = match received {
            Poll::Ready(Some((job, permit))) => (executor.step(Some(job)), Some(permit)),
            Poll::Pending => (executor.step(None), None),
            Poll::Ready(None) => (executor.commit_at_end().map(|()| Next::End), None),
        };
        let next = unless_fatal(&mut slot, result).unwrap_or(Next::End);
        if next == Next::End {
            *slot = None;
        }
        next
    }
}
