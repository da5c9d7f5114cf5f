//! The configuration file: YAML or JSON (a subset of it), read as etcd reads it. Unknown keys are skipped, keys
//! compare without case, of a repeated key the last counts, durations are nanoseconds, and a value of another type
//! is refused in the words of Go's JSON decoder, which etcd hands the file to.

use super::kind::{Kind, Value};
use super::table::{FLAGS, Flag, Place, Section};
use super::url::{Url, UrlError};
use super::value::GoDuration;
use super::values::Values;
use serde::de::{Deserialize, Deserializer, MapAccess, SeqAccess, Visitor};
use std::fmt;

/// Why a file is refused.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum FileError {
    #[error("open {path}: {why}")]
    Open { path: String, why: String },
    #[error("error converting YAML to JSON: yaml: {0}")]
    Syntax(String),
    #[error(
        "error unmarshaling JSON: while decoding JSON: json: cannot unmarshal {found} into Go {place} of type {wanted}"
    )]
    Type { found: String, place: String, wanted: &'static str },
    /// etcd prints this one to stderr, outside of its log.
    #[error("unexpected error setting up {key}: {error}")]
    Url { key: &'static str, error: UrlError },
    #[error("{0}")]
    Gates(String),
}

/// Sets every flag that the text names.
pub fn apply(values: &mut Values, text: &str) -> Result<(), FileError> {
    let root: Node = serde_yaml_ng::from_str(text).map_err(|error| FileError::Syntax(error.to_string()))?;
    match root {
        Node::Null => Ok(()),
        Node::Map(entries) => entries.iter().try_for_each(|(key, node)| apply_key(values, &[key], node)),
        other => Err(FileError::Type { found: other.go_name(), place: "value".to_owned(), wanted: "embed.configYAML" }),
    }
}

/// Sets what stands at `path`, or goes down if flags lie below it.
fn apply_key(values: &mut Values, path: &[&str], node: &Node) -> Result<(), FileError> {
    let begins = |flag: &&'static Flag| {
        let own = flag.path().unwrap_or_default();
        own.len() >= path.len() && own.iter().zip(path).all(|(own, given)| own.eq_ignore_ascii_case(given))
    };
    let mut flags = FLAGS.iter().filter(begins);
    let Some(flag) = flags.next() else { return Ok(()) };
    let own_path = flag.path().unwrap_or_default();
    if own_path.len() == path.len() {
        values.mark(flag);
        return match node {
            Node::Null => Ok(()),
            node => apply_flag(values, flag, node),
        };
    }
    match node {
        Node::Null => Ok(()),
        Node::Map(entries) => entries.iter().try_for_each(|(key, node)| {
            let below: Vec<&str> = own_path[..path.len()].iter().copied().chain([key.as_str()]).collect();
            apply_key(values, &below, node)
        }),
        other => Err(mismatch(&own_path[..path.len()], other.go_name(), go_struct(&own_path[..path.len()]))),
    }
}

fn apply_flag(values: &mut Values, flag: &'static Flag, node: &Node) -> Result<(), FileError> {
    let wrong = |node: &Node| {
        let path = flag.path().unwrap_or_default();
        // Go names the number where a number of another kind was wanted.
        let found = match (node, go_type(flag)) {
            (Node::Int(number), wanted) if is_number(wanted) => format!("number {number}"),
            (Node::Float(number), wanted) if is_number(wanted) => format!("number {number}"),
            _ => node.go_name(),
        };
        Err(mismatch(&path, found, go_type(flag)))
    };
    if let Node::Text(text) = node
        && let Some(result) = apply_text(values, flag, text)
    {
        return result;
    }
    let value = match (go_type(flag), node) {
        ("bool", Node::Bool(value)) => Value::Bool(*value),
        ("uint" | "uint64", Node::Int(number)) if u64::try_from(*number).is_ok() => {
            return set_printed(values, flag, &number.to_string());
        }
        ("uint32", Node::Int(number)) if u32::try_from(*number).is_ok() => {
            return set_printed(values, flag, &number.to_string());
        }
        ("int" | "int64", Node::Int(number)) if i64::try_from(*number).is_ok() => {
            return set_printed(values, flag, &number.to_string());
        }
        ("time.Duration", Node::Int(number)) => match i64::try_from(*number) {
            Ok(nanos) => return set_printed(values, flag, &GoDuration(nanos).to_string()),
            Err(_) => return wrong(node),
        },
        ("[]string", Node::List(nodes)) => {
            let mut words = Vec::with_capacity(nodes.len());
            for node in nodes {
                match node {
                    Node::Text(text) => words.push(text.clone()),
                    Node::Null => words.push(String::new()),
                    other => {
                        let path = flag.path().unwrap_or_default();
                        return Err(mismatch(&path, other.go_name(), "string"));
                    }
                }
            }
            Value::Words(words)
        }
        _ => return wrong(node),
    };
    match value {
        Value::Bool(value) => set_printed(values, flag, &value.to_string()),
        value => {
            values.put(flag, value);
            Ok(())
        }
    }
}

/// What a text means to this flag; none if the flag takes no text.
fn apply_text(values: &mut Values, flag: &'static Flag, text: &str) -> Option<Result<(), FileError>> {
    let value = match (flag.kind, flag.place) {
        // YAML 1.1, which etcd's parser speaks, has more words for true and false. (It would not take them
        // between quotes; ours cannot tell.)
        (Kind::Bool, _) => match text.to_ascii_lowercase().as_str() {
            "y" | "yes" | "on" => return Some(set_printed(values, flag, "true")),
            "n" | "no" | "off" => return Some(set_printed(values, flag, "false")),
            _ => return None,
        },
        // An unknown cluster state is refused with the other checks, an unknown v2 stage never.
        (Kind::Text | Kind::Choice(_), _) => Value::Text(text.to_owned()),
        (Kind::Choices(_), _) => Value::Words(vec![text.to_owned()]),
        (Kind::Urls(_) | Kind::UniqueWords | Kind::Gates, _) if text.is_empty() => return Some(Ok(())),
        (Kind::Urls(exception), _) if text == exception => flag.default_value(),
        (Kind::Urls(_), _) => match Url::parse_list(text) {
            Ok(urls) => Value::Urls(urls),
            Err(error) => return Some(Err(FileError::Url { key: flag.name, error })),
        },
        (Kind::UniqueWords, Place::Json) => return Some(set_printed(values, flag, text)),
        (Kind::Gates, _) => {
            let set = values.set(flag, text);
            return Some(set.map_err(FileError::Gates));
        }
        _ => return None,
    };
    values.put(flag, value);
    Some(Ok(()))
}

/// Sets a flag, or what it is an alias of, from the text that the command line would have.
fn set_printed(values: &mut Values, flag: &'static Flag, text: &str) -> Result<(), FileError> {
    values.set(flag, text).map_err(FileError::Gates)
}

/// The Go type that etcd decodes the flag's key into.
fn go_type(flag: &Flag) -> &'static str {
    match flag.kind {
        Kind::Bool | Kind::Ignored => "bool",
        Kind::Uint(name) | Kind::Int(name) => name,
        Kind::Uint32 => "uint32",
        Kind::Duration => "time.Duration",
        Kind::Choices(_) => "config.V2DeprecationEnum",
        Kind::Words => "[]string",
        Kind::UniqueWords if flag.place != Place::Json => "[]string",
        Kind::Text | Kind::Choice(_) | Kind::Urls(_) | Kind::UniqueWords | Kind::Gates => "string",
    }
}

fn is_number(go_type: &str) -> bool {
    matches!(go_type, "uint" | "uint64" | "uint32" | "int" | "int64" | "time.Duration")
}

/// The Go type of a section of the file.
fn go_struct(path: &[&str]) -> &'static str {
    match path.last().copied() {
        Some("client-transport-security" | "peer-transport-security") => "embed.securityConfig",
        Some("socket-options") => "transport.SocketOpts",
        Some("discovery-config") => "v3discovery.DiscoveryConfig",
        Some("client") => "clientv3.ConfigSpec",
        Some("secure") => "clientv3.SecureConfig",
        _ => "clientv3.AuthConfig",
    }
}

fn mismatch(path: &[&str], found: String, wanted: &'static str) -> FileError {
    let top = FLAGS.iter().find(|flag| flag.section != Section::Older && Some(&flag.name) == path.first());
    let json = match top {
        Some(flag) => flag.place == Place::Json,
        None => path[0].ends_with("-transport-security"),
    };
    let group = if json { "configJSON" } else { "Config" };
    // Go names the innermost struct, and the whole path behind it.
    let holder = match path.len() {
        1 => "configYAML",
        length => go_struct(&path[..length - 1]).rsplit('.').next().unwrap_or_default(),
    };
    FileError::Type { found, place: format!("struct field {holder}.{group}.{}", path.join(".")), wanted }
}

/// A YAML node. Unlike the crate's own type it keeps repeated keys, which etcd accepts.
#[derive(Clone, Debug, PartialEq)]
enum Node {
    Null,
    Bool(bool),
    Int(i128),
    Float(f64),
    Text(String),
    List(Vec<Node>),
    Map(Vec<(String, Node)>),
}

impl Node {
    /// As Go's JSON decoder calls it in an error.
    fn go_name(&self) -> String {
        match self {
            Node::Null => "null".to_owned(),
            Node::Bool(_) => "bool".to_owned(),
            Node::Int(_) | Node::Float(_) => "number".to_owned(),
            Node::Text(_) => "string".to_owned(),
            Node::List(_) => "array".to_owned(),
            Node::Map(_) => "object".to_owned(),
        }
    }
}

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(NodeVisitor)
    }
}

struct NodeVisitor;

impl<'de> Visitor<'de> for NodeVisitor {
    type Value = Node;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a YAML value")
    }

    fn visit_unit<E>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_none<E>(self) -> Result<Node, E> {
        Ok(Node::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Node, E> {
        Ok(Node::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Node, E> {
        Ok(Node::Int(i128::from(value)))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Node, E> {
        Ok(Node::Int(i128::from(value)))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Node, E> {
        // A whole number written as a float is a whole number in JSON.
        Ok(if value.fract() == 0.0 && value.abs() < 1e15 { Node::Int(value as i128) } else { Node::Float(value) })
    }

    fn visit_str<E>(self, value: &str) -> Result<Node, E> {
        Ok(Node::Text(value.to_owned()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut list: A) -> Result<Node, A::Error> {
        let mut nodes = Vec::new();
        while let Some(node) = list.next_element()? {
            nodes.push(node);
        }
        Ok(Node::List(nodes))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Node, A::Error> {
        let mut entries = Vec::new();
        while let Some((key, node)) = map.next_entry::<Node, Node>()? {
            // A key that is no text is no key of ours.
            if let Node::Text(key) = key {
                entries.push((key, node));
            }
        }
        Ok(Node::Map(entries))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn applied(text: &str) -> Result<Values, FileError> {
        let mut values = Values::defaults();
        apply(&mut values, text).map(|()| values)
    }

    #[test]
    fn every_shape_of_value_is_read() {
        let values = applied(
            "name: n1\nheartbeat-interval: 200\npre-vote: no\nquota-backend-bytes: -1\nDATA-DIR: /d\n\
             watch-progress-notify-interval: 600000000000\nlisten-peer-urls: http://a:2,http://a:1\n\
             log-outputs: [stderr, /x]\nfeature-gates: LeaseCheckpoint=true\nunknown: {a: b}\n\
             wal-dir:\nlisten-metrics-urls: ''\nsocket-options: {reuse-port: true}\n\
             client-transport-security: {cert-file: c, allowed-cn: [x], strange: 1}\n\
             discovery-config: {client: {endpoints: [e], secure: {cert: dc}}}\nname: n2\n",
        )
        .unwrap();
        assert_eq!(values.text("name"), "n2");
        assert_eq!(values.uint("heartbeat-interval"), 200);
        assert!(!values.bool("pre-vote") && values.bool("socket-reuse-port"));
        assert_eq!(values.int("quota-backend-bytes"), -1);
        assert_eq!(values.text("data-dir"), "/d");
        assert_eq!(values.duration("watch-progress-notify-interval").to_string(), "10m0s");
        assert_eq!(values.get("listen-peer-urls").print(), "http://a:1,http://a:2");
        assert_eq!(values.words("log-outputs"), ["stderr", "/x"]);
        assert_eq!(values.text("cert-file"), "c");
        assert_eq!(values.words("client-transport-security.allowed-cn"), ["x"]);
        assert_eq!((values.words("discovery-endpoints"), values.text("discovery-cert")), (&["e".to_owned()][..], "dc"));
        assert_eq!(values.text("wal-dir"), "");
    }

    #[test]
    fn json_and_nothing_at_all_are_files_too() {
        assert_eq!(applied("{\"name\":\"foo\",\"election-timeout\":2e3}").unwrap().uint("election-timeout"), 2000);
        assert_eq!(applied("").unwrap().text("name"), "default");
        assert_eq!(applied("# only a comment\n").unwrap().text("name"), "default");
    }

    #[test]
    fn an_older_name_works_in_the_file() {
        let values = applied("experimental-initial-corrupt-check: true\nexperimental-compaction-batch-limit: 7\n");
        let values = values.unwrap();
        assert_eq!(values.gates().to_string(), "InitialCorruptCheck=true");
        assert_eq!(values.int("compaction-batch-limit"), 7);
    }

    /// Texts recorded from etcd 3.7.3.
    #[test]
    fn a_wrong_type_is_refused_in_gos_words() {
        let json = "error unmarshaling JSON: while decoding JSON: json: cannot unmarshal ";
        let field = " into Go struct field configYAML.";
        for (text, said) in [
            ("heartbeat-interval: \"100\"", format!("{json}string{field}Config.heartbeat-interval of type uint")),
            ("heartbeat-interval: 100.5", format!("{json}number 100.5{field}Config.heartbeat-interval of type uint")),
            ("heartbeat-interval: -1", format!("{json}number -1{field}Config.heartbeat-interval of type uint")),
            ("name: [a]", format!("{json}array{field}Config.name of type string")),
            ("name: 12", format!("{json}number{field}Config.name of type string")),
            ("pre-vote: maybe", format!("{json}string{field}Config.pre-vote of type bool")),
            ("log-outputs: stderr", format!("{json}string{field}Config.log-outputs of type []string")),
            (
                "max-concurrent-streams: 4294967296",
                format!("{json}number 4294967296{field}Config.max-concurrent-streams of type uint32"),
            ),
            (
                "grpc-keepalive-timeout: 5s",
                format!("{json}string{field}Config.grpc-keepalive-timeout of type time.Duration"),
            ),
            (
                "peer-transport-security: 1",
                format!("{json}number{field}configJSON.peer-transport-security of type embed.securityConfig"),
            ),
            ("- a", format!("{json}array into Go value of type embed.configYAML")),
            (
                "listen-peer-urls: foo",
                "unexpected error setting up listen-peer-urls: URL scheme must be http, https, unix, or unixs: foo"
                    .to_owned(),
            ),
            ("feature-gates: foo=true", "unrecognized feature gate: foo".to_owned()),
        ] {
            assert_eq!(applied(text).unwrap_err().to_string(), said, "{text}");
        }
        assert!(applied("a: b: c").unwrap_err().to_string().starts_with("error converting YAML to JSON: yaml: "));
    }
}
