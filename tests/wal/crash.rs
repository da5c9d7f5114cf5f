//! Random requests, crashes at random operations of the disk, compared with a model of the files: after a crash the
//! log is as after some prefix of the records, and that prefix holds everything whose callback fired.

use crate::decoder::DecodedEntry;
use crate::support::{SMALL, Stepped, at, conf, decode, entry, fresh, open};
use keelstone::disk::MemoryDisk;
use keelstone::types::LogPosition;
use keelstone::wal::{Entry, HardState, Settings};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::io;

/// What a record does to the log as a reader of the files finds it.
#[derive(Clone, Debug)]
enum Change {
    Entry(Entry),
    Vote(HardState),
    Snapshot(LogPosition),
}

/// A log as read from files.
#[derive(Clone, Debug, Default, PartialEq)]
struct Model {
    purged: LogPosition,
    entries: Vec<Entry>,
    term: u64,
    vote: u64,
    vote_committed: bool,
}

impl Model {
    fn last(&self) -> LogPosition {
        self.entries.last().map_or(self.purged, |entry| at(entry.term, entry.index))
    }

    fn truncate_after(&mut self, index: u64) {
        self.entries.retain(|entry| entry.index <= index);
    }

    fn apply(&mut self, change: &Change) {
        match change {
            Change::Entry(entry) => {
                self.truncate_after(entry.index - 1);
                // One that was purged since counts for nothing.
                if entry.index > self.purged.index {
                    assert_eq!(entry.index, self.last().index + 1);
                    self.entries.push(entry.clone());
                }
            }
            Change::Vote(state) => {
                (self.term, self.vote, self.vote_committed) = (state.term, state.vote, state.vote_committed);
            }
            Change::Snapshot(position) => {
                // A record that the log does not lead to voids what stands before it.
                if !self.entries.iter().any(|entry| at(entry.term, entry.index) == *position) {
                    self.entries.clear();
                }
                self.entries.retain(|entry| entry.index > position.index);
                self.purged = *position;
            }
        }
    }
}

struct Run {
    random: StdRng,
    settings: Settings,
    log: Stepped,
    /// What the handle must show.
    seen: Model,
    commit: u64,
    /// The files when the log was opened, and what was asked for since, by request.
    base: Model,
    requests: Vec<Vec<Change>>,
}

impl Run {
    fn new(seed: u64) -> Self {
        let mut random = StdRng::seed_from_u64(seed);
        let settings = Settings {
            segment_bytes: *[2048, 8192].get(random.random_range(0..2)).unwrap(),
            max_segments: random.random_range(0..4),
            batch_bytes: random.random_range(1..4000),
            tail_bytes: random.random_range(0..4000),
            ..SMALL
        };
        let log = open(&fresh(), settings).unwrap();
        Self { random, settings, log, seen: Model::default(), commit: 0, base: Model::default(), requests: Vec::new() }
    }

    fn request(&mut self, changes: Vec<Change>) -> u64 {
        self.requests.push(changes);
        self.requests.len() as u64 - 1
    }

    fn append(&mut self, first: u64) {
        let term = self.seen.term.max(1);
        let entries: Vec<_> = (first..first + self.random.random_range(1..6))
            .map(|index| {
                let len = if self.random.random_bool(0.1) { 0 } else { self.random.random_range(0..700) };
                entry(term, index, len)
            })
            .collect();
        self.seen.truncate_after(first - 1);
        self.seen.entries.extend(entries.iter().cloned());
        let id = self.request(entries.iter().cloned().map(Change::Entry).collect());
        self.log.append(id, entries);
    }

    fn vote(&mut self) {
        let state = HardState {
            term: self.seen.term + 1,
            vote: self.random.random_range(0..4),
            vote_committed: self.random.random(),
            commit: 0,
        };
        self.seen.apply(&Change::Vote(state));
        let id = self.request(vec![Change::Vote(state)]);
        self.log.wal.save_hard_state(state, self.log.outcomes.expect(id));
    }

    /// Another leader's entries replace the tail behind what is committed.
    fn conflict(&mut self) {
        self.vote();
        let from = self.commit.max(self.seen.purged.index);
        let keep = self.random.random_range(from..=self.seen.last().index);
        if self.random.random() {
            self.log.wal.truncate_after(keep);
            self.seen.truncate_after(keep);
        }
        if self.random.random_bool(0.8) {
            self.append(keep + 1);
        }
    }

    fn commit(&mut self) {
        self.commit = self.random.random_range(self.commit..=self.seen.last().index.max(self.commit));
        self.log.wal.save_commit(self.commit);
    }

    fn purge(&mut self) {
        let highest = self.commit.min(self.log.wal.synced_index());
        if highest <= self.seen.purged.index {
            return;
        }
        let index = self.random.random_range(self.seen.purged.index + 1..=highest);
        let term = self.log.wal.term_at(index).unwrap();
        self.snapshot(at(term, index), false);
    }

    fn install(&mut self) {
        let (low, high) = (self.commit.max(self.seen.purged.index) + 1, self.seen.last().index + 4);
        let index = self.random.random_range(low..=high.max(low));
        // Either the log holds the very entry, or the snapshot is of a later term than all of it.
        let term = match self.log.wal.term_at(index) {
            Some(term) if self.random.random() => term,
            _ => {
                self.vote();
                self.seen.term
            }
        };
        let position = at(term, index);
        let reset = self.random.random();
        self.snapshot(position, reset);
    }

    fn snapshot(&mut self, position: LogPosition, reset: bool) {
        if reset {
            self.seen.entries.clear();
        }
        self.seen.apply(&Change::Snapshot(position));
        self.commit = self.commit.max(position.index);
        let id = self.request(vec![Change::Snapshot(position)]);
        let done = self.log.outcomes.expect(id);
        if reset {
            self.log.wal.reset_to(position, conf(), done);
        } else {
            self.log.wal.purge(position, conf(), done);
        }
    }

    fn compare(&mut self) {
        let (wal, seen) = (&self.log.wal, &self.seen);
        assert_eq!((wal.purged(), wal.last()), (seen.purged, seen.last()));
        assert_eq!(wal.hard_state().term, seen.term);
        let first = seen.purged.index + 1;
        let start = self.random.random_range(first..=seen.last().index + 1);
        let end = self.random.random_range(start..=seen.last().index + 3);
        let expected: Vec<_> = seen.entries.iter().filter(|e| (start..end).contains(&e.index)).cloned().collect();
        assert_eq!(wal.read(start..end).unwrap(), expected);
        let some = wal.read_limited(start, end, self.random.random_range(0..2000)).unwrap();
        assert_eq!(some, expected[..some.len()]);
        assert_eq!(some.is_empty(), expected.is_empty());
        assert!(wal.synced_index() <= wal.last().index.max(seen.purged.index));
    }

    fn step(&mut self) {
        match self.random.random_range(0..100) {
            0..40 => self.append(self.seen.last().index + 1),
            40..46 => self.vote(),
            46..54 => self.conflict(),
            54..66 => self.commit(),
            66..72 => self.purge(),
            72..74 => self.install(),
            74..84 => self.compare(),
            _ => {
                self.log.writer.step();
            }
        }
    }

    /// Everything up to the last request whose callback fired, and the states that the files may be in beyond it.
    fn possible(&self) -> Vec<Model> {
        let done = self.log.outcomes.done();
        assert!(done.windows(2).all(|pair| pair[0] < pair[1]), "callbacks came out of order: {done:?}");
        let acknowledged = done.last().map_or(0, |id| *id as usize + 1);
        assert_eq!(done.len(), acknowledged, "a callback was left out: {done:?}");
        let mut model = self.base.clone();
        self.requests[..acknowledged].iter().flatten().for_each(|change| model.apply(change));
        let mut possible = vec![model.clone()];
        for change in self.requests[acknowledged..].iter().flatten() {
            model.apply(change);
            possible.push(model.clone());
        }
        possible
    }

    /// Goes on with what a crash left, after checking it.
    fn reopen(&mut self, image: MemoryDisk) {
        let possible = self.possible();
        let log = open(&image, self.settings).unwrap_or_else(|error| panic!("{error}"));
        let state = log.opened.hard_state;
        let found = Model {
            purged: log.opened.snapshot.unwrap_or_default(),
            entries: log.all(),
            term: state.term,
            vote: state.vote,
            vote_committed: state.vote_committed,
        };
        assert!(
            possible.contains(&found),
            "found {}, possible {:#?}",
            brief(&found),
            possible.iter().map(brief).collect::<Vec<_>>()
        );
        assert_eq!((log.opened.last, log.opened.first_index), (found.last(), found.purged.index + 1));
        assert!(state.commit <= found.last().index.min(self.commit), "a commit index from nowhere");
        assert_eq!(log.wal.synced_index(), found.last().index);

        let decoded = decode(&image);
        assert_eq!((decoded.snapshot.1, decoded.snapshot.0), (found.purged.term, found.purged.index));
        assert_eq!((decoded.term, decoded.vote, decoded.commit), (state.term, state.vote, state.commit));
        let entries: Vec<_> = found
            .entries
            .iter()
            .map(|e| DecodedEntry { kind: 0, term: e.term, index: e.index, data: e.data.to_vec() })
            .collect();
        assert_eq!(decoded.entries[..entries.len()], entries);
        // etcd's reader does not see that entries before the snapshot record voided a tail that reaches behind it.
        assert!(entries.is_empty() || decoded.entries.len() == entries.len());

        (self.base, self.seen) = (found.clone(), found);
        self.commit = state.commit;
        self.requests.clear();
        self.log = log;
    }
}

fn brief(model: &Model) -> String {
    let entries: Vec<_> = model.entries.iter().map(|entry| (entry.term, entry.index)).collect();
    format!("{:?} {} {} {} {entries:?}", model.purged, model.term, model.vote, model.vote_committed)
}

fn check(seed: u64) {
    let mut run = Run::new(seed);
    for _ in 0..8 {
        // The power fails during some operation, or between two steps.
        if run.random.random_bool(0.7) {
            let operation = run.log.disk.operations() + run.random.random_range(0..60);
            run.log.disk.fail_from(operation, io::ErrorKind::Other);
        }
        for _ in 0..run.random.random_range(1..80) {
            run.step();
            if run.log.failed() {
                break;
            }
        }
        let image = match run.random.random_range(0..5) {
            0 => run.log.disk.kill(),
            1 if !run.log.failed() => {
                run.log.run();
                let closed = run.log.wal.close();
                run.log.run();
                assert!(closed.is_ok() || run.log.failed());
                if !run.log.failed() {
                    assert_eq!(run.log.outcomes.done().len(), run.requests.len());
                }
                run.log.disk.kill()
            }
            _ => run.log.disk.crash(run.random.random()),
        };
        run.reopen(image);
    }
}

#[test]
fn everything_whose_callback_fired_is_there_after_a_crash() {
    let seeds = std::env::var("KEELSTONE_SEEDS").ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(400);
    for seed in 0..seeds {
        // The harness shows what was printed before a panic.
        println!("seed {seed}");
        check(seed);
    }
}
