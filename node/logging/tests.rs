//! Lines as they come out.

use super::*;
use crate::config::value::GoDuration;
use crate::config::{LogFormat, LogOutput};
use serde_json::Value;
use std::time::Duration;
use tracing::{debug, error, info, info_span, warn};

/// The lines that `say` writes with this format and level.
fn lines(format: LogFormat, level: LogLevel, say: impl FnOnce()) -> Vec<String> {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("log");
    let log = Log { level, format, outputs: vec![LogOutput::File(path.clone())], rotation: None, audit: None };
    let logger = writer::start(&log.outputs, None).unwrap();
    let subscriber = tracing_subscriber::registry().with(layer(&log, logger.clone()));
    tracing::subscriber::with_default(subscriber, say);
    logger.flush();
    std::fs::read_to_string(path).unwrap().lines().map(str::to_owned).collect()
}

fn json(say: impl FnOnce()) -> Value {
    let lines = lines(LogFormat::Json, LogLevel::Info, say);
    assert_eq!(lines.len(), 1, "{lines:?}");
    serde_json::from_str(&lines[0]).unwrap()
}

#[test]
fn a_line_has_etcds_keys_in_etcds_order() {
    let args = Strings::new(["etcd", "--name=\"x\""]);
    let took = GoDuration::from(Duration::from_micros(101_200));
    let lines = lines(LogFormat::Json, LogLevel::Info, || {
        info!("local-member-id" = %crate::types::MemberId(0xab), count = 3, ok = true, args = args.field(), took = %took, "Running: ");
    });
    let (head, rest) = lines[0].split_once("\"caller\":\"logging/tests.rs:").unwrap();
    assert!(head.starts_with("{\"level\":\"info\",\"ts\":\"20") && head.ends_with("Z\","), "{head}");
    let (_, rest) = rest.split_once('"').unwrap();
    assert_eq!(
        rest,
        ",\"msg\":\"Running: \",\"local-member-id\":\"ab\",\"count\":3,\"ok\":true,\
         \"args\":[\"etcd\",\"--name=\\\"x\\\"\"],\"took\":\"101.2ms\"}"
    );
}

#[test]
fn a_console_line_is_separated_by_tabs() {
    let lines = lines(LogFormat::Console, LogLevel::Info, || {
        warn!(key = "a b", "what\nhappened");
        info!("bare");
    });
    let columns: Vec<_> = lines[0].split('\t').collect();
    assert_eq!((columns[1], columns[3], columns[4]), ("warn", "what\\nhappened", "{\"key\": \"a b\"}"));
    assert_eq!(lines[1].split('\t').count(), 4);
}

#[test]
fn a_client_cannot_forge_a_line_or_a_field() {
    let evil = "x\",\"level\":\"fatal\"}\n{\"level\":\"error\",\"msg\":\"forged\u{0}\u{7f}";
    let line = json(|| info!(key = evil, shown = %evil, debug = ?evil.as_bytes(), "got {evil}"));
    assert_eq!((line["level"].as_str(), line["key"].as_str()), (Some("info"), Some(evil)));
    assert_eq!(line["shown"].as_str(), Some(evil));
    assert_eq!(line["msg"].as_str(), Some(format!("got {evil}").as_str()));
}

#[test]
fn spans_give_their_fields_to_lines_within() {
    let line = json(|| {
        let outer = info_span!("request", remote = "10.0.0.1:5", size = tracing::field::Empty);
        outer.record("size", 7_u64);
        let _entered = outer.enter();
        info!(own = 1, "inside");
    });
    assert_eq!(
        (line["own"].as_i64(), line["remote"].as_str(), line["size"].as_i64()),
        (Some(1), Some("10.0.0.1:5"), Some(7))
    );
}

#[test]
fn levels_select_and_fatal_always_passes() {
    let say = || {
        debug!("d");
        info!("i");
        warn!("w");
        error!("e");
        crate::fatal!(error = "why", "f");
    };
    for (level, heard) in [
        (LogLevel::Debug, &["d", "i", "w", "e", "f"][..]),
        (LogLevel::Info, &["i", "w", "e", "f"]),
        (LogLevel::Warn, &["w", "e", "f"]),
        (LogLevel::Error, &["e", "f"]),
        (LogLevel::Fatal, &["f"]),
    ] {
        let messages: Vec<_> = lines(LogFormat::Json, level, say)
            .iter()
            .map(|line| serde_json::from_str::<Value>(line).unwrap()["msg"].as_str().unwrap().to_owned())
            .collect();
        assert_eq!(messages, heard, "{level:?}");
    }
}

#[test]
fn a_librarys_error_is_a_warning_and_its_info_is_not_heard() {
    let line = json(|| {
        error!(target: "openraft::core", "no vote");
        info!(target: "openraft::core", "chatter");
    });
    assert_eq!((line["level"].as_str(), line["msg"].as_str()), (Some("warn"), Some("no vote")));
}

#[test]
fn an_output_that_cannot_be_opened_is_named_as_by_zap() {
    let error = writer::start(&[LogOutput::File("/nope/x".into())], None).unwrap_err();
    assert_eq!(error.to_string(), "open sink \"/nope/x\": open /nope/x: no such file or directory");
}

#[test]
fn lines_that_the_output_does_not_take_are_dropped_and_counted() {
    // A pipe that nobody reads, through a FIFO, stands for an output that stands still.
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("fifo");
    assert!(std::process::Command::new("mkfifo").arg(&path).status().unwrap().success());
    let reader = std::fs::OpenOptions::new().read(true).write(true).open(&path).unwrap();
    let logger = writer::start(&[LogOutput::File(path.clone())], None).unwrap();
    let began = std::time::Instant::now();
    for _ in 0..20_000 {
        logger.write("x".repeat(100));
    }
    assert!(began.elapsed() < Duration::from_secs(5), "callers do not wait");
    // Reading lets the rest out, and the loss is told.
    let (told, heard) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        use std::io::{BufRead, BufReader};
        for line in BufReader::new(reader).lines() {
            let line = line.unwrap();
            if line.contains("log lines were lost") {
                told.send(line).unwrap();
                return;
            }
        }
    });
    logger.flush();
    logger.write("one more".to_owned());
    let line = heard.recv_timeout(Duration::from_secs(20)).unwrap();
    let line: Value = serde_json::from_str(&line).unwrap();
    assert!(line["dropped-lines"].as_u64().unwrap() > 0);
}
