//! The network between machines: byte streams that take time, are held up, cut and reset. As over TCP, what arrives on
//! one connection arrives in order; lost packets show as delays, and connections overtake each other.
//!
//! A byte is never on its way for less than [`Network::shortest`]: machines that run one after the other up to a common
//! point of time then cannot miss what was sent to them meanwhile.

use crate::endpoint::Endpoint;
use crate::host::{HostId, HostTime};
use crate::trace::{Trace, digest};
use bytes::Bytes;
use keelstone_harness::Random;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::{Arc, Mutex, MutexGuard};
use std::task::Waker;
use std::time::Duration;

/// How long things take.
#[derive(Clone, Copy, Debug)]
pub struct Latency {
    pub shortest: Duration,
    /// On top, evenly spread.
    pub jitter: Duration,
    /// One in so many messages is lost and sent again after a while.
    pub loss_one_in: u64,
}

/// Before what was lost is sent again.
const RETRANSMIT_MS: u64 = 200;
/// What may be on its way on one connection before its writer must wait.
const WINDOW_BYTES: usize = 1 << 20;

/// Cheap to clone; clones are the same network.
#[derive(Clone)]
pub struct Network {
    inner: Arc<Mutex<Inner>>,
}

pub struct Inner {
    random: Random,
    latency: Latency,
    trace: Trace,
    /// Ways on which nothing passes now.
    blocked: BTreeSet<(HostId, HostId)>,
    pub pipes: BTreeMap<u64, Pipe>,
    next_pipe: u64,
    listeners: BTreeMap<String, Listening>,
    pub messages: u64,
    /// A machine is being switched off: what its program drops says nothing to anybody.
    pub switching_off: bool,
}

#[derive(Default)]
struct Listening {
    host: Option<HostId>,
    /// The two pipes of a connection, and when it arrives.
    arrivals: VecDeque<(Duration, u64, u64)>,
    acceptor: Option<Waker>,
}

/// One direction of a connection.
pub struct Pipe {
    pub from: HostId,
    pub to: HostId,
    /// What arrives when.
    pub segments: VecDeque<(Duration, Bytes)>,
    /// What waits for the way to open.
    held: VecDeque<Bytes>,
    pub waiting_bytes: usize,
    last_arrival: Duration,
    /// The writer's end, as it will be known to the reader: cleanly or by a reset.
    pub end: Option<(Duration, End)>,
    held_end: Option<End>,
    pub reader: Option<Waker>,
    pub writer: Option<Waker>,
    pub reader_gone: bool,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Closed,
    Reset,
}

impl std::fmt::Debug for Network {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Network")
    }
}

impl Pipe {
    fn new(from: HostId, to: HostId, now: Duration) -> Self {
        Self {
            from,
            to,
            segments: VecDeque::new(),
            held: VecDeque::new(),
            waiting_bytes: 0,
            last_arrival: now,
            end: None,
            held_end: None,
            reader: None,
            writer: None,
            reader_gone: false,
        }
    }

    pub fn is_full(&self) -> bool {
        self.waiting_bytes >= WINDOW_BYTES
    }

    fn arrives(&mut self, at: Duration) -> Duration {
        self.last_arrival = self.last_arrival.max(at);
        self.last_arrival
    }

    pub fn wake_reader(&mut self) {
        if let Some(reader) = self.reader.take() {
            reader.wake();
        }
    }

    pub fn wake_writer(&mut self) {
        if let Some(writer) = self.writer.take() {
            writer.wake();
        }
    }
}

impl Inner {
    fn travel(&mut self) -> Duration {
        let jitter = u64::try_from(self.latency.jitter.as_micros()).unwrap_or(u64::MAX).max(1);
        let travel = self.latency.shortest + Duration::from_micros(self.random.below(jitter));
        if self.random.below(self.latency.loss_one_in) == 0 {
            return travel + Duration::from_millis(RETRANSMIT_MS + self.random.below(RETRANSMIT_MS));
        }
        travel
    }

    fn is_blocked(&self, from: HostId, to: HostId) -> bool {
        self.blocked.contains(&(from, to))
    }

    pub fn send(&mut self, number: u64, now: Duration, data: Bytes) {
        let Some((from, to)) = self.pipes.get(&number).map(|pipe| (pipe.from, pipe.to)) else { return };
        self.messages += 1;
        self.trace.note(now, format_args!("{}>{} #{number} {}b {:08x}", from.0, to.0, data.len(), digest(&data)));
        let (travel, blocked) = (self.travel(), self.is_blocked(from, to));
        let pipe = self.pipes.get_mut(&number).expect("looked up before");
        pipe.waiting_bytes += data.len();
        if blocked || !pipe.held.is_empty() {
            pipe.held.push_back(data);
            return;
        }
        let at = pipe.arrives(now + travel);
        pipe.segments.push_back((at, data));
        pipe.wake_reader();
    }

    /// The writer is done.
    pub fn finish(&mut self, number: u64, now: Duration, how: End) {
        let Some((from, to)) = self.pipes.get(&number).map(|pipe| (pipe.from, pipe.to)) else { return };
        let (travel, blocked) = (self.travel(), self.is_blocked(from, to));
        let pipe = self.pipes.get_mut(&number).expect("looked up before");
        if pipe.end.is_some() || pipe.held_end.is_some() {
            return;
        }
        if how == End::Reset {
            pipe.held.clear();
        }
        if blocked || !pipe.held.is_empty() {
            pipe.held_end = Some(how);
            return;
        }
        pipe.end = Some((pipe.arrives(now + travel), how));
        pipe.wake_reader();
    }

    /// The reader is gone: whoever writes is told.
    pub fn abandon(&mut self, number: u64) {
        let Some(pipe) = self.pipes.get_mut(&number) else { return };
        pipe.reader_gone = true;
        pipe.segments.clear();
        pipe.waiting_bytes = 0;
        pipe.wake_writer();
        // Nobody will look at it again.
        if pipe.end.is_some() || pipe.held_end.is_some() {
            self.pipes.remove(&number);
        }
    }
}

impl Network {
    pub fn new(random: Random, latency: Latency, trace: Trace) -> Self {
        let inner = Inner {
            random,
            latency,
            trace,
            blocked: BTreeSet::new(),
            pipes: BTreeMap::new(),
            next_pipe: 0,
            listeners: BTreeMap::new(),
            messages: 0,
            switching_off: false,
        };
        Self { inner: Arc::new(Mutex::new(inner)) }
    }

    pub fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().expect("no panic while the network is locked")
    }

    pub fn messages(&self) -> u64 {
        self.lock().messages
    }

    /// Stops all that goes one way.
    pub fn block(&self, from: HostId, to: HostId) {
        self.lock().blocked.insert((from, to));
    }

    /// Opens all ways; what waited arrives.
    pub fn heal(&self, now: Duration) {
        let mut inner = self.lock();
        inner.blocked.clear();
        let numbers: Vec<u64> = inner.pipes.keys().copied().collect();
        for number in numbers {
            let travel = inner.travel();
            let pipe = inner.pipes.get_mut(&number).expect("just listed");
            let at = pipe.arrives(now + travel);
            let held = std::mem::take(&mut pipe.held);
            pipe.segments.extend(held.into_iter().map(|data| (at, data)));
            if let Some(how) = pipe.held_end.take() {
                pipe.end = Some((at, how));
            }
            pipe.wake_reader();
        }
    }

    /// Breaks every connection between two machines, with what is on its way on them.
    pub fn reset(&self, one: HostId, other: HostId, now: Duration) {
        let mut inner = self.lock();
        let between = |pipe: &Pipe| (pipe.from, pipe.to) == (one, other) || (pipe.from, pipe.to) == (other, one);
        let numbers: Vec<u64> =
            inner.pipes.iter().filter(|(_, pipe)| between(pipe)).map(|(number, _)| *number).collect();
        for number in numbers {
            if let Some(pipe) = inner.pipes.get_mut(&number) {
                pipe.segments.clear();
                pipe.waiting_bytes = 0;
                pipe.wake_writer();
            }
            inner.finish(number, now, End::Reset);
        }
    }

    /// A machine's process is gone. The others hear of it where the way is open; `silent`: its machine is gone too, and
    /// nobody says anything.
    pub fn leave(&self, host: HostId, now: Duration, silent: bool) {
        let mut inner = self.lock();
        inner.listeners.retain(|_, listening| listening.host != Some(host));
        let numbers: Vec<u64> = inner.pipes.keys().copied().collect();
        for number in numbers {
            let Some((from, to)) = inner.pipes.get(&number).map(|pipe| (pipe.from, pipe.to)) else { continue };
            if from == host && !silent {
                inner.finish(number, now, End::Reset);
            } else if to == host && !silent {
                inner.abandon(number);
            }
        }
    }

    /// Takes a machine away, with its program as it stands.
    pub fn switch_off<T>(&self, machine: T) {
        self.lock().switching_off = true;
        drop(machine);
        self.lock().switching_off = false;
    }

    pub fn listen(&self, host: HostId, address: &str) {
        self.lock().listeners.insert(address.to_owned(), Listening { host: Some(host), ..Listening::default() });
    }

    /// The next connection that has arrived at an address, or when to look again.
    pub fn accept(&self, address: &str, time: HostTime, waker: &Waker) -> Result<Endpoint, Option<Duration>> {
        let mut inner = self.lock();
        let Some(listening) = inner.listeners.get_mut(address) else { return Err(None) };
        listening.acceptor = Some(waker.clone());
        match listening.arrivals.front() {
            Some((at, _, _)) if *at > time.now() => Err(Some(*at)),
            None => Err(None),
            Some(_) => {
                let (_, incoming, outgoing) = listening.arrivals.pop_front().expect("looked at before");
                Ok(Endpoint::new(self.clone(), time, incoming, outgoing))
            }
        }
    }

    /// Time to reach the other side and hear of it.
    pub fn round_trip(&self) -> Duration {
        let mut inner = self.lock();
        inner.travel() + inner.travel()
    }

    /// None while the way is blocked.
    pub fn connect(&self, from: HostId, time: HostTime, address: &str) -> Option<std::io::Result<Endpoint>> {
        let mut inner = self.lock();
        let ip = address.split(':').next().unwrap_or_default();
        let to = HostId(ip.rsplit('.').next().and_then(|last| last.parse::<usize>().ok()).unwrap_or(1) - 1);
        if inner.is_blocked(from, to) || inner.is_blocked(to, from) {
            return None;
        }
        if !inner.listeners.contains_key(address) {
            return Some(Err(std::io::ErrorKind::ConnectionRefused.into()));
        }
        let now = time.now();
        let (out, back) = (inner.next_pipe, inner.next_pipe + 1);
        inner.next_pipe += 2;
        inner.pipes.insert(out, Pipe::new(from, to, now));
        inner.pipes.insert(back, Pipe::new(to, from, now));
        inner.trace.note(now, format_args!("{}>{} connects #{out}", from.0, to.0));
        let at = now + inner.travel();
        let listening = inner.listeners.get_mut(address).expect("looked up before");
        listening.arrivals.push_back((at, out, back));
        if let Some(acceptor) = listening.acceptor.take() {
            acceptor.wake();
        }
        Some(Ok(Endpoint::new(self.clone(), time, back, out)))
    }
}
