//! Hashes of the keys for the corruption checks: this member's own, made so that no request notices, and those of its peers
//! at the same revision (etcd `server/etcdserver/corrupt.go`, getPeerHashKVs, over our own peer protocol).

use super::Consensus;
use crate::mvcc::{Hashing, KvHash, ReadError, View};
use crate::raft::Purpose;
use crate::storage::StorageError;
use crate::threads::Work;
use crate::types::MemberId;
use keelstone_proto::internal::{HashKvRequest, HashKvResponse, HashRefusal as Refusal};
use std::sync::Arc;
use std::time::Duration;
use tonic::{Code, Request, Status};

/// What is hashed in one go: a few milliseconds of work.
const SLICE_BYTES: usize = 1 << 20;
/// How long a hash rests after each slice, about as long as the slice took.
const REST: Duration = Duration::from_millis(3);
/// Hashes that are made at once, whoever asks for them; others wait.
pub(super) const HASHES_AT_ONCE: usize = 2;

/// What a peer says of its keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PeerHash {
    /// Its newest.
    pub revision: i64,
    pub compact_revision: i64,
    pub hash: Result<u32, HashRefused>,
}

/// Why a peer's state cannot be compared; texts are etcd's where it has them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HashRefused {
    #[error("etcdserver: mvcc: required revision has been compacted")]
    Compacted,
    #[error("etcdserver: mvcc: required revision is a future revision")]
    FutureRevision,
    #[error("its compact revision is another one")]
    OtherCompaction,
    #[error("members that hold the same may have different hashes until a compaction is over")]
    Unsettled,
}

/// Why a peer says nothing.
#[derive(Clone, Debug, thiserror::Error)]
pub enum NoHash {
    #[error("etcdserver: cluster ID mismatch")]
    OtherCluster,
    #[error("the member does not know this question: it runs an earlier version")]
    EarlierVersion,
    #[error("{}", .0.message())]
    Call(Status),
}

/// There is no hash: the node ends, of a state that cannot be read, or because it was told to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the node is stopping")]
pub struct NotHashed;

impl Consensus {
    /// The hash of all that is applied here.
    ///
    /// # Errors
    /// The node ends.
    pub async fn hash_kv(&self) -> Result<KvHash, NotHashed> {
        let view = self.views().load();
        self.hash_at(&view, 0).await
    }

    /// The hashes that the last compactions made, oldest first.
    pub fn compaction_hashes(&self) -> Vec<KvHash> {
        self.views().load().compaction_hashes()
    }

    async fn hash_at(&self, view: &Arc<View>, revision: i64) -> Result<KvHash, NotHashed> {
        let _one_of_few = self.hashing().acquire().await.map_err(|_| NotHashed)?;
        let begun = match view.hashing(revision) {
            Ok(hashing) => Ok(hashing),
            Err(ReadError::Storage(error)) => Err(error),
            Err(ReadError::Compacted { .. } | ReadError::FutureRevision { .. } | ReadError::TooLarge) => {
                return Err(NotHashed);
            }
        };
        let mut hashing = self.readable(begun)?;
        loop {
            let slice = move || {
                let mut hashing: Hashing = hashing;
                let done = hashing.slice(SLICE_BYTES);
                (hashing, done)
            };
            let (going_on, done) = self.state_files().threads.run(Work::Read, slice).await.map_err(|_| NotHashed)?;
            if let Some(hash) = self.readable(done)? {
                return Ok(hash);
            }
            hashing = going_on;
            tokio::time::sleep(REST).await;
        }
    }

    /// A state that cannot be read ends the node.
    fn readable<R>(&self, read: Result<R, StorageError>) -> Result<R, NotHashed> {
        let files = self.state_files();
        files.check("read", files.path(), read).map_err(|_| NotHashed)
    }

    /// What this member says to a peer.
    ///
    /// # Errors
    /// The node ends.
    pub(super) async fn answer_hash(&self, asked: HashKvRequest) -> Result<HashKvResponse, NotHashed> {
        self.await_revision(asked.revision).await;
        let view = self.views().load();
        let (revision, compact_revision) = (view.revision(), view.compacted());
        let refused =
            |refusal: Refusal| HashKvResponse { revision, compact_revision, hash: 0, refusal: refusal.into() };
        let of_compaction = view.compaction_hash(asked.revision);
        let hash = match of_compaction.filter(|hash| hash.compact_revision == asked.compact_revision) {
            Some(hash) => hash,
            None if asked.revision > revision => return Ok(refused(Refusal::FutureRevision)),
            None if asked.revision < compact_revision => return Ok(refused(Refusal::Compacted)),
            None if asked.compact_revision != compact_revision => return Ok(refused(Refusal::OtherCompaction)),
            None => self.hash_at(&view, asked.revision).await?,
        };
        if !hash.is_comparable {
            return Ok(refused(Refusal::Unsettled));
        }
        Ok(HashKvResponse { revision, compact_revision, hash: hash.hash, refusal: Refusal::None.into() })
    }

    /// Leaves this member an election timeout to get where the caller is: under load it is a few entries behind.
    async fn await_revision(&self, revision: i64) {
        let mut applied = self.applied_watch();
        let reached = async { while self.views().load().revision() < revision && applied.changed().await.is_ok() {} };
        // What is not there then is said not to be.
        tokio::time::timeout(self.timing().election, reached).await.ok();
    }

    /// Asks a peer for its hash at the revision of ours.
    ///
    /// # Errors
    /// It does not answer within the time, or not to this.
    pub async fn peer_hash(&self, peer: MemberId, ours: &KvHash, within: Duration) -> Result<PeerHash, NoHash> {
        let mut client = self.peer_client(peer, Purpose::Forward).map_err(NoHash::Call)?;
        let asked = HashKvRequest { revision: ours.hash_revision, compact_revision: ours.compact_revision };
        let mut request = Request::new(asked);
        request.set_timeout(within);
        // A channel that does not come about is not bound by the request's timeout.
        let answer = tokio::time::timeout(within, client.hash_kv(request)).await;
        let answer = answer.unwrap_or_else(|_| Err(Status::deadline_exceeded("no answer in time")));
        match answer.inspect_err(|status| self.peers().heed(status)) {
            Ok(response) => heard(response.get_ref()),
            Err(status) if status.code() == Code::Unimplemented => Err(NoHash::EarlierVersion),
            Err(status) if status.message() == NoHash::OtherCluster.to_string() => Err(NoHash::OtherCluster),
            Err(status) => Err(NoHash::Call(status)),
        }
    }
}

fn heard(response: &HashKvResponse) -> Result<PeerHash, NoHash> {
    let hash = match Refusal::try_from(response.refusal) {
        Ok(Refusal::None) => Ok(response.hash),
        Ok(Refusal::Compacted) => Err(HashRefused::Compacted),
        Ok(Refusal::FutureRevision) => Err(HashRefused::FutureRevision),
        Ok(Refusal::OtherCompaction) => Err(HashRefused::OtherCompaction),
        Ok(Refusal::Unsettled) => Err(HashRefused::Unsettled),
        Err(_) => return Err(NoHash::Call(Status::internal("a refusal of a later version"))),
    };
    Ok(PeerHash { revision: response.revision, compact_revision: response.compact_revision, hash })
}
