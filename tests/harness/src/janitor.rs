//! Nothing outlives the test process. A small shell script reads from a pipe which processes we run and
//! which folders we made; when the pipe ends, for whatever reason we did, it kills and removes them.

use std::io::Write;
use std::path::Path;
use std::process::{ChildStdin, Command, Stdio};
use std::sync::{Mutex, OnceLock};

/// `+ pid`, `- pid`, `dir path`, `keep` (leave the folders for a look at a failure).
const SCRIPT: &str = r#"
pids=" "; keep=; nl='
'; dirs=
while read -r op arg; do
  case $op in
    +) pids="$pids$arg ";;
    -) pids="${pids%% $arg *} ${pids#* $arg }";;
    dir) dirs="$dirs$arg$nl";;
    keep) keep=1;;
  esac
done
for p in $pids; do kill -9 "$p" 2>/dev/null; done
[ -n "$keep" ] || printf %s "$dirs" | while read -r d; do rm -rf -- "$d"; done
"#;

/// Never waited for: the script ends after us.
static PIPE: OnceLock<Mutex<ChildStdin>> = OnceLock::new();

fn tell(line: &str) {
    let pipe = PIPE.get_or_init(|| {
        let mut shell = Command::new("sh");
        // Its own process group: a Ctrl-C that ends us must not end it first.
        std::os::unix::process::CommandExt::process_group(&mut shell, 0);
        let child = shell.args(["-c", SCRIPT]).stdin(Stdio::piped()).stdout(Stdio::null()).spawn();
        Mutex::new(child.expect("start sh").stdin.expect("stdin is a pipe"))
    });
    let mut pipe = pipe.lock().expect("no panic while writing to the janitor");
    writeln!(pipe, "{line}").expect("the janitor lives as long as we do");
}

pub(crate) fn started(pid: u32) {
    tell(&format!("+ {pid}"));
}

/// To be said before the process is reaped, while its id cannot be another's.
pub(crate) fn ended(pid: u32) {
    tell(&format!("- {pid}"));
}

pub(crate) fn made_folder(path: &Path) {
    tell(&format!("dir {}", path.display()));
}

/// A test failed: its folders stay.
pub(crate) fn keep_folders() {
    tell("keep");
}
