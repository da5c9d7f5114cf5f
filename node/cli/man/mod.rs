//! `keelstone man`: manual pages, made from the tables that the command lines are read by. For who packages Keelstone, so it
//! stands in no help.

pub mod roff;
mod server;

use super::{etcdctl, etcdutl, print_out};
use crate::clock;
use anyhow::Context;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

const USAGE: &str = "Usage:
  keelstone man server|ctl|utl   print a manual page
  keelstone man --out DIR        write all of them into a directory

The pages are dated by SOURCE_DATE_EPOCH if that is set, else by today.
";

/// A page: the word for it, and what makes it of its date.
type Maker = (&'static str, fn(&str) -> roff::Page);
const PAGES: [Maker; 3] = [("server", server::page), ("ctl", etcdctl::man::page), ("utl", etcdutl::man::page)];

/// Runs the command with the words behind its name.
pub fn run(args: &[String]) -> ExitCode {
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    let made = match words[..] {
        ["--out", dir] => date().and_then(|date| write_all(Path::new(dir), &date)).map(|()| String::new()),
        ["-h" | "--help"] => Ok(USAGE.to_owned()),
        [word] => match PAGES.iter().find(|(name, _)| *name == word) {
            Some((_, page)) => date().map(|date| page(&date).into_text()),
            None => return misused(),
        },
        _ => return misused(),
    };
    match made {
        Ok(text) => print_out(&text),
        Err(error) => {
            eprintln!("Error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn misused() -> ExitCode {
    eprint!("{USAGE}");
    ExitCode::from(2)
}

fn write_all(dir: &Path, date: &str) -> anyhow::Result<()> {
    std::fs::create_dir_all(dir).with_context(|| format!("create {}", dir.display()))?;
    for (name, page) in PAGES {
        let path = dir.join(format!("keelstone-{name}.1"));
        std::fs::write(&path, page(date).into_text()).with_context(|| format!("write {}", path.display()))?;
    }
    Ok(())
}

/// Builds that are to come out the same say when they are (<https://reproducible-builds.org/specs/source-date-epoch/>).
fn date() -> anyhow::Result<String> {
    let time = match std::env::var("SOURCE_DATE_EPOCH") {
        Ok(secs) => {
            let since = secs.parse().map(Duration::from_secs).context("SOURCE_DATE_EPOCH is no number of seconds")?;
            UNIX_EPOCH.checked_add(since).context("SOURCE_DATE_EPOCH is too late")?
        }
        Err(_) => SystemTime::now(),
    };
    let stamp = clock::timestamp(time);
    Ok(stamp.split('T').next().unwrap_or_default().to_owned())
}
