//! What a server process wrote, line by line, in memory and in a file that stays when a test fails.

use serde_json::Value;
use std::fs::OpenOptions;
use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

/// Shared with the thread that reads the process's output. Lines of all runs of one member.
#[derive(Debug, Clone)]
pub(crate) struct ServerLog {
    lines: Arc<Mutex<Vec<String>>>,
    file: PathBuf,
}

impl ServerLog {
    pub fn new(file: PathBuf) -> Self {
        Self { lines: Arc::default(), file }
    }

    pub fn file(&self) -> &Path {
        &self.file
    }

    /// Reads `output` to its end on a thread of its own, so that the process never waits for us. All that the process
    /// wrote is here once the thread has ended.
    pub fn follow(&self, output: impl Read + Send + 'static) -> JoinHandle<()> {
        let (lines, path) = (self.lines.clone(), self.file.clone());
        thread::spawn(move || {
            let mut file = OpenOptions::new().create(true).append(true).open(path).expect("open log file");
            for line in BufReader::new(output).split(b'\n') {
                let Ok(line) = line else { break };
                let line = String::from_utf8_lossy(&line).into_owned();
                writeln!(file, "{line}").expect("write log file");
                lines.lock().expect("no panic while holding log lines").push(line);
            }
        })
    }

    pub fn count(&self) -> usize {
        self.lines.lock().expect("no panic while holding log lines").len()
    }

    /// Lines from number `from` on that contain `text`.
    pub fn find(&self, from: usize, text: &str) -> Vec<String> {
        let lines = self.lines.lock().expect("no panic while holding log lines");
        lines.iter().skip(from).filter(|line| line.contains(text)).cloned().collect()
    }

    pub fn tail(&self, count: usize) -> String {
        let lines = self.lines.lock().expect("no panic while holding log lines");
        lines[lines.len().saturating_sub(count)..].join("\n")
    }

    /// Lines from number `from` on that need a human: level error or worse, and anything that looks like a crash.
    pub fn alarming(&self, from: usize) -> Vec<String> {
        let lines = self.lines.lock().expect("no panic while holding log lines");
        lines.iter().skip(from).filter(|line| is_alarming(line)).cloned().collect()
    }
}

fn is_alarming(line: &str) -> bool {
    match serde_json::from_str::<Value>(line) {
        Ok(record) => match record.get("level").and_then(Value::as_str) {
            Some(level) => matches!(level, "error" | "dpanic" | "panic" | "fatal"),
            None => false,
        },
        Err(_) => line.contains("panicked at") || line.starts_with("panic:") || line.starts_with("fatal error:"),
    }
}

#[cfg(test)]
mod tests {
    use super::is_alarming;

    #[test]
    fn errors_and_crashes_alarm_and_the_word_error_alone_does_not() {
        assert!(is_alarming(r#"{"level":"error","msg":"x"}"#));
        assert!(is_alarming(r#"{"level":"fatal","msg":"x"}"#));
        assert!(is_alarming("thread 'main' panicked at node/main.rs:1:1:"));
        assert!(!is_alarming(r#"{"level":"warn","msg":"apply request took too long","error":"context canceled"}"#));
        assert!(!is_alarming("plain text about an error"));
    }
}
