//! Moves an engine's epoch on, which is what stops a guest that computes. Only while calls are on their way: between them it sleeps.

use std::io;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread::{Builder, JoinHandle};
use std::time::Duration;
use wasmtime::Engine;

/// Ticks for which it stays awake after the last call: to wake it costs more than a call does.
const IDLE_TICKS: u32 = 64;

#[derive(Debug)]
pub(crate) struct Ticker {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug, Default)]
struct Shared {
    calls: AtomicUsize,
    is_asleep: AtomicBool,
    stop: AtomicBool,
    lock: Mutex<()>,
    wake: Condvar,
}

/// A call that is on its way.
#[derive(Debug)]
pub(crate) struct Ticking<'t>(&'t Shared);

impl Ticker {
    /// # Errors
    /// There is no thread to be had.
    pub fn start(engine: &Engine, name: &str, period: Duration) -> io::Result<Self> {
        let shared = Arc::new(Shared::default());
        let (engine, of_thread) = (engine.clone(), Arc::clone(&shared));
        let thread = Builder::new().name(name.to_owned()).spawn(move || of_thread.run(&engine, period))?;
        Ok(Self { shared, thread: Some(thread) })
    }

    /// While what is returned is held, the epoch moves.
    pub fn tick(&self) -> Ticking<'_> {
        self.shared.calls.fetch_add(1, SeqCst);
        // Either this sees the thread asleep, or the thread sees the call before it falls asleep.
        if self.shared.is_asleep.load(SeqCst) {
            let _guard = self.shared.lock();
            self.shared.wake.notify_one();
        }
        Ticking(&self.shared)
    }
}

impl Drop for Ticking<'_> {
    fn drop(&mut self) {
        self.0.calls.fetch_sub(1, SeqCst);
    }
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, ()> {
        self.lock.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn run(&self, engine: &Engine, period: Duration) {
        let mut idle = 0;
        while !self.stop.load(SeqCst) {
            std::thread::sleep(period);
            engine.increment_epoch();
            idle = if self.calls.load(SeqCst) == 0 { idle + 1 } else { 0 };
            if idle == IDLE_TICKS {
                self.sleep();
                idle = 0;
            }
        }
    }

    fn sleep(&self) {
        let mut guard = self.lock();
        self.is_asleep.store(true, SeqCst);
        while self.calls.load(SeqCst) == 0 && !self.stop.load(SeqCst) {
            guard = self.wake.wait(guard).unwrap_or_else(PoisonError::into_inner);
        }
        self.is_asleep.store(false, SeqCst);
    }
}

impl Drop for Ticker {
    fn drop(&mut self) {
        self.shared.stop.store(true, SeqCst);
        drop(self.shared.lock());
        self.shared.wake.notify_one();
        if let Some(Err(panic)) = self.thread.take().map(JoinHandle::join) {
            std::panic::resume_unwind(panic);
        }
    }
}
