//! One server process and what can be done to it. The member outlives its processes: it can be killed
//! and started again on the same data.

use crate::server_log::ServerLog;
use crate::{Client, Server, janitor, wait};
use rustix::process::{Pid, Signal, kill_process};
use std::ffi::{OsStr, OsString};
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus, Stdio};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// With both lines a start is over: etcd writes them in any order, and does not catch signals before the second.
const READY_TEXTS: [&str; 2] = ["ready to serve client requests", "successfully notified init daemon"];
const READY_LIMIT: Duration = Duration::from_secs(30);
const EXIT_LIMIT: Duration = Duration::from_secs(30);

/// How a process ended, and how long after it was asked to.
#[derive(Debug)]
pub struct Exit {
    pub status: ExitStatus,
    pub took: Duration,
}

/// A member of a cluster, running or not.
#[derive(Debug)]
pub struct Member {
    pub name: String,
    pub client_port: u16,
    server: Server,
    args: Vec<String>,
    /// Set for its processes beside what they need.
    variables: Vec<(String, OsString)>,
    folder: PathBuf,
    log: ServerLog,
    process: Option<Child>,
    /// Of its output; they end with the process.
    readers: Vec<JoinHandle<()>>,
    /// Where the log of the current process begins.
    log_start: usize,
    /// Where the log of this program begins: what another one said before is not held against it.
    judged_from: usize,
    /// Texts of error lines that the test provokes.
    expected_errors: Vec<String>,
    paused: bool,
}

impl Member {
    /// `args` are all flags but `--name` and `--data-dir`.
    pub(crate) fn new(server: &Server, folder: PathBuf, name: &str, client_port: u16, args: Vec<String>) -> Self {
        Self {
            name: name.to_owned(),
            client_port,
            server: server.clone(),
            args,
            variables: Vec::new(),
            log: ServerLog::new(folder.join(format!("{name}.log"))),
            folder,
            process: None,
            readers: Vec::new(),
            log_start: 0,
            judged_from: 0,
            expected_errors: Vec::new(),
            paused: false,
        }
    }

    pub fn data_dir(&self) -> PathBuf {
        self.folder.join(format!("{}.etcd", self.name))
    }

    pub fn log_file(&self) -> &Path {
        self.log.file()
    }

    pub fn endpoint(&self) -> String {
        format!("http://127.0.0.1:{}", self.client_port)
    }

    pub fn client(&self) -> Client {
        Client::new(&self.endpoint())
    }

    /// Process id while it runs.
    pub fn pid(&self) -> Option<u32> {
        self.process.as_ref().map(Child::id)
    }

    pub fn is_running(&self) -> bool {
        self.process.is_some()
    }

    pub fn is_paused(&self) -> bool {
        self.paused
    }

    /// Sets a variable of the environment for the processes to come.
    pub fn set_variable(&mut self, name: &str, value: &OsStr) {
        self.variables.retain(|(known, _)| known != name);
        self.variables.push((name.to_owned(), value.to_owned()));
    }

    /// From now on its processes are of another program, on the same data.
    pub(crate) fn set_server(&mut self, server: &Server) {
        self.server = server.clone();
        self.judged_from = self.log.count();
    }

    /// Flags for every start from now on; the last one of a name wins.
    pub fn add_flags(&mut self, flags: &[&str]) {
        self.args.extend(flags.iter().map(|&flag| flag.to_owned()));
    }

    /// Starts the process; [`Self::ready`] waits until it serves.
    pub fn start(&mut self) {
        self.start_with(&[]);
    }

    /// As [`Self::start`], with more flags this time; the last one of a name wins.
    pub fn start_with(&mut self, more: &[&str]) {
        assert!(self.process.is_none(), "{} runs already", self.name);
        self.log_start = self.log.count();
        let mut command = self.server.command();
        command.arg("--name").arg(&self.name).arg("--data-dir").arg(self.data_dir()).args(&self.args).args(more);
        command.env_clear().envs(std::env::var_os("PATH").map(|path| ("PATH", path)));
        let is_kept = |name: &str| name.starts_with("RUST_") || name == "KEELSTONE_DEFECT";
        command.envs(std::env::vars_os().filter(|(name, _)| is_kept(&name.to_string_lossy())));
        command.envs(self.variables.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let mut child = command.spawn().unwrap_or_else(|error| panic!("start {command:?}: {error}"));
        janitor::started(child.id());
        self.readers.push(self.log.follow(child.stdout.take().expect("stdout is a pipe")));
        self.readers.push(self.log.follow(child.stderr.take().expect("stderr is a pipe")));
        self.process = Some(child);
    }

    /// Waits for the lines with which etcd says that it serves.
    pub async fn ready(&mut self) {
        self.ready_within(READY_LIMIT).await;
    }

    /// As [`Self::ready`]; returns how long it took from this call on.
    pub async fn ready_within(&mut self, limit: Duration) -> Duration {
        let begun = Instant::now();
        let what = format!("{} to print {READY_TEXTS:?}, see {}", self.name, self.log.file().display());
        wait::until_true(&what, limit, || {
            if let Some(status) = self.process.as_mut().and_then(|child| child.try_wait().expect("ask for the exit")) {
                panic!("{} ended with {status} before it was ready:\n{}", self.name, self.log.tail(20));
            }
            self.has_started()
        })
        .await;
        begun.elapsed()
    }

    /// True once the current process has printed that it serves.
    pub fn is_ready(&self) -> bool {
        self.is_running() && self.has_started()
    }

    fn has_started(&self) -> bool {
        READY_TEXTS.iter().all(|text| !self.log.find(self.log_start, text).is_empty())
    }

    /// SIGKILL, and waits until the process is gone.
    pub fn kill(&mut self) {
        if let Some(mut child) = self.process.take() {
            janitor::ended(child.id());
            child.kill().expect("send SIGKILL");
            child.wait().expect("wait for the killed process");
            self.read_to_the_end();
            self.paused = false;
        }
    }

    /// SIGSTOP.
    pub fn pause(&mut self) {
        self.signal(Signal::STOP);
        self.paused = true;
    }

    /// SIGCONT.
    pub fn resume(&mut self) {
        self.signal(Signal::CONT);
        self.paused = false;
    }

    /// SIGTERM, and waits for the exit and for all that was logged.
    pub async fn terminate(&mut self) -> Exit {
        self.signal(Signal::TERM);
        self.wait_for_exit().await
    }

    /// Waits until the process ends by itself.
    pub async fn wait_for_exit(&mut self) -> Exit {
        let begun = Instant::now();
        let mut child = self.process.take().expect("a running process");
        let pid = child.id();
        let what = format!("{} to exit", self.name);
        let status = wait::until(&what, EXIT_LIMIT, || {
            let status = child.try_wait().expect("ask for the exit");
            async move { status }
        })
        .await;
        janitor::ended(pid);
        let took = begun.elapsed();
        self.read_to_the_end();
        Exit { status, took }
    }

    /// The process has ended: what it wrote last may be on its way still.
    fn read_to_the_end(&mut self) {
        for reader in self.readers.drain(..) {
            reader.join().expect("reading a log does not panic");
        }
    }

    /// Starts again on the same data and waits until it serves.
    pub async fn restart(&mut self) {
        self.start();
        self.ready().await;
    }

    /// Log lines of all runs that contain `text`.
    pub fn log_lines(&self, text: &str) -> Vec<String> {
        self.log.find(0, text)
    }

    /// Error lines that contain `text` are what this test provokes.
    pub fn expect_errors(&mut self, text: &str) {
        self.expected_errors.push(text.to_owned());
    }

    /// Error lines and crashes in the log that the test did not ask for.
    pub fn unexpected_errors(&self) -> Vec<String> {
        let mut lines = self.log.alarming(self.judged_from);
        lines.retain(|line| !self.expected_errors.iter().any(|text| line.contains(text)));
        lines
    }

    fn signal(&self, signal: Signal) {
        let pid = self.pid().and_then(|pid| Pid::from_raw(pid.cast_signed())).expect("a running process");
        kill_process(pid, signal).expect("send a signal to our own process");
    }
}

impl Drop for Member {
    fn drop(&mut self) {
        self.kill();
        if std::thread::panicking() {
            janitor::keep_folders();
            eprintln!("log of {} kept: {}", self.name, self.log.file().display());
        }
    }
}
