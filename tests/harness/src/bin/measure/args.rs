//! The command line.

use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Rates, latencies and costs of puts, gets and pages.
    FirstLook,
    /// Sizes with a million keys, and the restart on them.
    Million,
}

#[derive(Debug)]
pub struct Args {
    pub mode: Mode,
    pub keelstone: PathBuf,
    pub etcd: PathBuf,
    /// How long each row is measured in each round.
    pub window: Duration,
    pub rounds: usize,
    /// Keys that `million` loads.
    pub keys: usize,
    pub pinned: bool,
    /// Where data directories are made; it should be on the disk that is meant.
    pub folder: PathBuf,
}

const USAGE: &str = "usage: measure --keelstone PATH --etcd PATH (or KEELSTONE_ETCD) [first-look|million] \
    [--seconds N] [--rounds N] [--keys N] [--pinned] [--folder PATH]";

impl Args {
    /// # Errors
    /// What is wrong, for the one who typed it.
    pub fn parse(mut words: impl Iterator<Item = String>) -> Result<Self, String> {
        let mut args = Self {
            mode: Mode::FirstLook,
            keelstone: PathBuf::from("target/release/keelstone"),
            etcd: std::env::var_os("KEELSTONE_ETCD").map(PathBuf::from).unwrap_or_default(),
            window: Duration::from_secs(5),
            rounds: 0,
            keys: 1_000_000,
            pinned: false,
            folder: PathBuf::from("target/measure"),
        };
        while let Some(word) = words.next() {
            let mut value = || words.next().ok_or(format!("{word} needs a value\n{USAGE}"));
            match word.as_str() {
                "first-look" => args.mode = Mode::FirstLook,
                "million" => args.mode = Mode::Million,
                "--keelstone" => args.keelstone = value()?.into(),
                "--etcd" => args.etcd = value()?.into(),
                "--seconds" => args.window = Duration::from_secs(number(&value()?)?),
                "--rounds" => args.rounds = number(&value()?)?,
                "--keys" => args.keys = number(&value()?)?,
                "--pinned" => args.pinned = true,
                "--folder" => args.folder = value()?.into(),
                _ => return Err(format!("unknown: {word}\n{USAGE}")),
            }
        }
        if args.rounds == 0 {
            args.rounds = if args.mode == Mode::FirstLook { 3 } else { 1 };
        }
        for (name, path) in [("--keelstone", &args.keelstone), ("--etcd", &args.etcd)] {
            if !path.is_file() {
                return Err(format!("{name}: no file {:?}\n{USAGE}", path.display().to_string()));
            }
        }
        Ok(args)
    }
}

fn number<T: FromStr>(text: &str) -> Result<T, String> {
    text.parse().map_err(|_| format!("not a number: {text}\n{USAGE}"))
}
