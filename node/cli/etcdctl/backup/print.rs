//! What the commands print: lines, tables, JSON.

use crate::backup::archive::{Kind, Manifest};
use crate::cli::etcdctl::printer::{Answer, Text};
use crate::cli::table::Table;
use crate::clock::timestamp;
use crate::config::value::GoDuration;
use crate::types::HumanBytes;
use keelstone_proto::keelstonepb as pb;
use serde::Serialize;
use serde_json::{Value, json};
use std::time::{Duration, UNIX_EPOCH};

/// Seconds are enough for people.
const SECONDS: usize = 19;

fn time(millis: u64) -> String {
    match millis {
        0 => "never".to_owned(),
        millis => timestamp(UNIX_EPOCH + Duration::from_millis(millis))[..SECONDS].to_owned() + "Z",
    }
}

fn text(value: &impl Serialize) -> String {
    serde_json::to_string(value).expect("texts and numbers")
}

fn damaged_json(damaged: &[(String, String)]) -> Vec<Value> {
    damaged.iter().map(|(name, why)| json!({"name": name, "why": why})).collect()
}

/// Titles and values of one thing, line by line.
fn pairs(rows: &[(&'static str, String)]) -> Table {
    let rows = rows.iter().map(|(name, value)| vec![(*name).to_owned(), value.clone()]).collect();
    Table { titles: vec!["what", "value"], rows }
}

fn lines(rows: &[(&'static str, String)], out: &mut Text) {
    for (name, value) in rows {
        out.line(format!("{name}: {value}"));
    }
}

#[derive(Debug)]
pub struct Listing {
    pub backups: Vec<Manifest>,
    /// By name and reason.
    pub damaged: Vec<(String, String)>,
}

impl Listing {
    fn of(&self) -> Table {
        let row = |backup: &Manifest| {
            let revisions = match backup.kind {
                Kind::Full => backup.to.revision.to_string(),
                Kind::Delta => format!("{}-{}", backup.from.revision, backup.to.revision),
            };
            vec![
                backup.name.clone(),
                backup.kind.as_str().to_owned(),
                time(backup.created_unix_millis),
                revisions,
                HumanBytes(backup.bytes).to_string(),
                backup.member_id.clone(),
            ]
        };
        let bad = |(name, _): &(String, String)| {
            let dash = || "-".to_owned();
            vec![name.clone(), "damaged".to_owned(), dash(), dash(), dash(), dash()]
        };
        let rows = self.backups.iter().map(row).chain(self.damaged.iter().map(bad)).collect();
        Table { titles: vec!["name", "kind", "created", "revision", "size", "member"], rows }
    }
}

impl Answer for Listing {
    fn simple(&self, out: &mut Text) {
        out.raw(&self.of().lines());
        for (name, why) in &self.damaged {
            out.complain(format!("{name}: {why}"));
        }
    }

    fn json(&self, _: bool) -> String {
        text(&json!({"backups": self.backups, "damaged": damaged_json(&self.damaged)}))
    }

    fn table(&self) -> Option<Table> {
        Some(self.of())
    }
}

/// One backup.
#[derive(Debug)]
pub struct Shown(pub Manifest);

impl Shown {
    fn rows(&self) -> Vec<(&'static str, String)> {
        let backup = &self.0;
        vec![
            ("name", backup.name.clone()),
            ("kind", backup.kind.as_str().to_owned()),
            ("cluster", backup.cluster_id.clone()),
            ("member", backup.member_id.clone()),
            ("created", time(backup.created_unix_millis)),
            ("from revision", backup.from.revision.to_string()),
            ("to revision", backup.to.revision.to_string()),
            ("compact revision", backup.compact_revision.to_string()),
            ("applied index", backup.to.index.to_string()),
            ("applied term", backup.to.term.to_string()),
            ("hash kv", backup.hash_kv.map_or("not recorded".to_owned(), |hash| hash.to_string())),
            (if backup.kind == Kind::Full { "rows" } else { "entries" }, backup.count.to_string()),
            ("size", HumanBytes(backup.bytes).to_string()),
            ("sha256", backup.sha256.clone()),
            ("object", backup.object.clone()),
            ("follows", backup.follows.as_ref().map_or("nothing".to_owned(), |link| link.name.clone())),
            ("made by", format!("keelstone {}", backup.version)),
        ]
    }
}

impl Answer for Shown {
    fn simple(&self, out: &mut Text) {
        lines(&self.rows(), out);
    }

    fn json(&self, _: bool) -> String {
        text(&self.0)
    }

    fn table(&self) -> Option<Table> {
        Some(pairs(&self.rows()))
    }
}

/// What was found right, and what was not and why.
#[derive(Debug, Default)]
pub struct Verdict {
    pub sound: Vec<String>,
    pub damaged: Vec<(String, String)>,
}

impl Verdict {
    fn of(&self) -> Table {
        let sound = self.sound.iter().map(|name| vec![name.clone(), "sound".to_owned()]);
        let damaged = self.damaged.iter().map(|(name, why)| vec![name.clone(), why.clone()]);
        Table { titles: vec!["name", "verdict"], rows: sound.chain(damaged).collect() }
    }
}

impl Answer for Verdict {
    fn simple(&self, out: &mut Text) {
        for row in self.of().rows {
            out.line(row.join(": "));
        }
    }

    fn json(&self, _: bool) -> String {
        text(&json!({"sound": self.sound, "damaged": damaged_json(&self.damaged)}))
    }

    fn table(&self) -> Option<Table> {
        Some(self.of())
    }
}

#[derive(Debug)]
pub struct Forgotten {
    pub names: Vec<String>,
    pub dry_run: bool,
}

impl Answer for Forgotten {
    fn simple(&self, out: &mut Text) {
        let what = if self.dry_run { "would be forgotten" } else { "forgotten" };
        for name in &self.names {
            out.line(format!("{name}: {what}"));
        }
    }

    fn json(&self, _: bool) -> String {
        text(&json!({"forgotten": self.names, "dry_run": self.dry_run}))
    }

    fn table(&self) -> Option<Table> {
        Some(Table { titles: vec!["name"], rows: self.names.iter().map(|name| vec![name.clone()]).collect() })
    }
}

/// When backups are made.
#[derive(Debug)]
pub struct Rhythm(pub pb::ScheduleResponse);

impl Rhythm {
    fn rows(&self) -> Vec<(&'static str, String)> {
        let or = |text: &str, none: &str| if text.is_empty() { none.to_owned() } else { text.to_owned() };
        let rhythm = &self.0;
        let interval = match rhythm.delta_interval_millis {
            0 => "none".to_owned(),
            millis => format!("every {}", GoDuration::from(Duration::from_millis(millis))),
        };
        vec![
            ("destination", rhythm.destination.clone()),
            ("schedule", or(&rhythm.schedule, "only when asked")),
            ("segments", interval),
            ("retention", rhythm.retention.clone()),
            ("made by this member", rhythm.leads.to_string()),
            ("last full", time(rhythm.last_full_millis)),
            ("next full", time(rhythm.next_full_millis)),
            ("last segment", time(rhythm.last_delta_millis)),
            ("last failure", or(&rhythm.last_failure, "none")),
        ]
    }
}

impl Answer for Rhythm {
    fn simple(&self, out: &mut Text) {
        lines(&self.rows(), out);
    }

    fn json(&self, _: bool) -> String {
        let rhythm = &self.0;
        text(&json!({
            "destination": rhythm.destination,
            "schedule": rhythm.schedule,
            "delta_interval_millis": rhythm.delta_interval_millis,
            "retention": rhythm.retention,
            "leads": rhythm.leads,
            "last_full_millis": rhythm.last_full_millis,
            "next_full_millis": rhythm.next_full_millis,
            "last_delta_millis": rhythm.last_delta_millis,
            "last_failure": rhythm.last_failure,
        }))
    }

    fn table(&self) -> Option<Table> {
        Some(pairs(&self.rows()))
    }
}

/// How a drill ended.
#[derive(Debug, Default, Serialize)]
pub struct Drill {
    /// None: it passed.
    pub failure: Option<String>,
    pub full: String,
    pub segments: u64,
    pub entries: u64,
    pub revision: i64,
    pub hashes: u32,
    pub millis: u64,
}

impl Drill {
    pub fn of(response: pb::DrillResponse) -> Self {
        let pb::DrillResponse { failure, full, segments, entries, revision, hashes, millis } = response;
        let failure = Some(failure).filter(|failure| !failure.is_empty());
        Self { failure, full, segments: segments.into(), entries, revision, hashes, millis }
    }

    fn rows(&self) -> Vec<(&'static str, String)> {
        vec![
            ("result", self.failure.as_ref().map_or("passed".to_owned(), |why| format!("failed: {why}"))),
            ("full backup", self.full.clone()),
            ("segments", self.segments.to_string()),
            ("entries replayed", self.entries.to_string()),
            ("revision", self.revision.to_string()),
            ("hashes compared", self.hashes.to_string()),
            ("took", GoDuration::from(Duration::from_millis(self.millis)).to_string()),
        ]
    }
}

impl Answer for Drill {
    fn simple(&self, out: &mut Text) {
        lines(&self.rows(), out);
    }

    fn json(&self, _: bool) -> String {
        text(self)
    }

    fn table(&self) -> Option<Table> {
        Some(pairs(&self.rows()))
    }
}
