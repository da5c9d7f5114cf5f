//! Puts of known keys: closed loop, open loop, and all clients on one key.

use super::Ground;
use crate::calls::writers;
use crate::load::closed_loop;
use crate::open_loop::open_loop;
use crate::report::Sample;

/// Outstanding at most in an open loop, as many as Kubernetes' servers have been seen to have.
pub const OPEN_LOOP_CLIENTS: usize = 1000;

pub async fn closed(ground: &Ground, clients: usize) -> Sample {
    let clients = writers(&ground.cluster, clients, &ground.keys).await;
    closed_loop(&ground.cluster, clients, ground.window).await
}

pub async fn open(ground: &Ground, per_sec: u32) -> Sample {
    let clients = writers(&ground.cluster, OPEN_LOOP_CLIENTS, &ground.keys).await;
    open_loop(&ground.cluster, clients, per_sec, ground.window).await
}

pub async fn hot_key(ground: &Ground, clients: usize) -> Sample {
    let clients = writers(&ground.cluster, clients, &ground.keys[..1]).await;
    closed_loop(&ground.cluster, clients, ground.window).await
}
