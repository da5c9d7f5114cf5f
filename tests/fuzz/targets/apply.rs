//! Entries of the log, valid or not: apply must be total and deterministic. One member takes them one by one and answers
//! each, another takes them in batches and answers some; both must agree in every answer and in all that can be seen of
//! them, and so must the first one after a restart. An entry that cannot be decoded stops both at the same place.

use crate::engine::{Target, Verdict, generate, run, wire};
use crate::node;
use keelstone::apply::{Answer, Applier, Committed, Fatal, Payload, conf_change};
use keelstone::cluster::{Member, MemberChange};
use keelstone::storage::Durability;
use keelstone::types::{LogPosition, MemberId};
use keelstone_harness::Random;
use keelstone_harness::proto::etcdserverpb as pb;
use keelstone_harness::proto::internal;
use prost::Message;
use prost::bytes::Bytes;

#[derive(Clone, PartialEq, Message)]
pub struct Script {
    #[prost(message, repeated, tag = "1")]
    pub entries: Vec<Entry>,
}

#[derive(Clone, PartialEq, Message)]
pub struct Entry {
    /// 0: an `InternalRaftRequest`, 1: a `ConfChange`, anything else: what a leader writes first.
    #[prost(uint32, tag = "1")]
    pub kind: u32,
    #[prost(bytes = "bytes", tag = "2")]
    pub data: Bytes,
    /// Of a `ConfChange`: the encoded `internal.Membership` with it.
    #[prost(bytes = "bytes", tag = "3")]
    pub membership: Bytes,
    /// The batch of the second member ends here, and a slice of a compaction is run.
    #[prost(bool, tag = "4")]
    pub ends_batch: bool,
}

impl Entry {
    fn payload(&self) -> Payload {
        match self.kind {
            0 => Payload::Normal(self.data.clone()),
            1 => Payload::ConfChange { change: self.data.clone(), membership: self.membership.clone() },
            _ => Payload::Blank,
        }
    }
}

/// The entries behind what `applier` has applied.
pub fn committed(applier: &Applier, entries: &[Entry]) -> Vec<Committed> {
    let LogPosition { term, index } = applier.applied();
    let places = (index.saturating_add(1)..).zip(entries);
    places.map(|(index, entry)| Committed { position: LogPosition { term, index }, payload: entry.payload() }).collect()
}

type Replies = Vec<(u64, Answer)>;

fn apply(
    applier: &mut Applier,
    entries: &[Entry],
    is_waited_for: &dyn Fn(u64) -> bool,
    replies: &mut Replies,
) -> Result<(), Fatal> {
    let outcome = applier.apply_batch(committed(applier, entries), is_waited_for, Durability::Volatile)?;
    replies.extend(outcome.replies);
    Ok(())
}

fn one_by_one(applier: &mut Applier, script: &Script, replies: &mut Replies) -> Result<(), Fatal> {
    script.entries.iter().try_for_each(|entry| apply(applier, std::slice::from_ref(entry), &|_| true, replies))
}

fn is_odd(id: u64) -> bool {
    id % 2 == 1
}

fn in_batches(applier: &mut Applier, script: &Script, replies: &mut Replies) -> Result<(), Fatal> {
    for batch in script.entries.split_inclusive(|entry| entry.ends_batch) {
        apply(applier, batch, &is_odd, replies)?;
        applier.compaction_slice(3)?;
    }
    Ok(())
}

/// In words: the class of a refusal. Only an entry that says nothing this version knows may stop a member.
fn fatal(error: &Fatal) -> Verdict {
    match error {
        Fatal::Entry { source, .. } => Ok(format!("stopped: {source}")),
        other => Err(format!("a member stopped: {other:?}")),
    }
}

fn check(input: &[u8]) -> Verdict {
    let Ok(script) = Script::decode(input) else { return Ok("no script".to_owned()) };
    let file = node::file();
    let mut single = node::applier(node::create(file.clone())).map_err(|error| error.to_string())?;
    let mut batched = node::applier(node::create(node::file())).map_err(|error| error.to_string())?;
    let (mut replies, mut some_replies) = (Replies::new(), Replies::new());
    let ended = one_by_one(&mut single, &script, &mut replies);
    let ended_in_batches = in_batches(&mut batched, &script, &mut some_replies);
    if let Err(error) = ended {
        let words = fatal(&error)?;
        // A batch that is not applied as a whole is not applied at all, so only the reason is the same.
        return match ended_in_batches {
            Err(other) if other.to_string() == error.to_string() => Ok(words),
            other => Err(format!("one member stopped ({error}), the other did not or elsewhere: {other:?}")),
        };
    }
    ended_in_batches.map_err(|error| format!("only the member with batches stopped: {error:?}"))?;
    let outcome = replies.iter().map(|(_, answer)| class(answer)).collect::<Vec<_>>().join(",");
    replies.retain(|(id, _)| is_odd(*id));
    if replies != some_replies {
        return Err(format!("answers differ: {replies:?} and {some_replies:?}"));
    }
    for applier in [&mut single, &mut batched] {
        node::finish_compaction(applier).map_err(|error| format!("compaction: {error:?}"))?;
    }
    let seen = node::fingerprint(&single)?;
    same(&seen, &node::fingerprint(&batched)?, "two members")?;
    single.commit(Durability::Durable).map_err(|error| format!("commit: {error:?}"))?;
    drop(single);
    let reopened = node::open(file).map_err(|error| format!("open again: {error}"))?;
    let reopened = node::applier(reopened).map_err(|error| format!("open again: {error:?}"))?;
    same(&seen, &node::fingerprint(&reopened)?, "before and after a restart")?;
    Ok(outcome)
}

fn same(one: &str, other: &str, what: &str) -> Result<(), String> {
    if one == other { Ok(()) } else { Err(format!("{what} differ:\n{one}\n{other}")) }
}

fn class(answer: &Answer) -> String {
    match answer {
        Ok(reply) => format!("{reply:?}").split(['(', ' ', '{']).next().unwrap_or_default().to_owned(),
        Err(error) => format!("{error:?}"),
    }
}

/// A request as it stands in the log: one command, and the id under which somebody waits.
fn request(id: u64, random: &mut Random) -> Bytes {
    let descriptor = generate::descriptors().get_message_by_name("etcdserverpb.InternalRaftRequest");
    let descriptor = descriptor.expect("the payload of entries");
    // The commands of keys and leases more often than the rest.
    let commands: Vec<_> = descriptor
        .fields()
        .filter_map(|field| Some((field.number(), field.kind().as_message()?.full_name().to_owned())))
        .filter(|(_, name)| !name.ends_with("RequestHeader"))
        .collect();
    let frequent: Vec<_> = commands.iter().filter(|(number, _)| (3..=11).contains(number)).cloned().collect();
    let (number, name) = if random.chance(85) { random.pick(&frequent) } else { random.pick(&commands) };
    let header =
        pb::InternalRaftRequest { header: Some(pb::RequestHeader { id, ..Default::default() }), ..Default::default() };
    let mut data = header.encode_to_vec();
    let command = generate::message(name, random);
    let value = wire::Value::Bytes(command);
    data.extend(wire::encode(&[wire::Field { number: u64::from(*number), value }]));
    data.into()
}

fn conf_change(id: u64, random: &mut Random) -> (Bytes, Bytes) {
    let member = |random: &mut Random| Member {
        id: MemberId(1 + random.below(3)),
        peer_urls: (0..random.below(3)).map(|_| format!("http://m{}:1", random.below(3))).collect(),
        is_learner: random.chance(40),
        name: if random.chance(30) { "<&\u{2028}>".to_owned() } else { String::new() },
        ..Member::default()
    };
    let subject = member(random);
    let change = match random.below(5) {
        0 | 1 => MemberChange::Add(subject),
        2 => MemberChange::Promote(subject.id),
        3 => MemberChange::Remove(subject.id),
        _ => MemberChange::Update { id: subject.id, peer_urls: subject.peer_urls },
    };
    let voter = |id| internal::Member { id, learner: false, peer_urls: Vec::new() };
    let membership = internal::Membership { members: (1..=1 + random.below(3)).map(voter).collect() };
    let stored = if random.chance(80) { membership.encode_to_vec().into() } else { Bytes::new() };
    (conf_change::encode(id, &change, &membership), stored)
}

pub fn entries(count: u64, random: &mut Random) -> Vec<Entry> {
    let entry = |id| {
        let ends_batch = random.chance(40);
        match random.below(12) {
            0 => Entry { kind: 2, ends_batch, ..Entry::default() },
            1 => {
                let (data, membership) = conf_change(id, random);
                Entry { kind: 1, data, membership, ends_batch }
            }
            _ => Entry { data: request(id, random), ends_batch, ..Entry::default() },
        }
    };
    (1..=count).map(entry).collect()
}

fn generate(random: &mut Random) -> Vec<u8> {
    let count = 1 + random.below(14);
    Script { entries: entries(count, random) }.encode_to_vec()
}

/// A day in the life of a member, command by command.
pub fn history() -> Vec<Entry> {
    let key = |name: &'static str| Bytes::from_static(name.as_bytes());
    let put = |name, lease| pb::PutRequest { key: key(name), value: key("v"), lease, ..Default::default() };
    let op = |request| pb::RequestOp { request: Some(request) };
    let all = pb::RangeRequest { key: key("\0"), range_end: key("\0"), ..Default::default() };
    let txn = pb::TxnRequest {
        compare: vec![pb::Compare { key: key("a"), target: 1, result: 1, ..Default::default() }],
        success: vec![
            op(pb::request_op::Request::RequestPut(put("c", 7))),
            op(pb::request_op::Request::RequestRange(all.clone())),
            op(pb::request_op::Request::RequestTxn(pb::TxnRequest {
                failure: vec![op(pb::request_op::Request::RequestPut(put("d", 0)))],
                success: vec![op(pb::request_op::Request::RequestDeleteRange(pb::DeleteRangeRequest {
                    key: key("b"),
                    range_end: key("d"),
                    prev_kv: true,
                }))],
                ..Default::default()
            })),
        ],
        failure: vec![op(pb::request_op::Request::RequestPut(put("e", 0)))],
    };
    let request = pb::InternalRaftRequest::default;
    let requests = [
        pb::InternalRaftRequest { lease_grant: Some(pb::LeaseGrantRequest { id: 7, ttl: 60 }), ..request() },
        pb::InternalRaftRequest { put: Some(put("a", 7)), ..request() },
        pb::InternalRaftRequest { put: Some(put("b", 0)), ..request() },
        pb::InternalRaftRequest { put: Some(pb::PutRequest { ignore_value: true, ..put("a", 7) }), ..request() },
        pb::InternalRaftRequest { txn: Some(txn), ..request() },
        pb::InternalRaftRequest {
            delete_range: Some(pb::DeleteRangeRequest { key: key("b"), ..Default::default() }),
            ..request()
        },
        pb::InternalRaftRequest {
            compaction: Some(pb::CompactionRequest { revision: 4, physical: false }),
            ..request()
        },
        pb::InternalRaftRequest {
            lease_checkpoint: Some(pb::LeaseCheckpointRequest {
                checkpoints: vec![pb::LeaseCheckpoint { id: 7, remaining_ttl: 30 }],
            }),
            ..request()
        },
        pb::InternalRaftRequest { alarm: Some(pb::AlarmRequest { action: 1, member_id: 1, alarm: 1 }), ..request() },
        pb::InternalRaftRequest { range: Some(all), ..request() },
        pb::InternalRaftRequest { lease_revoke: Some(pb::LeaseRevokeRequest { id: 7 }), ..request() },
    ];
    let numbered = (1_u64..).zip(requests).map(|(id, request)| {
        let header = Some(pb::RequestHeader { id, ..Default::default() });
        let data = pb::InternalRaftRequest { header, ..request }.encode_to_vec().into();
        Entry { data, ends_batch: id % 4 == 0, ..Entry::default() }
    });
    let mut entries = membership_changes();
    entries.extend(numbered);
    entries
}

fn membership_changes() -> Vec<Entry> {
    let voter = internal::Member { id: 1, learner: false, peer_urls: vec!["http://m1:1".to_owned()] };
    let learner = internal::Member { id: 2, learner: true, peer_urls: vec!["http://m2:1".to_owned()] };
    let one = internal::Membership { members: vec![voter.clone()] };
    let two = internal::Membership { members: vec![voter, learner] };
    let member = |id: u64, is_learner| Member {
        id: MemberId(id),
        peer_urls: vec![format!("http://m{id}:1")],
        is_learner,
        ..Member::default()
    };
    let changes = [
        (MemberChange::Add(member(1, false)), &one),
        (MemberChange::Add(member(2, true)), &two),
        (MemberChange::Promote(MemberId(2)), &two),
        (MemberChange::Update { id: MemberId(2), peer_urls: vec!["http://n2:1".to_owned()] }, &two),
        (MemberChange::Remove(MemberId(2)), &one),
    ];
    let entry = |(change, membership): (MemberChange, &internal::Membership)| Entry {
        kind: 1,
        data: conf_change::encode(0, &change, membership),
        membership: membership.encode_to_vec().into(),
        ends_batch: false,
    };
    changes.into_iter().map(entry).collect()
}

fn seeds() -> Vec<(String, Vec<u8>)> {
    let history = history();
    let mut seeds = vec![("history".to_owned(), Script { entries: history.clone() }.encode_to_vec())];
    // Each command behind what it needs.
    for count in 1..history.len() {
        let tail = history[count.saturating_sub(2)..=count].to_vec();
        seeds.push((format!("up-to-{count:02}"), Script { entries: tail }.encode_to_vec()));
    }
    seeds
}

#[test]
fn apply_is_total_and_deterministic() {
    run(&mut Target { name: "apply", check: &mut check, generate: &generate, seeds: &seeds });
}
