//! Restore hooks, and the secrets that they may read.

use crate::guest::component;
use crate::{HOST, OneKey, PATIENT, grant};
use keelstone_plugins::{Action, CallError, KeyValue, LoadError, Package, Refusal, RestoreHook, Source, Tally, pack};
use std::sync::Arc;

const MANIFEST: &str = "[plugin]\nname = 'guest'\nversion = '1.0.0'\nworld = 'restore-hook'\nabi = '0.1'\n";

/// Zeroes are a plan for all keys, and nothing to add or to find.
const OK: &str = "(i32.const 256)";
/// `keep` for so many keys as there are, and these more.
fn keep(more: u32) -> String {
    format!(
        "(i32.store (i32.const 564) (i32.const 1024)) \
         (i32.store (i32.const 568) (i32.add (local.get 1) (i32.const {more}))) (i32.const 560)"
    )
}

/// A hook whose stages do this.
fn load(imports: &str, [begin, transform, verify]: [&str; 3], grants: &str) -> Result<RestoreHook, LoadError> {
    let function = |name: &str, params: &str, body: &str| {
        format!("(func (export \"keelstone:plugin/{name}\") (param {params}) (result i32) {body})")
    };
    let module = format!(
        "(module {imports} (memory (export \"memory\") 2) (data (i32.const 800) \"no\") (data (i32.const 805) \"\\1b[m\") (data (i32.const 810) \"/a/b\")
            (func (export \"cabi_realloc\") (param i32 i32 i32 i32) (result i32) (i32.const 65536))
            {} {} {} {} {})",
        function("lifecycle@0.1.0#start", "i32 i32", OK),
        function("restore@0.1.0#begin", "i32 i32 i64 i64 i64 i32", begin),
        function("restore@0.1.0#transform", "i32 i32", transform),
        function("restore@0.1.0#finish", "i64 i64 i64 i64 i64", OK),
        function("restore@0.1.0#verify", "i64 i64 i64 i64 i64", verify),
    );
    let package = pack(&component(&module, "restore-hook", "0.1.0"), MANIFEST).unwrap();
    HOST.restore_hook(&Package::read(package).unwrap(), &grant(&format!("{grants}\n{PATIENT}")))
}

fn source() -> Source {
    Source { location: "/backups/a.db".to_owned(), revision: 7, keys: 2, bytes: 10, dry_run: true }
}

fn keys(count: usize) -> Vec<KeyValue> {
    let key = KeyValue {
        key: b"k".to_vec(),
        value: b"v".to_vec(),
        create_revision: 1,
        mod_revision: 1,
        version: 1,
        lease: 0,
    };
    vec![key; count]
}

const TALLY: Tally = Tally { seen: 2, kept: 2, dropped: 0, replaced: 0, added: 0 };

#[test]
fn a_good_hook_goes_through_all_stages() {
    let hook = load("", [OK, &keep(0), OK], "").unwrap();
    assert_eq!(hook.begin(&source()).unwrap().unwrap().prefixes, Vec::<Vec<u8>>::new());
    for count in [2, 0, 5] {
        assert_eq!(hook.transform(&keys(count)).unwrap().unwrap(), vec![Action::Keep; count]);
    }
    assert_eq!(hook.finish(TALLY).unwrap().unwrap(), []);
    assert_eq!(hook.verify(TALLY, Arc::new(OneKey)).unwrap().unwrap(), []);
}

#[test]
fn a_refusal_is_an_answer_and_a_wrong_number_of_actions_is_none() {
    let refuse = "(i32.store8 (i32.const 512) (i32.const 1)) (i32.store (i32.const 516) (i32.const 800)) \
                  (i32.store (i32.const 520) (i32.const 2)) (i32.store (i32.const 524) (i32.const 805)) \
                  (i32.store (i32.const 528) (i32.const 3)) (i32.const 512)";
    let hook = load("", [refuse, &keep(1), OK], "").unwrap();
    let refusal = Refusal { code: "no".to_owned(), message: "\\u{1b}[m".to_owned() };
    assert_eq!(hook.begin(&source()).unwrap(), Err(refusal));
    let error = hook.transform(&keys(2)).unwrap_err();
    assert_eq!(error, CallError::Reply { reason: "3 actions for 2 keys".to_owned() });
}

#[test]
fn only_the_stage_that_verifies_reads_keys() {
    // Traps unless `get` of "/a/b" finds as many keys as it should: `ok` is 0, `some` 1.
    let get = "(import \"keelstone:plugin/kv-read@0.1.0\" \"get\" (func $get (param i32 i32 i32)))";
    let finds = |some: u32, then: &str| {
        format!(
            "(call $get (i32.const 810) (i32.const 4) (i32.const 2048)) \
             (if (i32.ne (i32.load8_u (i32.const 2056)) (i32.const {some})) (then unreachable)) {then}"
        )
    };
    let hook = load(get, [OK, &finds(0, &keep(0)), &finds(1, OK)], "grants = { kv-read = ['/a/'] }").unwrap();
    hook.transform(&keys(1)).unwrap().unwrap();
    hook.verify(TALLY, Arc::new(OneKey)).unwrap().unwrap();
}

#[test]
fn a_secret_is_read_where_it_is_granted() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("token");
    std::fs::write(&path, "secret").unwrap();
    // Traps unless the first byte of the answer is this: 0 for the secret; 1 else, with the kind of error at 4.
    let get = "(import \"keelstone:plugin/secrets@0.1.0\" \"get\" (func $get (param i32 i32 i32)))";
    let answers = |result: u32, kind: u32| {
        format!(
            "(call $get (i32.const 800) (i32.const 2) (i32.const 2048)) \
             (if (i32.ne (i32.load8_u (i32.const 2048)) (i32.const {result})) (then unreachable)) \
             (if (i32.and (i32.const {result}) (i32.ne (i32.load8_u (i32.const 2052)) (i32.const {kind}))) \
               (then unreachable)) {OK}"
        )
    };
    let begin = |name: &str, path: &std::path::Path, begin: &str| {
        let grants = format!("grants = {{ secrets = {{ {name} = '{}' }} }}", path.display());
        let hook = load(get, [begin, &keep(0), OK], &grants).unwrap();
        hook.begin(&source()).map(|_| hook)
    };
    begin("no", &path, &answers(0, 0)).unwrap();
    begin("other", &path, &answers(1, 0)).unwrap();
    // The guest is told that it cannot be read, and the operator why.
    for unreadable in [folder.path().join("none"), folder.path().to_owned(), "/dev/zero".into()] {
        let hook = begin("no", &unreadable, &answers(1, 1)).unwrap();
        let lines = hook.plugin().log().since(0);
        assert!(lines[0].message.contains(unreadable.to_str().unwrap()), "{lines:?}");
    }
    std::fs::write(&path, vec![0; 70_000]).unwrap();
    begin("no", &path, &answers(1, 1)).unwrap();
    let imports = vec!["keelstone:plugin/secrets@0.1.0".to_owned()];
    assert_eq!(load(get, [OK, &keep(0), OK], "").unwrap_err(), LoadError::NotGranted { imports });
}
