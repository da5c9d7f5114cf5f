//! Guests that mean harm, or are broken in ways that look like it. Each gets its own error within its limit, and what is
//! well-behaved goes on beside and after it. Times are compared with the limits that were set, never with a clock alone.

mod guest;
mod hook;
mod io;
mod resident;

use guest::{ALLOW_ALL, Guest, request};
use keelstone_plugins::{
    Admission, CallError, Compiled, Grant, Host, HostOptions, KeyValue, Keys, Limit, LoadError, NoKeys, Outcome,
    Package, Problem, TrustedKeys, Verdict, pack, sign,
};
use std::sync::{Arc, LazyLock};
use std::time::{Duration, Instant};

static HOST: LazyLock<Host> = LazyLock::new(|| Host::new(HostOptions::default()).unwrap());

/// Long enough for any machine; only guests that do not end are given less.
const PATIENT: &str = "[limits]\ntime = '60s'\n";

fn grant(text: &str) -> Grant {
    Grant::parse(&format!("plugin = 'guest'\n{text}")).unwrap()
}

/// Does this, and then allows everything.
fn checking(check: &str) -> Guest {
    returning(&format!("{check} {ALLOW_ALL}"))
}

/// Does this, which says what it answers.
fn returning(check: &str) -> Guest {
    Guest { check: check.to_owned(), ..Guest::good() }
}

fn load(guest: &Guest, text: &str) -> Result<Admission, LoadError> {
    HOST.admission(&guest.package(), &grant(text))
}

fn check(admission: &Admission) -> Result<Vec<Verdict>, CallError> {
    admission.check(&[request("key", 256), request("other", 0)], Arc::new(NoKeys))
}

/// The error of a check, after which another plugin works as before, and this one has no instance left.
fn error_of(guest: &Guest, text: &str) -> CallError {
    let hostile = load(guest, text).unwrap();
    let good = load(&Guest::good(), PATIENT).unwrap();
    let error = check(&hostile).unwrap_err();
    assert_eq!(hostile.plugin().stats().instances.load(std::sync::atomic::Ordering::Relaxed), 0);
    assert_eq!(hostile.plugin().stats().calls(error.outcome()), 1);
    assert_eq!(check(&good).unwrap(), [Verdict::Allow, Verdict::Allow]);
    // It is made anew, and fails anew.
    assert_eq!(check(&hostile).unwrap_err().outcome(), error.outcome());
    error
}

fn reason(error: &CallError) -> &str {
    match error {
        CallError::Trap { reason } | CallError::Reply { reason } => reason,
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_good_guest_answers_each_request() {
    let good = load(&Guest::good(), PATIENT).unwrap();
    for _ in 0..3 {
        assert_eq!(check(&good).unwrap(), [Verdict::Allow, Verdict::Allow]);
    }
    assert_eq!(good.check(&[], Arc::new(NoKeys)).unwrap(), []);
    assert_eq!(good.plugin().stats().calls(Outcome::Ok), 4);
    assert_eq!(good.plugin().imports(), []);
}

#[test]
fn an_endless_loop_ends_at_its_time() {
    let limit = Duration::from_millis(50);
    let guest = checking("(loop $l (br $l))");
    let began = Instant::now();
    let error = error_of(&guest, "[limits]\ntime = '50ms'");
    assert_eq!(error, CallError::Limit(Limit::Time { limit }));
    // It ran twice, beside compiling; nothing here takes a minute on any machine but a loop that is not ended.
    assert!(began.elapsed() >= 2 * limit);
}

#[test]
fn a_loop_beside_it_does_not_hold_up_another() {
    let hostile = load(&checking("(loop $l (br $l))"), "[limits]\ntime = '300ms'").unwrap();
    let good = load(&Guest::good(), PATIENT).unwrap();
    std::thread::scope(|scope| {
        let looping = scope.spawn(|| check(&hostile));
        let mut calls = 0;
        while !looping.is_finished() {
            check(&good).unwrap();
            calls += 1;
        }
        assert!(calls > 0);
        assert!(matches!(looping.join().unwrap(), Err(CallError::Limit(Limit::Time { .. }))));
    });
}

#[test]
fn memory_is_counted_over_all_memories() {
    let limits = format!("{PATIENT}memory = '1MiB'");
    let one = checking("(drop (memory.grow (i32.const 100)))");
    let error = error_of(&one, &limits);
    assert_eq!(error, CallError::Limit(Limit::Memory { asked: 102 << 16, limit: 1 << 20 }));
    // Each of them alone would be within the limit.
    let many = Guest {
        memory: "(memory (export \"memory\") 2) (memory $b 0) (memory $c 0)".to_owned(),
        ..checking("(drop (memory.grow $b (i32.const 8))) (drop (memory.grow $c (i32.const 8)))")
    };
    let error = error_of(&many, &limits);
    assert_eq!(error, CallError::Limit(Limit::Memory { asked: 18 << 16, limit: 1 << 20 }));
    // Two pages and eight are within it, and what was used is known.
    let within = load(&checking("(drop (memory.grow (i32.const 8)))"), &limits).unwrap();
    check(&within).unwrap();
    assert_eq!(within.plugin().stats().memory_peak_bytes.load(std::sync::atomic::Ordering::Relaxed), 10 << 16);
}

#[test]
fn what_begins_too_large_is_not_loaded() {
    let memory = |memory: &str| Guest { memory: memory.to_owned(), ..Guest::good() };
    let too_large = |guest: &Guest| match load(guest, PATIENT) {
        Err(LoadError::TooLarge { reason }) => reason,
        other => panic!("{other:?}"),
    };
    let four_gib = too_large(&memory("(memory (export \"memory\") 65536)"));
    assert_eq!(four_gib, "a memory of 4294967296 bytes is more than 33554432");
    let many = (0..9).map(|at| format!("(memory $m{at} 0)")).collect::<String>();
    assert_eq!(too_large(&memory(&format!("(memory (export \"memory\") 2) {many}"))), "10 memories are more than 8");
    // Together they are too much, which shows when they are made.
    let two = memory("(memory (export \"memory\") 300) (memory $b 300)");
    let started = load(&two, PATIENT).unwrap_err();
    assert_eq!(started, LoadError::Start(CallError::Limit(Limit::Memory { asked: 600 << 16, limit: 32 << 20 })));
}

#[test]
fn tables_and_stacks_end_somewhere() {
    let table = Guest {
        fields: "(table $t 1 funcref)".to_owned(),
        ..checking("(loop $l (drop (table.grow $t (ref.null func) (i32.const 10000))) (br $l))")
    };
    let error = error_of(&table, PATIENT);
    assert!(matches!(error, CallError::Limit(Limit::Tables { asked: 60_001, .. })), "{error:?}");
    let deep = Guest {
        fields: "(func $deep (param i64) (result i64) (i64.add (call $deep (local.get 0)) (local.get 0)))".to_owned(),
        ..checking("(drop (call $deep (i64.const 1)))")
    };
    assert!(reason(&error_of(&deep, PATIENT)).contains("call stack exhausted"));
}

#[test]
fn forged_answers_are_not_taken() {
    let list = |at: u32, len: u32| {
        format!(
            "(i32.store (i32.const 16) (i32.const {at})) (i32.store (i32.const 20) (i32.const {len})) (i32.const 16)"
        )
    };
    let of = |check: &str| error_of(&returning(check), PATIENT);
    // Beyond the memory, at its end, overflowing, out of line; a result that is nowhere; a verdict that there is not.
    for (check, says) in [
        (list(0x7fff_0000, 2), "out of bounds"),
        (list(131_064, 2), "out of bounds"),
        (list(1_024, 0x0fff_ffff), "out of bounds"),
        (list(1_025, 2), "aligned"),
        ("(i32.const 131070)".to_owned(), ""),
        (format!("(i32.store8 (i32.const 1024) (i32.const 9)) {}", list(1_024, 2)), "unexpected discriminant"),
    ] {
        let error = of(&check);
        assert!(reason(&error).contains(says), "{check}: {error:?}");
    }
    // As many verdicts as it likes.
    assert_eq!(of(&list(1_024, 1)), CallError::Reply { reason: "1 verdicts for 2 requests".to_owned() });
    assert_eq!(of(&list(1_024, 3)), CallError::Reply { reason: "3 verdicts for 2 requests".to_owned() });
    // A denial whose code is no text.
    let denial = "(i32.store8 (i32.const 1024) (i32.const 2)) (i32.store (i32.const 1028) (i32.const 512)) \
                  (i32.store (i32.const 1032) (i32.const 1)) (i32.store8 (i32.const 512) (i32.const 255))";
    assert!(reason(&of(&format!("{denial} {}", list(1_024, 2)))).contains("utf-8"));
}

#[test]
fn a_huge_answer_is_not_read() {
    // A message of 100 MB, which its memory does hold.
    let deny = "(drop (memory.grow (i32.const 1600))) (i32.store8 (i32.const 1024) (i32.const 2)) \
                (i32.store (i32.const 1040) (i32.const 100000000)) \
                (i32.store (i32.const 16) (i32.const 1024)) (i32.store (i32.const 20) (i32.const 2)) (i32.const 16)";
    let error = error_of(&returning(deny), "[limits]\ntime = '60s'\nmemory = '256MiB'\ncall-bytes = '1MiB'");
    assert!(reason(&error).contains("too much data"), "{error:?}");
}

#[test]
fn a_trap_before_the_first_call_is_found_at_loading() {
    let start = Guest { start: "unreachable".to_owned(), ..Guest::good() };
    let trap =
        LoadError::Start(CallError::Trap { reason: "wasm trap: wasm `unreachable` instruction executed".to_owned() });
    assert_eq!(load(&start, PATIENT).unwrap_err(), trap);
    let init = Guest { fields: "(func $init unreachable) (start $init)".to_owned(), ..Guest::good() };
    assert_eq!(load(&init, PATIENT).unwrap_err(), trap);
}

#[test]
fn settings_that_the_plugin_refuses_are_found_at_loading() {
    // One problem at 512: a setting of one byte, "s", and no message.
    let start = "(i32.store8 (i32.const 256) (i32.const 1)) (i32.store (i32.const 260) (i32.const 512)) \
                 (i32.store (i32.const 264) (i32.const 1)) (i32.store (i32.const 512) (i32.const 600)) \
                 (i32.store (i32.const 516) (i32.const 1)) (i32.store8 (i32.const 600) (i32.const 115)) (i32.const 256)";
    let guest = Guest { start: start.to_owned(), ..Guest::good() };
    let problems = vec![Problem { setting: "s".to_owned(), message: String::new() }];
    assert_eq!(load(&guest, PATIENT).unwrap_err(), LoadError::Settings { problems });
    let unknown = load(&Guest::good(), "settings = { x = 1 }").unwrap_err();
    assert_eq!(unknown.to_string(), "its settings do not do: x: the plugin has no such setting");
}

const LOG: &str = "(import \"keelstone:plugin/log@0.1.0\" \"write\" (func $log (param i32 i32 i32)))";

#[test]
fn calls_to_the_node_are_counted_and_its_log_is_not_flooded() {
    let flood = Guest {
        imports: LOG.to_owned(),
        fields: "(data (i32.const 512) \"\\1b[31mred\\n\")".to_owned(),
        ..checking("(loop $l (call $log (i32.const 1) (i32.const 512) (i32.const 9)) (br $l))")
    };
    let hostile = load(&flood, "[limits]\ntime = '60s'\nhost-calls = 1000").unwrap();
    assert_eq!(check(&hostile).unwrap_err(), CallError::Limit(Limit::HostCalls { limit: 1_000 }));
    let (written, dropped) = hostile.plugin().log().counts();
    // All that it called for, and one line of the host's about the failure.
    assert_eq!(written + dropped, 1_001);
    let lines = hostile.plugin().log().since(0);
    assert!(lines.len() <= 256 && lines.iter().any(|line| line.message == "\\u{1b}[31mred\\n"), "{lines:?}");
    assert!(lines.iter().all(|line| !line.message.contains(char::is_control)));
    // A pointer beyond the memory, handed to the node.
    let forged =
        Guest { imports: LOG.to_owned(), ..checking("(call $log (i32.const 1) (i32.const -8) (i32.const 64))") };
    assert!(matches!(error_of(&forged, PATIENT), CallError::Reply { .. } | CallError::Trap { .. }));
}

struct OneKey;

impl Keys for OneKey {
    fn revision(&self) -> i64 {
        7
    }

    fn range(&self, start: &[u8], _: Option<&[u8]>, _: usize, _: usize) -> Result<(Vec<KeyValue>, bool), String> {
        let item = KeyValue {
            key: start.to_vec(),
            value: b"v".to_vec(),
            create_revision: 1,
            mod_revision: 7,
            version: 2,
            lease: 0,
        };
        Ok((vec![item], false))
    }
}

#[test]
fn what_is_not_granted_is_not_linked_and_not_read() {
    // `get` of the key "/a/b", and a trap unless the answer is as the test wants it: `ok` is 0, `not-granted` 1 and 0.
    let get = "(import \"keelstone:plugin/kv-read@0.1.0\" \"get\" (func $get (param i32 i32 i32)))";
    let reading = |ok: u32| Guest {
        imports: get.to_owned(),
        fields: "(data (i32.const 512) \"/a/b\")".to_owned(),
        ..checking(&format!(
            "(call $get (i32.const 512) (i32.const 4) (i32.const 2048)) \
             (if (i32.ne (i32.load8_u (i32.const 2048)) (i32.const {ok})) (then unreachable))"
        ))
    };
    let imports = vec!["keelstone:plugin/kv-read@0.1.0".to_owned()];
    assert_eq!(load(&reading(0), PATIENT).unwrap_err(), LoadError::NotGranted { imports });
    for (prefix, is_error) in [("/a/", 0), ("/b/", 1)] {
        let admission = load(&reading(is_error), &format!("grants = {{ kv-read = ['{prefix}'] }}\n{PATIENT}")).unwrap();
        admission.check(&[request("k", 1)], Arc::new(OneKey)).unwrap();
    }
    // Over and over, it is stopped by the count of keys, in words, and goes on.
    let many = Guest {
        imports: get.to_owned(),
        fields: "(data (i32.const 512) \"/a/b\")".to_owned(),
        ..checking(
            "(local $n i32) (loop $l (call $get (i32.const 512) (i32.const 4) (i32.const 2048)) \
             (local.set $n (i32.add (local.get $n) (i32.const 1))) \
             (br_if $l (i32.eqz (i32.load8_u (i32.const 2048))))) \
             (if (i32.ne (local.get $n) (i32.const 257)) (then unreachable))",
        )
    };
    let admission = load(&many, &format!("grants = {{ kv-read = [''] }}\n{PATIENT}")).unwrap();
    admission.check(&[request("k", 1)], Arc::new(OneKey)).unwrap();
    let asks =
        Guest { manifest: format!("{}[asks]\nkv-read = true\nsecrets = ['t']", guest::MANIFEST), ..Guest::good() };
    let asks = load(&asks, PATIENT).unwrap_err();
    assert_eq!(asks, LoadError::Asks { asks: vec!["secret t".to_owned(), "kv-read".to_owned()] });
}

#[test]
fn an_instance_is_fresh_unless_it_may_be_used_again() {
    // Denies with a code as long as it was called before.
    let counting = Guest {
        fields: "(global $calls (mut i32) (i32.const 0)) (data (i32.const 512) \"xxxxxxxxxx\")".to_owned(),
        ..returning(
            "(global.set $calls (i32.add (global.get $calls) (i32.const 1))) \
             (i32.store8 (i32.const 1024) (i32.const 2)) (i32.store (i32.const 1028) (i32.const 512)) \
             (i32.store (i32.const 1032) (global.get $calls)) \
             (i32.store (i32.const 16) (i32.const 1024)) (i32.store (i32.const 20) (i32.const 1)) (i32.const 16)",
        )
    };
    for (uses, counts) in [(1, [1, 1, 1, 1]), (3, [1, 2, 3, 1])] {
        let admission = load(&counting, &format!("{PATIENT}uses = {uses}")).unwrap();
        let count = || match admission.check(&[request("k", 1)], Arc::new(NoKeys)).unwrap().remove(0) {
            Verdict::Deny(denial) => denial.code.len(),
            other => panic!("{other:?}"),
        };
        assert_eq!([count(), count(), count(), count()], counts);
    }
}

#[test]
fn a_plugin_that_keeps_failing_is_given_a_rest() {
    let hostile =
        load(&checking("unreachable"), &format!("{PATIENT}[breaker]\nfailures = 3\nwindow = '1h'\npause = '1h'"));
    let hostile = hostile.unwrap();
    for _ in 0..3 {
        assert_eq!(check(&hostile).unwrap_err().outcome(), Outcome::Trap);
    }
    let starts = || hostile.plugin().stats().instance_starts.load(std::sync::atomic::Ordering::Relaxed);
    let before = starts();
    assert!(matches!(check(&hostile).unwrap_err(), CallError::Tripped { .. }));
    assert!(hostile.plugin().is_tripped() && starts() == before, "nothing of it ran");
    // It is tried again after the pause.
    let trying = load(&checking("unreachable"), &format!("{PATIENT}[breaker]\nfailures = 1\npause = '0ms'")).unwrap();
    for _ in 0..3 {
        assert_eq!(check(&trying).unwrap_err().outcome(), Outcome::Trap);
    }
    assert_eq!(trying.plugin().stats().breaker_trips.load(std::sync::atomic::Ordering::Relaxed), 3);
}

#[test]
fn calls_beyond_the_instances_are_refused_at_once() {
    let hostile = load(&checking("(loop $l (br $l))"), "[limits]\ntime = '2s'\ninstances = 1").unwrap();
    std::thread::scope(|scope| {
        let looping = scope.spawn(|| check(&hostile));
        let busy = std::iter::repeat_with(|| check(&hostile)).find(|result| {
            // Before the other has begun this one loops itself, and is followed by the other.
            matches!(result, Err(CallError::Busy { instances: 1 })) || looping.is_finished()
        });
        let other = looping.join().unwrap();
        assert!([busy.unwrap(), other].contains(&Err(CallError::Busy { instances: 1 })));
    });
}

#[test]
fn another_contract_or_purpose_is_told_apart() {
    let other_wit = Guest { version: "0.2.0".to_owned(), ..Guest::good() };
    let error = load(&other_wit, PATIENT).unwrap_err();
    assert_eq!(error.to_string(), "it speaks keelstone:plugin@0.2, this host 0.1");
    let manifest = |from: &str, to: &str| Guest { manifest: guest::MANIFEST.replace(from, to), ..Guest::good() };
    assert!(matches!(load(&manifest("'0.1'", "'1.0'"), PATIENT), Err(LoadError::OtherAbi { .. })));
    assert!(matches!(load(&manifest("admission-check", "restore-hook"), PATIENT), Err(LoadError::OtherWorld { .. })));
    assert!(matches!(load(&manifest("'guest'", "'other'"), PATIENT), Err(LoadError::OtherPlugin { .. })));
    let pinned = load(&Guest::good(), &format!("sha256 = '{}'\n{PATIENT}", "0".repeat(64)));
    assert!(matches!(pinned, Err(LoadError::OtherBytes { .. })));
    // It says that it is a check, and exports nothing.
    let empty = pack(b"\0asm\x0d\0\x01\0", guest::MANIFEST).unwrap();
    let empty = HOST.admission(&Package::read(empty).unwrap(), &grant(PATIENT));
    assert!(matches!(empty, Err(LoadError::Shape { .. })), "{empty:?}");
    let garbage = pack(b"\0asm\x0d\0\x01\0\x01\x02\xff\xff", guest::MANIFEST).unwrap();
    assert!(matches!(
        HOST.admission(&Package::read(garbage).unwrap(), &grant(PATIENT)),
        Err(LoadError::Compile { .. })
    ));
}

#[test]
fn a_signature_is_of_a_key_and_of_all_bytes() {
    let pair = minisign::KeyPair::generate_unencrypted_keypair().unwrap();
    let trusted = TrustedKeys::parse([pair.pk.to_box().unwrap().to_string().as_str()]).unwrap();
    let bytes = Guest::good().bytes();
    let signature = sign(&bytes, &pair.sk.to_box(None).unwrap().to_string(), None, "guest 1.0.0").unwrap();
    trusted.verify(&bytes, &signature).unwrap();
    // The manifest is in it, and any bit of the code.
    let mut edited = bytes.clone();
    let version = edited.windows(5).rposition(|window| window == b"1.0.0").unwrap();
    edited[version] = b'2';
    assert!(trusted.verify(&edited, &signature).is_err());
    let mut flipped = bytes;
    flipped[100] ^= 1;
    assert!(trusted.verify(&flipped, &signature).is_err());
}

#[test]
fn code_that_was_edited_on_disk_is_compiled_anew() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let cache = folder.path().join("code");
    let open = || Host::new(HostOptions { cache: Some(cache.clone()), tls: None }).unwrap();
    let compiled = |host: &Host| {
        let admission = host.admission(&Guest::good().package(), &grant(PATIENT)).unwrap();
        assert_eq!(check(&admission).unwrap().len(), 2);
        admission.plugin().compiled()
    };
    let files = || {
        let names = std::fs::read_dir(&cache).unwrap().map(|file| file.unwrap().path());
        names.filter(|path| path.extension().is_some()).collect::<Vec<_>>()
    };
    assert_eq!(compiled(&open()), Compiled::Anew);
    let [file] = &files()[..] else { panic!("one file of code") };
    let mode = |path: &std::path::Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!((mode(&cache), mode(file), mode(&cache.join("key"))), (0o700, 0o600, 0o600));
    assert_eq!(compiled(&open()), Compiled::FromCache);
    let stored = std::fs::read(file).unwrap();
    let mut later = vec![stored[..10].to_vec(), Vec::new(), [&stored[..], b"x"].concat()];
    for at in [0, 40, stored.len() / 2, stored.len() - 1] {
        let mut edited = stored.clone();
        edited[at] ^= 1;
        later.push(edited);
    }
    for edited in later {
        std::fs::write(file, edited).unwrap();
        assert_eq!(compiled(&open()), Compiled::AnewSinceForged);
        assert_eq!(compiled(&open()), Compiled::FromCache, "and stored again");
    }
    // Code of another plugin, under this one's name, has a good MAC of another name.
    let other = checking("(nop)").package();
    open().admission(&other, &grant(PATIENT)).unwrap();
    let other_file = files().into_iter().find(|path| path != file).unwrap();
    std::fs::copy(other_file, file).unwrap();
    assert_eq!(compiled(&open()), Compiled::AnewSinceForged);
    // With another key nothing that was stored counts.
    std::fs::write(cache.join("key"), [7; 32]).unwrap();
    assert_eq!(compiled(&open()), Compiled::AnewSinceForged);
    std::fs::write(cache.join("key"), "short").unwrap();
    assert!(Host::new(HostOptions { cache: Some(cache.clone()), tls: None }).is_err());
}
