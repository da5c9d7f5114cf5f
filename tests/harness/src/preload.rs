//! Small C libraries that a test loads into a process before libc.

use crate::Suite;
use std::path::{Path, PathBuf};
use std::process::Command;

/// Compiles `source` into a folder of the suite.
///
/// # Panics
/// Without a C compiler, or if it does not compile.
pub fn build(source: &Path, suite: &Suite) -> PathBuf {
    compile(source, &suite.make_folder("preload").join("library.so"))
}

/// Compiles `source` to `library`.
///
/// # Panics
/// As [`build`].
pub fn compile(source: &Path, library: &Path) -> PathBuf {
    let compiler = std::env::var("CC").unwrap_or_else(|_| "cc".to_owned());
    let status = Command::new(compiler).args(["-O2", "-shared", "-fPIC", "-o"]).arg(library).arg(source).status();
    assert!(status.expect("there is a C compiler").success(), "{} does not compile", source.display());
    library.to_owned()
}
