//! Versions: the one of etcd that we behave as, which tools read, and our own.

use crate::config::ETCD_VERSION;
pub use crate::runtime_name as runtime;

/// What stands where etcd names the commit that it was built from.
pub const GIT_SHA: &str = "Not provided";

/// The four lines of `etcd --version`. There is no Go in it, and the line says so.
pub fn etcd() -> String {
    let (os, arch) = (go_os(), go_arch());
    format!("etcd Version: {ETCD_VERSION}\nGit SHA: {GIT_SHA}\nGo Version: {}\nGo OS/Arch: {os}/{arch}\n", runtime())
}

/// `etcdutl version`.
pub fn etcdutl() -> String {
    let (major_minor, _patch) = ETCD_VERSION.rsplit_once('.').expect("three numbers");
    format!("etcdutl version: {ETCD_VERSION}\nAPI version: {major_minor}\n")
}

/// `keelstone --version`.
pub fn own() -> String {
    format!("keelstone {} (behaves as etcd {ETCD_VERSION})\n", env!("CARGO_PKG_VERSION"))
}

/// As Go names it.
pub fn go_os() -> &'static str {
    match std::env::consts::OS {
        "macos" => "darwin",
        os => os,
    }
}

/// As Go names it.
pub fn go_arch() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "powerpc64" => "ppc64le",
        arch => arch,
    }
}
