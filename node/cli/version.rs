//! Versions: the one of etcd that we behave as, which tools read, and our own.

/// Tools choose what they do by it; the first line must be what etcd prints.
pub const ETCD_VERSION: &str = "3.7.3";

/// The four lines of `etcd --version`. There is no Go in it, and the line says so.
pub fn etcd() -> String {
    let (os, arch) = (go_os(), go_arch());
    format!("etcd Version: {ETCD_VERSION}\nGit SHA: Not provided\nGo Version: {}\nGo OS/Arch: {os}/{arch}\n", runtime())
}

/// `keelstone --version`.
pub fn own() -> String {
    format!("keelstone {} (behaves as etcd {ETCD_VERSION})\n", env!("CARGO_PKG_VERSION"))
}

/// What stands where etcd names its Go runtime.
pub fn runtime() -> String {
    format!("none (Keelstone {}, rustc {})", env!("CARGO_PKG_VERSION"), env!("CARGO_PKG_RUST_VERSION"))
}

fn go_os() -> &'static str {
    match std::env::consts::OS {
        "macos" => "darwin",
        os => os,
    }
}

fn go_arch() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "powerpc64" => "ppc64le",
        arch => arch,
    }
}
