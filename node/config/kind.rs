//! The types of flags and how a text becomes a value: each kind has Go's (or etcd's own `flag.Value`) rule for a
//! first and for a repeated setting, and their error texts.

use super::gates::FeatureGates;
use super::url::{Url, join};
use super::value::{GoDuration, ValueError, parse_bool, parse_i64, parse_u64};

/// The type of a flag.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Bool,
    /// Go's `uint` and `uint64`; the name is Go's, for error texts of the file.
    Uint(&'static str),
    Uint32,
    /// Go's `int` and `int64`.
    Int(&'static str),
    Duration,
    Text,
    /// One of these words; the first is the default.
    Choice(&'static [&'static str]),
    /// Some of these words; a repeated flag adds to them.
    Choices(&'static [&'static str]),
    /// URLs without repetition; the text given here stands for itself and changes nothing.
    Urls(&'static str),
    /// Words without repetition, sorted.
    UniqueWords,
    /// Words in the order given.
    Words,
    /// `A=true,B=false`; a repeated flag adds to it.
    Gates,
    /// Takes anything, does nothing, and needs no value.
    Ignored,
}

/// A flag's value. Its variant follows from the kind of the flag.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    Bool(bool),
    Uint(u64),
    Int(i64),
    Duration(GoDuration),
    Text(String),
    Urls(Vec<Url>),
    Words(Vec<String>),
    Gates(FeatureGates),
}

impl Kind {
    /// True if the flag stands alone (`--x`), a value being possible only as `--x=value`.
    pub fn is_switch(self) -> bool {
        matches!(self, Kind::Bool | Kind::Ignored)
    }

    /// The value before anything is set.
    pub fn empty(self) -> Value {
        match self {
            Kind::Bool | Kind::Ignored => Value::Bool(false),
            Kind::Uint(_) | Kind::Uint32 => Value::Uint(0),
            Kind::Int(_) => Value::Int(0),
            Kind::Duration => Value::Duration(GoDuration(0)),
            Kind::Text | Kind::Choice(_) => Value::Text(String::new()),
            Kind::Urls(_) => Value::Urls(Vec::new()),
            Kind::Choices(_) | Kind::UniqueWords | Kind::Words => Value::Words(Vec::new()),
            Kind::Gates => Value::Gates(FeatureGates::default()),
        }
    }

    /// The value after `text` was set over `before`; the error is what Go's flag package would say.
    pub fn set(self, before: &Value, text: &str) -> Result<Value, String> {
        let said = |error: ValueError| error.to_string();
        match self {
            Kind::Bool => parse_bool(text).map(Value::Bool).ok_or_else(|| ValueError::Syntax.to_string()),
            Kind::Uint(_) => parse_u64(text).map(Value::Uint).map_err(said),
            Kind::Uint32 => parse_u32(text).map(Value::Uint),
            Kind::Int(_) => parse_i64(text).map(Value::Int).map_err(said),
            Kind::Duration => GoDuration::parse(text).map(Value::Duration).map_err(said),
            Kind::Text => Ok(Value::Text(text.to_owned())),
            Kind::Choice(words) if words.contains(&text) => Ok(Value::Text(text.to_owned())),
            Kind::Choice(_) => Err("invalid value".to_owned()),
            Kind::Choices(allowed) => {
                let Value::Words(mut words) = before.clone() else { unreachable!("{self:?} holds words") };
                for word in text.split(',') {
                    if !allowed.contains(&word) {
                        return Err(format!("invalid value {word:?}"));
                    }
                    words.push(word.to_owned());
                }
                words.sort();
                Ok(Value::Words(words))
            }
            Kind::Urls(exception) => set_urls(exception, before, text),
            Kind::UniqueWords => {
                let mut words: Vec<String> = text.split(',').map(str::to_owned).collect();
                words.sort();
                words.dedup();
                Ok(Value::Words(words))
            }
            Kind::Words => Ok(Value::Words(text.split(',').map(str::to_owned).collect())),
            Kind::Gates => {
                let Value::Gates(mut gates) = before.clone() else { unreachable!("{self:?} holds gates") };
                gates.apply(text).map_err(|error| error.to_string())?;
                Ok(Value::Gates(gates))
            }
            Kind::Ignored => Ok(before.clone()),
        }
    }

    /// The value that a default of the table stands for.
    pub fn default_value(self, default: &str) -> Value {
        let empty = self.empty();
        if default.is_empty() {
            return empty;
        }
        self.set(&empty, default).expect("defaults of the table are valid; a test sets each")
    }
}

impl Value {
    /// As Go prints the flag's value.
    pub fn print(&self) -> String {
        match self {
            Value::Bool(value) => value.to_string(),
            Value::Uint(value) => value.to_string(),
            Value::Int(value) => value.to_string(),
            Value::Duration(value) => value.to_string(),
            Value::Text(value) => value.clone(),
            Value::Urls(urls) => join(urls),
            Value::Words(words) => words.join(","),
            Value::Gates(gates) => gates.to_string(),
        }
    }
}

/// etcd's own uint32 flag hands on the whole text of Go's `strconv`.
fn parse_u32(text: &str) -> Result<u64, String> {
    let fail = |why: &str| format!("strconv.ParseUint: parsing {text:?}: {why}");
    match parse_u64(text) {
        Ok(value) if value <= u64::from(u32::MAX) => Ok(value),
        Ok(_) | Err(ValueError::Range) => Err(fail("value out of range")),
        Err(ValueError::Syntax) => Err(fail("invalid syntax")),
    }
}

/// etcd `flags.UniqueURLs`: a text that equals one URL already there changes nothing, so that a repeated flag can
/// not narrow a list to one of its members.
fn set_urls(exception: &str, before: &Value, text: &str) -> Result<Value, String> {
    let Value::Urls(urls) = before else { unreachable!("URL flags hold URLs") };
    if text == exception || urls.iter().any(|url| url.as_str() == text) {
        return Ok(before.clone());
    }
    let mut urls = Url::parse_list(text).map_err(|error| error.to_string())?;
    urls.dedup();
    Ok(Value::Urls(urls))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set_all(kind: Kind, default: &str, texts: &[&str]) -> Result<String, String> {
        let mut value = kind.default_value(default);
        for text in texts {
            value = kind.set(&value, text)?;
        }
        Ok(value.print())
    }

    #[test]
    fn a_repeated_flag_replaces_or_adds_as_its_kind_says() {
        let gates = set_all(Kind::Gates, "", &["LeaseCheckpoint=true", "AllBeta=false"]).unwrap();
        assert!(gates.contains("LeaseCheckpoint=true") && gates.contains("FastLeaseKeepAlive=false"));
        assert_eq!(set_all(Kind::Text, "a", &["b", "c"]).unwrap(), "c");
        assert_eq!(set_all(Kind::UniqueWords, "default", &["b,a,b", "d,c"]).unwrap(), "c,d");
        assert_eq!(set_all(Kind::Words, "", &["b,a,b"]).unwrap(), "b,a,b");
        assert_eq!(set_all(Kind::Choices(&["x", "y"]), "", &["y", "x"]).unwrap(), "x,y");
        let urls = Kind::Urls("");
        assert_eq!(set_all(urls, "http://a:1", &["http://b:1,http://b:1"]).unwrap(), "http://b:1");
        assert_eq!(set_all(urls, "http://a:1", &[""]).unwrap(), "http://a:1");
        assert_eq!(set_all(urls, "", &["http://a:1,http://b:1", "http://b:1"]).unwrap(), "http://a:1,http://b:1");
    }

    #[test]
    fn refusals_use_gos_words() {
        for (kind, text, said) in [
            (Kind::Uint("uint"), "x", "parse error"),
            (Kind::Uint("uint"), "99999999999999999999", "value out of range"),
            (Kind::Uint32, "4294967296", "strconv.ParseUint: parsing \"4294967296\": value out of range"),
            (Kind::Duration, "5", "parse error"),
            (Kind::Choice(&["new"]), "foo", "invalid value"),
            (Kind::Choices(&["gone"]), "foo", "invalid value \"foo\""),
        ] {
            assert_eq!(set_all(kind, "", &[text]).unwrap_err(), said);
        }
    }
}
