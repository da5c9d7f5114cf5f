//! Writes the generated files, or with `--check` compares them with what is committed.

use std::path::Path;
use std::process::ExitCode;

fn main() -> ExitCode {
    let check = std::env::args().any(|arg| arg == "--check");
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut stale = 0;
    for (path, text) in keelstone_dashboards::files() {
        let path = root.join(path);
        if std::fs::read_to_string(&path).is_ok_and(|found| found == text) {
            continue;
        }
        stale += 1;
        if check {
            eprintln!("{} is not what its source says", path.display());
            continue;
        }
        let folder = path.parent().expect("a file lies in a folder");
        let written = std::fs::create_dir_all(folder).and_then(|()| std::fs::write(&path, text));
        if let Err(error) = written {
            eprintln!("{}: {error}", path.display());
            return ExitCode::FAILURE;
        }
        println!("wrote {}", path.display());
    }
    if check && stale > 0 { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}
