//! Single faults with a known outcome, told as stories: what a seed meets by chance, these meet always.

use crate::cluster::Wishes;
use crate::plan::Fault;
use keelstone_harness::{Client, wait};
use keelstone_proto::etcdserverpb::PutRequest;
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;

type Play = Pin<Box<dyn Future<Output = ()>>>;

pub struct Scenario {
    pub name: &'static str,
    pub members: usize,
    pub play: fn(Vec<Client>, Wishes) -> Play,
}

pub const ALL: &[Scenario] = &[
    Scenario {
        name: "a_leader_whose_disk_stalls_hands_leadership_over",
        members: 3,
        play: |clients, wishes| Box::pin(stalled_leader(clients, wishes)),
    },
    Scenario {
        name: "a_new_leader_goes_on_with_what_checkpoints_left_of_a_lease",
        members: 3,
        play: |clients, wishes| Box::pin(lease_checkpoints(clients, wishes)),
    },
    Scenario {
        name: "a_wall_clock_that_jumps_ends_no_lease",
        members: 3,
        play: |clients, wishes| Box::pin(wall_clock(clients, wishes)),
    },
    Scenario {
        name: "a_single_member_without_room_ends_and_keeps_all_that_it_acknowledged",
        members: 1,
        play: |clients, wishes| Box::pin(no_room(clients, wishes)),
    },
];

const PATIENCE: Duration = Duration::from_secs(30);

/// Which of the members leads, as a member says that knows.
async fn leader(clients: &[Client]) -> usize {
    wait::until("a leader", PATIENCE, || async {
        let mut ids = Vec::new();
        for client in clients {
            let status = client.status().await.ok()?;
            ids.push((status.header?.member_id, status.leader));
        }
        let (_, leads) = *ids.first()?;
        ids.iter().all(|(_, leader)| *leader == leads).then(|| ids.iter().position(|(id, _)| *id == leads))?
    })
    .await
}

async fn stalled_leader(clients: Vec<Client>, wishes: Wishes) {
    let first = leader(&clients).await;
    let stall = Duration::from_secs(30);
    wishes.inject(Fault::SlowDisk { write: stall, lasts: stall * 2 }, first);
    let others: Vec<Client> = (0..3).filter(|place| *place != first).map(|place| clients[place].clone()).collect();
    // Something has to be written for the stall to show.
    let begun = tokio::time::Instant::now();
    wait::until("another leader while the disk of the first stands still", stall, || async {
        // One that is lost is asked for again.
        others[0].with_deadline(Duration::from_millis(300)).put("key", "value").await.ok();
        let status = others[1].status().await.ok()?;
        let stalled = clients[first].status().await.ok()?.header?.member_id;
        (status.leader != 0 && status.leader != stalled).then_some(())
    })
    .await;
    assert!(begun.elapsed() < Duration::from_secs(5), "five election timeouts: {:?}", begun.elapsed());
    others[0].put("key", "after").await.expect("the new leader serves");
}

async fn lease_checkpoints(clients: Vec<Client>, wishes: Wishes) {
    let first = leader(&clients).await;
    let granted = clients[0].grant(1_200, 7).await.expect("a lease");
    assert_eq!(granted.ttl, 1_200);
    wait::pass(Duration::from_secs(420)).await;
    wishes.inject(Fault::Kill(Duration::from_secs(20)), first);
    let next = (first + 1) % 3;
    let left = wait::until("a new leader that knows the lease", PATIENCE, || async {
        let asked = clients[next].with_deadline(Duration::from_secs(1)).time_to_live(7, false).await.ok()?;
        let status = clients[next].status().await.ok()?;
        (status.leader != 0 && asked.ttl > 0).then_some(asked.ttl)
    })
    .await;
    // The last checkpoint was made at most five minutes before, so the whole time cannot be back; nor may it be less
    // than what was left in truth.
    assert!((780 - 1..1_200 - 100).contains(&left), "{left} s left of 1200 after 420");
}

async fn wall_clock(clients: Vec<Client>, wishes: Wishes) {
    let first = leader(&clients).await;
    clients[0].grant(60, 7).await.expect("a lease");
    let put = PutRequest { key: "leased".into(), lease: 7, ..Default::default() };
    clients[0].put_request(put).await.expect("a put");
    for hour in [3_600_000, -7_200_000] {
        for place in 0..3 {
            wishes.inject(Fault::WallJump(hour), place);
        }
        wait::pass(Duration::from_secs(5)).await;
        let found = clients[first].get("leased").await.expect("a read");
        assert_eq!(found.count, 1, "after a jump of {hour} ms");
    }
    let left = clients[0].time_to_live(7, false).await.expect("an answer").ttl;
    assert!((45..=60).contains(&left), "{left} s left of 60");
    wait::until("the lease to end when its time has come", Duration::from_secs(70), || async {
        (clients[0].get("leased").await.ok()?.count == 0).then_some(())
    })
    .await;
}

async fn no_room(clients: Vec<Client>, wishes: Wishes) {
    let client = clients[0].with_deadline(Duration::from_secs(2));
    wait::until("the member to serve", PATIENCE, || async { client.get("first").await.ok() }).await;
    wishes.inject(Fault::FullDisk { bytes: 300_000, lasts: Duration::from_secs(60) }, 0);
    let mut acknowledged = 0;
    let value = "v".repeat(10_000);
    for number in 0..200 {
        if client.put(format!("key/{number:03}"), value.clone()).await.is_ok() {
            acknowledged += 1;
        }
    }
    assert!(acknowledged > 0, "some fit");
    let kept = wait::until("the member to come back", PATIENCE, || async { client.get_all().await.ok() }).await;
    assert!(kept.count >= acknowledged, "{acknowledged} were acknowledged and {} are there", kept.count);
}
