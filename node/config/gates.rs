//! etcd's feature gates: `--feature-gates A=true,B=false`, with `AllAlpha` and `AllBeta` setting every gate of
//! that stage which is not named (etcd `pkg/featuregate`). Which gates are built is decided here too.

use super::value::parse_bool;
use GateState::{Built, NoEffect};
use std::collections::BTreeMap;
use std::fmt;

/// A gate of etcd 3.7.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Gate {
    CompactHashCheck,
    FastLeaseKeepAlive,
    InitialCorruptCheck,
    LeaseCheckpoint,
    LeaseCheckpointPersist,
    PriorityRequest,
    SetMemberLocalAddr,
    StopGrpcServiceOnDefrag,
    TxnModeWriteWithSharedBuffer,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stage {
    Alpha,
    Beta,
}

impl Stage {
    /// As Kubernetes' component-base and etcd's metrics spell it.
    pub fn as_str(self) -> &'static str {
        match self {
            Stage::Alpha => "ALPHA",
            Stage::Beta => "BETA",
        }
    }
}

/// What the table knows of a gate.
#[derive(Clone, Copy, Debug)]
pub struct GateSpec {
    pub gate: Gate,
    pub name: &'static str,
    pub stage: Stage,
    pub default: bool,
    pub state: GateState,
}

/// What Keelstone does with a gate.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GateState {
    /// Does what it does in etcd.
    Built,
    /// There is nothing that it could change, for the reason given; a value that is not the default is noted in the log.
    NoEffect(&'static str),
}

const fn gate(gate: Gate, name: &'static str, stage: Stage, default: bool, state: GateState) -> GateSpec {
    GateSpec { gate, name, stage, default, state }
}

/// Every gate, by name. The two corruption checks and PriorityRequest are on, where etcd has them off.
#[rustfmt::skip]
pub const GATES: [GateSpec; 9] = [
    gate(Gate::CompactHashCheck, "CompactHashCheck", Stage::Alpha, true, Built),
    gate(Gate::FastLeaseKeepAlive, "FastLeaseKeepAlive", Stage::Beta, true,
        NoEffect("a renewal always waits for the log where it has to, and nowhere else")),
    gate(Gate::InitialCorruptCheck, "InitialCorruptCheck", Stage::Alpha, true, Built),
    gate(Gate::LeaseCheckpoint, "LeaseCheckpoint", Stage::Alpha, false, Built),
    gate(Gate::LeaseCheckpointPersist, "LeaseCheckpointPersist", Stage::Alpha, false,
        NoEffect("checkpoints that were recorded are always kept, as in etcd since 3.6")),
    gate(Gate::PriorityRequest, "PriorityRequest", Stage::Alpha, true, Built),
    gate(Gate::SetMemberLocalAddr, "SetMemberLocalAddr", Stage::Alpha, false, Built),
    gate(Gate::StopGrpcServiceOnDefrag, "StopGRPCServiceOnDefrag", Stage::Alpha, false, Built),
    gate(Gate::TxnModeWriteWithSharedBuffer, "TxnModeWriteWithSharedBuffer", Stage::Beta, true,
        NoEffect("it is a way of bbolt's transactions, which Keelstone does not have")),
];

/// Why a list of gates is refused; texts are etcd's.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum GateError {
    #[error("missing bool value for {0}")]
    NoValue(String),
    #[error("invalid value of {name}={value}, err: strconv.ParseBool: parsing {value:?}: invalid syntax")]
    NotABool { name: String, value: String },
    #[error("unrecognized feature gate: {0}")]
    Unknown(String),
}

/// The gates that were set; all others have their default. Printed as etcd prints it in its start line.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct FeatureGates {
    /// Invariant: names from [`GATES`], or `AllAlpha` and `AllBeta`.
    set: BTreeMap<&'static str, bool>,
}

impl FeatureGates {
    /// Adds the gates of one flag value. Later values of the same gate win; a gate that is named beats
    /// `AllAlpha` and `AllBeta`, in whichever order they come.
    pub fn apply(&mut self, text: &str) -> Result<(), GateError> {
        let mut named = BTreeMap::new();
        for pair in text.split(',').filter(|pair| !pair.is_empty()) {
            let (name, value) = match pair.split_once('=') {
                Some((name, value)) => (name.trim(), value.trim()),
                None => return Err(GateError::NoValue(pair.trim().to_owned())),
            };
            let not_a_bool = || GateError::NotABool { name: name.to_owned(), value: value.to_owned() };
            named.insert(name, parse_bool(value).ok_or_else(not_a_bool)?);
        }
        // Two rounds, so that the outcome does not depend on order: etcd walks a Go map here.
        let mut all = Vec::new();
        for (name, value) in named {
            let known = GATES.iter().map(|spec| spec.name).chain(["AllAlpha", "AllBeta"]).find(|&known| known == name);
            let known = known.ok_or_else(|| GateError::Unknown(name.to_owned()))?;
            self.set.insert(known, value);
            match known {
                "AllAlpha" => all.push((Stage::Alpha, value)),
                "AllBeta" => all.push((Stage::Beta, value)),
                _ => {}
            }
        }
        for (stage, value) in all {
            for spec in GATES.iter().filter(|spec| spec.stage == stage) {
                self.set.entry(spec.name).or_insert(value);
            }
        }
        Ok(())
    }

    pub fn enabled(&self, gate: Gate) -> bool {
        let spec = GATES.iter().find(|spec| spec.gate == gate).expect("GATES lists every gate");
        self.set.get(spec.name).copied().unwrap_or(spec.default)
    }

    /// Gates that are off their default.
    fn changed(&self) -> impl Iterator<Item = &'static GateSpec> + '_ {
        GATES.iter().filter(|spec| self.enabled(spec.gate) != spec.default)
    }

    /// Gates that are off their default, which changes nothing, and why.
    pub fn without_effect(&self) -> impl Iterator<Item = (&'static str, &'static str)> + '_ {
        self.changed().filter_map(|spec| match spec.state {
            NoEffect(why) => Some((spec.name, why)),
            Built => None,
        })
    }
}

impl fmt::Display for FeatureGates {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (name, value)) in self.set.iter().enumerate() {
            write!(f, "{}{name}={value}", if at == 0 { "" } else { "," })?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(text: &str) -> Result<FeatureGates, GateError> {
        let mut gates = FeatureGates::default();
        gates.apply(text).map(|()| gates)
    }

    #[test]
    fn a_named_gate_beats_its_stage() {
        let gates = parsed("PriorityRequest=false,AllAlpha=true").unwrap();
        assert!(gates.enabled(Gate::LeaseCheckpoint) && !gates.enabled(Gate::PriorityRequest));
        assert!(gates.enabled(Gate::FastLeaseKeepAlive), "a beta gate keeps its default");
    }

    #[test]
    fn a_gate_that_changes_nothing_is_named() {
        let gates = parsed("FastLeaseKeepAlive=false,PriorityRequest=true").unwrap();
        assert_eq!(gates.without_effect().map(|(name, _)| name).collect::<Vec<_>>(), ["FastLeaseKeepAlive"]);
        assert_eq!(gates.to_string(), "FastLeaseKeepAlive=false,PriorityRequest=true");
    }

    #[test]
    fn corruption_checks_are_on_until_they_or_their_stage_are_turned_off() {
        for (text, initial, compact_hash) in [
            ("", true, true),
            ("InitialCorruptCheck=false", false, true),
            ("AllAlpha=false", false, false),
            ("AllAlpha=false,CompactHashCheck=true", false, true),
        ] {
            let gates = parsed(text).unwrap();
            assert_eq!(gates.enabled(Gate::InitialCorruptCheck), initial, "{text}");
            assert_eq!(gates.enabled(Gate::CompactHashCheck), compact_hash, "{text}");
        }
    }

    #[test]
    fn refusals_use_etcds_words() {
        for (given, said) in [
            ("foo=true", "unrecognized feature gate: foo"),
            ("LeaseCheckpoint", "missing bool value for LeaseCheckpoint"),
            (
                "LeaseCheckpoint=2",
                "invalid value of LeaseCheckpoint=2, err: strconv.ParseBool: parsing \"2\": invalid syntax",
            ),
        ] {
            assert_eq!(parsed(given).unwrap_err().to_string(), said);
        }
    }
}
