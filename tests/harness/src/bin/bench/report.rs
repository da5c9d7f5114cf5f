//! Everything that was measured: for each row, figure and server a value a round.

use crate::rules::{self, Rule};
use crate::samples::{Line, Samples};
use crate::table::{figure, median, render};
use std::path::Path;

/// In the order in which they are measured and printed.
pub const SERVERS: [&str; 2] = ["etcd", "keelstone"];

/// What is measured of a load, and [`Figure::Value`] for rows that are one number.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Figure {
    Rate,
    P50,
    P99,
    P999,
    /// Of the servers, for one operation.
    Cpu,
    Written,
    Syncs,
    Rss,
    /// CPU time of this program for one operation.
    Client,
    /// What other programs took of the machine meanwhile, in percent of one core. Rates are worth little if it is much.
    Others,
    Value,
}

impl Figure {
    pub const ALL: [Self; 11] = [
        Self::Rate,
        Self::P50,
        Self::P99,
        Self::P999,
        Self::Cpu,
        Self::Written,
        Self::Syncs,
        Self::Rss,
        Self::Client,
        Self::Others,
        Self::Value,
    ];

    pub fn heading(self) -> &'static str {
        match self {
            Self::Rate => "ops/s",
            Self::P50 => "p50 ms",
            Self::P99 => "p99 ms",
            Self::P999 => "p99.9 ms",
            Self::Cpu => "CPU us/op",
            Self::Written => "written B/op",
            Self::Syncs => "syncs/op",
            Self::Rss => "RSS MiB",
            Self::Client => "client us/op",
            Self::Others => "others %",
            Self::Value => "value",
        }
    }
}

/// One row of one server in one round.
pub type Sample = Vec<(Figure, f64)>;

#[derive(Debug)]
struct Entry {
    row: String,
    figure: Figure,
    /// By server, a value a round.
    rounds: [Vec<f64>; 2],
}

#[derive(Debug)]
pub struct Report {
    entries: Vec<Entry>,
    samples: Option<Samples>,
}

impl Report {
    /// Begins with what the file of samples holds, and keeps there what comes.
    pub fn begin(samples: Option<&Path>) -> Self {
        let mut report = Self { entries: Vec::new(), samples: None };
        if let Some(path) = samples {
            let (file, lines) = Samples::open(path);
            lines.iter().for_each(|line| report.enter(line));
            report.samples = Some(file);
        }
        report
    }

    /// Adds a round of one server's row.
    pub fn add(&mut self, row: &str, server: usize, sample: &Sample) {
        for &(figure, value) in sample {
            let line = Line { server, row: row.to_owned(), figure, value };
            self.enter(&line);
            if let Some(samples) = &mut self.samples {
                samples.append(&line);
            }
        }
        let numbers: Vec<String> =
            sample.iter().map(|(name, value)| format!("{} {}", name.heading(), figure(*value))).collect();
        eprintln!("{}: {row}: {}", SERVERS[server], numbers.join(", "));
    }

    fn enter(&mut self, Line { server, row, figure, value }: &Line) {
        let place = self.entries.iter().position(|entry| entry.row == *row && entry.figure == *figure);
        let place = place.unwrap_or_else(|| {
            self.entries.push(Entry { row: row.clone(), figure: *figure, rounds: Default::default() });
            self.entries.len() - 1
        });
        self.entries[place].rounds[*server].push(*value);
    }

    /// Adds a row that is one number.
    pub fn add_value(&mut self, row: &str, server: usize, value: f64) {
        self.add(row, server, &vec![(Figure::Value, value)]);
    }

    /// Medians of both servers; NaN where nothing was measured.
    pub fn medians(&self, row: &str, figure: Figure) -> [f64; 2] {
        let entry = self.entries.iter().find(|entry| entry.row == row && entry.figure == figure);
        entry.map_or([f64::NAN; 2], |entry| entry.rounds.each_ref().map(|rounds| median(rounds.iter().copied())))
    }

    /// The rules for rows that were measured, with what was found and whether it is within.
    pub fn verdicts(&self) -> Vec<(Rule, f64, bool)> {
        let mut verdicts = Vec::new();
        for row in self.rows() {
            for rule in rules::of(row) {
                let found = rule.limit.of(self.medians(row, rule.figure));
                verdicts.push((rule, found, rule.limit.holds(found)));
            }
        }
        verdicts
    }

    pub fn render(&self) -> String {
        let tables = [self.loads(), self.values(), self.judgements()];
        tables.iter().filter(|table| table.len() > 1).map(|table| render(table)).collect::<Vec<_>>().join("\n")
    }

    fn rows(&self) -> Vec<&str> {
        let mut rows: Vec<&str> = Vec::new();
        for entry in &self.entries {
            if !rows.contains(&entry.row.as_str()) {
                rows.push(&entry.row);
            }
        }
        rows
    }

    fn loads(&self) -> Vec<Vec<String>> {
        let figures = Figure::ALL.into_iter().filter(|figure| *figure != Figure::Value);
        let headings: Vec<&str> = figures.clone().map(Figure::heading).collect();
        let head = [&["load", "server"], &headings[..], &["gate"]].concat();
        let mut lines = vec![head.into_iter().map(str::to_owned).collect()];
        for row in self.rows() {
            if self.medians(row, Figure::Value).iter().any(|value| !value.is_nan()) {
                continue;
            }
            let numbers: Vec<_> = figures.clone().map(|figure| self.medians(row, figure)).collect();
            let line = |first: &str, second: &str, of: &dyn Fn([f64; 2]) -> f64, last: String| {
                let cells = numbers.iter().map(|pair| figure(of(*pair)));
                [first.to_owned(), second.to_owned()].into_iter().chain(cells).chain([last]).collect::<Vec<_>>()
            };
            lines.push(line(row, SERVERS[0], &|[etcd, _]| etcd, String::new()));
            lines.push(line("", SERVERS[1], &|[_, ours]| ours, String::new()));
            lines.push(line("", "ratio", &|[etcd, ours]| ours / etcd, self.gate_of(row)));
        }
        lines
    }

    fn values(&self) -> Vec<Vec<String>> {
        let mut lines =
            vec![["state and work apart", SERVERS[0], SERVERS[1], "ratio", "gate"].map(str::to_owned).to_vec()];
        for row in self.rows() {
            let [etcd, ours] = self.medians(row, Figure::Value);
            if !etcd.is_nan() || !ours.is_nan() {
                lines.push(vec![row.to_owned(), figure(etcd), figure(ours), figure(ours / etcd), self.gate_of(row)]);
            }
        }
        lines
    }

    /// In one word, how a row stands to its gates.
    fn gate_of(&self, row: &str) -> String {
        let gates: Vec<bool> = self
            .verdicts()
            .into_iter()
            .filter(|(rule, ..)| rule.row == row && rule.is_gate())
            .map(|(.., holds)| holds)
            .collect();
        match gates.iter().filter(|holds| !**holds).count() {
            _ if gates.is_empty() => String::new(),
            0 => "pass".to_owned(),
            _ => "MISS".to_owned(),
        }
    }

    fn judgements(&self) -> Vec<Vec<String>> {
        let mut lines = vec![["rule", "figure", "wanted", "found", "kind", "verdict"].map(str::to_owned).to_vec()];
        for (rule, found, holds) in self.verdicts() {
            lines.push(vec![
                rule.row.to_owned(),
                rule.figure.heading().to_owned(),
                rule.limit.to_string(),
                figure(found),
                rule.level.to_string(),
                if holds { "pass" } else { "MISS" }.to_owned(),
            ]);
        }
        lines
    }
}
