//! Log and state of a member through crashes, failing disks and flipped bits. `KEELSTONE_IMAGES` sets how many images
//! of crashes are opened, `KEELSTONE_SEED` with which script it begins.

mod faults;
mod flips;
mod history;
mod images;
mod member;
mod model;
mod recover;
mod script;
mod state;

/// A number that the environment may set.
fn number(name: &str, default: u64) -> u64 {
    match std::env::var(name) {
        Ok(value) => value.parse().unwrap_or_else(|error| panic!("{name}={value}: {error}")),
        Err(_) => default,
    }
}
