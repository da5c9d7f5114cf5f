//! Our descriptors against those of etcd's published Go packages: a list of facts, line by line.
//! `dump_official.sh` writes the official list; both sides are sorted here.

use prost_reflect::{
    Cardinality, DescriptorPool, EnumDescriptor, FieldDescriptor, Kind, MessageDescriptor, ServiceDescriptor,
};
use std::collections::BTreeSet;

const OFFICIAL: &str = include_str!("official-descriptors.txt");

/// What we put into etcd's messages. etcd skips these numbers as unknown.
const ADDITIONS: [&str; 2] = [
    "field raftpb.ConfChange 1000 keelstone_membership: bytes, optional presence, json=keelstoneMembership",
    "field raftpb.HardState 1000 keelstone_vote_committed: bool, optional presence, json=keelstoneVoteCommitted",
];

fn cardinality(of: Cardinality) -> &'static str {
    match of {
        Cardinality::Optional => "optional",
        Cardinality::Required => "required",
        Cardinality::Repeated => "repeated",
    }
}

fn type_of(kind: &Kind) -> String {
    match kind {
        Kind::Message(message) => format!("message {}", message.full_name()),
        Kind::Enum(values) => format!("enum {}", values.full_name()),
        scalar => format!("{scalar:?}"),
    }
}

fn field(of: &FieldDescriptor) -> String {
    let mut attributes = vec![cardinality(of.cardinality()).to_owned()];
    let has = [(of.supports_presence(), "presence"), (of.is_packed(), "packed"), (of.is_map(), "map")];
    attributes.extend(has.iter().filter(|(yes, _)| *yes).map(|(_, name)| (*name).to_owned()));
    if let Some(default) = &of.field_descriptor_proto().default_value {
        attributes.push(format!("default={default}"));
    }
    if let Some(oneof) = of.containing_oneof().filter(|oneof| !oneof.is_synthetic()) {
        attributes.push(format!("oneof={}", oneof.name()));
    }
    let (number, name, json) = (of.number(), of.name(), of.json_name());
    format!("{number} {name}: {}, {}, json={json}", type_of(&of.kind()), attributes.join(" "))
}

fn message_lines(of: &MessageDescriptor) -> Vec<String> {
    let name = of.full_name();
    let mut lines = vec![format!("message {name}")];
    lines.extend(of.fields().map(|of| format!("field {name} {}", field(&of))));
    lines.extend(of.reserved_ranges().map(|range| format!("reserved {name} {}..{}", range.start, range.end)));
    lines.extend(of.reserved_names().map(|reserved| format!("reserved {name} {reserved}")));
    lines
}

fn enum_lines(of: &EnumDescriptor) -> Vec<String> {
    let name = of.full_name();
    let mut lines = vec![format!("enum {name}")];
    lines.extend(of.values().map(|value| format!("value {name} {} {}", value.number(), value.name())));
    lines
}

fn service_lines(of: &ServiceDescriptor) -> Vec<String> {
    let name = of.full_name();
    let stream = |is: bool| if is { "stream " } else { "" };
    let mut lines = vec![format!("service {name}")];
    lines.extend(of.methods().map(|method| {
        let (request, response) = (method.input(), method.output());
        format!(
            "method {name} {}({}{}) returns ({}{})",
            method.name(),
            stream(method.is_client_streaming()),
            request.full_name(),
            stream(method.is_server_streaming()),
            response.full_name(),
        )
    }));
    lines
}

fn is_etcds(package: &str) -> bool {
    !matches!(package, "google.protobuf" | "keelstone.internal.v1" | "keelstonepb")
}

fn our_lines() -> BTreeSet<String> {
    let pool = DescriptorPool::decode(keelstone_proto::FILE_DESCRIPTOR_SET).expect("our set is valid");
    let messages = pool.all_messages().filter(|of| is_etcds(of.package_name()));
    let enums = pool.all_enums().filter(|of| is_etcds(of.package_name()));
    let services = pool.services().filter(|of| is_etcds(of.package_name()));
    let extensions = pool.all_extensions().map(|of| {
        let (name, extended) = (of.full_name(), of.containing_message());
        let kind = type_of(&of.kind());
        let extended = extended.full_name();
        format!("extension {name} of {extended} {}: {kind}, {}", of.number(), cardinality(of.cardinality()))
    });
    messages
        .flat_map(|of| message_lines(&of))
        .chain(enums.flat_map(|of| enum_lines(&of)))
        .chain(services.flat_map(|of| service_lines(&of)))
        .chain(extensions)
        .collect()
}

#[test]
fn the_wire_is_etcds_and_our_listed_additions() {
    let expected: BTreeSet<String> =
        OFFICIAL.lines().filter(|line| !line.starts_with('#')).chain(ADDITIONS).map(str::to_owned).collect();
    let ours = our_lines();
    let missing = expected.difference(&ours).map(|line| format!("- {line}"));
    let unexpected = ours.difference(&expected).map(|line| format!("+ {line}"));
    let differences: Vec<String> = missing.chain(unexpected).collect();
    assert!(differences.is_empty(), "- etcd's, not ours; + ours, not etcd's:\n{}", differences.join("\n"));
}

#[test]
fn an_addition_never_takes_a_name_or_number_of_etcd() {
    let identity = |line: &str| -> Vec<String> { line.split([' ', ':']).take(4).map(str::to_owned).collect() };
    for addition in ADDITIONS.map(identity) {
        let [_, message, number, name] = &addition[..] else { panic!("not a field: {addition:?}") };
        let taken = OFFICIAL
            .lines()
            .filter(|line| line.starts_with("field "))
            .map(identity)
            .find(|official| official[1] == *message && (official[2] == *number || official[3] == *name));
        assert_eq!(taken, None);
    }
}
