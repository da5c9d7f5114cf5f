//! What peers answer: a member that leads, or follows, asks a peer that says anything. It lives, hands no request over
//! twice, and once the peer talks sense again it can be written to and starts again from its disk.

use crate::engine::{Target, Verdict, generate, run};
use crate::fake_peer::{FakePeer, Say};
use crate::member::{IDENTITY, Member, new_disk};
use http_body_util::Full;
use keelstone::raft::PeerService;
use keelstone::types::LeaseId;
use keelstone_harness::proto::internal::{self, append_response};
use keelstone_harness::{Random, free_port};
use prost::Message;
use prost::bytes::Bytes;
use std::sync::OnceLock;
use std::time::Duration;
use tokio::net::TcpListener;
use tower_service::Service;

#[derive(Clone, PartialEq, Message)]
struct Script {
    /// The member follows the peer instead of leading it.
    #[prost(bool, tag = "1")]
    follows: bool,
    #[prost(message, repeated, tag = "2")]
    answers: Vec<Answer>,
}

#[derive(Clone, PartialEq, Message)]
struct Answer {
    /// Place in [`METHODS`].
    #[prost(uint32, tag = "1")]
    method: u32,
    #[prost(bytes = "bytes", tag = "2")]
    message: Bytes,
    /// Said in place of the message, unless zero.
    #[prost(uint32, tag = "3")]
    status: u32,
}

const METHODS: [(&str, &str); 8] = [
    ("Append", "AppendResponse"),
    ("Vote", "VoteResponse"),
    ("InstallSnapshot", "SnapshotResponse"),
    ("ReadIndex", "ReadIndexResponse"),
    ("Propose", "ProposeResponse"),
    ("LeaseRenew", "LeaseRenewResponse"),
    ("LeaseTimeToLive", "LeaseTimeToLiveResponse"),
    ("Info", "PeerInfoResponse"),
];

/// How long the member listens to nonsense.
const SCRIPT_TIME: Duration = Duration::from_millis(80);
const RECOVERY_LIMIT: Duration = Duration::from_secs(10);

/// One for all inputs: connections of the one before are gone with its runtime.
fn port() -> u16 {
    static PORT: OnceLock<u16> = OnceLock::new();
    *PORT.get_or_init(free_port)
}

async fn play(script: &Script) -> Verdict {
    let listener = TcpListener::bind(("127.0.0.1", port())).await.map_err(|error| format!("listen: {error}"))?;
    let peer = FakePeer::default();
    for answer in &script.answers {
        let Some((method, _)) = METHODS.get(answer.method as usize) else { continue };
        let say = match answer.status {
            0 => Say::Message(answer.message.clone()),
            status => Say::Status(status % 17),
        };
        peer.add(method, say);
    }
    tokio::spawn(peer.clone().serve(listener));
    let disk = new_disk(&["http://127.0.0.1:1", &format!("http://127.0.0.1:{}", port())]);
    let member = Member::start(&disk).await.map_err(|error| format!("start: {error:#}"))?;
    let outcome = if script.follows { Box::pin(follow(&member)).await } else { Box::pin(ask(&member)).await };
    if let Some(why) = member.ended().await {
        return Err(format!("while it listened: {why}"));
    }
    peer.forget_script();
    let written = async {
        while member.put("after", "y").await.is_err() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    let written = tokio::time::timeout(RECOVERY_LIMIT, written).await;
    written.map_err(|_| format!("not writable afterwards: {:?}", member.consensus.status()))?;
    if let Some(why) = member.ended().await {
        return Err(format!("in the end: {why}"));
    }
    // Both members have what is committed, whatever the peer claimed. It was given the first two entries from the start.
    let committed = member.consensus.status().committed;
    if committed > peer.received().max(2) {
        return Err(format!("{committed} entries are committed, the peer has {}", peer.received()));
    }
    if peer.saw_a_request_twice() {
        return Err("a request was handed over twice".to_owned());
    }
    let disk = member.stop().await;
    let again = Member::start(&disk).await.map_err(|error| format!("start again: {error:#}"))?;
    again.stop().await;
    Ok(outcome)
}

/// Everything that a member asks its peers for. Which of it comes to an answer depends on the script.
async fn ask(member: &Member) -> String {
    let consensus = &member.consensus;
    let (put, read, renewed, left, versions) = tokio::join!(
        in_time(member.put("during", "x")),
        in_time(consensus.read_index()),
        in_time(consensus.lease_renew(LeaseId(7))),
        in_time(consensus.lease_time_to_live(LeaseId(7), true)),
        in_time(consensus.member_versions())
    );
    [put, read, renewed, left, versions].join(" ")
}

/// The answer in words, or that there is none.
async fn in_time<T: std::fmt::Debug>(question: impl Future<Output = T>) -> String {
    tokio::time::timeout(SCRIPT_TIME, question).await.map_or("silence".to_owned(), |answer| format!("{answer:?}"))
}

/// The peer leads in a term beyond any that the member has begun; it says so again and again, as leaders do.
async fn follow(member: &Member) -> String {
    let heart = async {
        loop {
            let vote = Some(internal::Vote { term: 50, candidate: 2, committed: true });
            let prev = Some(internal::LogId { term: 1, index: 2 });
            let beat = internal::AppendRequest { vote, prev, entries: Vec::new(), committed: prev };
            let message = beat.encode_to_vec();
            let frame = [&[0][..], &(message.len() as u32).to_be_bytes(), &message].concat();
            let request = http::Request::post("/keelstone.internal.v1.Peer/Append")
                .version(http::Version::HTTP_2)
                .header("content-type", "application/grpc")
                .header("keelstone-protocol", "1")
                .header("keelstone-cluster", IDENTITY.cluster.0.to_string())
                .header("keelstone-to", IDENTITY.member.0.to_string())
                .header("keelstone-from", "2")
                .body(Full::new(Bytes::from(frame)))
                .expect("a request");
            let answer = PeerService::server(member.consensus.clone()).call(request).await;
            let body = answer.expect("a service that cannot fail").into_body();
            http_body_util::BodyExt::collect(body).await.ok();
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::select! {
        outcome = ask(member) => outcome,
        never = heart => never,
    }
}

fn check(input: &[u8]) -> Verdict {
    let Ok(mut script) = Script::decode(input) else { return Ok("no script".to_owned()) };
    script.answers.truncate(30);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let verdict = runtime.block_on(play(&script));
    runtime.shutdown_timeout(RECOVERY_LIMIT);
    verdict
}

fn number(random: &mut Random) -> u64 {
    match random.below(8) {
        0 => u64::MAX - random.below(3),
        _ => random.below(12),
    }
}

fn answer(random: &mut Random) -> Answer {
    let method = *random.pick(&[0, 0, 0, 0, 1, 1, 2, 3, 4, 4, 5, 6, 7]);
    let vote = |random: &mut Random| internal::Vote {
        term: number(random),
        candidate: random.below(3),
        committed: random.chance(50),
    };
    let place = |random: &mut Random| internal::LogId { term: number(random), index: number(random) };
    let message = match method {
        0 => {
            let result = match random.below(4) {
                0 => append_response::Result::Matched(place(random)),
                1 => append_response::Result::MatchedNone(random.chance(80)),
                2 => append_response::Result::Conflict(place(random)),
                _ => append_response::Result::HigherVote(vote(random)),
            };
            internal::AppendResponse { result: Some(result), cannot_call_leader: random.chance(30) }.encode_to_vec()
        }
        1 => {
            let last_log = random.chance(60).then(|| place(random));
            internal::VoteResponse { vote: Some(vote(random)), granted: random.chance(60), last_log }.encode_to_vec()
        }
        method => generate::message(&format!("keelstone.internal.v1.{}", METHODS[method as usize].1), random),
    };
    let status = if random.chance(90) { 0 } else { 1 + random.below(16) as u32 };
    Answer { method, message: message.into(), status }
}

fn generate(random: &mut Random) -> Vec<u8> {
    let follows = random.chance(40);
    Script { follows, answers: (0..random.below(12)).map(|_| answer(random)).collect() }.encode_to_vec()
}

fn seeds() -> Vec<(String, Vec<u8>)> {
    let say = |method, message: Vec<u8>| Answer { method, message: message.into(), status: 0 };
    let matched = |term, index| {
        let result = append_response::Result::Matched(internal::LogId { term, index });
        say(0, internal::AppendResponse { result: Some(result), ..Default::default() }.encode_to_vec())
    };
    let granted = |term| {
        let vote = Some(internal::Vote { term, candidate: 1, committed: false });
        say(1, internal::VoteResponse { vote, granted: true, last_log: None }.encode_to_vec())
    };
    let result = internal::ProposeResult { accepted: false, not_leader: true };
    let refused = say(4, internal::ProposeResponse { results: vec![result] }.encode_to_vec());
    let scripts = [
        ("a-follower-that-agrees", false, vec![]),
        ("a-leader-that-refuses", true, vec![refused]),
        ("a-leader-that-answers-too-little", true, vec![say(4, Vec::new())]),
        ("a-match-beyond-the-log", false, vec![matched(2, 900), matched(1, 2)]),
        ("a-grant-of-a-distant-term", false, vec![granted(u64::MAX), granted(2)]),
    ];
    scripts
        .into_iter()
        .map(|(name, follows, answers)| (name.to_owned(), Script { follows, answers }.encode_to_vec()))
        .collect()
}

#[test]
fn peer_answers_are_taken_or_refused() {
    run(&mut Target { name: "peer_answers", check: &mut check, generate: &generate, seeds: &seeds });
}
