//! `etcdctl snapshot`.

use super::failure::{Failure, INTERRUPTED, Outcome};
use super::log::Logger;
use super::tree::{Command, Group};
use super::{Call, go, offline, printer};
use crate::cli::progress;
use crate::client::{CallError, Client, Deadline, methods};
use crate::config::go_io_error;
use crate::config::value::GoDuration;
use crate::types::HumanBytes;
use keelstone_proto::etcdserverpb::SnapshotRequest;
use std::fs::{File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

pub static COMMAND: Command = Command {
    line: "snapshot <subcommand>",
    short: "Copies of the store of a member",
    group: Group::Cluster,
    children: &[&SAVE, &offline::STATUS, &offline::RESTORE],
    ..Command::PLAIN
};

static SAVE: Command = Command {
    line: "save <filename>",
    short: "Writes the store of one member to a file",
    run: Some(|call| Box::pin(save(call))),
    ..Command::PLAIN
};

/// The digest at the end of a snapshot; what is before it is whole pages.
const DIGEST: u64 = 32;
const PAGE: u64 = 512;

const LOGGER: Logger = Logger::named("client");

async fn save(call: &mut Call) -> Outcome {
    let [path] = call.words() else { return Err(Failure::args("snapshot save expects one argument <filename>")) };
    let path = PathBuf::from(path);
    let (settings, _) = call.settings().await?;
    // It takes as long as it takes, unless somebody says otherwise.
    let deadline = if call.values.is_set("command-timeout") { call.deadline() } else { None };
    let interrupted = |error: String| Failure::new(INTERRUPTED, error);
    if settings.endpoints.len() != 1 {
        let given = go::list(&settings.given());
        return Err(interrupted(format!("snapshot must be requested to one selected node, not multiple {given}")));
    }
    let client = Client::new(settings, Arc::new(LOGGER)).await;
    let client = client.map_err(|error| interrupted(error.to_string()))?;
    let mut part_path = path.clone().into_os_string();
    part_path.push(".part");
    let part_path = PathBuf::from(part_path);
    let saved = fetch(&client, &path, &part_path, deadline).await;
    match std::fs::remove_file(&part_path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            let text = format!("unlinkat {}: {}", part_path.display(), go_io_error(&error));
            Logger::unnamed().line("error", "Failed to cleanup .part file", &[("error", &text)]);
        }
        _ => {}
    }
    let version = saved.map_err(interrupted)?;
    printer::print(format!("Snapshot saved at {}\n", path.display()).as_bytes())?;
    if !version.is_empty() {
        printer::print(format!("Server version {version}\n").as_bytes())?;
    }
    Ok(())
}

/// Receives into the part file, which gets its name once it is whole and on disk. Returns the server's version.
async fn fetch(client: &Client, path: &Path, part_path: &Path, deadline: Deadline) -> Result<String, String> {
    let (log, shown) = (Logger::unnamed(), part_path.display().to_string());
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    let mut file = options
        .open(part_path)
        .map_err(|error| format!("could not open {shown} (open {shown}: {})", go_io_error(&error)))?;
    log.line("info", "created temporary db file", &[("path", &shown)]);
    let begun = Instant::now();
    let (size, version) = receive(client, &mut file, deadline).await?;
    if size % PAGE != DIGEST {
        return Err(format!("sha256 checksum not found [bytes: {size}]"));
    }
    file.sync_all().map_err(|error| format!("could not fsync snapshot: {error}"))?;
    drop(file);
    log.line(
        "info",
        "fetched snapshot",
        &[
            ("endpoint", &client.settings().given().join(",")),
            ("size", &HumanBytes(size).to_string()),
            ("took", &GoDuration::from(begun.elapsed()).to_string()),
            ("etcd-version", &version),
        ],
    );
    let name = path.display().to_string();
    std::fs::rename(part_path, path).map_err(|error| {
        let why = go_io_error(&error);
        format!("could not rename {shown} to {name} (rename {shown} {name}: {why})")
    })?;
    log.line("info", "saved", &[("path", &name)]);
    Ok(version)
}

async fn receive(client: &Client, file: &mut File, deadline: Deadline) -> Result<(u64, String), String> {
    let failed = |status| {
        let error = CallError::from_status(status, deadline);
        LOGGER.line("warn", "failed to receive from snapshot stream; closing", &[("error", &error.as_rpc())]);
        error
    };
    let opened = client.server_stream(methods::SNAPSHOT, SnapshotRequest {}, deadline).await;
    let mut stream = opened.map_err(|error| error.to_string())?;
    LOGGER.line("info", "opened snapshot stream; downloading", &[]);
    let first = stream.message().await.map_err(|status| failed(status).to_string())?;
    let endpoint = client.settings().given().join(",");
    Logger::unnamed().line("info", "fetching snapshot", &[("endpoint", &endpoint)]);
    let version = first.as_ref().map(|part| part.version.clone()).unwrap_or_default();
    let (mut size, mut next) = (0, first);
    // Only a terminal shows it.
    let bar = progress::bar();
    while let Some(part) = next {
        file.write_all(&part.blob).map_err(|error| format!("could not write snapshot: {error}"))?;
        size += part.blob.len() as u64;
        bar.set_length(size + part.remaining_bytes);
        bar.set_position(size);
        next = stream.message().await.map_err(|status| format!("could not write snapshot: {}", failed(status)))?;
    }
    bar.finish_and_clear();
    LOGGER.line("info", "completed snapshot read; closing", &[]);
    Ok((size, version))
}
