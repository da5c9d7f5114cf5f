//! The one unsafe call of this crate.

use wasmtime::Engine;
use wasmtime::component::Component;

/// Loads code that this node compiled.
///
/// # Errors
/// The engine is not the one that it was compiled for.
#[expect(unsafe_code, reason = "the engine cannot check compiled code; the MAC of the cache stands for it")]
pub(super) fn authentic(engine: &Engine, code: &[u8]) -> wasmtime::Result<Component> {
    // SAFETY: `deserialize` wants bytes that `Component::serialize` made. The caller has just verified a MAC over these very
    // bytes, which are in memory and not mapped from a file that could still change. The key of that MAC was made at random
    // by this node in a directory of mode 0700, and is used for nothing but what `serialize` returned to `cache::component`.
    // Version, settings and target of the engine are checked by `deserialize` itself.
    unsafe { Component::deserialize(engine, code) }
}
