//! One history on one pair of servers, from an empty store to the last comparison.

use crate::difference::{Difference, same};
use crate::draw::{self, STREAMS};
use crate::operation::{Operation, Step};
use crate::pair::Pair;
use crate::streams::StreamPair;
use crate::wire::Metadata;
use crate::world::World;
use keelstone_harness::Random;
use keelstone_harness::proto::etcdserverpb::{HashKvRequest, RangeRequest};
use std::path::Path;

/// Streams are compared this often, whatever else is drawn.
const SETTLE_EVERY: usize = 40;

/// Revisions that are read again at the end.
const LOOKS_BACK: u64 = 30;

/// What is run: the flags of the servers, and a seed for each step. Any of the steps may be left out.
#[derive(Debug, Clone)]
pub struct History {
    pub seed: u64,
    pub steps: Vec<u64>,
}

impl History {
    pub fn of(seed: u64, steps: usize) -> Self {
        let mut random = Random::new(seed);
        Self { seed, steps: (0..steps).map(|_| random.draw()).collect() }
    }

    /// Different limits, so that they are met with small requests too.
    fn setting(&self) -> (World, Vec<String>) {
        let flags = |flags: &[&str]| flags.iter().map(|flag| (*flag).to_owned()).collect();
        match self.seed % 4 {
            0 => (World::new(1_572_864, 128), Vec::new()),
            1 => (World::new(4096, 6), flags(&["--max-request-bytes=4096", "--max-txn-ops=6"])),
            2 => (World::new(1_572_864, 128), flags(&["--compaction-batch-limit=7"])),
            _ => (World::new(65_536, 12), flags(&["--max-request-bytes=65536", "--max-txn-ops=12"])),
        }
    }
}

/// How far a history came.
#[derive(Debug)]
pub struct Outcome {
    /// All steps that were taken, with those that follow each history.
    pub steps: Vec<Step>,
    pub difference: Option<Difference>,
}

impl Outcome {
    /// Both ended in a difference, and over the same kind of operation.
    pub fn is_like(&self, other: &Outcome) -> bool {
        let kind = |outcome: &Outcome| outcome.steps.last().map(|step| std::mem::discriminant(&step.operation));
        self.difference.is_some() && other.difference.is_some() && kind(self) == kind(other)
    }
}

#[derive(Debug)]
pub struct Run {
    pub pair: Pair,
    pub world: World,
    pub streams: Vec<StreamPair>,
}

impl Run {
    /// Runs a history up to the first difference.
    pub async fn run(etcd: &Path, history: &History) -> Outcome {
        let (world, flags) = history.setting();
        let pair = Pair::start(etcd, &flags).await;
        let streams = (0..STREAMS).map(|_| pair.stream()).collect();
        let mut run = Self { pair, world, streams };
        let mut steps = Vec::with_capacity(history.steps.len());
        let difference = run.take(history, &mut steps).await.err();
        if difference.is_none() {
            run.pair.assert_no_unexpected_errors();
        }
        Outcome { steps, difference }
    }

    async fn take(&mut self, history: &History, steps: &mut Vec<Step>) -> Result<(), Difference> {
        for (place, &seed) in history.steps.iter().enumerate() {
            let step = draw::step(seed, &self.world, &self.streams);
            steps.push(step.clone());
            self.perform(&step).await?;
            if place % SETTLE_EVERY == SETTLE_EVERY - 1 {
                self.settle_all().await?;
            }
        }
        self.settle_all().await?;
        self.look_back(Random::new(history.seed), steps).await
    }

    /// What both hold at the end: the present, the past, the leases, and the hash of it all.
    async fn look_back(&mut self, mut random: Random, steps: &mut Vec<Step>) -> Result<(), Difference> {
        let everything = RangeRequest { key: b"\0"[..].into(), range_end: b"\0"[..].into(), ..Default::default() };
        let oldest = self.world.compacted.max(1);
        let kept = self.world.revision.abs_diff(oldest) + 1;
        let revisions = (0..LOOKS_BACK).map(|_| oldest + random.below(kept).cast_signed());
        let mut operations = vec![Operation::Range(everything.clone()), Operation::Leases, Operation::Status];
        operations.extend(revisions.flat_map(|revision| {
            [
                Operation::Range(RangeRequest { revision, ..everything.clone() }),
                Operation::HashKv(HashKvRequest { revision }),
            ]
        }));
        operations.push(Operation::HashKv(HashKvRequest { revision: 0 }));
        for operation in operations {
            let step = Step { operation, metadata: Metadata::Nothing };
            steps.push(step.clone());
            self.perform(&step).await?;
        }
        same(&"storage versions", self.pair.storage_versions().await).map(drop)
    }
}
