//! Where work runs that waits for the disk or takes long. A process has threads for it (DESIGN D16); a simulation runs
//! all of it on the runtime's only thread, so that one seed decides the order of everything (D14).

use std::fmt::Debug;
use std::future::Future;
use std::io;
use std::sync::Arc;
use std::task::{Wake, Waker};
use std::time::Duration;

/// A kind of work, by what a slow machine would delay.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// A write and a sync of the log.
    Log,
    /// A batch of apply, or a slice of compaction.
    Apply,
    /// A read of many rows.
    Read,
}

/// Unparks the calling thread, for one that waits for futures without a runtime.
pub fn waker_of_this_thread() -> Waker {
    struct Unpark(std::thread::Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    Waker::from(Arc::new(Unpark(std::thread::current())))
}

/// How long work takes in a simulation.
pub trait Pace: Debug + Send + Sync {
    fn delay(&self, work: Work) -> Duration;
}

impl dyn Pace {
    /// Waits as long as the work would take; in any case others have their turn first.
    pub async fn wait(&self, work: Work) {
        match self.delay(work) {
            Duration::ZERO => tokio::task::yield_now().await,
            delay => tokio::time::sleep(delay).await,
        }
    }
}

/// Work takes no time.
#[derive(Clone, Copy, Debug)]
pub struct AtOnce;

impl Pace for AtOnce {
    fn delay(&self, _: Work) -> Duration {
        Duration::ZERO
    }
}

#[derive(Clone, Debug)]
pub enum Threads {
    /// Threads of their own for log and apply, tokio's pool for the rest.
    Own,
    /// Tasks of the runtime, each step as late as the pace says.
    OnRuntime(Arc<dyn Pace>),
}

/// The runtime is going down; whoever waits need not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the node is stopping")]
pub struct Stopping;

impl Threads {
    /// Does one piece of work aside and waits for it.
    ///
    /// # Errors
    /// The runtime is being shut down.
    pub async fn run<R: Send + 'static>(
        &self,
        kind: Work,
        work: impl FnOnce() -> R + Send + 'static,
    ) -> Result<R, Stopping> {
        match self {
            // A panic ends the process, so this is the end of the runtime.
            Threads::Own => tokio::task::spawn_blocking(work).await.map_err(|_| Stopping),
            Threads::OnRuntime(pace) => {
                pace.wait(kind).await;
                Ok(work())
            }
        }
    }

    /// Starts a loop over `state` that ends by itself when its owner lets it: as a thread with `name`, or as a task.
    ///
    /// # Errors
    /// The system has no thread for it.
    pub fn start<S: Send + 'static, F: Future<Output = ()> + Send + 'static>(
        &self,
        name: &str,
        state: S,
        thread: impl FnOnce(S) + Send + 'static,
        task: impl FnOnce(S, Arc<dyn Pace>) -> F,
    ) -> io::Result<()> {
        match self {
            Threads::Own => std::thread::Builder::new().name(name.to_owned()).spawn(move || thread(state)).map(drop),
            Threads::OnRuntime(pace) => {
                tokio::spawn(task(state, Arc::clone(pace)));
                Ok(())
            }
        }
    }
}
