//! Debian's Prometheus, scraping the members of a cluster.

use keelstone_harness::{Cluster, Suite, free_port, http, wait};
use percent_encoding::{NON_ALPHANUMERIC, utf8_percent_encode};
use serde_json::Value;
use std::fmt::Write;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;
use tokio::process::{Child, Command};

const READY_LIMIT: Duration = Duration::from_secs(60);
/// The name of the job, which etcd's rules and ours match.
pub const JOB: &str = "etcd";

#[derive(Debug)]
pub struct Prometheus {
    port: u16,
    /// Killed with this.
    _process: Child,
}

/// A series and its last value.
#[derive(Debug)]
pub struct Sample {
    pub labels: String,
    pub value: f64,
}

impl Prometheus {
    /// Scrapes every second, and evaluates `rules` as often.
    pub async fn start(suite: &Suite, cluster: &Cluster, rules: &[PathBuf]) -> Self {
        let folder = suite.make_folder("prometheus");
        let port = free_port();
        let mut config = "global: {scrape_interval: 1s, evaluation_interval: 1s}\nrule_files:\n".to_owned();
        for rule in rules {
            writeln!(config, "  - {}", rule.display()).expect("a string takes all");
        }
        let targets: Vec<String> =
            (0..cluster.len()).map(|place| format!("'127.0.0.1:{}'", cluster[place].client_port)).collect();
        write!(
            config,
            "scrape_configs:\n  - job_name: {JOB}\n    static_configs: [{{targets: [{}]}}]\n",
            targets.join(", ")
        )
        .expect("a string takes all");
        let file = folder.join("prometheus.yml");
        std::fs::write(&file, config).expect("write the configuration");
        let process = start(&file, &folder, port);
        let prometheus = Self { port, _process: process };
        wait::until("Prometheus to be ready", READY_LIMIT, || async {
            let reply = http::get(port, "/-/ready").await.ok()?;
            (reply.status == 200).then_some(())
        })
        .await;
        prometheus
    }

    /// # Errors
    /// What Prometheus says to a query that it does not take.
    pub async fn query(&self, query: &str) -> Result<Vec<Sample>, String> {
        let query = utf8_percent_encode(query, NON_ALPHANUMERIC);
        let answer = self.get(&format!("/api/v1/query?query={query}")).await;
        if answer["status"] != "success" {
            return Err(answer["error"].as_str().unwrap_or("no error either").to_owned());
        }
        let series = answer["data"]["result"].as_array().cloned().unwrap_or_default();
        let sample = |series: Value| {
            let value = series["value"][1].as_str().expect("a value is a string");
            Sample { labels: series["metric"].to_string(), value: value.parse().expect("a value is a number") }
        };
        Ok(series.into_iter().map(sample).collect())
    }

    /// The names of the alerts that fire.
    pub async fn firing(&self) -> Vec<String> {
        let answer = self.get("/api/v1/alerts").await;
        let alerts = answer["data"]["alerts"].as_array().cloned().unwrap_or_default();
        let firing = alerts.iter().filter(|alert| alert["state"] == "firing");
        firing.map(|alert| alert["labels"]["alertname"].as_str().unwrap_or_default().to_owned()).collect()
    }

    /// All rules, and what became of their last evaluation: "ok", or an error.
    pub async fn rules(&self) -> Vec<(String, String)> {
        let answer = self.get("/api/v1/rules").await;
        let groups = answer["data"]["groups"].as_array().cloned().unwrap_or_default();
        let rules = groups.into_iter().flat_map(|group| group["rules"].as_array().cloned().unwrap_or_default());
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        rules
            .map(|rule| (text(&rule["name"]), format!("{}{}", text(&rule["health"]), text(&rule["lastError"]))))
            .collect()
    }

    async fn get(&self, path: &str) -> Value {
        let reply = http::get(self.port, path).await.expect("Prometheus answers");
        serde_json::from_str(&reply.body).expect("Prometheus answers with JSON")
    }
}

fn start(config: &Path, folder: &Path, port: u16) -> Child {
    let log = std::fs::File::create(folder.join("prometheus.log")).expect("make a log");
    Command::new("prometheus")
        .arg(format!("--config.file={}", config.display()))
        .arg(format!("--storage.tsdb.path={}", folder.join("data").display()))
        .arg(format!("--web.listen-address=127.0.0.1:{port}"))
        .stdin(Stdio::null())
        .stdout(log.try_clone().expect("a second handle"))
        .stderr(log)
        .kill_on_drop(true)
        .spawn()
        .expect("start prometheus")
}
