//! Watching against a naive model, on plain data and with a real store.

mod hub;
mod model;
mod registry;
