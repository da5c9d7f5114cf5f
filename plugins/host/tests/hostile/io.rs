//! Destinations, which may wait, and what they are given of WASI.

use crate::guest::component_of;
use crate::{HOST, PATIENT, grant};
use keelstone_plugins::{CallError, Destination, Failure, Limit, LoadError, Package, pack};
use std::sync::LazyLock;
use std::sync::atomic::Ordering::Relaxed;
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};

const MANIFEST: &str = "[plugin]\nname = 'guest'\nversion = '1.0.0'\nworld = 'backup-destination'\nabi = '0.1'\n";

const SLEEP: &str =
    "(import \"wasi:clocks/monotonic-clock@0.2.0\" \"subscribe-duration\" (func $after (param i64) (result i32)))
                     (import \"wasi:io/poll@0.2.0\" \"[method]pollable.block\" (func $block (param i32)))";

/// An answer of zeroes, which is `ok`.
const OK: &str = "(i32.const 256)";

static RUNTIME: LazyLock<Runtime> =
    LazyLock::new(|| Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap());

/// A destination whose `describe` and `read` do this.
fn package(imports: &str, wit: &str, describe: &str, read: &str) -> Package {
    let function = |name: &str, params: &str, body: &str| {
        format!("(func (export \"keelstone:plugin/destination@0.1.0#{name}\") (param {params}) (result i32) {body})")
    };
    let others = [
        ("put", "i32 i32 i32 i32 i32"),
        ("begin-upload", "i32 i32"),
        ("put-part", "i32 i32 i32 i32 i32 i32 i32"),
        ("complete-upload", "i32 i32 i32 i32 i32 i32"),
        ("abort-upload", "i32 i32 i32 i32"),
        ("list-uploads", "i32 i32"),
        ("stat", "i32 i32"),
        ("list", "i32 i32 i32 i32 i32 i32"),
        ("delete", "i32 i32"),
    ];
    let others: String = others.map(|(name, params)| function(name, params, OK)).concat();
    let module = format!(
        "(module {imports} (memory (export \"memory\") 2)
            (func (export \"cabi_realloc\") (param i32 i32 i32 i32) (result i32) (i32.const 65536))
            (func (export \"keelstone:plugin/lifecycle@0.1.0#start\") (param i32 i32) (result i32) {OK})
            {} {} {others})",
        function("describe", "", describe),
        function("read", "i32 i32 i64 i32", read),
    );
    let world = format!("world guest {{ include keelstone:plugin/backup-destination@0.1.0; {wit} }}");
    let component = component_of(&module, &world, "0.1.0");
    Package::read(pack(&component, MANIFEST).unwrap()).unwrap()
}

fn load(package: &Package, text: &str) -> Result<Destination, LoadError> {
    RUNTIME.block_on(HOST.destination(package, &grant(text)))
}

fn good() -> Package {
    package("", "", OK, OK)
}

const CLOCKS: &str = "import wasi:clocks/monotonic-clock@0.2.0; import wasi:io/poll@0.2.0;";

/// The error of `describe`, after which another destination answers.
fn error_of(package: &Package, text: &str) -> CallError {
    let hostile = load(package, text).unwrap();
    let good = load(&good(), PATIENT).unwrap();
    let error = RUNTIME.block_on(hostile.describe()).unwrap_err();
    assert_eq!(hostile.plugin().stats().instances.load(Relaxed), 0);
    RUNTIME.block_on(good.describe()).unwrap().unwrap();
    error
}

#[test]
fn a_good_destination_answers_and_is_used_again() {
    let good = load(&good(), PATIENT).unwrap();
    for _ in 0..10 {
        assert_eq!(RUNTIME.block_on(good.describe()).unwrap().unwrap().location, "");
        assert_eq!(RUNTIME.block_on(good.read("k", 0, 10)).unwrap().unwrap(), b"");
    }
    assert_eq!(
        good.plugin().stats().instance_starts.load(Relaxed),
        2,
        "one to see whether it starts, and one that serves"
    );
}

#[test]
fn a_guest_that_sleeps_is_woken_at_its_time() {
    let hour = 3_600_000_000_000_u64;
    let sleeping = package(SLEEP, CLOCKS, &format!("(call $block (call $after (i64.const {hour}))) {OK}"), OK);
    let limit = Duration::from_millis(100);
    assert_eq!(error_of(&sleeping, "[limits]\ntime = '100ms'"), CallError::Limit(Limit::Time { limit }));
    let nap = package(SLEEP, CLOCKS, &format!("(call $block (call $after (i64.const 1000000))) {OK}"), OK);
    let nap = load(&nap, PATIENT).unwrap();
    RUNTIME.block_on(nap.describe()).unwrap().unwrap();
    let imports: Vec<&str> = nap.plugin().imports().iter().map(|import| import.name.as_str()).collect();
    assert_eq!(imports, ["wasi:io/poll@0.2.0", "wasi:clocks/monotonic-clock@0.2.0"]);
}

#[test]
fn a_guest_that_computes_gives_way_and_ends_at_its_time() {
    let looping = load(&package("", "", "(loop $l (br $l)) (i32.const 256)", OK), "[limits]\ntime = '200ms'").unwrap();
    let good = load(&good(), PATIENT).unwrap();
    // Both on one thread.
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let looping = looping.describe();
        tokio::pin!(looping);
        let mut calls = 0;
        let error = loop {
            tokio::select! {
                biased;
                ended = &mut looping => break ended.unwrap_err(),
                answer = good.describe() => {
                    answer.unwrap().unwrap();
                    calls += 1;
                }
            }
        };
        assert!(matches!(error, CallError::Limit(Limit::Time { .. })) && calls > 0, "{error:?} after {calls} calls");
    });
}

#[test]
fn handles_and_random_bytes_end_somewhere() {
    let handles = format!("(loop $l (drop (call $after (i64.const 1))) (br $l)) {OK}");
    let error = error_of(&package(SLEEP, CLOCKS, &handles, OK), PATIENT);
    assert!(
        matches!(&error, CallError::Reply { reason } if reason.contains("table") || reason.contains("handle")),
        "{error:?}"
    );
    let random = "(import \"wasi:random/random@0.2.0\" \"get-random-bytes\" (func $random (param i64 i32)))";
    let wit = "import wasi:random/random@0.2.0;";
    let much = format!("(call $random (i64.const 1000000000) (i32.const 512)) {OK}");
    let error = error_of(&package(random, wit, &much, OK), PATIENT);
    assert!(matches!(error, CallError::Reply { .. }), "{error:?}");
}

#[test]
fn sockets_are_given_to_nobody() {
    let network = "(import \"wasi:sockets/instance-network@0.2.0\" \"instance-network\" (func $network (result i32)))";
    let wit = "import wasi:sockets/instance-network@0.2.0;";
    let sockets = package(network, wit, &format!("(drop (call $network)) {OK}"), OK);
    let imports = vec!["wasi:sockets/instance-network@0.2.0".to_owned()];
    let granted = format!("[[grants.http]]\norigin = 'https://example.org'\n{PATIENT}");
    assert_eq!(load(&sockets, &granted).unwrap_err(), LoadError::NotGranted { imports });
}

#[test]
fn more_bytes_than_were_asked_for_are_not_taken() {
    let ten = "(i32.store (i32.const 516) (i32.const 1024)) (i32.store (i32.const 520) (i32.const 10)) (i32.const 512)";
    let destination = load(&package("", "", OK, ten), PATIENT).unwrap();
    assert_eq!(RUNTIME.block_on(destination.read("k", 0, 10)).unwrap().unwrap(), [0; 10]);
    let error = RUNTIME.block_on(destination.read("k", 0, 9)).unwrap_err();
    assert_eq!(error, CallError::Reply { reason: "10 bytes where 9 were asked for".to_owned() });
    let outcomes = RUNTIME.block_on(destination.delete(&["a".to_owned()])).unwrap_err();
    assert_eq!(outcomes, CallError::Reply { reason: "0 outcomes for 1 keys".to_owned() });
}

#[test]
fn a_failure_is_the_plugins_own_and_no_fault() {
    // `denied` with a message of two bytes, one of which a terminal would obey.
    let denied = "(i32.store8 (i32.const 512) (i32.const 1)) (i32.store8 (i32.const 516) (i32.const 2)) \
                  (i32.store (i32.const 520) (i32.const 600)) (i32.store (i32.const 524) (i32.const 2)) \
                  (i32.store16 (i32.const 600) (i32.const 0x611b)) (i32.const 512)";
    let destination = load(&package("", "", denied, OK), &format!("{PATIENT}[breaker]\nfailures = 1")).unwrap();
    for _ in 0..3 {
        let failure = RUNTIME.block_on(destination.describe()).unwrap().unwrap_err();
        assert_eq!(failure, Failure::Denied("\\u{1b}a".to_owned()));
    }
    assert!(!destination.plugin().is_tripped());
}
