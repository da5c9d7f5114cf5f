//! A disk that fails at each of its operations in turn, in each way: the member ends with a message that says what it
//! was about, acknowledges nothing more, and the next process on a good disk has all that was acknowledged; also if the
//! power fails after that.

use crate::member::{Ended, Part, Shared};
use crate::recover::recover;
use crate::script::Script;
use keelstone::disk::MemoryDisk;
use keelstone::raft::DefragmentError;
use std::io::ErrorKind;

const STEPS: u32 = 40;

/// What goes wrong, and when.
#[derive(Clone, Copy, Debug)]
enum Fault {
    /// One call that changes or syncs fails.
    Operation(u64, ErrorKind),
    /// Every such call fails from this one on.
    Operations(u64, ErrorKind),
    /// One call that only looks fails.
    Access(u64, ErrorKind),
}

impl Fault {
    fn prepare(self, disk: &MemoryDisk) {
        match self {
            Fault::Operation(number, kind) => disk.fail_at(number, kind),
            Fault::Operations(number, kind) => disk.fail_from(number, kind),
            Fault::Access(number, kind) => disk.fail_access_at(number, kind),
        }
    }
}

/// What a script came to.
struct Run {
    script: Script,
    /// None: it was not disturbed.
    ended: Option<Ended>,
}

fn run(seed: u64, fault: Option<Fault>) -> Run {
    let disk = MemoryDisk::new();
    if let Some(fault) = fault {
        fault.prepare(&disk);
    }
    let mut script = Script::new(seed, disk);
    let mut steps = || {
        script.start().map_err(|error| Ended(format!("{error:#}")))?;
        (0..STEPS).try_for_each(|_| script.step())?;
        script.settle()
    };
    let ended = steps().err();
    Run { script, ended }
}

/// A message for whoever has to repair it: what was done, to which file, and why it failed.
fn check_message(text: &str, fault: Fault) {
    let actions = [
        "open", "read", "write", "sync", "create", "rename", "look for", "remove", "delete", "allocate", "truncate",
        "list", "measure", "resize", "lock",
    ];
    assert!(actions.iter().any(|action| text.contains(action)), "no action in {text:?} after {fault:?}");
    assert!(text.contains(" /") || text.starts_with('/'), "no path in {text:?} after {fault:?}");
    let (Fault::Operation(_, cause) | Fault::Operations(_, cause) | Fault::Access(_, cause)) = fault;
    assert!(text.contains(&cause.to_string()), "no cause in {text:?} after {fault:?}");
}

/// True if the fault was met.
fn check(seed: u64, fault: Fault) -> bool {
    println!("seed {seed}, {fault:?}");
    let Run { mut script, ended } = run(seed, Some(fault));
    if let Some(Ended(text)) = &ended {
        println!("  {text}");
        check_message(text, fault);
        insist(&mut script);
    }
    // The file system as the next process finds it, and without what the dying one does.
    let disk = script.disk.next_process().kill();
    script.end();
    let promises = Shared::new(script.promises.copy());
    recover(&disk, &promises);
    for seed in 0..3 {
        recover(&disk.crash(seed), &Shared::new(promises.copy()));
    }
    ended.is_some()
}

/// Whatever the failed part is asked for, it acknowledges nothing more. (The process has ended long since; here it is
/// not let, and what has not failed goes on.)
fn insist(script: &mut Script) {
    let Some(part) = script.failed() else { return };
    let (before, synced) = (script.promises.copy(), script.synced());
    script.insist();
    let after = script.promises.copy();
    match part {
        Part::Log => assert_eq!(script.synced(), synced, "synced after the log failed"),
        Part::State => {
            let (after, before) = ((after.applied, after.durable), (before.applied, before.durable));
            assert_eq!(after, before, "applied after the state failed");
        }
        // Nothing of it counts before it is in the place of the state.
        Part::Snapshot => {}
    }
}

/// How many faults of a kind there were, and how many were met.
#[derive(Debug, Default)]
struct Count {
    tried: u64,
    met: u64,
}

impl Count {
    fn add(&mut self, seed: u64, fault: Fault) {
        self.tried += 1;
        self.met += u64::from(check(seed, fault));
    }
}

#[test]
fn a_failed_call_ends_the_member_with_a_message_and_loses_nothing() {
    let seed = 3;
    let undisturbed = run(seed, None);
    assert!(undisturbed.ended.is_none(), "{:?}", undisturbed.ended);
    let (operations, accesses) = (undisturbed.script.disk.operations(), undisturbed.script.disk.accesses());
    let (mut single, mut lasting, mut looks) = (Count::default(), Count::default(), Count::default());
    for number in 0..operations {
        single.add(seed, Fault::Operation(number, ErrorKind::Other));
        single.add(seed, Fault::Operation(number, ErrorKind::StorageFull));
        lasting.add(seed, Fault::Operations(number, ErrorKind::ReadOnlyFilesystem));
    }
    for number in 0..accesses {
        looks.add(seed, Fault::Access(number, ErrorKind::Other));
    }
    println!("{operations} operations: {single:?} {lasting:?}; {accesses} accesses: {looks:?}");
}

#[test]
fn a_disk_without_room_for_the_copy_refuses_it_with_figures_and_the_member_goes_on() {
    let mut script = Script::new(5, MemoryDisk::new());
    script.start().unwrap_or_else(|error| panic!("{error:#}"));
    (0..STEPS).try_for_each(|_| script.step()).unwrap_or_else(|ended| panic!("{ended}"));
    script.disk.set_free_bytes(1 << 20);
    let refused = script.defragment().unwrap_or_else(|ended| panic!("{ended}")).expect("no room");
    assert!(matches!(refused, DefragmentError::NoRoom { available_bytes: 1_048_576, .. }), "{refused:?}");
    assert!(refused.to_string().contains("1048576"), "{refused}");
    script.disk.set_free_bytes(u64::MAX);
    script.settle().unwrap_or_else(|ended| panic!("{ended}"));
    let refused = script.defragment().unwrap_or_else(|ended| panic!("{ended}"));
    assert!(refused.is_none(), "{refused:?}");
    script.settle().unwrap_or_else(|ended| panic!("{ended}"));
}
