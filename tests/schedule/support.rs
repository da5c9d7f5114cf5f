//! Members with a place for backups, our own tool, and what lies in the place.

use keelstone_harness::{Cluster, ClusterSpec, Suite, http, wait};
use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::Duration;

pub const LIMIT: Duration = Duration::from_secs(60);

pub fn suite() -> &'static Suite {
    static SUITE: OnceLock<Suite> = OnceLock::new();
    SUITE.get_or_init(|| Suite::new(env!("CARGO_BIN_EXE_keelstone"), env!("CARGO_TARGET_TMPDIR"), "schedule"))
}

/// A place that all members of a test share.
#[derive(Clone, Debug)]
pub struct Place {
    pub path: PathBuf,
}

/// How a run of our tool ended.
#[derive(Debug)]
pub struct Ended {
    pub code: i32,
    pub out: String,
    pub err: String,
}

impl Ended {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// # Panics
    /// If it failed.
    pub fn well(self) -> Self {
        assert_eq!(self.code, 0, "{self:?}");
        self
    }
}

/// `keelstone ctl`, while tasks of the test go on.
pub async fn ctl(args: &[&str]) -> Ended {
    let args: Vec<String> = std::iter::once("ctl").chain(args.iter().copied()).map(str::to_owned).collect();
    let run = move || {
        let output = Command::new(env!("CARGO_BIN_EXE_keelstone")).args(&args).output().expect("run keelstone");
        let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
        Ended { code: output.status.code().unwrap_or(-1), out: text(&output.stdout), err: text(&output.stderr) }
    };
    tokio::task::spawn_blocking(run).await.expect("the run does not panic")
}

impl Place {
    pub fn new() -> Self {
        Self { path: suite().make_folder("place") }
    }

    pub fn url(&self) -> String {
        format!("file://{}", self.path.display())
    }

    /// Members that back up here, with more flags.
    pub async fn members(&self, count: usize, flags: &[&str]) -> Cluster {
        let dir = format!("--backup-dir={}", self.url());
        let flags: Vec<&str> = std::iter::once(dir.as_str()).chain(flags.iter().copied()).collect();
        Cluster::start(suite(), &ClusterSpec { proxied: false, ..ClusterSpec::of(count) }.with_flags(&flags)).await
    }

    /// `keelstone ctl backup` on the files.
    pub async fn backup(&self, args: &[&str]) -> Ended {
        let url = self.url();
        ctl(&[&["backup", "--backup-dir", &url], args].concat()).await
    }

    /// Manifests of a kind, in order.
    pub async fn list(&self, kind: &str) -> Vec<Value> {
        let listing = self.backup(&["list", "-w", "json"]).await.well().json();
        assert_eq!(listing["damaged"], Value::Array(Vec::new()), "{listing}");
        let backups = listing["backups"].as_array().expect("a list").clone();
        backups.into_iter().filter(|backup| backup["kind"] == kind).collect()
    }

    /// Waits until segments or full backups reach a revision.
    pub async fn reaches(&self, revision: i64) {
        let what = format!("a backup of revision {revision} in {}", self.path.display());
        wait::until(&what, LIMIT, || async {
            let (full, delta) = (self.list("full").await, self.list("delta").await);
            full.iter().chain(&delta).any(|backup| to(backup) >= revision).then_some(())
        })
        .await;
    }

    /// All files below it, sorted.
    pub fn files(&self) -> Vec<PathBuf> {
        let mut files = Vec::new();
        let mut folders = vec![self.path.clone()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(&folder).expect("list the place") {
                let path = entry.expect("list the place").path();
                if path.is_dir() { folders.push(path) } else { files.push(path) }
            }
        }
        files.sort();
        files
    }
}

pub fn name(backup: &Value) -> String {
    backup["name"].as_str().expect("a name").to_owned()
}

pub fn to(backup: &Value) -> i64 {
    backup["to"]["revision"].as_i64().expect("a revision")
}

/// One value of a member's metrics; `series` is the name with its labels.
pub async fn metric(port: u16, series: &str) -> f64 {
    let page = http::get(port, "/metrics").await.expect("metrics").body;
    let line = page.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    let line = line.unwrap_or_else(|| panic!("no {series} in the metrics"));
    line.parse().expect("a number")
}

/// Waits until a metric is at least so much.
pub async fn metric_reaches(port: u16, series: &str, value: f64) {
    wait::until(&format!("{series} to reach {value}"), LIMIT, || async {
        (metric(port, series).await >= value).then_some(())
    })
    .await;
}

pub fn text_of(path: &Path) -> &str {
    path.to_str().expect("a path of the suite")
}
