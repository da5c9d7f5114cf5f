//! Measures Keelstone beside real etcd: the same load, flags, machine and file system, in turn, several rounds.
//!
//! ```text
//! cargo build --release && cargo run --release -p keelstone-harness --bin measure -- \
//!     --keelstone target/release/keelstone --etcd /path/to/etcd [first-look|million] \
//!     [--seconds N] [--rounds N] [--keys N] [--pinned] [--folder PATH]
//! ```
//! Rates depend on the machine and on what the client leaves of it; server CPU per operation is the stable number,
//! and `--pinned` (server on the first core, client on the second) makes rates comparable.

mod args;
mod first_look;
mod keys;
mod load;
mod million;
mod subject;
mod table;
mod usage;

use args::{Args, Mode};
use std::process::ExitCode;

fn main() -> ExitCode {
    let args = match Args::parse(std::env::args().skip(1)) {
        Ok(args) => args,
        Err(message) => {
            eprintln!("{message}");
            return ExitCode::from(2);
        }
    };
    // One thread for all clients: it leaves the other core to the server.
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("start runtime");
    let report = runtime.block_on(async {
        match args.mode {
            Mode::FirstLook => first_look::run(&args).await,
            Mode::Million => million::run(&args).await,
        }
    });
    println!("{report}");
    ExitCode::SUCCESS
}
