//! `utl preflight MANIFEST|FLAGS DATA-DIR`: would Keelstone start in etcd's place? Reads the flags as the server would,
//! imports a copy of the data directory into a scratch folder, and compares the HashKV of both. Ours: etcdutl has no such
//! command.

use crate::cli::default_host;
use crate::cli::exit::NOT_BUILT;
use crate::cli::progress;
use crate::config::check::SettingsError;
use crate::config::env::Env;
use crate::config::{self, LoadError, Loaded, Report, Settings, Surroundings};
use crate::server::import::{self, Imported, Places, Rehearsed};
use crate::types::{ClusterId, MemberId};
use anyhow::{Context, bail};
use serde::Deserialize;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

pub const HELP: &str = "Usage:
  keelstone utl preflight MANIFEST DATA-DIR
  keelstone utl preflight --name=m1 --listen-client-urls=... DATA-DIR

Says whether Keelstone would start in the place of an etcd: with the flags of its static pod (a manifest as kubeadm writes
it) or with those given, on its data directory. DATA-DIR is a copy of the directory of a stopped etcd; it is only read. It is
imported into DATA-DIR.preflight, which is removed again, and needs as much room as the database.

Exit codes: 0 yes; 1 no; 4 no, for something that is not built yet in Keelstone.
";

/// Flags and environment of etcd's process.
#[derive(Debug, Default, PartialEq, Eq)]
struct CommandLine {
    flags: Vec<String>,
    env: Env,
}

/// The answer: each line that led to it, and why not.
struct Refusal {
    error: anyhow::Error,
    code: u8,
}

impl From<anyhow::Error> for Refusal {
    fn from(error: anyhow::Error) -> Self {
        Self { error, code: 1 }
    }
}

/// Runs the command with the words behind its name.
pub fn run(args: &[String]) -> ExitCode {
    let (what, data_dir) = match args {
        [what @ .., data_dir] if !what.is_empty() => (what, data_dir),
        _ => {
            eprint!("{HELP}");
            return ExitCode::FAILURE;
        }
    };
    match check(what, Path::new(data_dir)) {
        Ok(()) => {
            println!("yes: Keelstone can start in the place of this etcd");
            ExitCode::SUCCESS
        }
        Err(Refusal { error, code }) => {
            println!("no: {error:#}");
            ExitCode::from(code)
        }
    }
}

fn check(what: &[String], data_dir: &Path) -> Result<(), Refusal> {
    let command_line = match what {
        [manifest] if !manifest.starts_with('-') => read_manifest(Path::new(manifest))?,
        flags => CommandLine { flags: flags.to_vec(), env: Env::new() },
    };
    let settings = settings(&command_line)?;
    println!("flags: {} are read, and Keelstone takes them", command_line.flags.len());
    check_data(&settings, data_dir)?;
    Ok(())
}

fn settings(command_line: &CommandLine) -> Result<Settings, Refusal> {
    let surroundings = Surroundings {
        env: command_line.env.clone(),
        read_file: &|path| std::fs::read_to_string(path),
        default_host: &default_host::find,
    };
    match config::load(&command_line.flags, &surroundings, &mut Report::default()) {
        Ok(Loaded::Run(settings)) => Ok(*settings),
        Ok(Loaded::Help | Loaded::Version) => Err(anyhow::anyhow!("the flags start no server").into()),
        Err(error) => {
            let is_later = matches!(&error, LoadError::Settings(SettingsError::NotBuilt { .. }));
            let code = if is_later { NOT_BUILT } else { 1 };
            Err(Refusal { error: anyhow::Error::new(error).context("flags"), code })
        }
    }
}

fn check_data(settings: &Settings, data_dir: &Path) -> anyhow::Result<()> {
    let member_dir = data_dir.join("member");
    let from = Places { wal_dir: member_dir.join("wal"), member_dir };
    if let Some(apart) = &settings.member.dedicated_wal_dir
        && !from.wal_dir.exists()
    {
        bail!("the flags keep the log in {}: copy it to {} for this check", apart.display(), from.wal_dir.display());
    }
    let scratch = Scratch::make(data_dir)?;
    let Rehearsed { imported, theirs, ours } =
        progress::shown(|on_progress| import::rehearse(&from, &scratch.dir, on_progress))?;
    print_imported(&imported);
    println!(
        "HashKV at revision {}, compacted at {}: {:08x} of etcd's database, {:08x} of what was imported",
        theirs.hash_revision, theirs.compact_revision, theirs.hash, ours.hash
    );
    if (theirs.hash, theirs.hash_revision, theirs.compact_revision)
        != (ours.hash, ours.hash_revision, ours.compact_revision)
    {
        bail!("the keys that were imported are not those of etcd's database");
    }
    scratch.remove()
}

fn print_imported(imported: &Imported) {
    let Imported { identity, applied, last, hard_state, .. } = imported;
    println!("member {} of cluster {}", MemberId(identity.node_id), ClusterId(identity.cluster_id));
    for member in &imported.members {
        let kind = if member.is_learner { ", a learner" } else { "" };
        println!("  {} {} at {}{kind}", member.id, member.name, member.peer_urls.join(","));
    }
    println!("database: revision {}, index {}", imported.revision, applied.index);
    println!(
        "log: {} entries behind the database, {} of them committed, term {}",
        last.index - applied.index,
        hard_state.commit.saturating_sub(applied.index),
        hard_state.term
    );
    if let Some(cut) = &imported.cut {
        println!("log: a torn write at its end is left out ({} at {})", cut.file.display(), cut.offset);
    }
    if !imported.dropped.is_empty() || !imported.mended.is_empty() {
        println!("members: the rows of etcd's database are not what its Raft says; what Raft says counts");
    }
}

/// A folder beside the copy, removed at the end.
struct Scratch {
    dir: PathBuf,
}

impl Scratch {
    fn make(data_dir: &Path) -> anyhow::Result<Self> {
        let mut dir = data_dir.components().as_path().as_os_str().to_owned();
        dir.push(".preflight");
        let dir = PathBuf::from(dir);
        std::fs::create_dir(&dir).with_context(|| format!("create {}", dir.display()))?;
        Ok(Self { dir })
    }

    fn remove(self) -> anyhow::Result<()> {
        std::fs::remove_dir_all(&self.dir).with_context(|| format!("remove {}", self.dir.display()))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        if self.dir.exists()
            && let Err(error) = std::fs::remove_dir_all(&self.dir)
        {
            eprintln!("{} stays: {error}", self.dir.display());
        }
    }
}

/// What of a pod is looked at.
#[derive(Deserialize)]
struct Pod {
    spec: PodSpec,
}

#[derive(Deserialize)]
struct PodSpec {
    containers: Vec<Container>,
}

#[derive(Deserialize)]
struct Container {
    #[serde(default)]
    name: String,
    #[serde(default)]
    command: Vec<String>,
    #[serde(default)]
    args: Vec<String>,
    #[serde(default)]
    env: Vec<Variable>,
}

#[derive(Deserialize)]
struct Variable {
    name: String,
    /// One that comes from elsewhere has none.
    value: Option<String>,
}

fn read_manifest(path: &Path) -> anyhow::Result<CommandLine> {
    let text = std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
    parse_manifest(&text).with_context(|| format!("manifest {}", path.display()))
}

fn parse_manifest(text: &str) -> anyhow::Result<CommandLine> {
    let pod: Pod = serde_yaml_ng::from_str(text)?;
    let containers = pod.spec.containers;
    let is_etcd = |container: &&Container| container.name == "etcd" || program(container) == Some("etcd");
    let Some(container) = containers.iter().find(is_etcd) else { bail!("no container runs etcd") };
    let flags = match container.command.split_first() {
        Some((_, flags)) if program(container) == Some("etcd") => flags,
        Some((other, _)) => bail!("its container etcd runs {other} and not etcd: give the flags of etcd instead"),
        // The image starts etcd.
        None => &[],
    };
    let mut env = Env::new();
    for Variable { name, value } in &container.env {
        match value {
            Some(value) => env.push((name.clone(), value.clone())),
            None if name.starts_with("ETCD_") => bail!("{name} comes from elsewhere: give the flags of etcd instead"),
            None => {}
        }
    }
    Ok(CommandLine { flags: flags.iter().chain(&container.args).cloned().collect(), env })
}

fn program(container: &Container) -> Option<&str> {
    Path::new(container.command.first()?).file_name()?.to_str()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn flags_are_found_in_command_and_args() {
        let of = |container: &str| parse_manifest(&format!("spec:\n  containers:\n  - {container}\n"));
        let flags = |line: &CommandLine| line.flags.join(" ");
        let line = of("{name: x, command: [/usr/local/bin/etcd, --name=a], args: [--data-dir=/d]}").expect("a pod");
        assert_eq!(flags(&line), "--name=a --data-dir=/d");
        let line =
            of("{name: etcd, args: [--name=a], env: [{name: ETCD_DATA_DIR, value: /d}, {name: P, valueFrom: {}}]}");
        let line = line.expect("a pod");
        assert_eq!(
            (flags(&line).as_str(), line.env),
            ("--name=a", vec![("ETCD_DATA_DIR".to_owned(), "/d".to_owned())])
        );
        for (container, text) in [
            ("{name: etcd, command: [sh, -c, etcd]}", "runs sh and not etcd"),
            ("{name: kube-apiserver, command: [kube-apiserver]}", "no container runs etcd"),
            ("{name: etcd, env: [{name: ETCD_NAME, valueFrom: {}}]}", "ETCD_NAME comes from elsewhere"),
        ] {
            let error = of(container).expect_err("no flags").to_string();
            assert!(error.contains(text), "{error}");
        }
    }
}
