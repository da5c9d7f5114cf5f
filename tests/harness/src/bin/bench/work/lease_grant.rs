//! Grants of leases, each with an id that the server chooses. They outlive the run and are never renewed.

use super::Ground;
use crate::calls::{LEASE_GRANT, clients};
use crate::load::closed_loop;
use crate::report::Sample;
use crate::wire::frame;
use keelstone_harness::proto::etcdserverpb::LeaseGrantRequest;

const TTL_SECS: i64 = 3600;

pub async fn run(ground: &Ground, count: usize) -> Sample {
    let request = frame(&LeaseGrantRequest { ttl: TTL_SECS, id: 0 });
    let clients = clients(&ground.cluster, count, LEASE_GRANT, vec![request]).await;
    closed_loop(&ground.cluster, clients, ground.window).await
}
