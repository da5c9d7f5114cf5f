//! Runs of etcd's own programs.

use std::path::{Path, PathBuf};
use std::process::Command;

/// What a run printed, while tasks of the test go on.
///
/// # Panics
/// If it failed.
pub async fn run_aside(program: &Path, args: &[&str]) -> String {
    try_aside(program, args).await.unwrap_or_else(|said| panic!("{} {args:?}: {said}", program.display()))
}

/// As [`run_aside`]. `Err` is all that it printed.
pub async fn try_aside(program: &Path, args: &[&str]) -> Result<String, String> {
    let (program, args): (PathBuf, Vec<String>) =
        (program.to_owned(), args.iter().map(|&arg| arg.to_owned()).collect());
    let run = move || Command::new(program).env("ETCDCTL_API", "3").args(args).output().expect("run a program");
    let output = tokio::task::spawn_blocking(run).await.expect("no panic");
    let (out, err) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    if output.status.success() { Ok(out.into_owned()) } else { Err(format!("{out}{err}")) }
}

/// What `etcdutl snapshot status` says.
#[derive(Debug, PartialEq, Eq)]
pub struct FileStatus {
    pub hash: u64,
    pub revision: i64,
    pub total_keys: u64,
    pub total_bytes: u64,
}

pub async fn status(etcdutl: &Path, file: &Path) -> FileStatus {
    let text = run_aside(etcdutl, &["snapshot", "status", text_of(file), "-w", "json"]).await;
    let json: serde_json::Value = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{error}: {text}"));
    let number = |name: &str| json[name].as_u64().unwrap_or_else(|| panic!("no {name} in {text}"));
    FileStatus {
        hash: number("hash"),
        revision: number("revision") as i64,
        total_keys: number("totalKey"),
        total_bytes: number("totalSize"),
    }
}

pub fn text_of(path: &Path) -> &str {
    path.to_str().expect("a path of the suite")
}
