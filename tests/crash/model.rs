//! What the state must be after each entry: etcd's rules, written down a second time in the plainest way.

use bytes::Bytes;
use keelstone::apply::{Payload, conf_change};
use keelstone::cluster::{Member, MemberChange};
use keelstone::mvcc::{Revision, RowKey};
use keelstone::types::MemberId;
use keelstone_proto::etcdserverpb as pb;
use keelstone_proto::etcdserverpb::request_op::Request;
use keelstone_proto::mvccpb::KeyValue;
use prost::Message;
use std::collections::BTreeMap;

/// A change of a key. `kv` of a tombstone holds the key only.
#[derive(Clone, Debug, PartialEq)]
pub struct Row {
    pub tombstone: bool,
    pub kv: KeyValue,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Lease {
    pub ttl_secs: i64,
    pub remaining_secs: i64,
}

#[derive(Clone, Debug, PartialEq)]
pub struct Model {
    pub revision: i64,
    pub compacted: i64,
    /// All that was ever changed, compacted or not.
    pub rows: BTreeMap<(i64, i64), Row>,
    pub live: BTreeMap<Bytes, KeyValue>,
    pub leases: BTreeMap<i64, Lease>,
    pub no_space: bool,
    pub members: BTreeMap<MemberId, Member>,
}

/// Refused, which changes nothing.
#[derive(Debug)]
pub struct Refused;

impl Default for Model {
    fn default() -> Self {
        Self {
            revision: 1,
            compacted: -1,
            rows: BTreeMap::new(),
            live: BTreeMap::new(),
            leases: BTreeMap::new(),
            no_space: false,
            members: BTreeMap::new(),
        }
    }
}

/// The changes of one entry.
struct Txn<'m> {
    model: &'m mut Model,
    main: i64,
    sub: i64,
}

impl Txn<'_> {
    fn add(&mut self, tombstone: bool, kv: KeyValue) {
        self.model.rows.insert((self.main, self.sub), Row { tombstone, kv });
        self.sub += 1;
    }

    fn put(&mut self, key: Bytes, value: Bytes, lease: i64) {
        let before = self.model.live.get(&key);
        let (created, version) = before.map_or((self.main, 0), |kv| (kv.create_revision, kv.version));
        let kv = KeyValue {
            key: key.clone(),
            create_revision: created,
            mod_revision: self.main,
            version: version + 1,
            value,
            lease,
        };
        self.model.live.insert(key, kv.clone());
        self.add(false, kv);
    }

    fn delete(&mut self, key: Bytes) {
        if self.model.live.remove(&key).is_some() {
            self.add(true, KeyValue { key, ..KeyValue::default() });
        }
    }

    fn delete_range(&mut self, key: &Bytes, end: &Bytes) {
        let keys: Vec<Bytes> = match end.as_ref() {
            [] => vec![key.clone()],
            _ => self.model.live.range(key.clone()..end.clone()).map(|(key, _)| key.clone()).collect(),
        };
        keys.into_iter().for_each(|key| self.delete(key));
    }
}

impl Model {
    /// Applies an entry. The answer's revision is [`Self::revision`] afterwards.
    pub fn apply(&mut self, payload: &Payload) -> Result<(), Refused> {
        match payload {
            Payload::Blank => Ok(()),
            Payload::ConfChange { change, .. } => {
                let (_, change) = conf_change::decode(change).expect("an entry of the test");
                self.change_members(change)
            }
            Payload::Normal(data) => {
                self.request(pb::InternalRaftRequest::decode(data.clone()).expect("an entry of the test"))
            }
        }
    }

    fn request(&mut self, request: pb::InternalRaftRequest) -> Result<(), Refused> {
        if let Some(put) = request.put {
            if self.no_space || !self.has_lease(put.lease) {
                return Err(Refused);
            }
            self.txn(|txn| txn.put(put.key, put.value, put.lease));
        } else if let Some(delete) = request.delete_range {
            self.txn(|txn| txn.delete_range(&delete.key, &delete.range_end));
        } else if let Some(txn) = request.txn {
            self.run(txn)?;
        } else if let Some(compaction) = request.compaction {
            if compaction.revision <= self.compacted || compaction.revision > self.revision {
                return Err(Refused);
            }
            self.compacted = compaction.revision;
        } else if let Some(grant) = request.lease_grant {
            if self.no_space || self.leases.contains_key(&grant.id) {
                return Err(Refused);
            }
            self.leases.insert(grant.id, Lease { ttl_secs: grant.ttl, remaining_secs: 0 });
        } else if let Some(revoke) = request.lease_revoke {
            self.leases.remove(&revoke.id).ok_or(Refused)?;
            let keys = self.attached(revoke.id);
            self.txn(|txn| keys.into_iter().for_each(|key| txn.delete(key)));
        } else if let Some(checkpoint) = request.lease_checkpoint {
            for checkpoint in checkpoint.checkpoints {
                if let Some(lease) = self.leases.get_mut(&checkpoint.id) {
                    lease.remaining_secs = checkpoint.remaining_ttl;
                }
            }
        } else if let Some(alarm) = request.alarm {
            self.no_space = alarm.action == pb::alarm_request::AlarmAction::Activate as i32;
        } else if let Some(attributes) = request.cluster_member_attr_set
            && let Some(member) = self.members.get_mut(&MemberId(attributes.member_id))
        {
            member.name = attributes.member_attributes.unwrap_or_default().name;
        }
        Ok(())
    }

    fn txn(&mut self, change: impl FnOnce(&mut Txn<'_>)) {
        let mut txn = Txn { main: self.revision + 1, sub: 0, model: self };
        change(&mut txn);
        if txn.sub > 0 {
            self.revision += 1;
        }
    }

    /// One compare of a version, and puts and deletes of different keys without leases.
    fn run(&mut self, request: pb::TxnRequest) -> Result<(), Refused> {
        let puts = |ops: &[pb::RequestOp]| ops.iter().any(|op| matches!(op.request, Some(Request::RequestPut(_))));
        if self.no_space && (puts(&request.success) || puts(&request.failure)) {
            return Err(Refused);
        }
        let succeeds = request.compare.iter().all(|compare| {
            let version = self.live.get(&compare.key).map_or(0, |kv| kv.version);
            compare.target_union == Some(pb::compare::TargetUnion::Version(version))
        });
        let ops = if succeeds { request.success } else { request.failure };
        self.txn(|txn| {
            for op in ops {
                match op.request {
                    Some(Request::RequestPut(put)) => txn.put(put.key, put.value, put.lease),
                    Some(Request::RequestDeleteRange(delete)) => txn.delete_range(&delete.key, &delete.range_end),
                    other => panic!("the test does not ask for {other:?}"),
                }
            }
        });
        Ok(())
    }

    fn change_members(&mut self, change: MemberChange) -> Result<(), Refused> {
        match change {
            MemberChange::Add(member) => drop(self.members.insert(member.id, member)),
            MemberChange::Update { id, peer_urls } => {
                self.members.get_mut(&id).ok_or(Refused)?.peer_urls = peer_urls;
            }
            other => panic!("the test does not ask for {other:?}"),
        }
        Ok(())
    }

    fn has_lease(&self, id: i64) -> bool {
        id == 0 || self.leases.contains_key(&id)
    }

    /// The live keys of a lease, sorted.
    pub fn attached(&self, id: i64) -> Vec<Bytes> {
        self.live.values().filter(|kv| kv.lease == id).map(|kv| kv.key.clone()).collect()
    }

    /// The keys as they were at a revision that can be read.
    pub fn at(&self, revision: i64) -> Vec<KeyValue> {
        let mut keys: BTreeMap<&Bytes, &Row> = BTreeMap::new();
        for row in self.rows.range(..(revision + 1, 0)).map(|(_, row)| row) {
            keys.insert(&row.kv.key, row);
        }
        keys.into_values().filter(|row| !row.tombstone).map(|row| row.kv.clone()).collect()
    }

    /// The rows that are left once the last compaction is done: all above it, and below the newest of each key,
    /// unless that is a tombstone from before.
    pub fn kept(&self) -> Vec<(Vec<u8>, Vec<u8>)> {
        let mut newest: BTreeMap<&Bytes, (i64, i64)> = BTreeMap::new();
        for (at, row) in self.rows.range(..(self.compacted + 1, 0)) {
            newest.insert(&row.kv.key, *at);
        }
        let is_kept = |(at, row): &(&(i64, i64), &Row)| {
            let (main, _) = **at;
            main > self.compacted || (newest[&row.kv.key] == **at && (!row.tombstone || main == self.compacted))
        };
        self.rows.iter().filter(is_kept).map(encode).collect()
    }

    /// Every row that was ever written.
    pub fn written(&self) -> Vec<(Vec<u8>, Vec<u8>)> {
        self.rows.iter().map(encode).collect()
    }

    /// etcd's hash of all rows (`server/storage/mvcc/hash.go`), once the last compaction is done: of the rows up to the
    /// compact revision only those count that are live now, if any key is, and no tombstone at that revision.
    pub fn hash(&self) -> u32 {
        let is_live = |at: (i64, i64)| self.rows.get(&at).is_some_and(|row| self.is_live(at, row));
        let counted = self.kept().into_iter().filter(|(key, _)| {
            let key = RowKey::parse(key).expect("a row's key");
            let Revision { main, sub } = key.revision();
            let asked_for = self.live.is_empty() || main > self.compacted || is_live((main, sub));
            asked_for && !(key.is_tombstone() && main == self.compacted)
        });
        let crc = crc32c::crc32c(b"key");
        counted.fold(crc, |crc, (key, row)| crc32c::crc32c_append(crc32c::crc32c_append(crc, &key), &row))
    }

    fn is_live(&self, (main, _): (i64, i64), row: &Row) -> bool {
        !row.tombstone && self.live.get(&row.kv.key).is_some_and(|kv| kv.mod_revision == main)
    }
}

fn encode(((main, sub), row): (&(i64, i64), &Row)) -> (Vec<u8>, Vec<u8>) {
    let key = RowKey::new(Revision { main: *main, sub: *sub }, row.tombstone);
    (key.as_bytes().to_vec(), row.kv.encode_to_vec())
}
