//! What peers call: any messages under any headers. The member lives, keeps what it had, can be written to where it is
//! the only voter, and starts again from its disk. A leader that keeps to the protocol is obeyed, so what it commits is
//! its business; what was committed before it stays.

use super::state::rows_of;
use crate::engine::{Target, Verdict, generate, run};
use crate::member::{IDENTITY, Member, new_disk};
use crate::targets::apply::history;
use http_body_util::{BodyExt, Full};
use keelstone::apply::conf_change;
use keelstone::cluster::{Member as Described, MemberChange};
use keelstone::disk::MemoryDisk;
use keelstone::mvcc::RangeQuery;
use keelstone::raft::PeerService;
use keelstone::storage::Table;
use keelstone::types::{KeyInterval, MemberId};
use keelstone_harness::Random;
use keelstone_harness::proto::internal::peer_server::PeerServer;
use keelstone_harness::proto::internal::{self, snapshot_chunk::Part};
use prost::Message;
use prost::bytes::Bytes;
use std::collections::BTreeMap;
use std::sync::OnceLock;
use std::time::Duration;
use tokio::runtime::{Builder, Runtime};
use tower_service::Service;

#[derive(Clone, PartialEq, Message)]
pub struct Script {
    /// 0: the only member, which leads; else one of three, the others away.
    #[prost(uint32, tag = "1")]
    setup: u32,
    #[prost(message, repeated, tag = "2")]
    pub calls: Vec<Call>,
}

#[derive(Clone, PartialEq, Message)]
pub struct Call {
    /// Place in [`METHODS`].
    #[prost(uint32, tag = "1")]
    method: u32,
    #[prost(bytes = "bytes", repeated, tag = "2")]
    messages: Vec<Bytes>,
    /// 0: as they should be; else which one is wrong.
    #[prost(uint32, tag = "3")]
    headers: u32,
    /// 0: as it should be, 1: a length beyond the message, 2: said to be compressed, 3: no frame at all.
    #[prost(uint32, tag = "4")]
    frame: u32,
    /// The tail of a snapshot is made to fit its rows.
    #[prost(bool, tag = "5")]
    seal: bool,
    #[prost(uint64, tag = "6")]
    from: u64,
}

const METHODS: [(&str, &str); 12] = [
    ("Append", "AppendRequest"),
    ("Vote", "VoteRequest"),
    ("InstallSnapshot", "SnapshotChunk"),
    ("TransferLeader", "TransferLeaderRequest"),
    ("ReadIndex", "ReadIndexRequest"),
    ("Propose", "ProposeRequest"),
    ("LeaseRenew", "LeaseRenewRequest"),
    ("LeaseTimeToLive", "LeaseTimeToLiveRequest"),
    ("Info", "PeerInfoRequest"),
    ("ChangeMembers", "ChangeMembersRequest"),
    ("Members", "MembersRequest"),
    ("HashKv", "HashKvRequest"),
];

/// A peer that gets no answer goes on.
const ANSWER_LIMIT: Duration = Duration::from_millis(150);
/// Time for a member that was deposed to lead again, many elections long.
const RECOVERY_LIMIT: Duration = Duration::from_secs(10);

fn body(call: &Call) -> Bytes {
    let mut messages = call.messages.clone();
    if call.seal {
        seal(&mut messages);
    }
    let mut out = Vec::new();
    for message in &messages {
        let len = message.len() as u32;
        match call.frame {
            1 => out.extend([&[0][..], &len.wrapping_sub(0x1000).to_be_bytes()].concat()),
            2 => out.extend([&[1][..], &len.to_be_bytes()].concat()),
            3 => {}
            _ => out.extend([&[0][..], &len.to_be_bytes()].concat()),
        }
        out.extend_from_slice(message);
    }
    out.into()
}

/// Counts rows and sums them up as a sender does.
fn seal(messages: &mut [Bytes]) {
    let (mut rows, mut crc32c) = (0, 0);
    for message in messages {
        let Ok(chunk) = internal::SnapshotChunk::decode(message.clone()) else { continue };
        match chunk.part {
            Some(Part::Rows(part)) => {
                for row in part.rows {
                    rows += 1;
                    crc32c = crc32c::crc32c_append(crc32c::crc32c_append(crc32c, &row.key), &row.value);
                }
            }
            Some(Part::Tail(_)) => {
                let tail = Part::Tail(internal::SnapshotTail { rows, crc32c });
                *message = internal::SnapshotChunk { part: Some(tail) }.encode_to_vec().into();
            }
            Some(Part::Head(_)) | None => {}
        }
    }
}

/// The call as it goes over the wire to this member.
pub fn request(call: &Call, cluster: u64, member: u64) -> http::Request<Bytes> {
    let method = METHODS.get(call.method as usize).map_or("Nothing", |(method, _)| method);
    let headers = [
        ("keelstone-protocol", "1".to_owned()),
        ("keelstone-cluster", cluster.to_string()),
        ("keelstone-to", member.to_string()),
        ("keelstone-from", call.from.to_string()),
    ];
    let mut request = http::Request::post(format!("/keelstone.internal.v1.Peer/{method}"))
        .version(http::Version::HTTP_2)
        .header("content-type", "application/grpc")
        .header("te", "trailers");
    for (at, (name, value)) in (1..).zip(headers) {
        request = match call.headers {
            wrong if wrong == at => request.header(name, "18446744073709551617"),
            wrong if wrong == at + 4 => request,
            wrong if wrong == at + 8 => request.header(name, &b"\xff\x80"[..]),
            _ => request.header(name, value),
        };
    }
    request.body(body(call)).expect("a request")
}

/// The status of an answer.
async fn send(service: &mut PeerServer<PeerService>, call: &Call) -> String {
    let answered = async {
        let response = service
            .call(request(call, IDENTITY.cluster.0, IDENTITY.member.0).map(Full::new))
            .await
            .expect("a service that cannot fail");
        let early = response.headers().get("grpc-status").cloned();
        let collected = response.into_body().collect().await;
        let late = collected.ok().and_then(|body| body.trailers()?.get("grpc-status").cloned());
        early.or(late).map_or("none".to_owned(), |status| format!("{:?}", tonic::Code::from_bytes(status.as_bytes())))
    };
    tokio::time::timeout(ANSWER_LIMIT, answered).await.unwrap_or_else(|_| "silence".to_owned())
}

fn runtime() -> Runtime {
    Builder::new_current_thread().enable_all().build().expect("a runtime")
}

type Pairs = BTreeMap<Bytes, Bytes>;

/// Where each script begins: the disk of a member, and the keys that it holds.
fn beginnings() -> &'static [(MemoryDisk, Pairs)] {
    static BEGINNINGS: OnceLock<Vec<(MemoryDisk, Pairs)>> = OnceLock::new();
    BEGINNINGS.get_or_init(|| {
        let alone = new_disk(&["http://127.0.0.1:1"]);
        let filled = runtime().block_on(async {
            let member = Member::start(&alone).await.expect("a fresh member");
            for at in 0..5 {
                member.put(&format!("key{at}"), "kept").await.expect("put");
            }
            let pairs = pairs(&member).expect("our own rows");
            (member.stop().await, pairs)
        });
        // Ports on which nobody answers.
        let three = new_disk(&["http://127.0.0.1:1", "http://127.0.0.1:2", "http://127.0.0.1:3"]);
        vec![filled, (three, Pairs::new())]
    })
}

fn pairs(member: &Member) -> Result<Pairs, String> {
    let everything = KeyInterval::Range { start: Bytes::new(), end: None };
    let view = member.published.views.load();
    let found = view.range(&RangeQuery::latest(everything)).map_err(|error| format!("read: {error}"))?;
    Ok(found.kvs.into_iter().map(|kv| (kv.key, kv.value)).collect())
}

async fn play(script: &Script, (disk, kept): &(MemoryDisk, Pairs)) -> Verdict {
    let alone = script.setup == 0;
    let member = Member::start(&disk.kill()).await.map_err(|error| format!("start: {error:#}"))?;
    if alone {
        member.put("before", "x").await?;
    }
    let mut service = PeerService::server(member.consensus.clone());
    let mut statuses = Vec::new();
    for call in &script.calls {
        statuses.push(send(&mut service, call).await);
        if let Some(why) = member.ended().await {
            return Err(format!("after call {} ({}): {why}", statuses.len(), statuses.join(",")));
        }
    }
    drop(service);
    if alone && !leads_away(script) {
        let written = async {
            while member.put("after", "y").await.is_err() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        let written = tokio::time::timeout(RECOVERY_LIMIT, written).await;
        written.map_err(|_| format!("not writable afterwards: {:?}", member.consensus.status()))?;
        let found = pairs(&member)?;
        if let Some((key, _)) = kept.iter().find(|(key, value)| found.get(*key) != Some(*value)) {
            return Err(format!("key {key:?} is lost or changed: {found:?}"));
        }
    }
    if let Some(why) = member.ended().await {
        return Err(format!("in the end: {why}"));
    }
    let disk = member.stop().await;
    let again = Member::start(&disk).await.map_err(|error| format!("start again: {error:#}"))?;
    // What is committed is applied again, and must still be readable.
    tokio::time::timeout(RECOVERY_LIMIT, async {
        let status = again.consensus.status();
        while again.ended().await.is_none() && again.consensus.status().applied < status.committed {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    })
    .await
    .map_err(|_| "not applied after a restart".to_owned())?;
    if let Some(why) = again.ended().await {
        return Err(format!("after a restart: {why}"));
    }
    again.stop().await;
    Ok(format!("{} {}", script.setup.min(1), statuses.join(",")))
}

/// True if a call may rightly replace the state or the members: then the keys are whatever it says.
fn leads_away(script: &Script) -> bool {
    script
        .calls
        .iter()
        .any(|call| matches!(METHODS.get(call.method as usize), Some(("InstallSnapshot" | "Append" | "Propose", _))))
}

fn check(input: &[u8]) -> Verdict {
    let Ok(mut script) = Script::decode(input) else { return Ok("no script".to_owned()) };
    script.calls.truncate(12);
    keep_one_change(&mut script);
    let beginning = &beginnings()[usize::from(script.setup != 0)];
    let runtime = runtime();
    let verdict = runtime.block_on(play(&script, beginning));
    runtime.shutdown_timeout(RECOVERY_LIMIT);
    verdict
}

/// A leader that changes the members again before the change before is committed breaks a rule that no follower can
/// check; openraft's own assertions, which only test builds have, would be all that is found.
fn keep_one_change(script: &mut Script) {
    let mut changes = 0;
    let appends = script.calls.iter_mut().filter(|call| call.method == 0);
    for message in appends.flat_map(|call| &mut call.messages) {
        let Ok(mut request) = internal::AppendRequest::decode(message.clone()) else { continue };
        request.entries.retain(|entry| {
            changes += usize::from(entry.kind == 1);
            entry.kind != 1 || changes == 1
        });
        // What is no change stays as it came, with all that a decoder would not keep.
        if request.entries.iter().any(|entry| entry.kind == 1) || changes > 1 {
            *message = request.encode_to_vec().into();
        }
    }
}

fn position(random: &mut Random) -> internal::LogId {
    internal::LogId { term: number(random), index: number(random) }
}

/// Mostly where a log really is.
fn number(random: &mut Random) -> u64 {
    match random.below(10) {
        0 => u64::MAX - random.below(3),
        1 => (1 << 63) - 2 + random.below(4),
        _ => random.below(14),
    }
}

fn vote(from: u64, committed: bool, random: &mut Random) -> internal::Vote {
    let candidate = if random.chance(85) { from } else { random.below(5) };
    let committed = if random.chance(90) { committed } else { !committed };
    internal::Vote { term: number(random), candidate, committed }
}

fn append(from: u64, random: &mut Random) -> internal::AppendRequest {
    let prev = random.chance(80).then(|| position(random));
    let first = prev.as_ref().map_or(0, |prev| prev.index).wrapping_add(1);
    let vote = vote(from, true, random);
    let mut term = random.below(4);
    let entries = (0..random.below(4)).map(|at| {
        term += random.below(2);
        let gap = u64::from(random.chance(5));
        let entry = super::apply::entries(1, random).remove(0);
        let (kind, data) = if random.chance(5) { (2, entry.data) } else { (entry.kind, entry.data) };
        internal::Entry { term, index: first.wrapping_add(at + gap), kind, data }
    });
    let entries = entries.collect();
    internal::AppendRequest { vote: Some(vote), prev, entries, committed: random.chance(60).then(|| position(random)) }
}

fn snapshot(from: u64, term: u64, index: u64, random: Option<&mut Random>) -> Vec<Bytes> {
    let mut entries = history();
    if let Some(random) = random {
        entries.extend(super::apply::entries(4, random));
    }
    let membership = internal::Membership {
        members: vec![internal::Member { id: 1, learner: false, peer_urls: vec!["http://127.0.0.1:1".to_owned()] }],
    };
    let stored =
        internal::StoredMembership { log: Some(internal::LogId { term: 1, index: 1 }), membership: Some(membership) };
    let stored = stored.encode_to_vec();
    let mut rows = rows_of(&entries);
    for row in rows.iter_mut().filter(|row| row.table == Table::Meta as u32) {
        match &row.key[..] {
            b"consistent_index" => row.value = index.to_be_bytes().to_vec().into(),
            b"term" => row.value = term.to_be_bytes().to_vec().into(),
            b"keelstone_membership" => row.value = stored.clone().into(),
            _ => {}
        }
    }
    let head = internal::SnapshotHead {
        vote: Some(internal::Vote { term: term + 1, candidate: from, committed: true }),
        last_applied: Some(internal::LogId { term, index }),
        membership: stored.into(),
    };
    let mut parts = vec![Part::Head(head)];
    for table in Table::ALL {
        let of_table = rows.iter().filter(|row| row.table == table as u32);
        let rows: Vec<_> =
            of_table.map(|row| internal::Row { key: row.key.clone(), value: row.value.clone() }).collect();
        if !rows.is_empty() {
            parts.push(Part::Rows(internal::SnapshotRows { table: table.name().to_owned(), rows }));
        }
    }
    parts.push(Part::Tail(internal::SnapshotTail::default()));
    parts.into_iter().map(|part| internal::SnapshotChunk { part: Some(part) }.encode_to_vec().into()).collect()
}

fn call(random: &mut Random) -> Call {
    let from = if random.chance(90) { 2 } else { random.below(4) };
    let method = *random.pick(&[0, 0, 0, 1, 1, 2, 3, 4, 5, 5, 6, 7, 8, 9, 9, 10, 11]);
    let name = METHODS.get(method as usize).map_or("PeerInfoRequest", |(_, name)| name);
    let plain = |random: &mut Random| Bytes::from(generate::message(&format!("keelstone.internal.v1.{name}"), random));
    let messages = match method {
        0 => (0..1 + random.below(3)).map(|_| append(from, random).encode_to_vec().into()).collect(),
        1 => {
            let vote = Some(vote(from, false, random));
            let last_log = random.chance(80).then(|| position(random));
            let (pre_vote, leadership_transfer) = (random.chance(40), random.chance(40));
            vec![internal::VoteRequest { vote, last_log, pre_vote, leadership_transfer }.encode_to_vec().into()]
        }
        2 if random.chance(80) => snapshot(from, 2 + random.below(3), random.below(60), Some(random)),
        3 => {
            let from = Some(vote(from, true, random));
            let last_log = random.chance(80).then(|| position(random));
            let request = internal::TransferLeaderRequest { from, to: random.below(4), last_log };
            vec![request.encode_to_vec().into()]
        }
        5 => {
            let requests = super::apply::entries(random.below(4), random).into_iter().map(|entry| entry.data).collect();
            vec![internal::ProposeRequest { requests, term: number(random) }.encode_to_vec().into()]
        }
        9 if random.chance(80) => {
            let change = Bytes::from(generate::message("raftpb.ConfChange", random));
            vec![internal::ChangeMembersRequest { change }.encode_to_vec().into()]
        }
        _ => vec![plain(random)],
    };
    let headers = if random.chance(95) { 0 } else { random.below(14) as u32 };
    let frame = if random.chance(95) { 0 } else { random.below(4) as u32 };
    Call { method, messages, headers, frame, seal: random.chance(90), from }
}

pub fn script(random: &mut Random) -> Script {
    let setup = random.below(2) as u32;
    Script { setup, calls: (0..1 + random.below(5)).map(|_| call(random)).collect() }
}

fn generate(random: &mut Random) -> Vec<u8> {
    script(random).encode_to_vec()
}

pub fn seeds() -> Vec<(String, Vec<u8>)> {
    let id = |term, index| Some(internal::LogId { term, index });
    let vote = |term, committed| Some(internal::Vote { term, candidate: 2, committed });
    let call = |method, messages: Vec<Vec<u8>>| Call {
        method,
        messages: messages.into_iter().map(Bytes::from).collect(),
        seal: true,
        from: 2,
        ..Call::default()
    };
    let entries = history().into_iter().filter(|entry| entry.kind == 0).zip(4..);
    let entries = entries.map(|(entry, index)| internal::Entry { term: 2, index, kind: 0, data: entry.data }).collect();
    let election =
        internal::VoteRequest { vote: vote(2, false), last_log: id(1, 3), pre_vote: false, leadership_transfer: false };
    let probe = internal::VoteRequest { pre_vote: true, ..election };
    let follow = internal::AppendRequest { vote: vote(2, true), prev: id(1, 3), entries, committed: id(2, 9) };
    let beat = internal::AppendRequest { entries: Vec::new(), prev: id(2, 10), committed: id(2, 14), ..follow.clone() };
    let takeover =
        internal::AppendRequest { vote: vote(9, true), prev: id(1, 1), entries: Vec::new(), committed: None };
    let requests = history().into_iter().filter(|entry| entry.kind == 0).map(|entry| entry.data).collect();
    let propose = internal::ProposeRequest { requests, term: 2 };
    let joiner =
        Described { id: MemberId(77), peer_urls: vec!["http://127.0.0.1:1".to_owned()], ..Described::default() };
    let change = |change: &MemberChange| {
        let change = conf_change::encode(5, change, &internal::Membership::default());
        internal::ChangeMembersRequest { change }.encode_to_vec()
    };
    let transfer = internal::TransferLeaderRequest { from: vote(2, true), to: 1, last_log: id(2, 14) };
    let scripts = [
        (
            "a-leader-is-followed",
            1,
            vec![
                call(1, vec![probe.encode_to_vec()]),
                call(1, vec![election.encode_to_vec()]),
                call(0, vec![follow.encode_to_vec(), beat.encode_to_vec()]),
                call(3, vec![transfer.encode_to_vec()]),
            ],
        ),
        ("a-leader-is-deposed", 0, vec![call(0, vec![takeover.encode_to_vec()])]),
        ("proposals", 0, vec![call(5, vec![propose.encode_to_vec()])]),
        ("a-length-of-four-gigabytes", 0, vec![Call { frame: 1, ..call(1, vec![probe.encode_to_vec()]) }]),
        (
            "questions",
            0,
            vec![
                call(4, vec![Vec::new()]),
                call(6, vec![internal::LeaseRenewRequest { id: 7 }.encode_to_vec()]),
                call(7, vec![internal::LeaseTimeToLiveRequest { id: 7, keys: true }.encode_to_vec()]),
                call(8, vec![Vec::new()]),
            ],
        ),
        (
            "changes-of-the-members",
            0,
            vec![
                call(10, vec![Vec::new()]),
                call(9, vec![change(&MemberChange::Add(joiner.clone()))]),
                call(9, vec![change(&MemberChange::Update { id: joiner.id, peer_urls: vec!["no URL".to_owned()] })]),
                call(9, vec![change(&MemberChange::Remove(joiner.id))]),
                call(9, vec![change(&MemberChange::Remove(IDENTITY.member))]),
            ],
        ),
        (
            "a-snapshot-for-one-of-three",
            1,
            vec![call(2, snapshot(2, 2, 40, None).iter().map(|part| part.to_vec()).collect())],
        ),
        (
            "a-snapshot-for-the-only-one",
            0,
            vec![call(2, snapshot(2, 2, 40, None).iter().map(|part| part.to_vec()).collect())],
        ),
    ];
    scripts.into_iter().map(|(name, setup, calls)| (name.to_owned(), Script { setup, calls }.encode_to_vec())).collect()
}

#[test]
fn peer_messages_are_taken_or_refused() {
    run(&mut Target { name: "peer", check: &mut check, generate: &generate, seeds: &seeds });
}
