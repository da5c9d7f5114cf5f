//! `etcdctl watch`: one watch on the command line, or many that are entered one by one.

mod line;

use super::failure::{self, Failure, INTERRUPTED, INVALID_INPUT, Outcome};
use super::flags::Flag;
use super::printer::{self, Printer};
use super::tree::{Command, Group};
use super::{Call, go, txn, words};
use crate::client::{Client, News, Watches};
use keelstone_proto::etcdserverpb::ResponseHeader;
use keelstone_proto::mvccpb::Event;
use line::Line;
use std::collections::BTreeMap;
use tokio::sync::mpsc;

pub static COMMAND: Command = Command {
    line: "watch [options] [key or prefix] [range_end] [--] [exec-command arg1 arg2 ...]",
    short: "Prints changes of keys as they happen, or runs a command for each",
    group: Group::Keys,
    flags: FLAGS,
    run: Some(|call| Box::pin(run(call))),
    ..Command::PLAIN
};

const FLAGS: &[Flag] = &[
    Flag::switch("interactive", "read lines `watch ...` and `progress` from stdin").or_short('i'),
    Flag::switch("prefix", "all keys that begin so"),
    Flag::int("rev", "from this revision on (0: from now on)"),
    Flag::switch("prev-kv", "and the pairs as they were before"),
    Flag::switch("progress-notify", "and now and then that nothing happened"),
];

async fn run(call: &mut Call) -> Outcome {
    let (key, end) = (variable("ETCDCTL_WATCH_KEY"), variable("ETCDCTL_WATCH_RANGE_END"));
    if key.is_empty() && !end.is_empty() {
        let text = format!("ETCDCTL_WATCH_KEY is empty but got ETCDCTL_WATCH_RANGE_END={}", go::quote(end.as_bytes()));
        return Err(Failure::args(text));
    }
    let environment: Vec<String> = [key, end].into_iter().filter(|word| !word.is_empty()).collect();
    if call.values.switch("interactive") {
        let (client, printer) = call.client().await?;
        return interactive(&client, printer, &environment).await;
    }
    let line = Line::of_command(&call.values, &call.line, &environment).map_err(Failure::args)?;
    let (client, printer) = call.client().await?;
    let mut watches = Watches::new(&client);
    watches.create(0, line.request(&call.values).map_err(Failure::args)?).await;
    while let Some(news) = watches.next().await {
        tell(&news, printer, &line.command).await?;
    }
    Err(Failure::new(INTERRUPTED, "watch is canceled by the server"))
}

fn variable(name: &str) -> String {
    std::env::var(name).unwrap_or_default()
}

/// Lines come from a thread: reading stdin cannot be interrupted.
async fn interactive(client: &Client, printer: Printer, environment: &[String]) -> Outcome {
    let (lines, mut entered) = mpsc::channel(1);
    std::thread::spawn(move || {
        let mut is_last = false;
        while !is_last {
            let line = txn::next_line();
            is_last = line.is_err();
            if lines.blocking_send(line).is_err() {
                return;
            }
        }
    });
    let mut watches = Watches::new(client);
    let mut commands: BTreeMap<usize, Vec<String>> = BTreeMap::new();
    loop {
        tokio::select! {
            line = entered.recv() => {
                let line = line.unwrap_or_else(|| Err("EOF".to_owned())).map_err(|text| {
                    Failure::new(INVALID_INPUT, format_args!("error reading watch request line: {text}"))
                })?;
                let tag = commands.len();
                if let Some(command) = enter(&line, tag, &mut watches, environment).await? {
                    commands.insert(tag, command);
                }
            }
            Some(news) = watches.next() => {
                let none = Vec::new();
                tell(&news, printer, commands.get(&news.tag).unwrap_or(&none)).await?;
            }
        }
    }
}

/// One line. Returns the command of a watch that it began.
async fn enter(
    line: &str,
    tag: usize,
    watches: &mut Watches,
    environment: &[String],
) -> Result<Option<Vec<String>>, Failure> {
    let words = words::split(line)?;
    match words.split_first() {
        None => eprintln!("Invalid command: {line} (watch and progress supported)"),
        Some((first, rest)) if first == "watch" => {
            if rest.is_empty() && environment.is_empty() {
                eprintln!("Invalid command {line} (command type or key is not provided)");
                return Ok(None);
            }
            let (parsed, values) = Line::entered(rest, environment).map_err(Failure::args)?;
            match parsed.request(&values) {
                Ok(request) => {
                    watches.create(tag, request).await;
                    return Ok(Some(parsed.command));
                }
                Err(text) => eprintln!("Invalid command {line} ({text})"),
            }
        }
        Some((first, _)) if first == "progress" => watches.ask_progress().await.map_err(Failure::error)?,
        Some(_) => eprintln!("Invalid command {line} (only support watch)"),
    }
    Ok(None)
}

/// Prints what happened, and runs the command for each event.
async fn tell(news: &News, printer: Printer, command: &[String]) -> Outcome {
    if let Some(text) = &news.error {
        eprintln!("watch was canceled ({text})");
    }
    let watched = &news.watched;
    let header = watched.header.unwrap_or_default();
    if watched.is_progress() {
        printer::print(format!("progress notify: {}\n", header.revision).as_bytes())?;
    }
    printer.show(watched)?;
    if !command.is_empty() {
        for event in &watched.events {
            execute(command, header, event).await?;
        }
    }
    Ok(())
}

async fn execute(command: &[String], header: ResponseHeader, event: &Event) -> Outcome {
    let pair = event.kv.clone().unwrap_or_default();
    let mut process = std::process::Command::new(&command[0]);
    process.args(&command[1..]);
    process.env("ETCD_WATCH_REVISION", header.revision.to_string());
    process.env("ETCD_WATCH_EVENT_TYPE", go::quote(printer::type_of(event).as_bytes()));
    process.env("ETCD_WATCH_KEY", go::quote(&pair.key)).env("ETCD_WATCH_VALUE", go::quote(&pair.value));
    process.stdin(std::process::Stdio::null());
    if let Err((text, _)) = super::lock::run_to_its_end(process).await {
        let quoted: Vec<String> = command.iter().map(|word| go::quote(word.as_bytes())).collect();
        eprintln!("command {} error ({text})", go::list(&quoted));
        return Err(Failure::silent(failure::ERROR));
    }
    Ok(())
}
