//! The text that Prometheus reads, format 0.0.4.

use prometheus::{Encoder, Error, Registry, TextEncoder};

/// As etcd 3.7's handler answers to a client without wishes of its own.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8; escaping=underscores";

/// All families of the registry that have a value, sorted by name.
///
/// # Errors
/// A collector produced a family without a name or without metrics.
pub fn render(registry: &Registry) -> Result<Vec<u8>, Error> {
    let families = registry.gather();
    // A scrape of a member is some 200 KB; growing there would copy it many times.
    let mut text = Vec::with_capacity(256 * 1024);
    TextEncoder::new().encode(&families, &mut text)?;
    Ok(text)
}
