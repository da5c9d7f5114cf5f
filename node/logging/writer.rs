//! The thread that writes lines, and the queue before it. Invariant: whoever logs never waits for an output, but
//! for a fatal line, which waits a bounded time.

use super::format::{self, Fields, Head};
use super::rotating::RotatingFile;
use crate::config::{LogFormat, LogOutput, Rotation};
use std::fs::{File, OpenOptions};
use std::io::{self, Write};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, sync_channel};
use std::time::{Duration, SystemTime};

/// Lines that may wait.
const QUEUE_LINES: usize = 8192;
/// How long a flush waits for an output that does not take lines.
const FLUSH_TIMEOUT: Duration = Duration::from_secs(1);

/// An output cannot be opened; the text is zap's.
#[derive(Debug, thiserror::Error)]
#[error("open sink {path:?}: open {path}: {}", lower_case(.source))]
pub struct OutputError {
    path: String,
    source: io::Error,
}

fn lower_case(error: &io::Error) -> String {
    let text = error.to_string();
    text.split(" (os error").next().unwrap_or_default().to_lowercase()
}

enum Job {
    Line(String),
    Flush(SyncSender<()>),
}

/// The way to the writer; clones share it.
#[derive(Clone, Debug)]
pub struct Logger {
    jobs: SyncSender<Job>,
    dropped: Arc<AtomicU64>,
}

impl Logger {
    /// Queues a line, or counts it as dropped.
    pub(super) fn write(&self, line: String) {
        if self.jobs.try_send(Job::Line(line)).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Waits until what was logged before is out, at most a second. Call it before the process ends.
    pub fn flush(&self) {
        let (done, out) = sync_channel(1);
        let until = std::time::Instant::now() + FLUSH_TIMEOUT;
        let mut job = Job::Flush(done);
        // The queue may be full; its head moves unless the output stands still.
        while let Err(refused) = self.jobs.try_send(job) {
            job = match refused {
                std::sync::mpsc::TrySendError::Full(job) if std::time::Instant::now() < until => job,
                _ => return,
            };
            std::thread::sleep(Duration::from_millis(1));
        }
        // An error here is the time limit or a writer that is gone: nothing more can be done for these lines.
        if out.recv_timeout(FLUSH_TIMEOUT).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

enum Output {
    Stderr,
    Stdout,
    File(File),
    Rotating(RotatingFile),
}

impl Output {
    fn open(output: &LogOutput, rotation: Option<Rotation>) -> Result<Output, OutputError> {
        let path = match output {
            LogOutput::Stderr => return Ok(Output::Stderr),
            LogOutput::Stdout => return Ok(Output::Stdout),
            LogOutput::File(path) => path,
        };
        let opened = match rotation {
            Some(rules) => RotatingFile::open(path, rules).map(Output::Rotating),
            None => OpenOptions::new().append(true).create(true).open(path).map(Output::File),
        };
        opened.map_err(|source| OutputError { path: path.display().to_string(), source })
    }

    fn write(&mut self, lines: &[u8]) -> io::Result<()> {
        match self {
            Output::Stderr => io::stderr().lock().write_all(lines),
            Output::Stdout => {
                let mut stdout = io::stdout().lock();
                stdout.write_all(lines)?;
                stdout.flush()
            }
            Output::File(file) => file.write_all(lines),
            Output::Rotating(file) => file.write(lines),
        }
    }
}

/// Opens the outputs and starts the thread, which ends when the last [`Logger`] is dropped.
pub fn start(outputs: &[LogOutput], rotation: Option<Rotation>) -> Result<Logger, OutputError> {
    let outputs = outputs.iter().map(|output| Output::open(output, rotation)).collect::<Result<Vec<_>, _>>()?;
    let (jobs, queue) = sync_channel(QUEUE_LINES);
    let dropped = Arc::new(AtomicU64::new(0));
    let lost = Arc::clone(&dropped);
    let spawned = std::thread::Builder::new().name("log".to_owned()).spawn(move || run(outputs, &queue, &lost));
    spawned.expect("a process that cannot start a thread cannot run");
    Ok(Logger { jobs, dropped })
}

/// Takes what is queued, writes it in one call an output, and so on.
fn run(mut outputs: Vec<Output>, queue: &Receiver<Job>, dropped: &AtomicU64) {
    let mut lines = Vec::new();
    let mut failed_writes: u64 = 0;
    while let Ok(first) = queue.recv() {
        let mut flushes = Vec::new();
        let mut next = Ok(first);
        loop {
            match next {
                Ok(Job::Line(line)) => {
                    lines.extend_from_slice(line.as_bytes());
                    lines.push(b'\n');
                }
                Ok(Job::Flush(done)) => flushes.push(done),
                Err(TryRecvError::Empty | TryRecvError::Disconnected) => break,
            }
            if lines.len() >= 64 * 1024 {
                break;
            }
            next = queue.try_recv();
        }
        let lost = dropped.swap(0, Ordering::Relaxed);
        if lost + failed_writes > 0 {
            lines.extend_from_slice(loss_line(lost, failed_writes).as_bytes());
            failed_writes = 0;
        }
        for output in &mut outputs {
            // There is nowhere to report a log that cannot be written but the log, once it can be again.
            if output.write(&lines).is_err() {
                failed_writes += 1;
            }
        }
        lines.clear();
        for done in flushes {
            // Whoever waited may have given up.
            done.send(()).unwrap_or_default();
        }
    }
}

fn loss_line(dropped_lines: u64, failed_writes: u64) -> String {
    let mut fields = Fields::new(LogFormat::Json);
    fields.message.push_str("log lines were lost; the output is too slow or failing");
    fields.members = format!(",\"dropped-lines\":{dropped_lines},\"failed-writes\":{failed_writes}");
    let head = Head { level: "warn", time: SystemTime::now(), file: file!(), line: line!() };
    format::line(LogFormat::Json, &head, &fields) + "\n"
}
