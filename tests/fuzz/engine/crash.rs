//! What happens when an input is not taken well: it is caught, made smaller, kept and printed with the command that
//! replays it. What cannot be caught (an endless loop, an abort) leaves its input behind as `<target>.running`.

use super::Verdict;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::cell::RefCell;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, Once, PoisonError};
use std::time::{Duration, Instant};

/// Address space of the process. Nobody may reserve what a length field says before bytes of that length are there.
const MEMORY_BYTES: u64 = 3 << 30;
/// How long to try to make an input smaller.
const SHRINK_TIME: Duration = Duration::from_secs(30);
const PRINTED_BYTES: usize = 4_096;

pub enum Caught {
    Fine(String),
    Wrong(String),
}

thread_local! {
    /// The panic of an input that runs on this thread; `None` while none runs.
    static PANIC: RefCell<Option<Vec<String>>> = const { RefCell::new(None) };
}

/// Panics of threads that the code under test has started.
static ELSEWHERE: Mutex<Vec<String>> = Mutex::new(Vec::new());

/// Threads of the node.
const NODE_THREADS: [&str; 2] = ["wal", "apply"];

fn install_hook() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let print = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            let is_ours = PANIC.with_borrow_mut(|seen| seen.as_mut().map(|seen| seen.push(info.to_string())).is_some());
            let thread = std::thread::current();
            if NODE_THREADS.iter().any(|name| thread.name() == Some(name)) {
                ELSEWHERE.lock().unwrap_or_else(PoisonError::into_inner).push(info.to_string());
            } else if !is_ours {
                print(info);
            }
        }));
    });
}

/// A limit that a reservation of gigabytes hits, while all that is right stays far below.
pub fn limit_memory() {
    let limit = Rlimit { current: Some(MEMORY_BYTES), ..getrlimit(Resource::As) };
    setrlimit(Resource::As, limit).expect("limit the memory of this process");
}

/// Judges an input; a panic, be it on this thread or inside a task on it, or on a thread of the node, is wrong.
pub fn catch(check: impl FnOnce() -> Verdict) -> Caught {
    install_hook();
    PANIC.set(Some(Vec::new()));
    let verdict = panic::catch_unwind(AssertUnwindSafe(check));
    let mut panics = PANIC.take().unwrap_or_default();
    panics.append(&mut ELSEWHERE.lock().unwrap_or_else(PoisonError::into_inner));
    match (panics.is_empty(), verdict) {
        (true, Ok(Ok(outcome))) => Caught::Fine(outcome),
        (true, Ok(Err(why))) => Caught::Wrong(why),
        (_, _) => Caught::Wrong(format!("panic: {}", panics.join("; "))),
    }
}

/// The smallest input found that is still wrong: halves, quarters and so on are left out.
pub fn shrink(input: &[u8], is_wrong: &mut dyn FnMut(&[u8]) -> bool) -> Vec<u8> {
    let (mut small, begun) = (input.to_vec(), Instant::now());
    let mut len = small.len() / 2;
    while len > 0 {
        let mut at = 0;
        while at < small.len() && begun.elapsed() < SHRINK_TIME {
            let mut smaller = small.clone();
            smaller.drain(at..(at + len).min(small.len()));
            if is_wrong(&smaller) { small = smaller } else { at += len }
        }
        len /= 2;
    }
    small
}

fn folder() -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).parent().expect("target/tmp").join("fuzz-crashes");
    std::fs::create_dir_all(&folder).expect("make the folder of crashes");
    folder
}

/// Keeps the input, and ends the test.
pub fn report(target: &str, input: &[u8], origin: &str, why: &str) -> ! {
    let path = folder().join(format!("{target}-{:08x}", crc32c::crc32c(input)));
    std::fs::write(&path, input).expect("keep the input");
    let hex: String = input.iter().take(PRINTED_BYTES).map(|byte| format!("{byte:02x}")).collect();
    panic!(
        "fuzz {target}: {origin} is not taken as it should be: {why}\n{} bytes: {hex}\n\
         replay: KEELSTONE_FUZZ_INPUT={} cargo test --test fuzz -- --exact {}\n\
         once mended, it belongs into tests/fuzz/corpus/{target} under a name that says what it showed",
        input.len(),
        path.display(),
        std::thread::current().name().unwrap_or(target)
    );
}

/// The input that runs, in a file that survives the process.
pub struct Running {
    path: PathBuf,
    file: File,
}

impl Running {
    pub fn new(target: &str) -> Self {
        let path = folder().join(format!("{target}.running"));
        let file = File::create(&path).expect("make the file of the running input");
        Self { path, file }
    }

    pub fn note(&mut self, input: &[u8]) {
        self.file.set_len(input.len() as u64).expect("note the running input");
        self.file.write_all_at(input, 0).expect("note the running input");
    }

    /// Nothing is left running.
    pub fn remove(self) {
        std::fs::remove_file(self.path).expect("remove the file of the running input");
    }
}
