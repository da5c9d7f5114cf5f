//! The command line.

use crate::report::SERVERS;
use keelstone_harness::tools;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Everything but `Ci`, `Plot` and `Table`.
    All,
    One,
    Three,
    CatchUp,
    OneKey,
    Million,
    /// A member that missed all the keys.
    Member,
    Ci,
    Plot,
    /// Prints what the file of samples holds.
    Table,
}

#[derive(Debug, Clone)]
pub struct Args {
    pub mode: Mode,
    pub keelstone: PathBuf,
    pub etcd: PathBuf,
    /// How long each load is measured in each round.
    pub window: Duration,
    /// Of loads; what takes minutes is done once unless this is said.
    pub rounds: Option<usize>,
    /// Only loads whose name contains this are measured.
    pub row: String,
    /// The servers to measure, by their places in [`SERVERS`].
    pub servers: Vec<usize>,
    /// Where samples are read from first and appended to.
    pub samples: Option<PathBuf>,
    /// Of what is called a million: keys, and puts to one key.
    pub million: usize,
    pub pinned: bool,
    /// Where data directories are made; it should be on the disk that is meant.
    pub folder: PathBuf,
    /// The file that a plot is written to.
    pub out: Option<PathBuf>,
    /// A missed gate is a failure.
    pub gate: bool,
}

const USAGE: &str = "usage: bench [all|one|three|catch-up|one-key|million|member|ci|plot|table] [--keelstone PATH] [--etcd PATH] \
    [--seconds N] [--rounds N] [--row TEXT] [--server etcd|keelstone] [--million N] [--unpinned] \
    [--folder PATH] [--samples FILE] [--out FILE.svg] [--gate]";

impl Args {
    /// # Errors
    /// What is wrong, for the one who typed it.
    pub fn parse(mut words: impl Iterator<Item = String>) -> Result<Self, String> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let mut args = Self {
            mode: Mode::All,
            keelstone: PathBuf::from("target/release/keelstone"),
            etcd: find_etcd().unwrap_or_default(),
            window: Duration::from_secs(5),
            rounds: None,
            row: String::new(),
            servers: (0..SERVERS.len()).collect(),
            samples: None,
            million: 1_000_000,
            pinned: cores >= 2,
            folder: PathBuf::from("target/bench"),
            out: None,
            gate: false,
        };
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or(format!("{word} needs a value\n{USAGE}"));
            match word.as_str() {
                "all" => args.mode = Mode::All,
                "one" => args.mode = Mode::One,
                "three" => args.mode = Mode::Three,
                "catch-up" => args.mode = Mode::CatchUp,
                "one-key" => args.mode = Mode::OneKey,
                "million" => args.mode = Mode::Million,
                "member" => args.mode = Mode::Member,
                "ci" => args.mode = Mode::Ci,
                "plot" => args.mode = Mode::Plot,
                "table" => args.mode = Mode::Table,
                "--server" => args.servers = vec![server(&value()?)?],
                "--samples" => args.samples = Some(value()?.into()),
                "--keelstone" => args.keelstone = value()?.into(),
                "--etcd" => args.etcd = value()?.into(),
                "--seconds" => args.window = Duration::from_secs(number(&value()?)?),
                "--rounds" => args.rounds = Some(number(&value()?)?),
                "--row" => args.row = value()?,
                "--million" => args.million = number(&value()?)?,
                "--unpinned" => args.pinned = false,
                "--folder" => args.folder = value()?.into(),
                "--out" => args.out = Some(value()?.into()),
                "--gate" => args.gate = true,
                _ => return Err(format!("unknown: {word}\n{USAGE}")),
            }
        }
        for (name, path) in [("--keelstone", &args.keelstone), ("--etcd", &args.etcd)] {
            if !path.is_file() {
                return Err(format!("{name}: no file {:?}\n{USAGE}", path.display().to_string()));
            }
        }
        if args.mode == Mode::Plot && args.out.is_none() {
            return Err(format!("plot needs --out\n{USAGE}"));
        }
        Ok(args)
    }
}

/// The newest that this machine has.
fn find_etcd() -> Option<PathBuf> {
    let named = std::env::var_os("KEELSTONE_ETCD").map(PathBuf::from);
    named.or_else(|| tools::find_etcd(7)).or_else(|| tools::find_etcd(5))
}

fn server(name: &str) -> Result<usize, String> {
    let place = SERVERS.iter().position(|server| *server == name);
    place.ok_or_else(|| format!("--server is one of {SERVERS:?}\n{USAGE}"))
}

fn number<T: FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("not a number: {text}\n{USAGE}"))
}
