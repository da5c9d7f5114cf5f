//! What happened at the seams (messages, file operations, applied entries, replies), as one number that two runs of a
//! seed must share, and as lines when somebody looks for the place where they part.

use std::fmt;
use std::fs::File;
use std::hash::Hasher;
use std::io::{BufWriter, Write};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Cheap to clone; clones write one trace.
#[derive(Clone)]
pub struct Trace {
    inner: Arc<Mutex<Inner>>,
}

struct Inner {
    hash: Fnv,
    events: u64,
    lines: Option<BufWriter<File>>,
}

impl fmt::Debug for Trace {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Trace")
    }
}

/// FNV-1a: the same in every process, unlike the standard library's.
pub struct Fnv(u64);

impl Default for Fnv {
    fn default() -> Self {
        Self(0xcbf2_9ce4_8422_2325)
    }
}

impl Hasher for Fnv {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}

impl Write for Fnv {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        Hasher::write(self, bytes);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

impl Trace {
    /// Lines go to `KEELSTONE_SIM_TRACE` if that names a file.
    pub fn from_environment() -> Self {
        let path = std::env::var_os("KEELSTONE_SIM_TRACE");
        let lines = path.map(|path| BufWriter::new(File::create(path).expect("the trace file can be made")));
        Self { inner: Arc::new(Mutex::new(Inner { hash: Fnv::default(), events: 0, lines })) }
    }

    /// Notes an event at a time of the simulation.
    pub fn note(&self, at: Duration, event: fmt::Arguments<'_>) {
        let mut inner = self.inner.lock().expect("no panic while tracing");
        inner.events += 1;
        write!(inner.hash, "{} {event}", at.as_micros()).expect("hashing does not fail");
        if let Some(lines) = &mut inner.lines {
            writeln!(lines, "{:>12} {event}", at.as_micros()).expect("the trace file can be written");
        }
    }

    /// The hash of all events so far, and how many there were.
    pub fn sum(&self) -> (u64, u64) {
        let mut inner = self.inner.lock().expect("no panic while tracing");
        if let Some(lines) = &mut inner.lines {
            lines.flush().expect("the trace file can be written");
        }
        (inner.hash.finish(), inner.events)
    }
}

/// A short name for bytes.
pub fn digest(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes)
}
