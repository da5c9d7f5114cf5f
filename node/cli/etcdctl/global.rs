//! Flags that every command takes, and their environment variables (`ETCDCTL_ENDPOINTS` for `--endpoints`).

use super::Call;
use super::failure::{self, Failure, Outcome};
use super::flags::{Flag, Kind};
use super::log::Logger;
use super::usage;

const DURATION: Kind = Kind::Duration;

pub const FLAGS: &[Flag] = &[
    Flag::text("auth-jwt-token", "token to authenticate with, in place of --user and --password"),
    Flag::text("cacert", "file with the certificates that a server's is verified by"),
    Flag::text("cert", "file with this client's certificate"),
    Flag::new("command-timeout", DURATION, "5s", "how long a short command may take, connecting not counted"),
    Flag::switch("debug", "print on stderr what the client does"),
    Flag::new("dial-timeout", DURATION, "2s", "how long connecting may take"),
    Flag::text("discovery-srv", "domain whose SRV records name the endpoints").or_short('d'),
    Flag::text("discovery-srv-name", "service name in the SRV records"),
    Flag::new("endpoints", Kind::List, "127.0.0.1:2379", "members to talk to, separated by commas"),
    Flag::switch("hex", "print keys, values and ids in hexadecimal"),
    Flag::new("insecure-discovery", Kind::Switch, "true", "accept SRV records of endpoints without TLS"),
    Flag::switch("insecure-skip-tls-verify", "do not verify the server's certificate (for tests only)"),
    Flag::new("insecure-transport", Kind::Switch, "true", "connect without TLS"),
    Flag::new("keepalive-time", DURATION, "2s", "how long a connection is silent before it is tested"),
    Flag::new("keepalive-timeout", DURATION, "6s", "how long that test may take"),
    Flag::text("key", "file with the key of this client's certificate"),
    Flag::int("max-recv-bytes", "largest response in bytes (0: 2 GiB)"),
    Flag::int("max-request-bytes", "largest request in bytes (0: 2 MiB)"),
    Flag::text("password", "password of --user"),
    Flag::text("user", "name[:password] to authenticate with; a password that is not given is asked for"),
    Flag::new("write-out", Kind::Text, "simple", "form of the output: fields, json, protobuf, simple, table")
        .or_short('w'),
];

/// `etcdctl options`.
pub fn options() -> String {
    let flags: Vec<&Flag> = FLAGS.iter().collect();
    format!("The following options can be passed to any command:\n\n{}", usage::flags(&flags, ""))
}

fn variable(flag: &str) -> String {
    format!("ETCDCTL_{}", flag.replace('-', "_").to_uppercase())
}

/// Sets flags from the environment (etcd `pkg/flags/flag.go`). A value that a flag refuses is passed over, as there.
///
/// # Errors
/// If a variable and its flag are both given: which was meant?
pub fn take_environment(call: &mut Call) -> Outcome {
    let logger = Logger::unnamed();
    let inherited = call.command.inherited();
    let mut used = Vec::new();
    for flag in &inherited {
        let name = variable(flag.name);
        if call.values.is_set(flag.name) {
            continue;
        }
        if let Some(value) = std::env::var(&name).ok().filter(|value| !value.is_empty()) {
            // A refused value leaves the default and counts as used, as in etcdctl; here at least it is told.
            if let Err(text) = call.values.set(flag, &value) {
                logger.line(
                    "warn",
                    "invalid environment variable is passed over",
                    &[("environment-variable", &name), ("error", &text)],
                );
            }
            used.push(name);
        }
    }
    let is_watch = call.command.command().name() == "watch";
    let watches = ["ETCDCTL_WATCH_KEY", "ETCDCTL_WATCH_RANGE_END"];
    for (name, value) in std::env::vars_os() {
        let (name, value) = (name.to_string_lossy(), value.to_string_lossy());
        if used.contains(&name.as_ref().to_owned()) || is_watch && watches.contains(&name.as_ref()) {
            continue;
        }
        if inherited.iter().any(|flag| variable(flag.name) == name && call.values.is_set(flag.name)) {
            logger.line(
                "fatal",
                "conflicting environment variable is shadowed by corresponding command-line flag (either unset environment variable or disable flag))",
                &[("environment-variable", &name)],
            );
            return Err(Failure::silent(failure::ERROR));
        }
        if name.starts_with("ETCDCTL_") {
            logger.line(
                "warn",
                "unrecognized environment variable",
                &[("environment-variable", &format!("{name}={value}"))],
            );
        }
    }
    Ok(())
}

/// With `--debug`: every flag as its variable.
pub fn show_settings(call: &Call) {
    for flag in call.command.inherited() {
        let value = call.values.text(flag.name);
        let value = if flag.kind == Kind::List { format!("[{value}]") } else { value.to_owned() };
        eprintln!("{}={value}", variable(flag.name));
    }
}
