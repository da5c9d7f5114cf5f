//! Running a server and reading what it says.

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

const DEADLINE: Duration = Duration::from_secs(60);

/// A server binary.
#[derive(Debug)]
pub struct Program {
    pub name: &'static str,
    pub path: PathBuf,
    /// The word that makes it a server.
    pub first: Option<&'static str>,
}

/// How a process ended and what it said.
#[derive(Debug)]
pub struct Ended {
    pub status: ExitStatus,
    pub stdout: String,
    pub stderr: String,
}

/// A process that runs; killed when dropped.
#[derive(Debug)]
pub struct Running {
    child: Child,
    lines: Receiver<String>,
    stderr: String,
    stdout: JoinHandle<String>,
}

impl Program {
    /// Starts it in `dir` with no environment but PATH and `env`.
    pub fn start<A: AsRef<str>>(&self, dir: &Path, args: &[A], env: &[(&str, &str)]) -> Running {
        let mut child = Command::new(&self.path)
            .args(self.first)
            .args(args.iter().map(AsRef::as_ref))
            .current_dir(dir)
            .env_clear()
            .envs(std::env::var_os("PATH").map(|path| ("PATH", path)))
            .envs(env.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|error| panic!("start {}: {error}", self.path.display()));
        let (stdout, stderr) = (child.stdout.take().unwrap(), child.stderr.take().unwrap());
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stderr).lines().map_while(Result::ok) {
                if sender.send(line).is_err() {
                    return;
                }
            }
        });
        let stdout = std::thread::spawn(move || {
            let mut text = String::new();
            BufReader::new(stdout).read_to_string(&mut text).unwrap();
            text
        });
        Running { child, lines, stderr: String::new(), stdout }
    }

    /// Runs it to its end.
    pub fn run<A: AsRef<str>>(&self, dir: &Path, args: &[A], env: &[(&str, &str)]) -> Ended {
        self.start(dir, args, env).wait()
    }
}

impl Running {
    /// Waits for a line of stderr that holds `text`.
    pub fn wait_for(&mut self, text: &str) {
        let until = Instant::now() + DEADLINE;
        loop {
            let left = until.saturating_duration_since(Instant::now());
            let Ok(line) = self.lines.recv_timeout(left) else { panic!("no {text:?} in:\n{}", self.stderr) };
            self.stderr += &line;
            self.stderr.push('\n');
            if line.contains(text) {
                return;
            }
        }
    }

    pub fn signal(&self, signal: rustix::process::Signal) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, signal).unwrap();
    }

    /// Waits for its end.
    pub fn wait(mut self) -> Ended {
        let until = Instant::now() + DEADLINE;
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            if Instant::now() > until {
                self.child.kill().unwrap();
                self.child.wait().unwrap();
                let rest: Vec<_> = self.lines.iter().collect();
                panic!("it did not end:\n{}{}", self.stderr, rest.join("\n"));
            }
            std::thread::sleep(Duration::from_millis(5));
        };
        for line in self.lines.iter() {
            self.stderr += &line;
            self.stderr.push('\n');
        }
        let stdout = std::mem::replace(&mut self.stdout, std::thread::spawn(String::new));
        Ended { status, stdout: stdout.join().unwrap(), stderr: std::mem::take(&mut self.stderr) }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // It has ended already unless the test failed.
        if matches!(self.child.try_wait(), Ok(None)) {
            self.child.kill().expect("our own child can be killed");
            self.child.wait().expect("a killed child ends");
        }
    }
}
