//! Runs plugins of Keelstone: WebAssembly components of the worlds in `plugins/wit`. Knows nothing of the node.
//!
//! A plugin may be hostile: nothing that it does stops, starves or grows the process. What it imports was granted by an
//! operator; its memory, time, calls and answers are limited; what fails is dropped, and made anew for the next call; what
//! keeps failing is given a rest.
//!
//! ```text
//! bytes -> TrustedKeys::verify -> Package::read -> Host::admission | destination | restore_hook (with a Grant)
//!       -> Admission::check | Destination::put … | RestoreHook::begin … -> answer, or CallError
//! ```

mod admission;
mod bindings;
mod breaker;
mod cache;
mod context;
mod destination;
mod engine;
mod error;
mod grant;
mod host;
mod http;
mod imports;
mod io;
mod limits;
mod log;
mod manifest;
mod package;
mod plugin;
mod restore;
mod runner;
mod settings;
mod signature;
mod stats;
mod ticker;
mod units;

pub use admission::{Admission, Delete, Denial, NewValue, Put, Request, Verdict, Write};
pub use breaker::Trip;
pub use cache::{CacheError, Compiled};
pub use context::{KeyValue, Keys, NoKeys};
pub use destination::{Answer, Destination, Existing, Failure, Object, Page, Part, Profile, Upload};
pub use engine::Allocation;
pub use error::{CallError, HostError, LoadError};
pub use grant::{Binding, Enforce, Grant, Grants, OnFailure};
pub use host::{Host, HostOptions};
pub use http::Origin;
pub use imports::{Import, Needs};
pub use limits::{Given, Limit, Limits};
pub use log::{Level, Line, Log};
pub use manifest::{ABI, Abi, About, Asks, Manifest, ManifestError, Name, World};
pub use package::{Hash, Package, PackageError, pack};
pub use plugin::Plugin;
pub use restore::{Action, Entry, Finding, Plan, Refusal, RestoreHook, Severity, Source, Stage, Tally};
pub use settings::{Problem, Setting};
pub use signature::{SignatureError, TrustedKeys, sign};
pub use stats::{DURATION_BOUNDS_SECS, Outcome, OwnMetric, Stats};
pub use units::{Size, Span};
