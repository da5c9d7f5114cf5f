//! Rows of the state file, whatever they hold: the file is refused with a word, or it opens and goes on. Then each row
//! that the index names is there, further entries are applied, and a restart shows the same.

use super::apply::{Entry, committed, entries, history};
use crate::engine::{Target, Verdict, run};
use crate::node;
use keelstone::apply::{Applier, Committed, Fatal, Payload};
use keelstone::disk::File;
use keelstone::mvcc::{Revision, RowKey};
use keelstone::storage::{Durability, Storage, Table};
use keelstone::types::LogPosition;
use keelstone_harness::Random;
use keelstone_harness::proto::mvccpb::KeyValue;
use prost::Message;
use prost::bytes::Bytes;
use std::sync::Arc;

#[derive(Clone, PartialEq, Message)]
pub struct State {
    #[prost(message, repeated, tag = "1")]
    pub rows: Vec<Row>,
    /// Applied once the file is open.
    #[prost(message, repeated, tag = "2")]
    pub entries: Vec<Entry>,
}

#[derive(Clone, PartialEq, Message)]
pub struct Row {
    /// Place in `Table::ALL`.
    #[prost(uint32, tag = "1")]
    pub table: u32,
    #[prost(bytes = "bytes", tag = "2")]
    pub key: Bytes,
    #[prost(bytes = "bytes", tag = "3")]
    pub value: Bytes,
}

fn write(file: Arc<dyn File>, rows: &[Row]) {
    let storage = node::create(file);
    let mut batch = storage.begin().expect("memory does not fail");
    for row in rows {
        let Some(table) = Table::ALL.get(row.table as usize) else { continue };
        batch.put(*table, &row.key, &row.value);
    }
    batch.commit(Durability::Durable).expect("memory does not fail");
}

/// The applier of the file, or why there is none, in words.
fn open(file: Arc<dyn File>) -> Result<Applier, String> {
    let storage: Storage = node::open(file).map_err(|error| error.to_string())?;
    node::applier(storage).map_err(|error| match &error {
        Fatal::State(source) => format!("{error}: {source}"),
        other => other.to_string(),
    })
}

fn check(input: &[u8]) -> Verdict {
    let Ok(state) = State::decode(input) else { return Ok("no state".to_owned()) };
    let file = node::file();
    write(file.clone(), &state.rows);
    let mut applier = match open(file.clone()) {
        Ok(applier) => applier,
        Err(refused) => return Ok(refused),
    };
    let mut seen = vec![node::fingerprint(&applier)?];
    let mut outcome = String::from("open");
    for entry in committed(&applier, &state.entries) {
        match applier.apply_batch(vec![entry], &|_| true, Durability::Volatile) {
            Ok(applied) => outcome.extend(applied.replies.iter().map(|(_, answer)| format!(",{:?}", answer.is_ok()))),
            Err(Fatal::Entry { .. }) => return Ok("open, then an unknown entry".to_owned()),
            Err(other) => return Err(format!("opened, then: {other:?}")),
        }
    }
    node::finish_compaction(&mut applier).map_err(|error| format!("opened, then compaction: {error:?}"))?;
    seen.push(node::fingerprint(&applier)?);
    applier.commit(Durability::Durable).map_err(|error| format!("opened, then commit: {error:?}"))?;
    drop(applier);
    let reopened = open(file).map_err(|refused| format!("opened once, then refused: {refused}"))?;
    seen.push(node::fingerprint(&reopened)?);
    if seen[1] != seen[2] {
        return Err(format!("before and after a restart differ:\n{}\n{}", seen[1], seen[2]));
    }
    Ok(outcome)
}

/// The rows that these entries lead to.
pub fn rows_of(entries: &[Entry]) -> Vec<Row> {
    let file = node::file();
    let mut applier = node::applier(node::create(file.clone())).expect("a fresh state");
    for (index, entry) in (1..).zip(entries) {
        let payload = match entry.kind {
            0 => Payload::Normal(entry.data.clone()),
            1 => Payload::ConfChange { change: entry.data.clone(), membership: entry.membership.clone() },
            _ => Payload::Blank,
        };
        let entry = Committed { position: LogPosition { term: 1, index }, payload };
        // What cannot be read is left out.
        if applier.apply_batch(vec![entry], &|_| false, Durability::Volatile).is_err() {
            break;
        }
    }
    applier.commit(Durability::Durable).expect("memory does not fail");
    drop(applier);
    let version = node::open(file).expect("our own file").version().expect("our own file");
    let rows_of = |(place, table): (usize, Table)| {
        let rows = version.rows(table).expect("our own file");
        rows.into_iter().map(move |(key, value)| Row { table: place as u32, key: key.into(), value: value.into() })
    };
    Table::ALL.into_iter().enumerate().flat_map(rows_of).collect()
}

fn generate(random: &mut Random) -> Vec<u8> {
    let (before, after) = (1 + random.below(10), random.below(5));
    State { rows: rows_of(&entries(before, random)), entries: entries(after, random) }.encode_to_vec()
}

fn seeds() -> Vec<(String, Vec<u8>)> {
    let history = history();
    let upto = |count: usize| State { rows: rows_of(&history[..count]), entries: history[5..].to_vec() };
    let mut seeds: Vec<_> = (4..=history.len())
        .step_by(3)
        .map(|count| (format!("after-{count:02}"), upto(count).encode_to_vec()))
        .collect();
    let last = |main: i64, version: i64| {
        let key = RowKey::new(Revision { main, sub: 0 }, false);
        let kv = KeyValue { key: "a".into(), create_revision: main, mod_revision: main, version, ..Default::default() };
        let (key, value) = (Bytes::copy_from_slice(key.as_bytes()), kv.encode_to_vec().into());
        let rows = vec![Row { table: Table::Key as u32, key, value }];
        State { rows, entries: history[5..].to_vec() }.encode_to_vec()
    };
    seeds.push(("revision-at-the-end-of-numbers".to_owned(), last(i64::MAX, 1)));
    seeds.push(("version-at-the-end-of-numbers".to_owned(), last(2, i64::MAX)));
    seeds
}

#[test]
fn state_rows_are_read_or_refused() {
    run(&mut Target { name: "state", check: &mut check, generate: &generate, seeds: &seeds });
}
