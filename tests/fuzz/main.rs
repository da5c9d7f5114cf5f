//! Whatever comes from outside, be it nonsense: files of the log, rows of the state, entries, messages of peers and clients,
//! settings. Nothing of it may reach a panic, which ends the process, and each target has an oracle beyond that.
//!
//! Each test is a target. It replays `corpus/<target>/*` and then makes inputs for `KEELSTONE_FUZZ_SECONDS` (2); the choices
//! follow `KEELSTONE_SEED`. `KEELSTONE_FUZZ_INPUT=<file>` runs one input alone. `KEELSTONE_FUZZ_WRITE_SEEDS=1` writes the
//! corpus' files `seed-*` anew from what the code encodes today; every other file there is an input that once did harm.

mod engine;
mod fake_peer;
mod file;
mod live;
mod member;
mod node;
mod targets;
