//! What a suite runs on: the server binary and a folder for its data.

use crate::janitor;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};

/// The server binary under test.
#[derive(Debug, Clone)]
pub struct Server {
    pub binary: PathBuf,
    /// As it prints it: major, minor, patch of the etcd it is, or stands in for.
    pub version: (u32, u32, u32),
    /// Real etcd, as opposed to Keelstone.
    pub is_etcd: bool,
}

impl Server {
    fn find(ours: &str) -> Self {
        Self::at(std::env::var_os("KEELSTONE_SERVER").map_or_else(|| PathBuf::from(ours), PathBuf::from))
    }

    fn at(binary: PathBuf) -> Self {
        let is_etcd = binary.file_name().is_some_and(|name| name.to_string_lossy().starts_with("etcd"));
        let mut server = Self { binary, version: (0, 0, 0), is_etcd };
        let output = server.command().arg("--version").output();
        let output = output.unwrap_or_else(|error| panic!("run {} --version: {error}", server.binary.display()));
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        server.version = parse_version(&text).unwrap_or_else(|| panic!("no etcd version in: {text:?}"));
        server
    }

    /// The command that takes etcd's server flags.
    pub fn command(&self) -> Command {
        let mut command = Command::new(&self.binary);
        if !self.is_etcd {
            command.arg("server");
        }
        command
    }

    pub fn is_at_least(&self, major: u32, minor: u32) -> bool {
        (self.version.0, self.version.1) >= (major, minor)
    }
}

fn parse_version(text: &str) -> Option<(u32, u32, u32)> {
    let version = text.lines().find_map(|line| line.strip_prefix("etcd Version: "))?;
    let mut parts = version.trim().split(['.', '-', '+']).map(|part| part.parse().ok());
    Some((parts.next()??, parts.next()??, parts.next()??))
}

/// One suite's server and folder.
#[derive(Debug, Clone)]
pub struct Suite {
    pub server: Server,
    folder: PathBuf,
}

/// While this lives, a failing test leaves all folders of its process for a look at them.
#[derive(Debug)]
pub struct KeepFoldersOfFailures;

impl Drop for KeepFoldersOfFailures {
    fn drop(&mut self) {
        if std::thread::panicking() {
            janitor::keep_folders();
        }
    }
}

static FOLDERS: AtomicUsize = AtomicUsize::new(0);

impl Suite {
    /// `ours` is `env!("CARGO_BIN_EXE_keelstone")`, `tmp` is `env!("CARGO_TARGET_TMPDIR")`: both are known
    /// to the suite's own file only.
    pub fn new(ours: &str, tmp: &str, name: &str) -> Self {
        Self { server: Server::find(ours), folder: Path::new(tmp).join(format!("{name}-{}", std::process::id())) }
    }

    /// The same folder with another server.
    pub fn with_server(&self, binary: &Path) -> Self {
        Self { server: Server::at(binary.to_owned()), folder: self.folder.clone() }
    }

    /// A new folder, removed when the process ends unless a test failed.
    pub fn make_folder(&self, name: &str) -> PathBuf {
        let number = FOLDERS.fetch_add(1, Ordering::Relaxed);
        let path = self.folder.join(format!("{number}-{name}"));
        janitor::made_folder(&self.folder);
        std::fs::create_dir_all(&path).expect("make a folder for test data");
        path
    }
}

#[cfg(test)]
mod tests {
    use super::parse_version;

    #[test]
    fn the_version_is_read_from_etcds_text() {
        assert_eq!(parse_version("etcd Version: 3.7.3\nGit SHA: x\n"), Some((3, 7, 3)));
        assert_eq!(parse_version("etcd Version: 3.8.0-alpha.0\n"), Some((3, 8, 0)));
        assert_eq!(parse_version("something else"), None);
    }
}
