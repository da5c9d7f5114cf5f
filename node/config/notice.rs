//! What the operator should read in the log about how settings were found. Collected while parsing, since the
//! log itself is one of the settings; `cli` writes them as soon as it can.

/// One thing to say, at the level and in the words of etcd where it says the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Notice {
    /// `ETCD_VERSION` is set, which etcd drops.
    VersionVariable {
        value: String,
    },
    VariableUsed {
        name: String,
        value: String,
    },
    /// Names no flag. Unlike etcd we do not print its value, which may be a password meant for another program.
    VariableUnknown {
        name: String,
    },
    /// All settings came from this file.
    FileLoaded {
        path: String,
    },
    /// A flag by its name in etcd 3.5 or 3.6.
    OlderName {
        given: &'static str,
        instead: String,
    },
    /// A flag, or a gate, that Keelstone reads but that changes nothing.
    NoEffect {
        flag: String,
        why: &'static str,
    },
    /// A flag that etcd takes and drops.
    IgnoredByEtcd {
        flag: &'static str,
    },
    /// A flag that etcd will drop.
    Deprecated {
        text: &'static str,
    },
    /// A setting below etcd's minimum was raised to it.
    Raised {
        flag: &'static str,
        minimum: &'static str,
    },
    /// A setting of zero stands for etcd's default.
    ZeroMeansDefault {
        flag: &'static str,
        default: u64,
    },
    /// `--max-request-bytes` above what etcd advises.
    LargeRequests {
        bytes: u64,
        advised: u64,
    },
    /// A `--bcrypt-cost` that bcrypt does not take.
    BcryptCost {
        given: u64,
        default: u32,
    },
    SinglePort,
    DefaultName {
        name: String,
    },
    /// The data directory follows from the name.
    DefaultDataDir {
        path: String,
    },
    /// Default URLs were advertised with this address of the machine, since the listener has none.
    DefaultHost {
        host: String,
    },
    NoDefaultHost {
        why: String,
    },
}
