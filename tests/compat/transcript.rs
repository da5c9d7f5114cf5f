//! Runs command lines of etcdctl and writes down what they print, with everything replaced that differs from
//! run to run or between equal servers: ids, sizes, times, ports, log positions, versions.

use keelstone_harness::wait;
use rustix::process::{Pid, Signal, kill_process};
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Write as _};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const LIMIT: Duration = Duration::from_secs(20);

/// A session with one server.
#[derive(Debug)]
pub struct Transcript {
    etcdctl: PathBuf,
    minor: u32,
    endpoint: String,
    lease: String,
    text: String,
}

impl Transcript {
    /// `minor` is the tool's version, 3.`minor`.
    pub fn new(etcdctl: PathBuf, minor: u32, port: u16) -> Self {
        Self { etcdctl, minor, endpoint: format!("127.0.0.1:{port}"), lease: String::new(), text: String::new() }
    }

    pub fn finish(self) -> String {
        self.text
    }

    fn command(&self, line: &str) -> Command {
        let mut command = Command::new(&self.etcdctl);
        command.env_clear().env("PATH", std::env::var_os("PATH").unwrap_or_default());
        if self.minor < 5 {
            // Later ones warn of it.
            command.env("ETCDCTL_API", "3");
        }
        command.arg(format!("--endpoints={}", self.endpoint));
        command.args(line.split(' ').filter(|word| !word.is_empty()).map(|word| word.replace("$LEASE", &self.lease)));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command
    }

    /// Runs a line to its end. `$LEASE` is the last lease that was granted.
    pub fn run(&mut self, line: &str) {
        self.run_with_input(line, "");
    }

    /// As [`Self::run`], with text for its input.
    pub fn run_with_input(&mut self, line: &str, input: &str) {
        self.run_with(line, input, &[]);
    }

    /// As [`Self::run_with_input`], with variables of the environment.
    pub fn run_with(&mut self, line: &str, input: &str, variables: &[(&str, &str)]) {
        let mut command = self.command(line);
        command.envs(variables.iter().copied());
        let mut child = command.spawn().expect("start etcdctl");
        // One that refuses its flags does not read.
        if let Err(error) = child.stdin.take().expect("stdin is a pipe").write_all(input.as_bytes()) {
            assert_eq!(error.kind(), std::io::ErrorKind::BrokenPipe, "write the input of {line}");
        }
        let output = child.wait_with_output().expect("wait for etcdctl");
        let (printed, complained) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
        if let Some(lease) = printed.strip_prefix("lease ").and_then(|rest| rest.split_once(" granted")) {
            self.lease = lease.0.to_owned();
        }
        let code = output.status.code();
        self.note(line, input, &printed, &complained, &format!("{code:?}"));
    }

    /// Starts a line that does not end, and stops it once it has printed `lines` lines.
    pub async fn follow(&mut self, line: &str, lines: usize) {
        let mut child = self.command(line).spawn().expect("start etcdctl");
        let printed = collect(&mut child);
        let what = format!("{lines} lines from etcdctl {line}");
        wait::until_true(&what, LIMIT, || printed.lock().expect("no panic while reading").lines().count() >= lines)
            .await;
        child.kill().expect("end etcdctl");
        child.wait().expect("wait for etcdctl");
        let printed = printed.lock().expect("no panic while reading").clone();
        self.note(line, "", &printed, "", "stopped");
    }

    /// Starts a line that ends in order when it is interrupted, and interrupts it once it has printed `lines` lines.
    pub async fn interrupt(&mut self, line: &str, lines: usize) {
        let mut child = self.command(line).spawn().expect("start etcdctl");
        let printed = collect(&mut child);
        let what = format!("{lines} lines from etcdctl {line}");
        wait::until_true(&what, LIMIT, || printed.lock().expect("no panic while reading").lines().count() >= lines)
            .await;
        let pid = Pid::from_raw(child.id().cast_signed()).expect("a running process");
        kill_process(pid, Signal::INT).expect("interrupt etcdctl");
        let output = child.wait_with_output().expect("wait for etcdctl");
        let printed = printed.lock().expect("no panic while reading").clone();
        let complained = String::from_utf8_lossy(&output.stderr);
        self.note(line, "", &printed, &complained, &format!("{:?}", output.status.code()));
    }

    fn note(&mut self, line: &str, input: &str, printed: &str, complained: &str, end: &str) {
        let mut entry = format!("$ etcdctl {line}\n");
        for (mark, text) in [("<", input), (">", printed), ("!", complained)] {
            for line in text.lines() {
                writeln!(entry, "{mark} {line}").expect("write to a string");
            }
        }
        writeln!(entry, "= {end}").expect("write to a string");
        self.text.push_str(&self.normalise(&entry));
    }

    fn normalise(&self, text: &str) -> String {
        let text = text.replace(&self.endpoint, "ENDPOINT");
        let lines = text.lines().map(|line| match line.split_once("{\"level\"") {
            Some((mark, rest)) => format!("{mark}{}", client_log(&format!("{{\"level\"{rest}"))),
            None => normalise_line(line),
        });
        let mut text = lines.collect::<Vec<_>>().join("\n");
        text.push('\n');
        text
    }
}

/// Reads the child's output as it comes.
pub fn collect(child: &mut Child) -> Arc<Mutex<String>> {
    let printed = Arc::new(Mutex::new(String::new()));
    let (copy, output) = (printed.clone(), child.stdout.take().expect("stdout is a pipe"));
    std::thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            let mut printed = copy.lock().expect("no panic while reading");
            printed.push_str(&line);
            printed.push('\n');
        }
    });
    printed
}

/// etcdctl's own log lines carry times, addresses and code positions; message and error are what counts.
fn client_log(line: &str) -> String {
    let record: serde_json::Value = serde_json::from_str(line).unwrap_or_default();
    let field = |name: &str| record.get(name).and_then(serde_json::Value::as_str).unwrap_or_default().to_owned();
    format!("log {}: {}: {}", field("level"), field("msg"), field("error"))
}

/// Replaces what differs between runs, in plain lines, tables and JSON alike.
fn normalise_line(line: &str) -> String {
    if ["> +-", "> ┌", "> ├", "> └"].iter().any(|rule| line.starts_with(rule)) {
        // Table rules are as long as ids and sizes happen to be.
        return "> +---+".to_owned();
    }
    let line = without_ports(line);
    let mut words = String::new();
    let mut last_name = String::new();
    for word in split_words(&line) {
        words.push_str(replacement(word, &last_name));
        if word.bytes().any(|byte| byte.is_ascii_alphabetic()) {
            last_name = word.to_owned();
        }
    }
    let table = ["> | ", "> │ "].iter().any(|start| words.starts_with(start));
    let separator = if table { ['|', '│'].as_slice() } else { [','].as_slice() };
    // A row about a server has its version in it; the numbers there are its log position, term and hash.
    let of_server = words.contains("VERSION") && !words.contains('{');
    let cells = words["> ".len().min(words.len())..].split(separator).map(|cell| match cell.trim() {
        size if is_size(size) => "SIZE",
        number if of_server && number.parse::<u64>().is_ok() => "N",
        percentage if percentage.strip_suffix('%').is_some_and(|number| number.parse::<u64>().is_ok()) => "N%",
        trimmed if table => trimmed,
        _ => cell.strip_prefix(' ').unwrap_or(cell),
    });
    let joined = cells.collect::<Vec<_>>().join(if table { " | " } else { ", " });
    let changed = joined.contains("SIZE") || table;
    if changed { format!("{}{}", &words[..2], joined.trim()) } else { words }
}

fn replacement<'a>(word: &'a str, last_name: &str) -> &'a str {
    const NUMBERED: [&str; 13] = [
        "raft_term",
        "raftTerm",
        "raftIndex",
        "raftAppliedIndex",
        "dbSize",
        "dbSizeInUse",
        "hash",
        "RaftTerm",
        "RaftIndex",
        "RaftAppliedIndex",
        "DBSize",
        "DBSizeInUse",
        "ENDPOINT",
    ];
    let is_number = word.bytes().all(|byte| byte.is_ascii_digit());
    if is_number && NUMBERED.contains(&last_name) {
        "N"
    } else if is_id(word) || is_number && word.len() > 16 {
        "ID"
    } else if is_time(word) || last_name == "remaining" && word.ends_with('s') {
        "TIME"
    } else if is_version(word) {
        "VERSION"
    } else {
        word
    }
}

/// Words and what is between them, in order.
fn split_words(line: &str) -> impl Iterator<Item = &str> {
    let is_word = |letter: char| letter.is_alphanumeric() || letter == '.' || letter == '_';
    let mut rest = line;
    std::iter::from_fn(move || {
        let inside = is_word(rest.chars().next()?);
        let end = rest.find(|letter: char| is_word(letter) != inside).unwrap_or(rest.len());
        let (word, after) = rest.split_at(end);
        rest = after;
        Some(word)
    })
}

/// Replaces loopback addresses, whose ports differ.
fn without_ports(line: &str) -> String {
    const HOST: &str = "127.0.0.1:";
    let mut parts = line.split(HOST);
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        out.push_str("HOST");
        out.push_str(part.trim_start_matches(|digit: char| digit.is_ascii_digit()));
    }
    out
}

/// Hexadecimal of a 64-bit id, whose leading zeros etcd leaves out.
fn is_id(word: &str) -> bool {
    (11..=16).contains(&word.len()) && word.bytes().all(|byte| byte.is_ascii_hexdigit())
}

fn is_time(word: &str) -> bool {
    let number = ["ms", "µs", "s"].iter().find_map(|unit| word.strip_suffix(unit));
    number
        .is_some_and(|number| number.contains('.') && number.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.'))
}

fn is_version(word: &str) -> bool {
    word.split('.').count() == 3
        && word.starts_with("3.")
        && word.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.')
}

fn is_size(cell: &str) -> bool {
    cell.split_once(' ').is_some_and(|(number, unit)| {
        number.parse::<f64>().is_ok() && ["B", "kB", "MB", "GB", "KiB", "MiB", "GiB"].contains(&unit)
    })
}

#[cfg(test)]
mod tests {
    use super::normalise_line;

    #[test]
    fn what_differs_from_run_to_run_is_replaced_and_nothing_else() {
        for (line, expected) in [
            ("> lease 694d8f1c2b3a4d5e granted with TTL(60s)", "> lease ID granted with TTL(60s)"),
            (
                r#"> {"cluster_id":14841639068965178418,"revision":3,"raft_term":2}"#,
                r#"> {"cluster_id":ID,"revision":3,"raft_term":N}"#,
            ),
            ("> took = 1.23ms", "> took = TIME"),
            ("> | a |  20 kB |   true |", "> | a | SIZE | true |"),
            ("> a,b", "> a,b"),
            ("> x, 3.5.1, 20 kB, true, 2, 34, ", "> x, VERSION, SIZE, true, N, N,"),
            ("> │ a │   3.7.0 │ 12 │", "> | a | VERSION | N |"),
            (r#"> "MemberID" : 12758153556770841823"#, r#"> "MemberID" : ID"#),
            ("> ENDPOINT, 60743308", "> ENDPOINT, N"),
            ("> ttl(5s), remaining(599s)", "> ttl(5s), remaining(TIME)"),
            ("> foo", "> foo"),
        ] {
            assert_eq!(normalise_line(line), expected);
        }
    }
}
