//! Crashes at every operation of the disk, each with one of the images that a power loss may leave; and crashes again
//! while the member recovers. Each image must open, to a state that holds all that was acknowledged.

use crate::member::{Promises, Shared};
use crate::number;
use crate::recover::recover;
use crate::script::{Script, Step};
use keelstone::disk::MemoryDisk;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread;

/// One in so many images is crashed again at each operation of its recovery.
const AGAIN: u32 = 40;
/// Steps of a script.
const STEPS: u32 = 60;

/// Images by what the member was doing.
#[derive(Debug, Default)]
struct Counts {
    images: BTreeMap<Step, u64>,
    /// Of these, images of a disk on which another image was being opened.
    of_recoveries: u64,
}

impl Counts {
    fn total(&self) -> u64 {
        self.images.values().sum()
    }
}

/// Looks at images of a disk after each of its operations.
#[derive(Clone)]
struct Camera {
    random: Arc<Mutex<StdRng>>,
    promises: Shared,
    counts: Arc<Mutex<Counts>>,
    doing: Arc<Mutex<Step>>,
    /// The first image that was not as it must be. Nothing panics before the operation is over: the caller holds locks.
    failure: Arc<Mutex<Option<String>>>,
    /// Whether an image may be crashed again while it is opened.
    again: bool,
}

/// Another script may have failed meanwhile.
fn lock(counts: &Mutex<Counts>) -> MutexGuard<'_, Counts> {
    counts.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Camera {
    fn watch(&self, disk: &MemoryDisk) {
        let camera = self.clone();
        disk.observe(move |disk| camera.look(disk));
    }

    fn look(&self, disk: &MemoryDisk) {
        if self.failure.lock().unwrap().is_some() {
            return;
        }
        let (seed, again) = {
            let mut random = self.random.lock().unwrap();
            (random.random(), self.again && random.random_range(0..AGAIN) == 0)
        };
        let doing = *self.doing.lock().unwrap();
        {
            let mut counts = lock(&self.counts);
            *counts.images.entry(doing).or_default() += 1;
            counts.of_recoveries += u64::from(!self.again);
        }
        let (image, promises) = (disk.crash(seed), self.promises.copy());
        // A thread that is not within a runtime, as the caller may be.
        let checked = thread::scope(|scope| scope.spawn(|| self.check(&image, promises, again)).join());
        if checked.is_err() {
            let depth = if self.again { "" } else { " of a recovery" };
            let what = format!("{doing:?}, operation {}{depth}, image {seed}", disk.operations());
            self.failure.lock().unwrap().get_or_insert(what);
        }
    }

    /// Panics if an image was not as it must be.
    fn judge(&self) {
        if let Some(failure) = self.failure.lock().unwrap().as_ref() {
            panic!("{failure}");
        }
    }

    /// Opens an image, replays it, goes on with it.
    fn check(&self, image: &MemoryDisk, promises: Promises, again: bool) {
        let promises = Shared::new(promises);
        if again {
            let camera = Camera { promises: promises.clone(), again: false, ..self.clone() };
            camera.watch(image);
        }
        recover(image, &promises);
    }
}

fn run(seed: u64, counts: &Arc<Mutex<Counts>>) {
    let disk = MemoryDisk::new();
    let mut script = Script::new(seed, disk.clone());
    let random = Arc::new(Mutex::new(StdRng::seed_from_u64(seed ^ 1)));
    let (promises, counts, doing) = (script.promises.clone(), Arc::clone(counts), Arc::clone(&script.doing));
    let camera = Camera { random, promises, counts, doing, failure: Arc::default(), again: true };
    camera.watch(&disk);
    script.start().unwrap_or_else(|error| panic!("{error:#}"));
    for _ in 0..STEPS {
        camera.judge();
        script.step().unwrap_or_else(|ended| panic!("{ended}"));
    }
    camera.judge();
    script.settle().unwrap_or_else(|ended| panic!("{ended}"));
    camera.judge();
}

#[test]
fn every_image_of_a_crash_opens_to_a_state_that_holds_all_that_was_acknowledged() {
    let (wanted, first) = (number("KEELSTONE_IMAGES", 3000), number("KEELSTONE_SEED", 1));
    let counts = Arc::default();
    let next = AtomicU64::new(first);
    let work = || {
        while lock(&counts).total() < wanted {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            // The harness shows what was printed before a panic.
            println!("KEELSTONE_IMAGES=1 KEELSTONE_SEED={seed} cargo test --test crash images");
            run(seed, &counts);
        }
    };
    thread::scope(|scope| {
        let workers = if wanted == 1 { 1 } else { thread::available_parallelism().map_or(1, usize::from) };
        (0..workers).for_each(|_| drop(scope.spawn(work)));
    });
    let counts = lock(&counts);
    println!(
        "{} images opened, {} of them of a recovery; {} scripts",
        counts.total(),
        counts.of_recoveries,
        next.load(Ordering::Relaxed) - first
    );
    println!("{:?}", counts.images);
}
