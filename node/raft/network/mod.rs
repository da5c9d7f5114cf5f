//! Peer traffic: our own messages over one gRPC connection per peer and purpose. Every call says which cluster
//! it belongs to, whom it comes from and whom it means, and in which version of the protocol; the receiver
//! refuses a call that is not for it (an address that was given to another member, another cluster).

mod check;
mod client;
mod convert;
mod members;
mod peer_network;
mod server;
mod snapshot;
mod traffic;

pub use client::{Client, PeerClients, PeerParts, Purpose, Timing};
pub use members::ask_members;
pub use server::PeerService;

use crate::types::{ClusterId, MemberId};
use std::ops::RangeInclusive;

/// The version of the messages in `proto/internal` that this member speaks. It rises only when messages change in another
/// way than by fields and calls that may be missing, and then a release later than [`UNDERSTOOD`] does: so every build
/// understands the one before it, and is understood by it.
pub const PROTOCOL: u32 = 1;

/// The versions of callers that are served; all others are refused.
const UNDERSTOOD: RangeInclusive<u32> = 1..=1;

/// The longest message that a member takes from another, etcd's limit (`rafthttp`, readBytesLimit). As much is reserved when a
/// length is announced, so that a length is not believed without bound. Entries are shorter by orders.
const MAX_MESSAGE_BYTES: usize = 512 << 20;

const CLUSTER_HEADER: &str = "keelstone-cluster";
const FROM_HEADER: &str = "keelstone-from";
const TO_HEADER: &str = "keelstone-to";
const PROTOCOL_HEADER: &str = "keelstone-protocol";

/// Said to a member that was removed (etcd answers it 410 and it stops with this text).
pub const WAS_REMOVED: &str = "the member has been permanently removed from the cluster";

/// Who this member is to its peers.
#[derive(Clone, Copy, Debug)]
pub struct Identity {
    pub cluster: ClusterId,
    pub member: MemberId,
}
