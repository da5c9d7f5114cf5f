//! Pages of a list, as of now, each from a place of its own.

use super::{Ground, PAGED_PREFIX};
use crate::calls::readers;
use crate::load::closed_loop;
use crate::report::Sample;
use keelstone_harness::prefix_end;
use keelstone_harness::proto::etcdserverpb::RangeRequest;

pub const PAGE_KEYS: usize = 500;

pub async fn run(ground: &Ground, clients: usize) -> Sample {
    let mut sorted = ground.paged.to_vec();
    sorted.sort();
    let range_end = prefix_end(PAGED_PREFIX.as_bytes());
    // From each of these on there is a whole page.
    let starts = sorted.into_iter().step_by(PAGE_KEYS);
    let page = |key| RangeRequest { key, range_end: range_end.clone(), limit: PAGE_KEYS as i64, ..Default::default() };
    let requests: Vec<RangeRequest> = starts.map(page).collect();
    let clients = readers(&ground.cluster, clients, &requests, PAGE_KEYS).await;
    closed_loop(&ground.cluster, clients, ground.window).await
}
