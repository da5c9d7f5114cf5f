//! The example plugin in Rust, built by `plugins/build` as an author would, and run as the node will.

use keelstone_plugins::{
    Admission, Delete, Grant, Host, HostOptions, LoadError, NoKeys, Package, Put, Request, Verdict, Write, pack,
};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, LazyLock};

fn plugins() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

static PACKAGE: LazyLock<Package> = LazyLock::new(|| {
    let built = Command::new(plugins().join("build")).stderr(Stdio::inherit()).output().unwrap();
    assert!(built.status.success(), "plugins/build failed");
    let folder = String::from_utf8(built.stdout).unwrap();
    let component = std::fs::read(Path::new(folder.trim()).join("key_policy.wasm")).unwrap();
    let manifest = std::fs::read_to_string(plugins().join("sdk/rust/key-policy/plugin.toml")).unwrap();
    Package::read(pack(&component, &manifest).unwrap()).unwrap()
});

fn load(settings: &str) -> Result<Admission, LoadError> {
    let host = Host::new(HostOptions::default()).unwrap();
    let grant = format!("plugin = 'key-policy'\nsettings = {{ {settings} }}\n[limits]\ntime = '60s'\n");
    host.admission(&PACKAGE, &Grant::parse(&grant).unwrap())
}

fn put(key: &str, value_bytes: usize) -> Write {
    Write::Put(Put { key: key.as_bytes().to_vec(), value: Some(vec![b'v'; value_bytes]), lease: None })
}

/// `allow`, or the code of the denial.
fn verdicts(admission: &Admission, requests: Vec<Vec<Write>>) -> Vec<String> {
    let request = |writes| Request { user: None, roles: Vec::new(), writes };
    let requests: Vec<Request> = requests.into_iter().map(request).collect();
    let verdicts = admission.check(&requests, Arc::new(NoKeys)).unwrap();
    let word = |verdict| match verdict {
        Verdict::Allow => "allow".to_owned(),
        Verdict::Deny(denial) => denial.code,
        Verdict::Change(_) => "change".to_owned(),
    };
    verdicts.into_iter().map(word).collect()
}

#[test]
fn the_key_policy_refuses_what_its_settings_say() {
    let admission = load("prefixes = ['/team/', '/shared/'], max-key-bytes = 20, max-value-bytes = 10").unwrap();
    let delete = Write::Delete(Delete { key: b"anything At all".to_vec(), range_end: None });
    let requests = vec![
        vec![put("/team/a-1/x.y", 10)],
        vec![put("/other/a", 1)],
        vec![put("/team/A", 1)],
        vec![put("/team//a", 1)],
        vec![put("/team/a/b/c/d/e/f/g/h", 1)],
        vec![put("/team/a", 11)],
        vec![put("/team/a", 1), delete.clone(), put("/shared/b", 11)],
        vec![delete],
    ];
    let said =
        ["allow", "bad-prefix", "bad-name", "bad-name", "key-too-long", "value-too-large", "value-too-large", "allow"];
    assert_eq!(verdicts(&admission, requests), said);
    // Nothing of the node or of WASI but what every plugin has.
    let imports: Vec<&str> = admission.plugin().imports().iter().map(|import| import.name.as_str()).collect();
    assert!(imports.iter().all(|name| ["keelstone:plugin/log@0.1.0"].contains(name)), "{imports:?}");
    assert_eq!(verdicts(&load("segment = 'any'").unwrap(), vec![vec![put("A B", 1)]]), ["allow"]);
}

#[test]
fn settings_that_a_type_cannot_judge_the_plugin_does() {
    let error = load("prefixes = ['/team', 'x/']").unwrap_err().to_string();
    assert_eq!(
        error,
        "its settings do not do: prefixes: \"/team\" does not begin and end with a slash; \
         prefixes: \"x/\" does not begin and end with a slash"
    );
}
