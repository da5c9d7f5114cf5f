//! Clients that work while faults happen: writers and readers on a few hot keys, leases kept and leases left
//! alone, and one watcher of everything on each member.

use crate::check::watch::Watched;
use crate::history::{Action, Operation, Outcome, Recorder, Reply};
use crate::proto::etcdserverpb::{CompactionRequest, WatchCreateRequest};
use crate::{Client, Random, wait};
use bytes::Bytes;
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio::time::MissedTickBehavior;

/// Who works, and how fast. Paced, since the point is faults and not load.
#[derive(Debug, Clone, Copy)]
pub struct LoadSpec {
    pub clients: usize,
    /// Between two operations of one client.
    pub pace: Duration,
    pub keys: u64,
    /// How long a client waits for an answer.
    pub deadline: Duration,
    /// Compacts all the time, this many revisions behind the newest known one.
    pub compact_behind: Option<i64>,
    /// Between two renewals of a lease; far below the TTL, so that only a long fault ends a kept lease. Leases that
    /// nobody renews are granted half as often, and compactions are twice as frequent.
    pub housekeeping_pace: Duration,
}

impl Default for LoadSpec {
    fn default() -> Self {
        Self {
            clients: 9,
            pace: Duration::from_millis(5),
            keys: 8,
            deadline: Duration::from_secs(2),
            compact_behind: None,
            housekeeping_pace: Duration::from_millis(500),
        }
    }
}

const PREFIX: &str = "load/";
const KEPT_TTL_SECS: i64 = 6;
const ABANDONED_TTL_SECS: i64 = 3;
/// Between two attempts to open a watch on a member that is down.
const RECONNECT_PACE: Duration = Duration::from_millis(50);
const FINISH_LIMIT: Duration = Duration::from_secs(60);

/// When the events of each revision were first received by anyone.
type SeenAt = Arc<Mutex<HashMap<i64, Duration>>>;

/// Running clients.
#[derive(Debug)]
pub struct Load {
    pub recorder: Recorder,
    stop: watch::Sender<bool>,
    /// The revision after which watchers may end.
    until: watch::Sender<Option<i64>>,
    workers: Vec<JoinHandle<()>>,
    watchers: Vec<JoinHandle<Watched>>,
    seen_at: SeenAt,
}

/// What a stopped load leaves to the judges.
#[derive(Debug)]
pub struct Remains {
    pub operations: Vec<Operation>,
    pub watched: Vec<Watched>,
    pub seen_at: HashMap<i64, Duration>,
}

impl Load {
    /// Starts on a store that is empty, at revision 1.
    pub fn start(clients: &[Client], spec: LoadSpec, random: &mut Random) -> Self {
        let recorder = Recorder::default();
        let (stop, until) = (watch::Sender::new(false), watch::Sender::new(None));
        let links: Vec<Client> = clients.iter().map(|client| client.with_deadline(spec.deadline)).collect();
        let worker = |number: usize, random: Random| Worker {
            number,
            recorder: recorder.clone(),
            links: links.clone(),
            random,
            stop: stop.subscribe(),
            sequence: 0,
        };
        let mut workers = Vec::new();
        for number in 0..spec.clients {
            workers.push(tokio::spawn(worker(number, random.fork()).work(spec)));
        }
        workers.push(tokio::spawn(worker(spec.clients, random.fork()).keep_leases(spec)));
        workers.push(tokio::spawn(worker(spec.clients + 1, random.fork()).abandon_leases(spec)));
        if let Some(behind) = spec.compact_behind {
            workers.push(tokio::spawn(worker(spec.clients + 2, random.fork()).compact(spec, behind)));
        }
        let seen_at = SeenAt::default();
        let watchers = clients.iter().enumerate().map(|(place, client)| {
            let follower = Follower { seen_at: seen_at.clone(), recorder: recorder.clone(), until: until.subscribe() };
            tokio::spawn(follower.follow(format!("watcher on m{place}"), client.clone()))
        });
        let watchers = watchers.collect();
        Self { recorder, stop, until, workers, watchers, seen_at }
    }

    /// Waits until this many more operations have succeeded. On a slow machine that may take long, so that `limit` is
    /// for the time in which none does.
    pub async fn progress(&self, more: usize, limit: Duration) {
        let begun = self.recorder.done();
        let mut done = begun;
        while done < begun + more {
            let what = format!("the next of {more} operations to succeed, after {}", done - begun);
            wait::until_true(&what, limit, || self.recorder.done() > done).await;
            done = self.recorder.done();
        }
    }

    /// Ends the workers, each after its current operation.
    pub async fn stop_workers(&mut self) {
        self.stop.send_replace(true);
        for worker in self.workers.drain(..) {
            worker.await.expect("a worker does not panic");
        }
    }

    /// Ends the watchers once each has seen `revision`.
    ///
    /// # Panics
    /// If a watcher does not get there.
    pub async fn finish(mut self, revision: i64) -> Remains {
        self.stop_workers().await;
        self.until.send_replace(Some(revision));
        let mut watched = Vec::new();
        for watcher in self.watchers.drain(..) {
            let seen = tokio::time::timeout(FINISH_LIMIT, watcher).await;
            watched.push(seen.expect("a watcher sees the last revision").expect("a watcher does not panic"));
        }
        let seen_at = std::mem::take(&mut *self.seen_at.lock().expect("no panic while noting arrivals"));
        Remains { operations: self.recorder.operations(), watched, seen_at }
    }
}

struct Worker {
    number: usize,
    recorder: Recorder,
    links: Vec<Client>,
    random: Random,
    stop: watch::Receiver<bool>,
    sequence: u64,
}

impl Worker {
    async fn work(mut self, spec: LoadSpec) {
        let mut ticks = tokio::time::interval(spec.pace);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut known: HashMap<Bytes, i64> = HashMap::new();
        let own = self.number % self.links.len();
        let mut member = own;
        while !*self.stop.borrow() {
            ticks.tick().await;
            let action = self.choose(spec.keys, &known);
            let operation = self.run(member, action).await;
            learn(&mut known, &operation);
            // A client stays with its member, so that a member that hangs does not hold up all clients.
            let stays = matches!(operation.outcome, Outcome::Done(_)) && !self.random.chance(5);
            member = if stays { own } else { self.random.below(self.links.len() as u64) as usize };
        }
    }

    /// Grants leases that are renewed, and puts a key under each.
    async fn keep_leases(mut self, spec: LoadSpec) {
        let mut ticks = tokio::time::interval(spec.housekeeping_pace);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut kept = None;
        while !*self.stop.borrow() {
            ticks.tick().await;
            let member = self.random.below(self.links.len() as u64) as usize;
            kept = match kept {
                Some(lease) => {
                    let renewal = self.run(member, Action::KeepAlive { lease }).await;
                    let gone = matches!(renewal.outcome, Outcome::Done(Reply::Leased { ttl_secs: 0 }));
                    (!gone).then_some(lease)
                }
                None => self.lease_a_key(member, "kept", KEPT_TTL_SECS).await,
            };
        }
    }

    /// Grants leases that nobody renews, and puts a key under each.
    async fn abandon_leases(mut self, spec: LoadSpec) {
        let mut ticks = tokio::time::interval(spec.housekeeping_pace * 2);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while !*self.stop.borrow() {
            ticks.tick().await;
            let member = self.random.below(self.links.len() as u64) as usize;
            self.lease_a_key(member, "abandoned", ABANDONED_TTL_SECS).await;
        }
    }

    /// Compacts a little at a time. Not recorded: no answer of a client depends on it.
    async fn compact(mut self, spec: LoadSpec, behind: i64) {
        let mut ticks = tokio::time::interval(spec.housekeeping_pace / 2);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while !*self.stop.borrow() {
            ticks.tick().await;
            let link = self.links[self.random.below(self.links.len() as u64) as usize].clone();
            let Ok(newest) = link.get("none").await else { continue };
            let revision = newest.header.map_or(0, |header| header.revision) - behind;
            if revision > 1 {
                let physical = self.random.chance(50);
                // Refused when it was compacted before, unknown when a member just died: both are fine.
                drop(link.compact(CompactionRequest { revision, physical }).await);
            }
        }
    }

    async fn lease_a_key(&mut self, member: usize, name: &str, ttl_secs: i64) -> Option<i64> {
        let lease = (self.random.draw() >> 2).cast_signed() | 1;
        let granted = self.run(member, Action::Grant { lease, ttl_secs }).await;
        if !matches!(granted.outcome, Outcome::Done(_)) {
            return None;
        }
        let key = Bytes::from(format!("{PREFIX}{name}/{lease:x}"));
        let put = Action::Put { keys: vec![key], value: self.value(), lease };
        let put = self.run(member, put).await;
        matches!(put.outcome, Outcome::Done(_)).then_some(lease)
    }

    async fn run(&mut self, member: usize, action: Action) -> Operation {
        self.recorder.run(self.number, member, &self.links[member], action).await
    }

    fn choose(&mut self, keys: u64, known: &HashMap<Bytes, i64>) -> Action {
        let key = self.key(keys);
        match self.random.below(100) {
            0..35 => Action::Put { keys: vec![key], value: self.value(), lease: 0 },
            35..42 => {
                let other = self.key(keys);
                let keys = if other == key { vec![key] } else { vec![key, other] };
                Action::Put { keys, value: self.value(), lease: 0 }
            }
            42..50 => Action::Delete { key },
            50..65 => {
                let expected = known.get(&key).copied().unwrap_or(0);
                Action::Swap { key, expected, value: self.value() }
            }
            65..85 => Action::Read { key, range_end: Bytes::new(), serializable: false },
            85..92 => self.read_all(false),
            92..96 => Action::Read { key, range_end: Bytes::new(), serializable: true },
            _ => self.read_all(true),
        }
    }

    fn read_all(&self, serializable: bool) -> Action {
        let key = Bytes::from_static(PREFIX.as_bytes());
        Action::Read { range_end: crate::prefix_end(&key), key, serializable }
    }

    fn key(&mut self, keys: u64) -> Bytes {
        format!("{PREFIX}{}", self.random.below(keys)).into()
    }

    fn value(&mut self) -> Bytes {
        self.sequence += 1;
        format!("{}-{}", self.number, self.sequence).into()
    }
}

/// Remembers the newest mod revision of the keys of an answer, to compare with later.
fn learn(known: &mut HashMap<Bytes, i64>, operation: &Operation) {
    match (&operation.action, &operation.outcome) {
        (Action::Put { keys, .. }, Outcome::Done(Reply::Written { revision, .. })) => {
            known.extend(keys.iter().map(|key| (key.clone(), *revision)));
        }
        (Action::Delete { key }, Outcome::Done(_)) => {
            known.remove(key);
        }
        (Action::Swap { key, .. }, Outcome::Done(Reply::Swapped { succeeded: true, revision, .. })) => {
            known.insert(key.clone(), *revision);
        }
        (_, Outcome::Done(Reply::Swapped { seen: kvs, .. } | Reply::Read { kvs, .. })) => {
            known.extend(kvs.iter().map(|kv| (kv.key.clone(), kv.mod_revision)));
        }
        _ => {}
    }
}

struct Follower {
    seen_at: SeenAt,
    recorder: Recorder,
    until: watch::Receiver<Option<i64>>,
}

impl Follower {
    /// Watches every key of one member from revision 1, over as many streams as its faults take.
    async fn follow(mut self, name: String, client: Client) -> Watched {
        let everything = Bytes::from_static(b"\0");
        let (key, range_end) = (everything.clone(), everything);
        let mut watched = Watched { name, key, range_end, start_revision: 1, prev_kv: true, sessions: Vec::new() };
        let mut next = 1;
        while !self.has_arrived(next) {
            let mut stream = client.watch();
            stream.create(WatchCreateRequest {
                key: watched.key.clone(),
                range_end: watched.range_end.clone(),
                start_revision: next,
                prev_kv: true,
                progress_notify: true,
                ..Default::default()
            });
            watched.sessions.push((next, Vec::new()));
            while !self.has_arrived(next) {
                let response = tokio::select! {
                    response = stream.next_timed() => response,
                    changed = self.until.changed() => match changed {
                        Ok(()) => continue,
                        // The test has failed; nobody reads this.
                        Err(_) => return watched,
                    },
                };
                let Some((at, Ok(response))) = response else { break };
                self.note_arrival(at, &response.events);
                let (_, responses) = watched.sessions.last_mut().expect("a session was just begun");
                responses.push(response);
                next = watched.next_revision();
            }
            if watched.sessions.last().is_some_and(|(_, responses)| responses.is_empty()) {
                watched.sessions.pop();
            }
            wait::pass(RECONNECT_PACE).await;
        }
        watched
    }

    fn has_arrived(&self, next: i64) -> bool {
        self.until.borrow().is_some_and(|until| next > until)
    }

    fn note_arrival(&self, at: Instant, events: &[crate::proto::mvccpb::Event]) {
        let at = self.recorder.since_start(at);
        let mut seen_at = self.seen_at.lock().expect("no panic while noting arrivals");
        for kv in events.iter().filter_map(|event| event.kv.as_ref()) {
            let first = seen_at.entry(kv.mod_revision).or_insert(at);
            *first = at.min(*first);
        }
    }
}
