//! Programs that this binary does not hold yet.

use std::process::ExitCode;

/// Not one of the codes of etcd's programs, so that a script can tell.
pub const EXIT_NOT_BUILT: u8 = 4;

/// Says so, and what to use meanwhile.
pub fn answer(program: &str) -> ExitCode {
    eprintln!("{program} is not built yet in Keelstone; etcd's own {program} works with this server.");
    ExitCode::from(EXIT_NOT_BUILT)
}
