//! What can be asked of both servers.

use crate::wire::{Metadata, Path};
use crate::world::Whose;
use bytes::Bytes;
use keelstone_harness::proto::etcdserverpb::*;

/// One operation, with all that is needed to run it.
#[derive(Debug, Clone)]
pub enum Operation {
    Range(RangeRequest),
    RangeStream(RangeRequest),
    Put(PutRequest),
    DeleteRange(DeleteRangeRequest),
    Txn(TxnRequest),
    Compact(CompactionRequest),
    HashKv(HashKvRequest),

    Grant(LeaseGrantRequest),
    /// A lease that nothing else uses: its id is the server's choice, or it is soon over.
    GrantAndRevoke(LeaseGrantRequest),
    Revoke(LeaseRevokeRequest),
    TimeToLive(LeaseTimeToLiveRequest),
    KeepAlive {
        id: i64,
    },
    Leases,
    /// A lease with keys, which is then left to its end.
    Expire {
        keys: Vec<Bytes>,
    },

    Watch {
        stream: usize,
        create: Vec<WatchCreateRequest>,
        /// Settle at once, while nothing is written.
        settle: bool,
    },
    CancelWatch {
        stream: usize,
        id: i64,
    },
    Settle {
        stream: usize,
    },
    EmptyWatchRequest {
        stream: usize,
    },
    ReopenStream {
        stream: usize,
    },

    Alarm {
        action: i32,
        member: Whose,
        alarm: i32,
    },
    Status,
    MemberList(MemberListRequest),
    AuthStatus,
    Health {
        service: String,
    },
    /// Bytes that may be no request, to a path that may lead nowhere.
    Raw {
        path: Path,
        message: Bytes,
    },
    Restart,
}

/// An operation and what goes along.
#[derive(Debug, Clone)]
pub struct Step {
    pub operation: Operation,
    pub metadata: Metadata,
}
