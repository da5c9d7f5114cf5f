//! Requests of clients before they are proposed: whatever they hold they are admitted or refused, and what is admitted
//! is not refused by apply as something that it does not know.

use super::apply::{Entry, committed};
use crate::engine::{Target, Verdict, generate, run, wire};
use crate::node;
use keelstone::admission::{self, AdmissionError};
use keelstone::storage::Durability;
use keelstone_harness::Random;
use keelstone_harness::proto::etcdserverpb as pb;
use prost::Message;

const MAX_OPS: usize = 128;

/// The same checks as the services do.
fn admit(request: &pb::InternalRaftRequest) -> Result<(), AdmissionError> {
    if let Some(range) = &request.range {
        let is_streamable = admission::check_range_stream(range).is_ok();
        assert!(!is_streamable || admission::check_range(range).is_ok(), "a stream of what is no range");
        admission::check_range(range)?;
    }
    if let Some(put) = &request.put {
        admission::check_put(put)?;
    }
    if let Some(delete) = &request.delete_range {
        admission::check_delete_range(delete)?;
    }
    if let Some(grant) = &request.lease_grant {
        admission::check_lease_grant(grant)?;
    }
    if let Some(txn) = &request.txn {
        admission::check_txn(txn, MAX_OPS)?;
        assert!(!admission::is_serializable(txn) || admission::is_read_only(txn), "a write that reads an old state");
    }
    admission::Limits::default().check_size(request.encoded_len())
}

fn check(input: &[u8]) -> Verdict {
    let Ok(request) = pb::InternalRaftRequest::decode(input) else { return Ok("no request".to_owned()) };
    if let Err(refused) = admit(&request) {
        return Ok(format!("{refused:?}"));
    }
    let mut applier = node::applier(node::create(node::file())).map_err(|error| error.to_string())?;
    let data = request.encode_to_vec();
    let is_command = !wire::parse(&data).unwrap_or_default().iter().all(|field| matches!(field.number, 1 | 2 | 100));
    let entries = committed(&applier, &[Entry { data: data.into(), ..Entry::default() }]);
    match applier.apply_batch(entries, &|_| true, Durability::Volatile) {
        Ok(outcome) => Ok(outcome.replies.iter().map(|(_, answer)| format!("{:?}", answer.as_ref().err())).collect()),
        Err(error) if is_command => Err(format!("admitted, but apply stops: {error:?}")),
        Err(_) => Ok("nothing asked".to_owned()),
    }
}

const COMMANDS: [(u64, &str); 5] = [
    (3, "etcdserverpb.RangeRequest"),
    (4, "etcdserverpb.PutRequest"),
    (5, "etcdserverpb.DeleteRangeRequest"),
    (6, "etcdserverpb.TxnRequest"),
    (8, "etcdserverpb.LeaseGrantRequest"),
];

fn generate(random: &mut Random) -> Vec<u8> {
    let (number, name) = if random.chance(60) { COMMANDS[3] } else { *random.pick(&COMMANDS) };
    wire::encode(&[wire::Field { number, value: wire::Value::Bytes(generate::message(name, random)) }])
}

fn seeds() -> Vec<(String, Vec<u8>)> {
    let requests = super::apply::history().into_iter().filter(|entry| entry.kind == 0);
    requests.enumerate().map(|(at, entry)| (format!("command-{at:02}"), entry.data.to_vec())).collect()
}

#[test]
fn admission_decides_on_anything() {
    run(&mut Target { name: "admission", check: &mut check, generate: &generate, seeds: &seeds });
}
