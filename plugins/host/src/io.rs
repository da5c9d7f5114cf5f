//! What instances of destinations are given beside the node's own interfaces: WASI 0.2, with nothing in it, and the way out
//! over HTTP if it was granted.

use crate::context::Core;
use crate::http::Egress;
use crate::limits::MAX_HANDLES;
use crate::log::{Level, MAX_LINE_BYTES};
use crate::plugin::Plugin;
use bytes::Bytes;
use std::fmt;
use std::sync::Arc;
use std::time::Instant;
use tokio::io::AsyncWrite;
use wasmtime::component::{Linker, ResourceTable};
use wasmtime_wasi::cli::{IsTerminal, StdoutStream, WasiCli, WasiCliView as _};
use wasmtime_wasi::filesystem::{WasiFilesystem, WasiFilesystemView as _};
use wasmtime_wasi::p2::bindings::{cli, filesystem, random};
use wasmtime_wasi::p2::{OutputStream, Pollable, StreamResult};
use wasmtime_wasi::random::WasiRandom;
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView};

/// Bytes of the fields of a request or response.
const MAX_FIELD_BYTES: usize = 64 << 10;
/// Random bytes in one call.
const MAX_RANDOM_BYTES: u64 = 64 << 10;

pub(crate) struct Io {
    pub core: Core,
    wasi: WasiCtx,
    http: WasiHttpCtx,
    egress: Egress,
    table: ResourceTable,
}

impl fmt::Debug for Io {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Io").field("core", &self.core).finish_non_exhaustive()
    }
}

impl Io {
    pub fn new(core: Core, egress: Egress) -> Self {
        let output = |level| Output { plugin: Arc::clone(&core.plugin), level };
        let mut wasi = WasiCtx::builder();
        wasi.stdout(output(Level::Info)).stderr(output(Level::Warn)).max_random_size(MAX_RANDOM_BYTES);
        let mut http = WasiHttpCtx::new();
        http.set_field_size_limit(MAX_FIELD_BYTES);
        let mut table = ResourceTable::new();
        table.set_max_capacity(MAX_HANDLES);
        Self { wasi: wasi.build(), http, egress, table, core }
    }
}

impl WasiView for Io {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

impl WasiHttpView for Io {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        WasiHttpCtxView { hooks: &mut self.egress, table: &mut self.table, ctx: &mut self.http }
    }
}

/// Everything that `imports` lets a destination have, and nothing else: there are no sockets to be found here.
///
/// # Errors
/// Two interfaces of one name.
pub(crate) fn link(linker: &mut Linker<Io>) -> wasmtime::Result<()> {
    // Clocks, streams, polling, standard output, `random/random`, and HTTP.
    wasmtime_wasi_http::p2::add_to_linker_async(linker)?;
    cli::exit::add_to_linker::<Io, WasiCli>(linker, Io::cli)?;
    cli::environment::add_to_linker::<Io, WasiCli>(linker, Io::cli)?;
    cli::terminal_input::add_to_linker::<Io, WasiCli>(linker, Io::cli)?;
    cli::terminal_output::add_to_linker::<Io, WasiCli>(linker, Io::cli)?;
    cli::terminal_stdin::add_to_linker::<Io, WasiCli>(linker, Io::cli)?;
    cli::terminal_stdout::add_to_linker::<Io, WasiCli>(linker, Io::cli)?;
    cli::terminal_stderr::add_to_linker::<Io, WasiCli>(linker, Io::cli)?;
    random::insecure::add_to_linker::<Io, WasiRandom>(linker, |io| io.ctx().ctx.random())?;
    random::insecure_seed::add_to_linker::<Io, WasiRandom>(linker, |io| io.ctx().ctx.random())?;
    // No folder was opened for it, so that no file can be named.
    filesystem::types::add_to_linker::<Io, WasiFilesystem>(linker, Io::filesystem)?;
    filesystem::preopens::add_to_linker::<Io, WasiFilesystem>(linker, Io::filesystem)
}

/// What a guest prints, in the plugin's log.
#[derive(Clone)]
struct Output {
    plugin: Arc<Plugin>,
    level: Level,
}

impl IsTerminal for Output {
    fn is_terminal(&self) -> bool {
        false
    }
}

impl StdoutStream for Output {
    fn async_stream(&self) -> Box<dyn AsyncWrite + Send + Sync> {
        // Asked for by other versions of WASI only.
        Box::new(tokio::io::sink())
    }

    fn p2_stream(&self) -> Box<dyn OutputStream> {
        Box::new(Printed { output: self.clone(), line: Vec::new() })
    }
}

/// Bytes of a line that is not whole yet.
struct Printed {
    output: Output,
    line: Vec<u8>,
}

impl Printed {
    fn end_line(&mut self) {
        let line = String::from_utf8_lossy(&self.line);
        self.output.plugin.log.write(Instant::now(), self.output.level, &line);
        self.line.clear();
    }
}

impl Drop for Printed {
    fn drop(&mut self) {
        if !self.line.is_empty() {
            self.end_line();
        }
    }
}

#[wasmtime_wasi::async_trait]
impl Pollable for Printed {
    async fn ready(&mut self) {}
}

impl OutputStream for Printed {
    fn write(&mut self, bytes: Bytes) -> StreamResult<()> {
        for byte in bytes {
            match byte {
                b'\n' => self.end_line(),
                // What the log would cut is not kept.
                _ if self.line.len() <= MAX_LINE_BYTES => self.line.push(byte),
                _ => {}
            }
        }
        Ok(())
    }

    fn flush(&mut self) -> StreamResult<()> {
        Ok(())
    }

    fn check_write(&mut self) -> StreamResult<usize> {
        Ok(MAX_LINE_BYTES)
    }
}
