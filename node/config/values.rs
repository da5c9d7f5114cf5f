//! What was set: a value for every flag of the table, and which of them somebody set.

use super::gates::FeatureGates;
use super::kind::Value;
use super::table::{FLAGS, Flag, State};
use super::url::Url;
use super::value::GoDuration;
use std::collections::{BTreeMap, BTreeSet};

/// Values by flag. Aliases have none of their own: setting one sets what it stands for.
#[derive(Clone, Debug)]
pub struct Values {
    /// Invariant: a value of the flag's kind for every row of the table but aliases.
    values: BTreeMap<&'static str, Value>,
    explicit: BTreeSet<&'static str>,
    /// Names of older releases that were used, with what stands in their place.
    pub older: BTreeMap<&'static str, String>,
}

impl Values {
    /// Every flag at its default.
    pub fn defaults() -> Values {
        let own = FLAGS.iter().filter(|flag| !matches!(flag.state, State::Alias(_) | State::SetsGate(_)));
        let values = own.map(|flag| (flag.name, flag.default_value())).collect();
        Values { values, explicit: BTreeSet::new(), older: BTreeMap::new() }
    }

    /// Sets a flag from a text, over what was set before. The error is what Go's flag package says.
    pub fn set(&mut self, flag: &'static Flag, text: &str) -> Result<(), String> {
        match flag.state {
            State::Alias(of) => {
                self.older.insert(flag.name, format!("--{of}"));
                let target = Flag::find(of).expect("aliases name a row of the table; a test looks each up");
                self.set(target, text)
            }
            State::SetsGate(gate) => {
                let Value::Bool(on) = flag.kind.set(&Value::Bool(false), text)? else {
                    unreachable!("flags that became gates are bools")
                };
                self.older.insert(flag.name, format!("--feature-gates={gate}={on}"));
                let gates = Flag::find("feature-gates").expect("a row of the table");
                self.set(gates, &format!("{gate}={on}"))
            }
            State::Built | State::Later(_) | State::NoEffect(_) | State::Ignored => {
                let value = flag.kind.set(&self.values[flag.name], text)?;
                self.put(flag, value);
                Ok(())
            }
        }
    }

    /// Sets a flag to a value of its kind.
    pub fn put(&mut self, flag: &'static Flag, value: Value) {
        self.explicit.insert(flag.name);
        self.values.insert(flag.name, value);
    }

    /// Notes that a flag was given, without a value.
    pub fn mark(&mut self, flag: &'static Flag) {
        self.explicit.insert(flag.name);
    }

    /// True if somebody set the flag, be it to its default.
    pub fn is_set(&self, name: &str) -> bool {
        self.explicit.contains(name)
    }

    /// True if the flag's value is the one it has when nobody sets it.
    pub fn is_default(&self, flag: &Flag) -> bool {
        self.values.get(flag.name).is_none_or(|value| *value == flag.default_value())
    }

    pub fn get(&self, name: &str) -> &Value {
        self.values.get(name).unwrap_or_else(|| panic!("the table has no flag {name}"))
    }

    pub fn bool(&self, name: &str) -> bool {
        match self.get(name) {
            Value::Bool(value) => *value,
            other => panic!("--{name} is no bool but {other:?}"),
        }
    }

    pub fn uint(&self, name: &str) -> u64 {
        match self.get(name) {
            Value::Uint(value) => *value,
            other => panic!("--{name} is no uint but {other:?}"),
        }
    }

    pub fn int(&self, name: &str) -> i64 {
        match self.get(name) {
            Value::Int(value) => *value,
            other => panic!("--{name} is no int but {other:?}"),
        }
    }

    pub fn duration(&self, name: &str) -> GoDuration {
        match self.get(name) {
            Value::Duration(value) => *value,
            other => panic!("--{name} is no duration but {other:?}"),
        }
    }

    pub fn text(&self, name: &str) -> &str {
        match self.get(name) {
            Value::Text(value) => value,
            other => panic!("--{name} is no text but {other:?}"),
        }
    }

    pub fn urls(&self, name: &str) -> &[Url] {
        match self.get(name) {
            Value::Urls(value) => value,
            other => panic!("--{name} is no list of URLs but {other:?}"),
        }
    }

    pub fn words(&self, name: &str) -> &[String] {
        match self.get(name) {
            Value::Words(value) => value,
            other => panic!("--{name} is no list of words but {other:?}"),
        }
    }

    pub fn gates(&self) -> &FeatureGates {
        match self.get("feature-gates") {
            Value::Gates(value) => value,
            other => panic!("--feature-gates is no set of gates but {other:?}"),
        }
    }
}
