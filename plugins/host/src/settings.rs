//! A plugin's settings: declared by its author, given by the operator, handed to the plugin as JSON.
//!
//! The types are few and flat, on purpose. JSON Schema would bring a crate with a hundred others below it and a language that
//! operators cannot be expected to read; what these types cannot say the plugin checks itself (`lifecycle.start`).

use crate::log;
use serde::Deserialize;
use serde_json::Value;
use std::collections::BTreeMap;
use std::fmt;

/// One setting as its author declares it. Without a default an operator has to give it.
#[derive(Clone, Debug, Deserialize, PartialEq, Eq)]
#[serde(tag = "type", rename_all = "kebab-case", rename_all_fields = "kebab-case", deny_unknown_fields)]
pub enum Setting {
    Boolean {
        #[serde(default)]
        description: String,
        default: Option<bool>,
    },
    Integer {
        #[serde(default)]
        description: String,
        default: Option<i64>,
        min: Option<i64>,
        max: Option<i64>,
    },
    Text {
        #[serde(default)]
        description: String,
        default: Option<String>,
        /// Only these; anything if there is none.
        #[serde(default)]
        one_of: Vec<String>,
    },
    /// Texts.
    List {
        #[serde(default)]
        description: String,
        default: Option<Vec<String>>,
        max_items: Option<usize>,
    },
}

/// What is wrong with a setting.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Empty for all of them together.
    pub setting: String,
    pub message: String,
}

impl Problem {
    /// Of a guest's words.
    pub(crate) fn shown(setting: &str, message: &str) -> Self {
        Self { setting: log::plain(setting), message: log::plain(message) }
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.setting.is_empty() {
            f.write_str(&self.message)
        } else {
            write!(f, "{}: {}", self.setting, self.message)
        }
    }
}

impl Setting {
    fn default(&self) -> Option<Value> {
        match self {
            Self::Boolean { default, .. } => default.map(Value::from),
            Self::Integer { default, .. } => default.map(Value::from),
            Self::Text { default, .. } => default.clone().map(Value::from),
            Self::List { default, .. } => default.clone().map(Value::from),
        }
    }

    fn check(&self, value: &Value) -> Result<(), String> {
        match (self, value) {
            (Self::Boolean { .. }, Value::Bool(_)) => Ok(()),
            (Self::Integer { min, max, .. }, Value::Number(number)) => {
                let number = number.as_i64().ok_or("a whole number is wanted")?;
                match (min, max) {
                    (Some(min), _) if number < *min => Err(format!("{number} is less than {min}")),
                    (_, Some(max)) if number > *max => Err(format!("{number} is more than {max}")),
                    _ => Ok(()),
                }
            }
            (Self::Text { one_of, .. }, Value::String(text)) => {
                if one_of.is_empty() || one_of.contains(text) {
                    return Ok(());
                }
                Err(format!("{text:?} is none of {}", one_of.join(", ")))
            }
            (Self::List { max_items, .. }, Value::Array(items)) => {
                if !items.iter().all(Value::is_string) {
                    return Err("a list of texts is wanted".to_owned());
                }
                match max_items {
                    Some(max) if items.len() > *max => Err(format!("{} items are more than {max}", items.len())),
                    _ => Ok(()),
                }
            }
            (Self::Boolean { .. }, _) => Err("true or false is wanted".to_owned()),
            (Self::Integer { .. }, _) => Err("a whole number is wanted".to_owned()),
            (Self::Text { .. }, _) => Err("a text is wanted".to_owned()),
            (Self::List { .. }, _) => Err("a list of texts is wanted".to_owned()),
        }
    }
}

/// A JSON object with a value for each declared setting.
///
/// # Errors
/// All that is wrong: unknown names, missing ones, values of another type or out of bounds.
pub fn resolve(declared: &BTreeMap<String, Setting>, given: &BTreeMap<String, Value>) -> Result<String, Vec<Problem>> {
    let unknown = given.keys().filter(|name| !declared.contains_key(*name));
    let mut problems: Vec<Problem> = unknown
        .map(|name| Problem { setting: name.clone(), message: "the plugin has no such setting".to_owned() })
        .collect();
    let mut resolved = serde_json::Map::new();
    for (name, setting) in declared {
        let value = given.get(name).cloned().or_else(|| setting.default());
        let checked = value.ok_or("has to be given".to_owned()).and_then(|value| setting.check(&value).map(|()| value));
        match checked {
            Ok(value) => drop(resolved.insert(name.clone(), value)),
            Err(message) => problems.push(Problem { setting: name.clone(), message }),
        }
    }
    if problems.is_empty() { Ok(Value::Object(resolved).to_string()) } else { Err(problems) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn declared() -> BTreeMap<String, Setting> {
        toml::from_str(
            "[max-bytes]\ntype = 'integer'\nmin = 1\nmax = 100\ndefault = 10\n\
             [mode]\ntype = 'text'\none-of = ['a', 'b']\n\
             [strict]\ntype = 'boolean'\ndefault = false\n\
             [names]\ntype = 'list'\nmax-items = 2\ndefault = []\n",
        )
        .unwrap()
    }

    fn resolved(given: &str) -> Result<String, Vec<String>> {
        let given = toml::from_str(given).unwrap();
        resolve(&declared(), &given).map_err(|problems| problems.iter().map(ToString::to_string).collect())
    }

    #[test]
    fn what_is_not_given_is_the_default() {
        assert_eq!(
            resolved("mode = 'b'\nnames = ['x']").unwrap(),
            r#"{"max-bytes":10,"mode":"b","names":["x"],"strict":false}"#
        );
    }

    #[test]
    fn all_that_is_wrong_is_said_at_once() {
        assert_eq!(
            resolved("max-bytes = 0\nnames = ['a', 'b', 'c']\nstrict = 'yes'\nnam = 1").unwrap_err(),
            [
                "nam: the plugin has no such setting",
                "max-bytes: 0 is less than 1",
                "mode: has to be given",
                "names: 3 items are more than 2",
                "strict: true or false is wanted",
            ]
        );
        assert_eq!(resolved("mode = 'c'").unwrap_err(), ["mode: \"c\" is none of a, b"]);
        assert!(toml::from_str::<BTreeMap<String, Setting>>("[x]\ntype = 'integer'\nmini = 1").is_err());
    }
}
