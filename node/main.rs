//! The binary; everything is in the library.

use std::process::ExitCode;

/// Many small, short-lived values of many sizes: the system's allocator keeps their memory in arenas of its own.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    keelstone::cli::main()
}
