//! The matrix of access: every call, in several shapes, by everybody from nobody to root. What comes back is compared
//! with a table, which says what each shape needs, and with real etcd's answers word for word. A call of the wire
//! interface without a row fails the test.

mod rows;

use crate::auth::{FLAGS, Users};
use crate::suite;
use bytes::Bytes;
use keelstone_harness::proto::FILE_DESCRIPTOR_SET;
use keelstone_harness::proto::authpb::permission::Type;
use keelstone_harness::proto::etcdserverpb::{LeaseKeepAliveResponse, PutRequest, WatchResponse};
use keelstone_harness::proto::v3electionpb::CampaignRequest;
use keelstone_harness::proto::v3electionpb::election_client::ElectionClient;
use keelstone_harness::{Client, Cluster, ClusterSpec, RawCodec, Suite, tools};
use prost::Message;
use prost_reflect::DescriptorPool;
use rows::{Need, ROWS, Row};
use std::collections::BTreeSet;
use std::time::Duration;
use tokio_stream::StreamExt;
use tonic::Code;
use tonic::client::Grpc;

const EMPTY: &str = "etcdserver: user name is empty";
const DENIED: &str = "etcdserver: permission denied";
const BAD_TOKEN: &str = "etcdserver: invalid auth token";
/// Longer than any answer, shorter than the server's own limit.
const PATIENCE: Duration = Duration::from_secs(6);
/// Which hangs on a key that the reader and the owner may touch.
pub const LEASE: i64 = 700;

/// Who calls. All requests are about keys below `right/`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Caller {
    Nobody,
    BadToken,
    /// A user without a role.
    NoRole,
    /// With every right to other keys.
    WrongRange,
    /// With every right to these.
    RightRange,
    Root,
}

impl Caller {
    const ALL: [Caller; 6] =
        [Caller::Nobody, Caller::BadToken, Caller::NoRole, Caller::WrongRange, Caller::RightRange, Caller::Root];

    /// As the user is called, if it is one; and the password.
    pub fn name(self) -> &'static str {
        match self {
            Caller::Nobody => "nobody",
            Caller::BadToken => "bad",
            Caller::NoRole => "none",
            Caller::WrongRange => "wrong",
            Caller::RightRange => "right",
            Caller::Root => "root",
        }
    }
}

/// What came back first.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Answer {
    Served,
    /// A stream without a message.
    Ended,
    Refused {
        code: Code,
        text: String,
    },
}

/// What the gate says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    Passes,
    Empty,
    BadToken,
    Denied,
}

impl Answer {
    fn verdict(&self) -> Verdict {
        let Answer::Refused { text, .. } = self else { return Verdict::Passes };
        // Reasons of watches have the code in front.
        match text.rsplit(" desc = ").next().unwrap_or_default() {
            EMPTY => Verdict::Empty,
            DENIED => Verdict::Denied,
            BAD_TOKEN => Verdict::BadToken,
            _ => Verdict::Passes,
        }
    }
}

fn wanted(need: Need, caller: Caller) -> Verdict {
    match (need, caller) {
        (Need::Nothing, _) | (Need::Token, Caller::Nobody) | (_, Caller::Root) => Verdict::Passes,
        (_, Caller::BadToken) => Verdict::BadToken,
        (Need::Token, _) => Verdict::Passes,
        (_, Caller::Nobody) => Verdict::Empty,
        (Need::User, _) | (Need::Keys, Caller::RightRange) => Verdict::Passes,
        (Need::Keys | Need::AllKeys | Need::Root, _) => Verdict::Denied,
    }
}

/// Calls with one message and waits for the first of what comes back.
async fn call(client: &Client, path: &'static str, message: Vec<u8>) -> Answer {
    let mut grpc = Grpc::new(client.channel());
    let first = async {
        grpc.ready().await.expect("a connection");
        // Open until the answer is there: a stream that the client has closed may end without one.
        let requests = tokio_stream::once(Bytes::from(message)).chain(tokio_stream::pending());
        let is_stream = [rows::WATCH, rows::KEEP_ALIVE].contains(&path);
        let path = http::uri::PathAndQuery::from_static(path);
        if is_stream {
            let response = grpc.streaming(client.streaming_request(requests), path, RawCodec).await?;
            return response.into_inner().message().await;
        }
        let message = requests.take(1);
        let response = grpc.streaming(client.streaming_request(message), path, RawCodec).await?;
        response.into_inner().message().await
    };
    let answer = tokio::time::timeout(PATIENCE, first).await;
    match answer.unwrap_or_else(|_| panic!("{path} was not answered")) {
        Ok(first) => served(path, first),
        Err(status) => Answer::Refused { code: status.code(), text: status.message().to_owned() },
    }
}

/// A watch is refused by a message.
fn served(path: &str, first: Option<Bytes>) -> Answer {
    match (path, first) {
        (rows::WATCH, Some(first)) => {
            let response = WatchResponse::decode(first).expect("a watch response");
            match response.canceled {
                true => Answer::Refused { code: Code::Ok, text: response.cancel_reason },
                false => Answer::Served,
            }
        }
        (rows::KEEP_ALIVE, Some(first)) => {
            LeaseKeepAliveResponse::decode(first).expect("a keep-alive");
            Answer::Served
        }
        (_, Some(_)) => Answer::Served,
        (_, None) => Answer::Ended,
    }
}

/// A server with everybody, and what requests are about.
struct World {
    cluster: Cluster,
    root: Client,
}

impl World {
    async fn start(suite: &Suite) -> Self {
        let cluster = Cluster::start(suite, &ClusterSpec::of(1).with_flags(FLAGS)).await;
        let anyone = cluster[0].client();
        let users = Users(&anyone);
        users.add("none", "none").await.expect("add user");
        for (name, key, end) in [("wrong", "wrong/", "wrong0"), ("right", "right/", "right0")] {
            users.add_with_role(name).await;
            users.permit(name, Type::Readwrite, key, end).await.expect("grant permission");
        }
        let root = users.enable_with_root().await;
        root.grant(3600, LEASE).await.expect("grant");
        let leased = PutRequest { key: "right/leased".into(), lease: LEASE, ..Default::default() };
        root.put_request(leased).await.expect("put");
        root.put("right/k", "v").await.expect("put");
        // Somebody leads, for those who ask who does.
        let campaign = CampaignRequest { name: "right/observed".into(), lease: LEASE, value: "v".into() };
        ElectionClient::new(root.channel()).campaign(root.request(campaign)).await.expect("campaign");
        Self { cluster, root }
    }

    async fn client(&self, caller: Caller) -> Client {
        let anyone = self.cluster[0].client();
        match caller {
            Caller::Nobody => anyone,
            Caller::BadToken => anyone.with_token("aaaaaaaaaaaaaaaa.1"),
            Caller::Root => self.root.clone(),
            Caller::NoRole | Caller::WrongRange | Caller::RightRange => {
                anyone.login(caller.name(), caller.name()).await.expect("login")
            }
        }
    }

    /// All rows by all callers.
    async fn run(&self, is_tried: impl Fn(&Row) -> bool) -> Vec<(&'static Row, Caller, Answer)> {
        let mut clients = Vec::new();
        for caller in Caller::ALL {
            clients.push((caller, self.client(caller).await));
        }
        let mut answers = Vec::new();
        for row in ROWS.iter().filter(|row| is_tried(row)) {
            for (caller, client) in &clients {
                let answer = call(client, row.path, (row.message)(*caller)).await;
                answers.push((row, *caller, answer));
            }
        }
        answers
    }
}

#[test]
fn every_call_of_the_wire_interface_has_a_row() {
    let pool = DescriptorPool::decode(FILE_DESCRIPTOR_SET).expect("our descriptors");
    let of_clients = ["etcdserverpb.", "v3lockpb.", "v3electionpb.", "keelstonepb.", "grpc.health."];
    let services = pool.services().filter(|service| of_clients.iter().any(|of| service.full_name().starts_with(of)));
    let calls: BTreeSet<String> = services
        .flat_map(|service| {
            let name = service.full_name().to_owned();
            service.methods().map(move |method| format!("/{name}/{}", method.name())).collect::<Vec<_>>()
        })
        .collect();
    let rows: BTreeSet<String> = ROWS.iter().map(|row| row.path.to_owned()).collect();
    assert!(calls.len() > 50, "{calls:?}");
    assert_eq!(calls, rows);
}

/// Rows whose answers etcd words in another way, with the reason.
const OTHERWISE: &[(&str, &str)] = &[
    ("empty", "etcd lets a transaction without any operation pass, whoever asks"),
    ("leader there is", "etcd ends the stream without a word"),
];

#[tokio::test]
async fn every_call_lets_in_who_has_the_right_and_nobody_else() {
    let name = "every_call_lets_in_who_has_the_right_and_nobody_else";
    if suite().server.is_etcd {
        println!("passed by: it is run beside ours");
        return;
    }
    let ours = World::start(suite()).await.run(|_| true).await;
    let wrong: Vec<String> = ours
        .iter()
        .filter(|(row, caller, answer)| answer.verdict() != wanted(row.need, *caller))
        .map(|(row, caller, answer)| {
            format!("{} ({}) by {caller:?}: {answer:?}, not {:?}", row.path, row.shape, wanted(row.need, *caller))
        })
        .collect();
    println!("{} calls tried, {} against the table", ours.len(), wrong.len());
    assert!(wrong.is_empty(), "{wrong:#?}");

    let Some(etcd) = tools::etcd(name) else { return };
    let theirs = World::start(&suite().with_server(&etcd)).await.run(Row::is_of_etcd).await;
    let ours: Vec<_> = ours.into_iter().filter(|(row, ..)| row.is_of_etcd()).collect();
    assert_eq!(ours.len(), theirs.len());
    let pairs = || ours.iter().zip(&theirs).filter(|((.., ours), (.., theirs))| ours != theirs);
    let is_known = |row: &Row| OTHERWISE.iter().any(|(shape, _)| *shape == row.shape);
    for (shape, why) in OTHERWISE {
        assert!(pairs().any(|((row, ..), _)| row.shape == *shape), "{shape}: not so any more: {why}");
    }
    let different: Vec<String> = pairs()
        .filter(|((row, ..), _)| !is_known(row))
        .map(|((row, caller, ours), (.., theirs))| {
            format!("{} ({}) by {caller:?}: {ours:?}, of etcd {theirs:?}", row.path, row.shape)
        })
        .collect();
    println!("{} answers compared with etcd's, {} different", ours.len(), different.len());
    assert!(different.is_empty(), "{different:#?}");
}
