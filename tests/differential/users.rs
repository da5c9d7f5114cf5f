//! Random users, roles and rights, and requests by whoever there is: who may do what is answered as etcd answers it.
//! Repeated as the other run is, by `KEELSTONE_SEED`.

use crate::difference::{Answer, Reply, answer, same};
use crate::draw::{keys, txn};
use crate::pair::{Pair, Side};
use crate::wire::Path;
use crate::world::World;
use crate::{operation_count, shortened_to};
use bytes::Bytes;
use http::uri::PathAndQuery;
use keelstone_harness::proto::authpb::{Permission, UserAddOptions};
use keelstone_harness::proto::etcdserverpb::request_op::Request;
use keelstone_harness::proto::etcdserverpb::*;
use keelstone_harness::{Client, Random, tools};
use prost::Message;
use std::collections::BTreeMap;
use std::fmt::Debug;
use std::io::Write as _;
use tonic::Code;
use tonic::client::Grpc;
use tonic_prost::ProstCodec;

/// Of the operations of the other run.
const SHARE: usize = 4;
const USERS: [&str; 6] = ["root", "ann", "bob", "cyd", "dan", ""];
const ROLES: [&str; 5] = ["root", "r1", "r2", "r3", ""];
const PASSWORDS: [&str; 3] = ["p1", "p2", ""];
const LEASES: [i64; 3] = [7, 8, 9];
/// Steps for which access stays open at most, so that most are asked about.
const OPEN_STEPS: usize = 40;

/// Who asks: by a token of each side, if that one is known there.
type Tokens = BTreeMap<&'static str, [String; 2]>;

struct Run {
    pair: Pair,
    random: Random,
    tokens: Tokens,
    world: World,
    open_since: usize,
    trail: Vec<String>,
}

fn key(random: &mut Random) -> Bytes {
    keys::key(random)
}

/// Never without a key: what etcd says of that it says before it asks who it is.
fn interval(random: &mut Random) -> (Bytes, Bytes) {
    loop {
        let (key, end) = keys::interval(random);
        if !key.is_empty() {
            return (key, end);
        }
    }
}

/// No key, however deep.
fn has_nothing(request: &TxnRequest) -> bool {
    let is_nothing = |op: &RequestOp| match &op.request {
        Some(Request::RequestTxn(inner)) => has_nothing(inner),
        Some(Request::RequestRange(_) | Request::RequestPut(_) | Request::RequestDeleteRange(_)) => false,
        None => true,
    };
    request.compare.is_empty() && request.success.iter().chain(&request.failure).all(is_nothing)
}

fn as_user(side: &Side, token: Option<&String>) -> Client {
    token.map_or_else(|| side.client.clone(), |token| side.client.with_token(token))
}

/// Ours says who asks before it looks at the request, etcd what is wrong with the request (README, "Access control").
fn with_who_first<A>([etcd, ours]: [Answer<A>; 2]) -> [Answer<A>; 2] {
    const NOBODY: [&str; 2] = ["etcdserver: user name is empty", "etcdserver: invalid auth token"];
    let is_nobody = |answer: &Answer<A>| answer.as_ref().is_err_and(|(_, text)| NOBODY.contains(&text.as_str()));
    let is_wrong = etcd.as_ref().is_err_and(|(code, _)| *code == Code::InvalidArgument);
    match &ours {
        Err(told) if is_nobody(&ours) && is_wrong => [Err(told.clone()), ours],
        _ => [etcd, ours],
    }
}

impl Run {
    /// The same to both, and the same from both.
    async fn ask<Q, A>(&mut self, user: &'static str, path: Path, request: Q) -> Answer<A>
    where
        Q: Message + Clone + Debug + 'static,
        A: Message + Default + Reply + 'static,
    {
        let subject = format!("{path} by {user:?}: {request:?}");
        self.trail.push(shortened_to(&subject));
        let tokens = self.tokens.get(user);
        let call = async |side: &Side, token: Option<&String>| {
            let client = as_user(side, token);
            let mut grpc = Grpc::new(client.channel());
            grpc.ready().await.expect("a connection");
            let codec = ProstCodec::<Q, A>::default();
            let reply = grpc.unary(client.request(request.clone()), PathAndQuery::from_static(path), codec).await;
            answer(reply.map(tonic::Response::into_inner), &side.identity)
        };
        let [etcd, ours] = &self.pair.sides;
        let token = |at: usize| tokens.map(|tokens| &tokens[at]);
        let answers = tokio::join!(call(etcd, token(0)), call(ours, token(1))).into();
        same(&subject, with_who_first(answers)).unwrap_or_else(|difference| {
            let trail = self.trail[self.trail.len().saturating_sub(60)..].join("\n");
            panic!("after\n{trail}\n{difference}")
        })
    }

    async fn login(&mut self, name: &'static str, password: &str) {
        let request = AuthenticateRequest { name: name.to_owned(), password: password.to_owned() };
        let replies = self.pair.both(async |side| {
            let reply = side.client.auth().authenticate(side.client.request(request.clone())).await;
            reply.map(|reply| reply.into_inner().token)
        });
        let replies = replies.await;
        let ends = replies.each_ref().map(|reply| reply.as_ref().map(drop).map_err(|status| status.message()));
        same(&("login", name, password), ends).unwrap_or_else(|difference| panic!("{difference}")).ok();
        if let [Ok(etcd), Ok(ours)] = replies {
            self.tokens.insert(name, [etcd, ours]);
        }
    }

    /// A user is named by the token it got last, whether or not that counts still.
    fn somebody(&mut self) -> &'static str {
        match self.random.below(10) {
            0 => "nobody",
            1..=3 => "root",
            _ => self.random.pick::<&str>(&USERS[..5]),
        }
    }

    fn name(&mut self) -> String {
        (*self.random.pick(&USERS)).to_owned()
    }

    fn role(&mut self) -> String {
        (*self.random.pick(&ROLES)).to_owned()
    }

    async fn change(&mut self, by: &'static str) {
        let (name, role) = (self.name(), self.role());
        let password = (*self.random.pick(&PASSWORDS)).to_owned();
        match self.random.below(20) {
            0..=2 => {
                let no_password = self.random.chance(10);
                let options = self.random.chance(60).then_some(UserAddOptions { no_password });
                let request = AuthUserAddRequest { name, password, options, ..Default::default() };
                self.ask::<_, AuthUserAddResponse>(by, "/etcdserverpb.Auth/UserAdd", request).await.ok();
            }
            3 => {
                let request = AuthUserDeleteRequest { name };
                self.ask::<_, AuthUserDeleteResponse>(by, "/etcdserverpb.Auth/UserDelete", request).await.ok();
            }
            4 => {
                let request = AuthUserChangePasswordRequest { name, password, ..Default::default() };
                let path = "/etcdserverpb.Auth/UserChangePassword";
                self.ask::<_, AuthUserChangePasswordResponse>(by, path, request).await.ok();
            }
            5..=7 => {
                let request = AuthUserGrantRoleRequest { user: name, role };
                self.ask::<_, AuthUserGrantRoleResponse>(by, "/etcdserverpb.Auth/UserGrantRole", request).await.ok();
            }
            8 => {
                let request = AuthUserRevokeRoleRequest { name, role };
                self.ask::<_, AuthUserRevokeRoleResponse>(by, "/etcdserverpb.Auth/UserRevokeRole", request).await.ok();
            }
            9..=10 => {
                let request = AuthRoleAddRequest { name: role };
                self.ask::<_, AuthRoleAddResponse>(by, "/etcdserverpb.Auth/RoleAdd", request).await.ok();
            }
            11 => {
                let request = AuthRoleDeleteRequest { role };
                self.ask::<_, AuthRoleDeleteResponse>(by, "/etcdserverpb.Auth/RoleDelete", request).await.ok();
            }
            12..=16 => {
                let (key, range_end) = keys::interval(&mut self.random);
                let perm_type = self.random.below(3) as i32;
                let perm = self.random.chance(97).then_some(Permission { perm_type, key, range_end });
                let request = AuthRoleGrantPermissionRequest { name: role, perm };
                let path = "/etcdserverpb.Auth/RoleGrantPermission";
                self.ask::<_, AuthRoleGrantPermissionResponse>(by, path, request).await.ok();
            }
            17..=18 => {
                let (key, range_end) = keys::interval(&mut self.random);
                let request = AuthRoleRevokePermissionRequest { role, key, range_end };
                let path = "/etcdserverpb.Auth/RoleRevokePermission";
                self.ask::<_, AuthRoleRevokePermissionResponse>(by, path, request).await.ok();
            }
            _ => {
                let path = "/etcdserverpb.Auth/AuthDisable";
                self.ask::<_, AuthDisableResponse>(by, path, AuthDisableRequest {}).await.ok();
            }
        }
    }

    async fn look(&mut self, by: &'static str) {
        // Nobody's name is its own to etcd.
        let (name, role) = ((*self.random.pick(&USERS[..5])).to_owned(), self.role());
        match self.random.below(5) {
            0 => {
                self.ask::<_, AuthUserGetResponse>(by, "/etcdserverpb.Auth/UserGet", AuthUserGetRequest { name })
                    .await
                    .ok();
            }
            1 => {
                self.ask::<_, AuthRoleGetResponse>(by, "/etcdserverpb.Auth/RoleGet", AuthRoleGetRequest { role })
                    .await
                    .ok();
            }
            2 => {
                let path = "/etcdserverpb.Auth/UserList";
                self.ask::<_, AuthUserListResponse>(by, path, AuthUserListRequest {}).await.ok();
            }
            3 => {
                let path = "/etcdserverpb.Auth/RoleList";
                self.ask::<_, AuthRoleListResponse>(by, path, AuthRoleListRequest {}).await.ok();
            }
            _ => {
                let path = "/etcdserverpb.Auth/AuthStatus";
                self.ask::<_, AuthStatusResponse>(by, path, AuthStatusRequest {}).await.ok();
            }
        }
    }

    async fn request(&mut self, by: &'static str) {
        let id = *self.random.pick(&LEASES);
        match self.random.below(20) {
            0..=4 => {
                let (key, range_end) = interval(&mut self.random);
                let serializable = self.random.chance(30);
                let request = RangeRequest { key, range_end, serializable, ..Default::default() };
                self.ask::<_, RangeResponse>(by, "/etcdserverpb.KV/Range", request).await.ok();
            }
            5..=8 => {
                let (prev_kv, has_lease) = (self.random.chance(30), self.random.chance(30));
                let lease = if has_lease { id } else { 0 };
                let request = PutRequest { key: key(&mut self.random), prev_kv, lease, ..Default::default() };
                self.ask::<_, PutResponse>(by, "/etcdserverpb.KV/Put", request).await.ok();
            }
            9..=10 => {
                let (key, range_end) = interval(&mut self.random);
                let request = DeleteRangeRequest { key, range_end, prev_kv: self.random.chance(50) };
                self.ask::<_, DeleteRangeResponse>(by, "/etcdserverpb.KV/DeleteRange", request).await.ok();
            }
            11..=15 => {
                let request = txn::txn(&mut self.random, &self.world);
                // etcd lets whoever asks do nothing.
                if has_nothing(&request) {
                    return;
                }
                self.ask::<_, TxnResponse>(by, "/etcdserverpb.KV/Txn", request).await.ok();
            }
            16 => {
                let request = LeaseGrantRequest { ttl: 3_000, id };
                self.ask::<_, LeaseGrantResponse>(by, "/etcdserverpb.Lease/LeaseGrant", request).await.ok();
            }
            17 => {
                let request = LeaseRevokeRequest { id };
                self.ask::<_, LeaseRevokeResponse>(by, "/etcdserverpb.Lease/LeaseRevoke", request).await.ok();
            }
            18 => {
                let request = LeaseTimeToLiveRequest { id, keys: self.random.chance(70) };
                let path = "/etcdserverpb.Lease/LeaseTimeToLive";
                self.ask::<_, LeaseTimeToLiveResponse>(by, path, request).await.ok();
            }
            _ => self.watch(by).await,
        }
    }

    /// What the creation of a watcher is answered with.
    async fn watch(&mut self, by: &'static str) {
        let (key, range_end) = keys::interval(&mut self.random);
        let create = WatchCreateRequest { key, range_end, ..Default::default() };
        self.trail.push(shortened_to(&format!("watch by {by:?}: {create:?}")));
        let tokens = self.tokens.get(by);
        let open = async |side: &Side, token: Option<&String>| {
            let mut stream = as_user(side, token).watch();
            let mut response = stream.create_and_wait(create.clone()).await;
            response.hide(&side.identity);
            response
        };
        let [etcd, ours] = &self.pair.sides;
        let token = |at: usize| tokens.map(|tokens| &tokens[at]);
        let responses = tokio::join!(open(etcd, token(0)), open(ours, token(1))).into();
        same(&("watch", by, &create), responses).unwrap_or_else(|difference| panic!("{difference}"));
    }

    /// Lets access be controlled, if it is not for long enough.
    async fn close(&mut self, step: usize) {
        let status: AuthStatusResponse =
            self.ask("nobody", "/etcdserverpb.Auth/AuthStatus", AuthStatusRequest {}).await.expect("open");
        if status.enabled {
            self.open_since = step;
            return;
        }
        if step - self.open_since < OPEN_STEPS {
            return;
        }
        let add = AuthUserAddRequest { name: "root".into(), password: "p1".into(), ..Default::default() };
        self.ask::<_, AuthUserAddResponse>("nobody", "/etcdserverpb.Auth/UserAdd", add).await.ok();
        let grant = AuthUserGrantRoleRequest { user: "root".into(), role: "root".into() };
        self.ask::<_, AuthUserGrantRoleResponse>("nobody", "/etcdserverpb.Auth/UserGrantRole", grant).await.ok();
        let path = "/etcdserverpb.Auth/AuthEnable";
        self.ask::<_, AuthEnableResponse>("nobody", path, AuthEnableRequest {}).await.expect("root is there");
        self.open_since = step;
    }

    async fn step(&mut self, step: usize) {
        if step.is_multiple_of(10) {
            self.close(step).await;
        }
        let by = self.somebody();
        match self.random.below(20) {
            0..=2 => {
                let name = *self.random.pick(&USERS);
                for password in PASSWORDS {
                    self.login(name, password).await;
                }
            }
            3..=6 => {
                let by = if self.random.chance(80) { "root" } else { by };
                self.change(by).await;
            }
            7..=8 => self.look(by).await,
            _ => self.request(by).await,
        }
    }
}

#[tokio::test]
async fn random_users_are_answered_as_etcd_answers_them() {
    let Some(etcd) = tools::etcd("random_users_are_answered_as_etcd_answers_them") else { return };
    let seed = Random::seed_from_environment();
    let pair = Pair::start(&etcd, &["--bcrypt-cost=4".to_owned()]).await;
    let world = World::new(1 << 20, 128);
    let mut run =
        Run { pair, random: Random::new(seed), tokens: Tokens::new(), world, open_since: 0, trail: Vec::new() };
    let steps = operation_count() / SHARE;
    println!("seed {seed}");
    for step in 1..=steps {
        run.step(step).await;
    }
    let line = format!("differential: {} requests about users, seed {seed}, 0 differences", run.trail.len());
    writeln!(std::io::stderr(), "{line}").expect("write to stderr");
    run.pair.assert_no_unexpected_errors();
}
