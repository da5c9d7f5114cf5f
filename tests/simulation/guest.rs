//! A further member that joins the cluster and is removed again, over and over, whatever else goes wrong.

use crate::cluster::{Wish, Wishes};
use keelstone_harness::{Client, Random};
use std::time::Duration;
use tokio::sync::Notify;

/// How long the guest has to end itself before its disk is wiped.
const FAREWELL: Duration = Duration::from_secs(3);
/// How often a step is tried before the next visit is.
const ATTEMPTS: u64 = 40;

/// Visits go on until it is notified; the guest has been removed then, or was never let in.
pub async fn come_and_go(clients: Vec<Client>, url: String, wishes: Wishes, mut random: Random, calm: &Notify) {
    let mut calm = std::pin::pin!(calm.notified());
    loop {
        let pause = Duration::from_millis(1_000 + random.below(10_000));
        tokio::select! {
            biased;
            () = &mut calm => return,
            () = tokio::time::sleep(pause) => {}
        }
        let Some((id, learner)) = let_in(&clients, &url, &mut random).await else { continue };
        wishes.ask(Wish::LetIn);
        tokio::time::sleep(Duration::from_millis(random.below(15_000))).await;
        if learner && random.chance(60) {
            promote(&clients, id, &mut random).await;
        }
        turn_out(&clients, id, &mut random).await;
        tokio::time::sleep(FAREWELL).await;
        wishes.ask(Wish::Wipe);
    }
}

/// Its id, and whether it is a learner. None if the cluster did not take it.
async fn let_in(clients: &[Client], url: &str, random: &mut Random) -> Option<(u64, bool)> {
    let learner = random.chance(50);
    if let Ok(reply) = random.pick(clients).member_add(url, learner).await {
        return Some((reply.member?.id, learner));
    }
    // Refused, or nobody knows. What was sent may still arrive for as long as a request may take.
    tokio::time::sleep(Duration::from_secs(20)).await;
    loop {
        let Ok(list) = random.pick(clients).member_list(true).await else { continue };
        let found = list.members.iter().find(|member| member.peer_urls.iter().any(|known| known == url))?;
        return Some((found.id, found.is_learner));
    }
}

async fn promote(clients: &[Client], id: u64, random: &mut Random) {
    for _ in 0..ATTEMPTS {
        if random.pick(clients).member_promote(id).await.is_ok() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
    }
}

/// Until it is gone: a guest that stays would be wiped as a member.
async fn turn_out(clients: &[Client], id: u64, random: &mut Random) {
    loop {
        match random.pick(clients).member_remove(id).await {
            Ok(_) => return,
            Err(error) if error.message() == "etcdserver: member not found" => return,
            Err(_) => tokio::time::sleep(Duration::from_millis(300)).await,
        }
    }
}
