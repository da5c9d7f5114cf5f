//! Notices of the settings as log lines, in etcd's words and keys where it says the same.

use crate::config::Notice;
use tracing::{info, warn};

/// Values of variables that must not be read from a log.
fn shown<'a>(name: &str, value: &'a str) -> &'a str {
    if name.contains("PASSWORD") { "***" } else { value }
}

pub fn log(notice: &Notice) {
    match notice {
        Notice::VersionVariable { value } => {
            warn!(key = "ETCD_VERSION", value, "cannot set special environment variable");
        }
        Notice::VariableUsed { name, value } => info!(
            "variable-name" = name,
            "variable-value" = shown(name, value),
            "recognized and used environment variable"
        ),
        Notice::VariableUnknown { name } => {
            warn!("environment-variable" = name, "unrecognized environment variable");
        }
        Notice::FileLoaded { path } => info!(
            path,
            "loaded server configuration, other configuration command line flags \
             and environment variables will be ignored if provided"
        ),
        Notice::OlderName { given, instead } => {
            warn!("flag-name" = given, instead, "flag was removed in etcd 3.7; use the newer one");
        }
        Notice::NoEffect { flag, why } => warn!("flag-name" = flag, reason = why, "flag has no effect in Keelstone"),
        Notice::IgnoredByEtcd { flag } => warn!("flag-name" = flag, "flag is no longer supported - ignoring"),
        Notice::Deprecated { text } => warn!("{text}"),
        Notice::Raised { flag, minimum } => info!("{flag} increased to minimum value: {minimum}"),
        Notice::ZeroMeansDefault { flag, default } => info!(updated = default, "updating {flag} to default"),
        Notice::LargeRequests { bytes, advised } => warn!(
            "max-request-bytes" = bytes,
            "recommended-request-bytes" = advised,
            "exceeded recommended request limit"
        ),
        Notice::BcryptCost { given, default } => warn!(
            "min-cost" = 4,
            "max-cost" = 31,
            "default-cost" = default,
            "given-cost" = given,
            "use default bcrypt cost instead of the invalid given cost"
        ),
        Notice::SinglePort => {
            warn!("Running http and grpc server on single port. This is not recommended for production.");
        }
        Notice::DefaultName { name } => warn!(
            name,
            "it isn't recommended to use default name, please set a value for --name. \
             Note that etcd might run into issue when multiple members have the same default name"
        ),
        Notice::DefaultDataDir { path } => warn!("data-dir" = path, "'data-dir' was empty; using default"),
        Notice::DefaultHost { host } => info!(host, "detected default host for advertise"),
        Notice::NoDefaultHost { why } => info!(error = why, "failed to detect default host"),
    }
}
