//! A member's life as a seed decides it: requests, conflicts between leaders, commits, compactions, purges, snapshots of
//! others, restarts.

use crate::history::{History, normal, payload};
use crate::member::{Ended, Member, Part, Shared};
use crate::model::Model;
use bytes::Bytes;
use keelstone::apply::{Applier, Committed, Parts, conf_change};
use keelstone::cluster::MemberChange;
use keelstone::disk::{Disk, MemoryDisk};
use keelstone::lease::Lessor;
use keelstone::raft::DefragmentError;
use keelstone::storage::{Chunk, Durability, Storage};
use keelstone::types::{LogPosition, MemberId};
use keelstone::wal::{Entry, EntryKind, HardState};
use keelstone_proto::etcdserverpb as pb;
use keelstone_proto::etcdserverpb::request_op::Request;
use keelstone_proto::{internal, membershippb};
use prost::Message;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::path::Path;
use std::sync::{Arc, Mutex};

const KEYS: usize = 12;
const LEASES: i64 = 4;

/// What a script does at a time.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Step {
    /// The first start, on an empty disk.
    Start,
    Propose,
    Vote,
    Conflict,
    Commit,
    WriteLog,
    Apply,
    /// A slice of a compaction, or a durable commit that is due.
    Work,
    CommitDurably,
    Purge,
    Install,
    Defragment,
    /// An end in order, and a start.
    Close,
    /// A sudden end, and a start.
    Kill,
    /// All that is left to do.
    Settle,
}

const COMMON: [Step; 12] = [
    Step::Propose,
    Step::Propose,
    Step::Propose,
    Step::Vote,
    Step::Commit,
    Step::Commit,
    Step::WriteLog,
    Step::WriteLog,
    Step::WriteLog,
    Step::Apply,
    Step::Apply,
    Step::Work,
];
const RARE: [Step; 10] = [
    Step::CommitDurably,
    Step::Defragment,
    Step::Purge,
    Step::Conflict,
    Step::Kill,
    Step::CommitDurably,
    Step::Install,
    Step::Close,
    Step::Defragment,
    Step::Purge,
];
/// One step in so many is a rare one.
const RARE_EVERY: usize = 6;

pub struct Script {
    random: StdRng,
    pub disk: MemoryDisk,
    pub promises: Shared,
    /// None after an end.
    member: Option<Member>,
    term: u64,
    steps: usize,
    /// For whoever looks at the disk meanwhile.
    pub doing: Arc<Mutex<Step>>,
}

/// How the process is ended before another begins on the same disk.
#[derive(Clone, Copy, Debug)]
enum Restart {
    InOrder,
    Killed,
}

impl Script {
    /// A new member on an empty disk, before its first start.
    pub fn new(seed: u64, disk: MemoryDisk) -> Self {
        let random = StdRng::seed_from_u64(seed);
        let doing = Arc::new(Mutex::new(Step::Start));
        Self { random, disk, promises: Shared::none(), member: None, term: 1, steps: 0, doing }
    }

    /// Goes on with what is on a disk.
    pub fn start(&mut self) -> anyhow::Result<()> {
        let member = Member::start(&self.disk, &self.promises)?;
        self.term = self.term.max(member.log.vote.term);
        self.member = Some(member);
        self.catch_up();
        Ok(())
    }

    /// The leader sends what was committed and is not in the log, or not as it was committed.
    fn catch_up(&mut self) {
        let history = self.history();
        let member = self.member();
        let is_here = |index: &u64| member.log.term_at(*index) == Some(history.position(*index).term);
        let missing = (member.log.purged.index + 1..=history.last_index()).find(|index| !is_here(index));
        if let Some(first) = missing {
            let entries = (first..=history.last_index()).filter_map(|index| history.entry(index).cloned());
            member.append(entries.collect());
        }
    }

    /// What of the running member failed, if anything did.
    pub fn failed(&self) -> Option<Part> {
        self.member.as_ref().and_then(Member::failed)
    }

    /// Up to where the log of the running member is on the disk, as it says.
    pub fn synced(&self) -> Option<u64> {
        self.member.as_ref().map(|member| member.wal.synced_index())
    }

    fn member(&mut self) -> &mut Member {
        self.member.as_mut().expect("the member runs")
    }

    /// The process is gone, without a word.
    pub fn end(&mut self) {
        self.member = None;
    }

    fn history(&self) -> History {
        self.promises.lock().history.clone()
    }

    /// Does one thing. What is rare comes in turn, so that no script goes without it.
    ///
    /// # Errors
    /// The member ended itself.
    pub fn step(&mut self) -> Result<(), Ended> {
        self.steps += 1;
        let step = match self.steps / RARE_EVERY {
            round if self.steps.is_multiple_of(RARE_EVERY) => RARE[round % RARE.len()],
            _ => COMMON[self.random.random_range(0..COMMON.len())],
        };
        *self.doing.lock().unwrap() = step;
        match step {
            Step::Propose => self.propose(),
            Step::Vote => self.vote(),
            Step::Conflict => self.conflict(),
            Step::Commit => self.commit(),
            Step::Apply => return self.apply(),
            Step::Work => return self.member().work(),
            Step::CommitDurably => return self.member().commit_durably(),
            Step::Purge => self.purge(),
            Step::Install => return self.install(),
            Step::Defragment => return self.defragment().map(drop),
            Step::Close => return self.restart(Restart::InOrder),
            Step::Kill => return self.restart(Restart::Killed),
            Step::WriteLog => drop(self.member().step_log()?),
            Step::Start | Step::Settle => {}
        }
        Ok(())
    }

    fn propose(&mut self) {
        let first = self.member().log.last().index + 1;
        self.append(first);
    }

    fn append(&mut self, first: u64) {
        let count = self.random.random_range(1..5);
        let entries = (first..first + count).map(|index| self.entry(index)).collect();
        self.member().append(entries);
    }

    /// A leader begins its term, or a candidate is voted for.
    fn vote(&mut self) {
        self.term += 1;
        let (vote, vote_committed) = (self.random.random_range(1..4), self.random.random());
        let state = HardState { term: self.term, vote, vote_committed, commit: 0 };
        self.member().vote(state);
    }

    /// Another leader's entries replace the tail behind what is committed.
    fn conflict(&mut self) {
        self.vote();
        let last = self.member().log.last().index;
        let lowest = self.history().last_index().max(self.member().log.purged.index).min(last);
        let keep = self.random.random_range(lowest..=last);
        if self.random.random() {
            self.member().truncate_after(keep);
        }
        self.append(keep + 1);
    }

    /// The cluster commits some of the log.
    fn commit(&mut self) {
        let (known, last) = (self.history().last_index(), self.member().log.last().index);
        let commit = self.random.random_range(known..=last.max(known));
        self.learn(commit);
        self.member().commit(commit);
    }

    /// Entries of the log up to `index` are committed.
    fn learn(&mut self, index: u64) {
        let member = self.member.as_ref().expect("the member runs");
        let mut promises = self.promises.lock();
        for entry in &member.log.entries {
            if entry.index > promises.history.last_index() && entry.index <= index {
                promises.history.push(entry.clone());
            }
        }
    }

    fn apply(&mut self) -> Result<(), Ended> {
        let (applied, commit) = (self.member().applied(), self.promises.lock().commit);
        if commit > applied {
            let index = self.random.random_range(applied + 1..=commit);
            self.member().apply_to(index)?;
        }
        Ok(())
    }

    fn purge(&mut self) {
        let durable = self.promises.lock().durable;
        let purged = self.member().log.purged.index;
        if durable > purged {
            let index = self.random.random_range(purged + 1..=durable);
            let term = self.member().log.term_at(index).expect("an entry of the log");
            self.member().purge(LogPosition { term, index });
        }
    }

    /// The cluster went on without this member, which gets the state of another one.
    fn install(&mut self) -> Result<(), Ended> {
        let (committed, last) = (self.history().last_index(), self.member().log.last().index);
        let index = self.random.random_range(committed + 1..=last.max(committed) + 3);
        // Either with what stands in the log here, or with another leader's entries.
        let same = if self.random.random() { self.random.random_range(committed..=index) } else { committed };
        for at in committed + 1..=index {
            if at == last.min(same) + 1 {
                self.vote();
            }
            let here = self.member().log.entries.iter().find(|entry| at <= same && entry.index == at).cloned();
            let entry = here.unwrap_or_else(|| self.entry(at));
            self.promises.lock().history.push(entry);
        }
        let history = self.history();
        let chunks = state_of_another(&history, index, self.random.random_range(1..3000));
        self.member().install(history.position(index), &chunks)
    }

    /// Entries are applied meanwhile, some of which the log may not have synced yet.
    pub fn defragment(&mut self) -> Result<Option<DefragmentError>, Ended> {
        let (applied, commit) = (self.member().applied(), self.promises.lock().commit);
        let last = commit.max(applied);
        let mut indexes: Vec<u64> = (0..3).map(|_| self.random.random_range(applied..=last)).collect();
        indexes.sort_unstable();
        self.member().defragment(&indexes)
    }

    /// Ends the process in order.
    pub fn close(&mut self) -> Result<(), Ended> {
        self.member.take().map_or(Ok(()), Member::close)
    }

    fn restart(&mut self, how: Restart) -> Result<(), Ended> {
        let member = self.member.take().expect("the member runs");
        if let Restart::InOrder = how {
            member.close()?;
        } else {
            self.disk = self.disk.next_process();
            drop(member);
        }
        self.start().map_err(|error| Ended(format!("{error:#}")))
    }

    /// Asks a member that has failed for everything again. Whether it fails again is not looked at.
    pub fn insist(&mut self) {
        self.vote();
        let (applied, commit) = (self.member().applied(), self.promises.lock().commit);
        let term = self.promises.lock().history.position(applied + 1).term;
        let can_apply = commit > applied && self.member().log.term_at(applied + 1) == Some(term);
        for _ in 0..3 {
            self.member().step_log().ok();
            if can_apply {
                self.member().apply_to(applied + 1).ok();
            }
            self.member().commit_durably().ok();
        }
    }

    /// All that is queued is written, all that is committed is applied and durable.
    pub fn settle(&mut self) -> Result<(), Ended> {
        *self.doing.lock().unwrap() = Step::Settle;
        let last = self.member().log.last().index;
        self.learn(last);
        self.member().commit(last);
        while self.member().step_log()? {}
        if last > self.member().applied() {
            self.member().apply_to(last)?;
        }
        self.member().compact()?;
        self.member().commit_durably()
    }

    fn entry(&mut self, index: u64) -> Entry {
        let (term, random) = (self.term, &mut self.random);
        if random.random_bool(0.04) {
            return normal(term, index, Bytes::new());
        }
        if random.random_bool(0.03) {
            let id = *self.promises.lock().history.state(1).members.keys().next().expect("the member itself");
            return update_urls(term, index, id, random.random_range(1000..9999));
        }
        let promises = self.promises.lock();
        let request = request(random, index, promises.history.state(promises.history.last_index()));
        let header = Some(pb::RequestHeader { id: index, ..Default::default() });
        normal(term, index, pb::InternalRaftRequest { header, ..request }.encode_to_vec().into())
    }
}

fn update_urls(term: u64, index: u64, id: MemberId, port: u16) -> Entry {
    let peer_urls = vec![format!("http://127.0.0.1:{port}")];
    let member = internal::Member { id: id.0, learner: false, peer_urls: peer_urls.clone() };
    let change = MemberChange::Update { id, peer_urls };
    let data = conf_change::encode(index, &change, &internal::Membership { members: vec![member] });
    Entry { term, index, kind: EntryKind::ConfChange, data }
}

/// `newest` is the state that most requests will meet.
fn request(random: &mut StdRng, index: u64, newest: &Model) -> pb::InternalRaftRequest {
    let mut request = pb::InternalRaftRequest::default();
    // Early, so that what comes has leases to hang on.
    let grants = newest.leases.is_empty() && random.random_bool(0.3);
    match if grants { 85 } else { random.random_range(0..100) } {
        0..45 => request.put = Some(put(random, index, newest)),
        45..59 => request.delete_range = Some(delete(random)),
        59..73 => request.txn = Some(txn(random, index)),
        73..81 => {
            // What happens to a delete at the very revision is a rule of its own.
            let deletes = newest.rows.iter().filter(|(_, row)| row.tombstone).map(|((main, _), _)| *main);
            let delete = if random.random() { deletes.last() } else { None };
            let revision = delete.unwrap_or_else(|| random.random_range(1..=newest.revision + 1));
            request.compaction = Some(pb::CompactionRequest { revision, physical: false });
        }
        81..89 => {
            let (id, ttl) = (random.random_range(1..=LEASES), random.random_range(5..100));
            request.lease_grant = Some(pb::LeaseGrantRequest { id, ttl });
        }
        89..92 => request.lease_revoke = Some(pb::LeaseRevokeRequest { id: random.random_range(1..=LEASES) }),
        92..95 => {
            let (id, remaining_ttl) = (random.random_range(1..=LEASES), random.random_range(1..50));
            let checkpoints = vec![pb::LeaseCheckpoint { id, remaining_ttl }];
            request.lease_checkpoint = Some(pb::LeaseCheckpointRequest { checkpoints });
        }
        95..98 => {
            // More often down than up: a raised alarm refuses most of the rest.
            let action = if random.random_bool(0.3) { 1 } else { 2 };
            request.alarm = Some(pb::AlarmRequest { action, member_id: 1, alarm: pb::AlarmType::Nospace as i32 });
        }
        _ => {
            let name = format!("m{index}");
            let member_attributes = Some(membershippb::Attributes { name, client_urls: Vec::new() });
            let attributes = membershippb::ClusterMemberAttrSetRequest { member_id: 1, member_attributes };
            request.cluster_member_attr_set = Some(attributes);
        }
    }
    request
}

fn key(number: usize) -> Bytes {
    format!("key-{number:02}").into()
}

fn put(random: &mut StdRng, index: u64, newest: &Model) -> pb::PutRequest {
    let granted: Vec<i64> = newest.leases.keys().copied().collect();
    let lease = match random.random_range(0..10) {
        0..4 if !granted.is_empty() => granted[random.random_range(0..granted.len())],
        4 => random.random_range(1..=LEASES),
        _ => 0,
    };
    let number = random.random_range(0..KEYS);
    pb::PutRequest { lease, ..put_at(random, index, number) }
}

fn put_at(random: &mut StdRng, index: u64, number: usize) -> pb::PutRequest {
    let len = if random.random_bool(0.05) { random.random_range(2000..6000) } else { random.random_range(0..400) };
    let value = format!("{index} {}", "v".repeat(len)).into();
    pb::PutRequest { key: key(number), value, ..Default::default() }
}

fn delete(random: &mut StdRng) -> pb::DeleteRangeRequest {
    let from = random.random_range(0..KEYS);
    let range_end = if random.random() { Bytes::new() } else { key(from + random.random_range(1..4)) };
    pb::DeleteRangeRequest { key: key(from), range_end, prev_kv: false }
}

fn txn(random: &mut StdRng, index: u64) -> pb::TxnRequest {
    let (first, version) = (random.random_range(0..KEYS), random.random_range(0..3));
    let compare = pb::Compare {
        result: pb::compare::CompareResult::Equal as i32,
        target: pb::compare::CompareTarget::Version as i32,
        key: key(first),
        target_union: Some(pb::compare::TargetUnion::Version(version)),
        ..Default::default()
    };
    let mut branch = |count: usize| {
        let op = |number: usize| {
            let number = (first + number) % KEYS;
            if random.random_bool(0.3) {
                let delete = pb::DeleteRangeRequest { key: key(number), ..Default::default() };
                return Request::RequestDeleteRange(delete);
            }
            Request::RequestPut(put_at(random, index, number))
        };
        (0..count).map(op).map(|request| pb::RequestOp { request: Some(request) }).collect()
    };
    pb::TxnRequest { compare: vec![compare], success: branch(3), failure: branch(1) }
}

/// The state of a member that has applied the history up to `index`, as it is sent in a snapshot.
fn state_of_another(history: &History, index: u64, chunk_bytes: usize) -> Vec<Chunk> {
    let registry = prometheus::Registry::new();
    let disk = MemoryDisk::new();
    let file = disk.create(Path::new("state")).expect("a disk that does not fail");
    let storage_metrics = keelstone::storage::Metrics::register(&registry).unwrap();
    let storage = Storage::create(file, 1 << 20, storage_metrics).expect("a disk that does not fail");
    let parts = Parts {
        storage,
        lessor: Arc::new(Lessor::new(2, keelstone::lease::Metrics::register(&registry).unwrap())),
        access: keelstone::auth::Access::unserved(&registry).unwrap(),
        local: MemberId(2),
        mvcc_metrics: keelstone::mvcc::Metrics::register(&registry).unwrap(),
        cluster_metrics: keelstone::cluster::Metrics::register(&registry).unwrap(),
        alarm_metrics: keelstone::alarm::Metrics::register(&registry).unwrap(),
    };
    let mut applier = Applier::open(parts).expect("a disk that does not fail");
    let entries = (1..=index).map(|index| {
        let entry = history.entry(index).expect("a committed entry");
        Committed { position: history.position(index), payload: payload(entry) }
    });
    applier.apply_batch(entries.collect(), &|_| false, Durability::Volatile).expect("a disk that does not fail");
    // It may be in the middle of a compaction.
    applier.compaction_slice(5).expect("a disk that does not fail");
    let state = applier.snapshot().expect("a disk that does not fail");
    state.version.export(chunk_bytes).map(|chunk| chunk.expect("a disk that does not fail")).collect()
}
