//! `keelstone ctl backup`, which etcdctl does not have: backups that members make by themselves. With `--backup-dir` what
//! needs no member is done here, on the files (`crate::server::backups::files`).

mod print;

use super::connection;
use super::failure::{self, Failure, Outcome};
use super::flags::Flag;
use super::tree::{Command, Group};
use super::{Call, go};
use crate::backup::archive::{Forget, ForgetError, Manifest, NoChain, Unknown, Unreadable};
use crate::cli::exit;
use crate::client::{CallError, Deadline, Method, methods};
use crate::config::backup::{Retention, RetentionError, UrlError};
use crate::server::backups::files::{self, Place};
use keelstone_proto::keelstonepb as pb;
use print::{Drill, Forgotten, Listing, Rhythm, Shown, Verdict};
use prost::Message;
use std::path::Path;
use std::time::Instant;
use tonic::Code;

const DIRECTORY: &[Flag] =
    &[Flag::text("backup-dir", "work on the backups there, as in file:///var/backups, without asking a member")];

pub static COMMAND: Command = Command {
    line: "backup <subcommand>",
    short: "Backups that members make by themselves (Keelstone's own)",
    long: "Backups that members make by themselves (--backup-dir and --backup-schedule of the server). What needs no member is
done on the files if --backup-dir is given here.

Exit codes: 0 done, 1 error, 2 usage, 3 a verification or drill failed, 4 not found, 5 done in part, 75 try again.
",
    group: Group::Cluster,
    persistent: DIRECTORY,
    children: &[&NOW, &LIST, &SHOW, &VERIFY, &FORGET, &COPY, &EXPORT, &SCHEDULE, &DRILL],
    ..Command::PLAIN
};

static NOW: Command = Command {
    line: "now",
    short: "Makes a full backup on the member that is asked, and verifies it",
    run: Some(|call| Box::pin(now(call))),
    ..Command::PLAIN
};

static LIST: Command = Command {
    line: "list",
    short: "Prints all backups: full ones, and segments of the log",
    run: Some(|call| Box::pin(list(call))),
    ..Command::PLAIN
};

static SHOW: Command = Command {
    line: "show <name>",
    short: "Prints all that is known of one backup",
    run: Some(|call| Box::pin(show(call))),
    ..Command::PLAIN
};

static VERIFY: Command = Command {
    line: "verify [name...]",
    short: "Reads backups back, whole, and compares them with their manifests",
    run: Some(|call| Box::pin(verify(call))),
    ..Command::PLAIN
};

static FORGET: Command = Command {
    line: "forget [options] [name...]",
    short: "Deletes the named backups, or those that a retention does not keep",
    long: "Deletes the named backups, or those that a retention does not keep. The last full backup that can be read back whole
stays in any case.
",
    flags: &[
        Flag::text("retention", "rules as of --backup-retention, whose value holds if this is not given"),
        Flag::switch("dry-run", "only tell what would be deleted"),
    ],
    run: Some(|call| Box::pin(forget(call))),
    ..Command::PLAIN
};

static COPY: Command = Command {
    line: "copy [options] [name...]",
    short: "Copies the named backups, or all, from --backup-dir to another place and verifies them there",
    flags: &[Flag::text("to", "where to copy to, as in file:///mnt/backups")],
    run: Some(|call| Box::pin(copy(call))),
    ..Command::PLAIN
};

static EXPORT: Command = Command {
    line: "export [options] <filename>",
    short: "Makes a snapshot file of any revision kept in --backup-dir, for `snapshot restore`",
    flags: &[Flag::int("revision", "the last revision that the file is to hold (0: the newest)")],
    run: Some(|call| Box::pin(async { export(call) })),
    ..Command::PLAIN
};

static SCHEDULE: Command = Command {
    line: "schedule",
    short: "Prints when the member that is asked makes backups, where, and how the last went",
    run: Some(|call| Box::pin(schedule(call))),
    ..Command::PLAIN
};

static DRILL: Command = Command {
    line: "drill",
    short: "Restores the newest backup with its segments into a scratch file and compares hashes",
    run: Some(|call| Box::pin(drill(call))),
    ..Command::PLAIN
};

/// Whether a mistake in its line ends with our own exit code.
pub fn is_own(path: &str) -> bool {
    path.starts_with("etcdctl backup")
}

fn usage(text: impl std::fmt::Display) -> Failure {
    Failure::new(exit::USAGE, text)
}

/// The code that tells a script what kind of error it is.
fn failed(error: anyhow::Error) -> Failure {
    let is_lost = |unreadable: &Unreadable| matches!(unreadable, Unreadable::Read(_));
    let code = if files::is_damage(&error) || error.downcast_ref().is_some_and(|error| !is_lost(error)) {
        exit::VERIFICATION_FAILED
    } else if error.is::<Unknown>() || error.is::<NoChain>() {
        exit::NOT_FOUND
    } else if error.is::<UrlError>() || error.is::<RetentionError>() {
        exit::USAGE
    } else {
        failure::ERROR
    };
    Failure::new(code, format_args!("{error:#}"))
}

fn refused(error: CallError) -> Failure {
    let code = match error.code() {
        Code::NotFound => exit::NOT_FOUND,
        Code::InvalidArgument => exit::USAGE,
        Code::Unavailable | Code::DeadlineExceeded => exit::RETRYABLE,
        _ => failure::ERROR,
    };
    Failure::new(code, error.text())
}

fn directory(call: &Call) -> Option<&str> {
    Some(call.values.text("backup-dir")).filter(|url| !url.is_empty())
}

fn place(url: &str) -> Result<Place, Failure> {
    Place::read(url).map_err(failed)
}

fn no_words(call: &Call) -> Outcome {
    match call.words() {
        [] => Ok(()),
        words => Err(usage(format_args!("{} takes no arguments, got {}", call.command.path(), go::list(words)))),
    }
}

/// A backup takes as long as it takes, unless somebody says otherwise.
fn patient(call: &Call) -> Deadline {
    if call.values.is_set("command-timeout") { call.deadline() } else { None }
}

/// Asks a member.
async fn ask<Q, A>(call: &mut Call, method: Method<Q, A>, request: Q, deadline: Deadline) -> Result<A, Failure>
where
    Q: Message + Clone + 'static,
    A: Message + Default + 'static,
{
    let (settings, _) = call.settings().await?;
    let client = connection::open(settings).await?;
    client.call(method, request, deadline).await.map_err(refused)
}

fn parse(manifest: &[u8]) -> Result<Manifest, Failure> {
    Manifest::sent(manifest).map_err(Failure::error)
}

/// Those of the destination, or those that a member lists.
async fn listing(call: &mut Call) -> Result<Listing, Failure> {
    if let Some(url) = directory(call) {
        let Place { catalogue, .. } = place(url)?;
        let damaged = catalogue.damaged.iter().map(|damaged| (damaged.name.clone(), damaged.why.to_string())).collect();
        return Ok(Listing { backups: catalogue.all().cloned().collect(), damaged });
    }
    let deadline = call.deadline();
    let response = ask(call, methods::BACKUP_LIST, pb::ListRequest {}, deadline).await?;
    let backups = response.manifests.iter().map(|manifest| parse(manifest)).collect::<Result<_, _>>()?;
    Ok(Listing { backups, damaged: pairs(response.damaged) })
}

fn pairs(damaged: Vec<pb::Damaged>) -> Vec<(String, String)> {
    damaged.into_iter().map(|damaged| (damaged.name, damaged.why)).collect()
}

async fn now(call: &mut Call) -> Outcome {
    no_words(call)?;
    let (_, printer) = call.settings().await?;
    let deadline = patient(call);
    let response = ask(call, methods::BACKUP_NOW, pb::NowRequest {}, deadline).await?;
    printer.show(&Shown(parse(&response.manifest)?))
}

async fn list(call: &mut Call) -> Outcome {
    no_words(call)?;
    let (_, printer) = call.settings().await?;
    printer.show(&listing(call).await?)
}

async fn show(call: &mut Call) -> Outcome {
    let [name] = call.words() else { return Err(usage("backup show takes the name of one backup")) };
    let name = name.clone();
    let (_, printer) = call.settings().await?;
    let Listing { backups, damaged } = listing(call).await?;
    if let Some(backup) = backups.into_iter().find(|backup| backup.name == name) {
        return printer.show(&Shown(backup));
    }
    match damaged.into_iter().find(|(damaged, _)| *damaged == name) {
        Some((_, why)) => Err(Failure::new(exit::VERIFICATION_FAILED, why)),
        None => Err(Failure::new(exit::NOT_FOUND, format_args!("there is no backup {name:?}"))),
    }
}

async fn verify(call: &mut Call) -> Outcome {
    let names = call.words().to_vec();
    let (_, printer) = call.settings().await?;
    let verdict = if let Some(url) = directory(call) {
        let place = place(url)?;
        let backups = place.catalogue.named(&names).map_err(|error| failed(error.into()))?;
        let (sound, damaged) = place.verify(&backups);
        let mut damaged: Vec<_> = damaged.into_iter().map(|(name, why)| (name, why.to_string())).collect();
        if names.is_empty() {
            let unreadable = place.catalogue.damaged.iter();
            damaged.extend(unreadable.map(|damaged| (damaged.name.clone(), damaged.why.to_string())));
        }
        Verdict { sound, damaged }
    } else {
        let deadline = patient(call);
        let response = ask(call, methods::BACKUP_VERIFY, pb::VerifyRequest { names }, deadline).await?;
        Verdict { sound: response.sound, damaged: pairs(response.damaged) }
    };
    printer.show(&verdict)?;
    if verdict.damaged.is_empty() { Ok(()) } else { Err(Failure::silent(exit::VERIFICATION_FAILED)) }
}

async fn forget(call: &mut Call) -> Outcome {
    let names = call.words().to_vec();
    let (_, printer) = call.settings().await?;
    let (retention, dry_run) = (call.values.text("retention").to_owned(), call.values.switch("dry-run"));
    if !names.is_empty() && !retention.is_empty() {
        return Err(usage("either names or --retention"));
    }
    let names = if let Some(url) = directory(call) {
        if names.is_empty() && retention.is_empty() {
            return Err(usage("backup forget takes names or a --retention with --backup-dir"));
        }
        let place = place(url)?;
        let unwanted = if names.is_empty() {
            place.expired(&Retention::parse(&retention).map_err(usage)?)
        } else {
            place.catalogue.named(&names).map_err(|error| failed(error.into()))?
        };
        let what = if dry_run { Forget::DryRun } else { Forget::ForGood };
        place.forget(&unwanted, what).map_err(|error: ForgetError| failed(error.into()))?;
        unwanted.into_iter().map(|backup| backup.name).collect()
    } else {
        let deadline = patient(call);
        let request = pb::ForgetRequest { names, retention, dry_run };
        ask(call, methods::BACKUP_FORGET, request, deadline).await?.names
    };
    printer.show(&Forgotten { names, dry_run })
}

async fn copy(call: &mut Call) -> Outcome {
    let (_, printer) = call.settings().await?;
    let to = call.values.text("to").to_owned();
    let Some(url) = directory(call).filter(|_| !to.is_empty()) else {
        return Err(usage("backup copy needs --backup-dir and --to"));
    };
    let place = place(url)?;
    let backups = place.catalogue.named(call.words()).map_err(|error| failed(error.into()))?;
    let target = files::target(&to).map_err(failed)?;
    let mut verdict = Verdict::default();
    for backup in backups {
        match place.copy(&backup, &target) {
            Ok(_) => verdict.sound.push(backup.name),
            Err(error) => verdict.damaged.push((backup.name, format!("{error:#}"))),
        }
    }
    printer.show(&verdict)?;
    match (verdict.sound.is_empty(), verdict.damaged.is_empty()) {
        (_, true) => Ok(()),
        (false, false) => Err(Failure::silent(exit::PARTIAL)),
        (true, false) => Err(Failure::silent(failure::ERROR)),
    }
}

fn export(call: &mut Call) -> Outcome {
    let [path] = call.words() else { return Err(usage("backup export takes the name of the file to write")) };
    let Some(url) = directory(call) else { return Err(usage("backup export needs --backup-dir")) };
    let revision = Some(call.values.int("revision")).filter(|revision| *revision != 0);
    let revision = place(url)?.export(revision, Path::new(path)).map_err(failed)?;
    super::printer::print(format!("Revision {revision} saved at {path}\n").as_bytes())
}

async fn schedule(call: &mut Call) -> Outcome {
    no_words(call)?;
    let (_, printer) = call.settings().await?;
    let deadline = call.deadline();
    let response = ask(call, methods::BACKUP_SCHEDULE, pb::ScheduleRequest {}, deadline).await?;
    printer.show(&Rhythm(response))
}

async fn drill(call: &mut Call) -> Outcome {
    no_words(call)?;
    let (_, printer) = call.settings().await?;
    let drill = if let Some(url) = directory(call) {
        let place = place(url)?;
        let chain = place.catalogue.chain_to(None).map_err(|error| failed(error.into()))?;
        let mut drill =
            Drill { full: chain.full.name.clone(), segments: chain.segments.len() as u64, ..Drill::default() };
        let (began, beside) = (Instant::now(), std::env::temp_dir().join("keelstone-drill"));
        let rehearsed = place.restored(&chain, None, &beside, |state| {
            (drill.entries, drill.revision, drill.hashes) = (state.entries, state.state.at.revision, state.hashes);
            Ok(())
        });
        match rehearsed {
            Err(error) if !files::is_damage(&error) => return Err(failed(error)),
            rehearsed => drill.failure = rehearsed.err().map(|error| format!("{error:#}")),
        }
        drill.millis = u64::try_from(began.elapsed().as_millis()).unwrap_or(u64::MAX);
        drill
    } else {
        let deadline = patient(call);
        Drill::of(ask(call, methods::BACKUP_DRILL, pb::DrillRequest {}, deadline).await?)
    };
    printer.show(&drill)?;
    if drill.failure.is_none() { Ok(()) } else { Err(Failure::silent(exit::VERIFICATION_FAILED)) }
}
