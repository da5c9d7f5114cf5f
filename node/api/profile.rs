//! `/debug/pprof/`, the pages of `--enable-pprof`: where the processor's time goes, as `go tool pprof` reads it. What Go
//! shows beside that (its heap, its goroutines, its trace) has no counterpart here, and is refused in so many words.
//!
//! Samples are taken by the crate `pprof`: a timer of the process's processor time, whose signal is handled on the thread
//! that runs. It is idle, and has no memory, until the first profile is asked for; then it keeps its tables and what was
//! read of the program's debug information, some hundred megabytes.

use super::answer::{Answer, error, text, with_type};
use super::node::Node;
use flate2::Compression;
use flate2::write::GzEncoder;
use http::StatusCode;
use http::header::{CONTENT_DISPOSITION, HeaderName, HeaderValue, LOCATION};
use pprof::{ProfilerGuard, ProfilerGuardBuilder, Report, Symbol};
use prost::Message;
use std::collections::HashMap;
use std::io::{self, Write};
use std::time::{Duration, UNIX_EPOCH};

/// etcd's, without its last slash.
pub const PREFIX: &str = "/debug/pprof";
/// Samples a second of processor time; Go's.
const FREQUENCY: i32 = 100;
/// What Go takes if the caller does not say.
const DEFAULT_SECONDS: u64 = 30;
/// Nobody keeps the signals coming for longer by one request.
const MAX_SECONDS: u64 = 600;

const HTML: HeaderValue = HeaderValue::from_static("text/html; charset=utf-8");
const BYTES: HeaderValue = HeaderValue::from_static("application/octet-stream");
/// With it Go's tools know a refusal from a page that is not there.
const GO_PPROF: HeaderName = HeaderName::from_static("x-go-pprof");

const INDEX: &str = "<html>
<head><title>/debug/pprof/</title></head>
<body>
<p>Profiles of this member:</p>
<table>
<tr><td><a href='cmdline'>cmdline</a></td><td>The command line, with zero bytes between its words.</td></tr>
<tr><td><a href='profile?seconds=30'>profile</a></td><td>Where processor time goes while it is asked for; ?seconds= says how long.</td></tr>
</table>
</body>
</html>
";

/// The page at `path`, which begins with [`PREFIX`]; none if it is not one of these.
pub async fn page(node: &Node, path: &str, seconds: Option<&str>) -> Option<Answer> {
    let rest = path.strip_prefix(PREFIX)?;
    if rest.is_empty() {
        let mut moved = text(StatusCode::TEMPORARY_REDIRECT, "");
        moved.headers_mut().insert(LOCATION, HeaderValue::from_static("/debug/pprof/"));
        return Some(moved);
    }
    Some(match rest.strip_prefix('/')? {
        "" => with_type(StatusCode::OK, HTML, INDEX),
        "cmdline" => {
            let words: Vec<_> = std::env::args_os().map(|word| word.to_string_lossy().into_owned()).collect();
            text(StatusCode::OK, words.join("\0"))
        }
        "profile" => profile(node, duration(seconds)).await,
        name @ ("allocs" | "block" | "goroutine" | "heap" | "mutex" | "symbol" | "threadcreate" | "trace") => {
            let why = format!("keelstone: there is no {name:?} of a program that is not in Go; see profile");
            refused(StatusCode::NOT_IMPLEMENTED, &why)
        }
        _ => refused(StatusCode::NOT_FOUND, "Unknown profile"),
    })
}

fn refused(status: StatusCode, why: &str) -> Answer {
    let mut answer = error(status, why);
    answer.headers_mut().insert(GO_PPROF, HeaderValue::from_static("1"));
    answer
}

/// As Go reads it: what is no number above zero is as if it was not there.
fn duration(seconds: Option<&str>) -> Duration {
    let asked = seconds.and_then(|seconds| seconds.parse().ok()).filter(|&seconds: &u64| seconds > 0);
    Duration::from_secs(asked.unwrap_or(DEFAULT_SECONDS).min(MAX_SECONDS))
}

/// Ends with the caller's patience: the samples stop when the guard is dropped.
async fn profile(node: &Node, duration: Duration) -> Answer {
    // It reads the debug information of the program first.
    let started = node.aside(|| ProfilerGuardBuilder::default().frequency(FREQUENCY).build()).await;
    let guard = match started {
        Ok(Ok(guard)) => guard,
        Ok(Err(pprof::Error::Running)) => return not_enabled("cpu profiling already in use"),
        Ok(Err(failed)) => return not_enabled(&failed.to_string()),
        Err(stopped) => return not_enabled(&stopped.to_string()),
    };
    tracing::info!(seconds = duration.as_secs(), "profiling for a caller of /debug/pprof/profile");
    tokio::time::sleep(duration).await;
    match node.aside(move || packed(&guard)).await {
        Ok(Ok(packed)) => {
            let mut answer = with_type(StatusCode::OK, BYTES, packed);
            let name = HeaderValue::from_static("attachment; filename=\"profile\"");
            answer.headers_mut().insert(CONTENT_DISPOSITION, name);
            answer
        }
        Ok(Err(failed)) => refused(StatusCode::INTERNAL_SERVER_ERROR, &failed.to_string()),
        Err(stopped) => refused(StatusCode::INTERNAL_SERVER_ERROR, &stopped.to_string()),
    }
}

fn not_enabled(why: &str) -> Answer {
    refused(StatusCode::INTERNAL_SERVER_ERROR, &format!("Could not enable CPU profiling: {why}"))
}

fn packed(guard: &ProfilerGuard<'_>) -> io::Result<Vec<u8>> {
    let report = guard.report().build().map_err(io::Error::other)?;
    let mut packed = GzEncoder::new(Vec::new(), Compression::default());
    packed.write_all(&Profile::of(&report).encode_to_vec())?;
    packed.finish()
}

/// The messages of pprof's `profile.proto`, as far as they are filled here. Texts are numbers of `strings`.
#[derive(Clone, PartialEq, Message)]
struct Profile {
    #[prost(message, repeated, tag = "1")]
    sample_types: Vec<ValueType>,
    #[prost(message, repeated, tag = "2")]
    samples: Vec<Sample>,
    #[prost(message, repeated, tag = "4")]
    locations: Vec<Location>,
    #[prost(message, repeated, tag = "5")]
    functions: Vec<Function>,
    #[prost(string, repeated, tag = "6")]
    strings: Vec<String>,
    #[prost(int64, tag = "9")]
    time_nanos: i64,
    #[prost(int64, tag = "10")]
    duration_nanos: i64,
    #[prost(message, optional, tag = "11")]
    period_type: Option<ValueType>,
    #[prost(int64, tag = "12")]
    period: i64,
}

#[derive(Clone, Copy, PartialEq, Message)]
struct ValueType {
    #[prost(int64, tag = "1")]
    kind: i64,
    #[prost(int64, tag = "2")]
    unit: i64,
}

#[derive(Clone, PartialEq, Message)]
struct Sample {
    /// The innermost first.
    #[prost(uint64, repeated, tag = "1")]
    locations: Vec<u64>,
    #[prost(int64, repeated, tag = "2")]
    values: Vec<i64>,
    #[prost(message, repeated, tag = "3")]
    labels: Vec<Label>,
}

#[derive(Clone, Copy, PartialEq, Message)]
struct Label {
    #[prost(int64, tag = "1")]
    key: i64,
    #[prost(int64, tag = "2")]
    text: i64,
}

#[derive(Clone, PartialEq, Message)]
struct Location {
    #[prost(uint64, tag = "1")]
    id: u64,
    /// More than one: what was inlined there, the innermost first.
    #[prost(message, repeated, tag = "4")]
    lines: Vec<Line>,
}

#[derive(Clone, Copy, PartialEq, Eq, Hash, Message)]
struct Line {
    #[prost(uint64, tag = "1")]
    function: u64,
    #[prost(int64, tag = "2")]
    line: i64,
}

#[derive(Clone, Copy, PartialEq, Message)]
struct Function {
    #[prost(uint64, tag = "1")]
    id: u64,
    #[prost(int64, tag = "2")]
    name: i64,
    #[prost(int64, tag = "3")]
    system_name: i64,
    #[prost(int64, tag = "4")]
    file: i64,
}

/// What was said before is said by its number.
#[derive(Default)]
struct Told {
    profile: Profile,
    strings: HashMap<String, i64>,
    functions: HashMap<(i64, i64), u64>,
    locations: HashMap<Vec<Line>, u64>,
}

impl Profile {
    fn of(report: &Report) -> Self {
        let mut told = Told::default();
        // By the format, number 0 is no text.
        told.string("");
        let (samples, count) = (told.string("samples"), told.string("count"));
        let (cpu, nanoseconds) = (told.string("cpu"), told.string("nanoseconds"));
        let thread = told.string("thread");
        let period = 1_000_000_000 / i64::from(report.timing.frequency.max(1));
        for (frames, &seen) in &report.data {
            let locations = frames.frames.iter().map(|symbols| told.location(symbols)).collect();
            let text = told.string(&frames.thread_name);
            let seen = i64::try_from(seen).unwrap_or(i64::MAX);
            told.profile.samples.push(Sample {
                locations,
                values: vec![seen, seen.saturating_mul(period)],
                labels: vec![Label { key: thread, text }],
            });
        }
        let nanos = |duration: Duration| i64::try_from(duration.as_nanos()).unwrap_or(i64::MAX);
        let time_is = ValueType { kind: cpu, unit: nanoseconds };
        Profile {
            sample_types: vec![ValueType { kind: samples, unit: count }, time_is],
            time_nanos: nanos(report.timing.start_time.duration_since(UNIX_EPOCH).unwrap_or_default()),
            duration_nanos: nanos(report.timing.duration),
            period_type: Some(time_is),
            period,
            ..told.profile
        }
    }
}

impl Told {
    fn string(&mut self, text: &str) -> i64 {
        if let Some(&number) = self.strings.get(text) {
            return number;
        }
        let number = self.profile.strings.len() as i64;
        self.profile.strings.push(text.to_owned());
        self.strings.insert(text.to_owned(), number);
        number
    }

    fn function(&mut self, symbol: &Symbol) -> u64 {
        let (system_name, file) = (self.string(&symbol.sys_name()), self.string(&symbol.filename()));
        if let Some(&id) = self.functions.get(&(system_name, file)) {
            return id;
        }
        let name = self.string(&symbol.name());
        let id = self.profile.functions.len() as u64 + 1;
        self.profile.functions.push(Function { id, name, system_name, file });
        self.functions.insert((system_name, file), id);
        id
    }

    fn location(&mut self, symbols: &[Symbol]) -> u64 {
        let line = |symbol: &Symbol| Line { function: self.function(symbol), line: i64::from(symbol.lineno()) };
        let lines: Vec<Line> = symbols.iter().map(line).collect();
        if let Some(&id) = self.locations.get(&lines) {
            return id;
        }
        let id = self.profile.locations.len() as u64 + 1;
        self.profile.locations.push(Location { id, lines: lines.clone() });
        self.locations.insert(lines, id);
        id
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn seconds_are_read_as_go_reads_them() {
        let seconds = |text| duration(text).as_secs();
        assert_eq!([None, Some(""), Some("x"), Some("-1"), Some("0")].map(seconds), [DEFAULT_SECONDS; 5]);
        assert_eq!((seconds(Some("2")), seconds(Some("99999999"))), (2, MAX_SECONDS));
    }
}
