//! Who writes through an API server: controllers that change pods, whoever reports events, and its compactor.

use crate::record::{Granted, Journal, Write};
use crate::storage::{COMPACT_KEY, EVENTS, Expected, Outcome, PODS, Storage};
use bytes::Bytes;
use keelstone_harness::Random;
use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior};

/// Pods that may be there: a few pages of a list.
const PODS_MAX: u64 = 40;
const CONTROLLERS: usize = 2;
const CONTROLLER_PACE: Duration = Duration::from_millis(10);
const EVENT_PACE: Duration = Duration::from_millis(100);
/// Events that hang on one lease.
const EVENTS_PER_LEASE: u64 = 10;
const EVENT_TTL_SECS: u64 = 3;
/// What is compacted is as old as this; five minutes in life.
const COMPACT_PACE: Duration = Duration::from_secs(3);

/// The writers of one API server.
#[derive(Clone)]
pub struct Writers {
    pub server: usize,
    pub storage: Arc<Storage>,
    pub journal: Journal,
}

impl Writers {
    pub fn start(&self, random: &mut Random, stop: &watch::Sender<bool>) -> Vec<JoinHandle<()>> {
        let mut tasks = Vec::new();
        for number in 0..CONTROLLERS {
            let name = format!("{}-{number}", self.server);
            tasks.push(tokio::spawn(self.clone().control_pods(name, random.fork(), stop.subscribe())));
        }
        tasks.push(tokio::spawn(self.clone().report_events(stop.subscribe())));
        tasks.push(tokio::spawn(self.clone().compact(stop.subscribe())));
        tasks
    }

    async fn write(&self, key: &Bytes, expected: Expected, value: Option<Bytes>, lease: i64) -> Outcome {
        let invoked = Instant::now();
        let outcome = self.storage.write(key, expected, value.as_ref(), lease).await;
        let (returned, key) = (Instant::now(), key.clone());
        self.journal.note_write(Write { invoked, returned, key, expected, value, outcome: outcome.clone() });
        outcome
    }

    /// Creates, changes and deletes pods as it last knew them, and learns from what it is told where it was wrong.
    async fn control_pods(self, name: String, mut random: Random, stop: watch::Receiver<bool>) {
        let mut pace = paced(CONTROLLER_PACE);
        let (mut known, mut sequence) = (HashMap::new(), 0_u64);
        while !*stop.borrow() {
            pace.tick().await;
            let key = Bytes::from(format!("{PODS}default/{}", random.below(PODS_MAX)));
            let at = known.get(&key).copied().unwrap_or(0);
            sequence += 1;
            let deletes = at != 0 && random.chance(15);
            let value = (!deletes).then(|| Bytes::from(format!("{name}-{sequence}")));
            match self.write(&key, Expected::ModRevision(at), value, 0).await {
                Outcome::Written { revision } => known.insert(key, if deletes { 0 } else { revision }),
                Outcome::Differed { seen, .. } => known.insert(key, seen.map_or(0, |kv| kv.mod_revision)),
                Outcome::Unknown => None,
            };
        }
    }

    /// Events end with their lease, which nobody renews or revokes.
    async fn report_events(self, stop: watch::Receiver<bool>) {
        let mut pace = paced(EVENT_PACE);
        let (mut lease, mut sequence) = (None, 0_u64);
        while !*stop.borrow() {
            pace.tick().await;
            if sequence.is_multiple_of(EVENTS_PER_LEASE) || lease.is_none() {
                let granted = Granted { invoked: Instant::now(), ttl_secs: EVENT_TTL_SECS };
                lease = self.storage.grant(EVENT_TTL_SECS.cast_signed()).await;
                if let Some(id) = lease {
                    self.journal.note(|records| records.leases.extend([(id, granted)]));
                }
            }
            let Some(id) = lease else { continue };
            sequence += 1;
            let name = format!("{}-{sequence}", self.server);
            let key = Bytes::from(format!("{EVENTS}default/{name}"));
            // If the lease has ended meanwhile that is refused, and the next event gets another.
            let written = self.write(&key, Expected::ModRevision(0), Some(format!("event-{name}").into()), id).await;
            lease = matches!(written, Outcome::Written { .. }).then_some(id);
        }
    }

    /// Whoever wins the swap of `compact_rev_key` compacts up to the revision at which it won the time before.
    async fn compact(self, mut stop: watch::Receiver<bool>) {
        let key = Bytes::from_static(COMPACT_KEY.as_bytes());
        let (mut version, mut revision) = (0, 0);
        while !*stop.borrow() {
            tokio::select! {
                () = tokio::time::sleep(COMPACT_PACE) => {}
                _ = stop.changed() => return,
            }
            let value = Some(Bytes::from(revision.to_string()));
            match self.write(&key, Expected::Version(version), value, 0).await {
                Outcome::Written { revision: now } => {
                    if revision > 0 {
                        self.storage.compact(revision).await;
                    }
                    (version, revision) = (version + 1, now);
                }
                Outcome::Differed { revision: now, seen } => {
                    (version, revision) = (seen.map_or(0, |kv| kv.version), now);
                }
                Outcome::Unknown => {}
            }
        }
    }
}

fn paced(period: Duration) -> tokio::time::Interval {
    let mut pace = tokio::time::interval(period);
    pace.set_missed_tick_behavior(MissedTickBehavior::Delay);
    pace
}
