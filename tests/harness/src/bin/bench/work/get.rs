//! Reads of one known key.

use super::Ground;
use super::put::OPEN_LOOP_CLIENTS;
use crate::calls::{Calls, readers};
use crate::load::closed_loop;
use crate::open_loop::open_loop;
use crate::report::Sample;
use keelstone_harness::proto::etcdserverpb::RangeRequest;

pub async fn linearizable(ground: &Ground, clients: usize) -> Sample {
    let clients = get(ground, clients, RangeRequest::default()).await;
    closed_loop(&ground.cluster, clients, ground.window).await
}

pub async fn serializable(ground: &Ground, clients: usize) -> Sample {
    let clients = get(ground, clients, RangeRequest { serializable: true, ..Default::default() }).await;
    closed_loop(&ground.cluster, clients, ground.window).await
}

pub async fn open(ground: &Ground, per_sec: u32) -> Sample {
    let clients = get(ground, OPEN_LOOP_CLIENTS, RangeRequest::default()).await;
    open_loop(&ground.cluster, clients, per_sec, ground.window).await
}

/// Clients that send `form` with one of the keys.
async fn get(ground: &Ground, clients: usize, form: RangeRequest) -> Vec<Calls> {
    let requests: Vec<RangeRequest> =
        ground.keys.iter().map(|key| RangeRequest { key: key.clone(), ..form.clone() }).collect();
    readers(&ground.cluster, clients, &requests, 1).await
}
