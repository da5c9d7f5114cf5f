//! Single faults with a known outcome, told as stories: what a seed meets by chance, these meet always.

use crate::cluster::Wishes;
use crate::plan::Fault;
use bytes::Bytes;
use keelstone_harness::{Client, wait};
use keelstone_proto::etcdserverpb::{PutRequest, RangeRequest, WatchCreateRequest};
use std::future::Future;
use std::pin::Pin;
use std::time::Duration;
use tokio::time::Instant;

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
        name: "a_lease_of_a_member_that_has_just_started_ends_in_its_time",
        members: 1,
        play: |clients, wishes| Box::pin(first_lease(clients, wishes)),
    },
    Scenario {
        name: "a_member_that_is_removed_is_told_so_at_once",
        members: 3,
        play: |clients, wishes| Box::pin(removed(clients, wishes)),
    },
    Scenario {
        name: "a_single_member_without_room_ends_and_keeps_all_that_it_acknowledged",
        members: 1,
        play: |clients, wishes| Box::pin(no_room(clients, wishes)),
    },
    Scenario {
        name: "a_read_through_any_member_sees_what_was_written_through_another",
        members: 3,
        play: |clients, wishes| Box::pin(read_elsewhere(clients, wishes)),
    },
    Scenario {
        name: "a_leader_that_was_stopped_ends_no_lease_that_was_renewed_meanwhile",
        members: 3,
        play: |clients, wishes| Box::pin(stopped_leader(clients, wishes)),
    },
    Scenario {
        name: "a_leader_that_was_cut_off_reads_nothing_old_and_renews_nothing",
        members: 3,
        play: |clients, wishes| Box::pin(cut_off_leader(clients, wishes)),
    },
    Scenario {
        name: "a_forwarded_write_happens_once_whenever_its_connection_breaks",
        members: 3,
        play: |clients, wishes| Box::pin(broken_forwards(clients, wishes)),
    },
    Scenario {
        name: "a_watcher_is_told_what_its_member_got_by_snapshot",
        members: 3,
        play: |clients, wishes| Box::pin(watch_over_snapshot(clients, wishes)),
    },
    Scenario {
        name: "whoever_leads_compacts_what_is_beyond_the_retention",
        members: 3,
        play: |clients, wishes| Box::pin(kept_revisions(clients, wishes)),
    },
    Scenario {
        name: "a_leader_that_gives_its_leadership_away_renews_nothing",
        members: 3,
        play: |clients, wishes| Box::pin(renewals_at_hand_over(clients, wishes)),
    },
    Scenario {
        name: "a_snapshot_whose_sender_gave_up_is_not_mixed_with_the_next",
        members: 3,
        play: |clients, wishes| Box::pin(snapshots_in_a_row(clients, wishes)),
    },
    Scenario {
        name: "a_member_that_loses_its_power_after_its_log_was_purged_goes_on",
        members: 1,
        play: |clients, wishes| Box::pin(purged_log(clients, wishes)),
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
    let begun = Instant::now();
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

async fn renewals_at_hand_over(clients: Vec<Client>, wishes: Wishes) {
    const TTL_SECS: i64 = 5;
    let first = leader(&clients).await;
    clients[first].grant(TTL_SECS, 7).await.expect("a lease");
    put_leased(&clients[first], 7).await;
    wishes.inject(Fault::SlowDisk { write: PATIENCE, lasts: PATIENCE * 2 }, first);
    // Something has to be written for the stall to show.
    clients[first].with_deadline(Duration::from_millis(100)).put("other", "value").await.ok();
    // The first one hands leadership over after an election timeout, and does not hear of it while its disk stalls.
    let (begun, mut renewed) = (Instant::now(), None);
    let others = [clients[(first + 1) % 3].clone(), clients[(first + 2) % 3].clone()];
    while begun.elapsed() < Duration::from_secs(4) {
        // A new leader leaves every lease more time than it had. A renewal ends that.
        for other in others.iter().filter(|_| begun.elapsed() < Duration::from_millis(1_500)) {
            renew(&other.with_deadline(Duration::from_millis(50)), 7).await;
        }
        let asked = Instant::now();
        if renew(&clients[first].with_deadline(Duration::from_millis(100)), 7).await.is_some_and(|left| left > 0) {
            renewed = Some(asked);
        }
        wait::pass(Duration::from_millis(20)).await;
    }
    let renewed = renewed.expect("a leader renews");
    let other = others[0].with_deadline(Duration::from_millis(500));
    wait::until("the lease to end", PATIENCE, || async { (other.get("leased").await.ok()?.count == 0).then_some(()) })
        .await;
    let lived = renewed.elapsed();
    assert!(lived >= Duration::from_secs(TTL_SECS.unsigned_abs()), "it ended {lived:?} after it was renewed");
}

async fn kept_revisions(clients: Vec<Client>, wishes: Wishes) {
    let first = leader(&clients).await;
    let other = &clients[(first + 1) % 3];
    let at = |revision| RangeRequest { key: "key/0".into(), revision, ..Default::default() };
    for round in 0..2 {
        outwrite_the_log(other).await;
        let revision = other.put("key/0", "last").await.expect("a put");
        let oldest = revision - 1_000;
        other.range(at(oldest - 1)).await.expect("nothing is due for five minutes");
        if round == 1 {
            wishes.inject(Fault::Kill(Duration::from_secs(600)), first);
        }
        wait::pass(Duration::from_secs(301)).await;
        wait::until("the compaction", PATIENCE, || async { other.range(at(oldest - 1)).await.is_err().then_some(()) })
            .await;
        other.range(at(oldest)).await.expect("the oldest that is kept");
    }
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

async fn first_lease(clients: Vec<Client>, _: Wishes) {
    const TTL: Duration = Duration::from_secs(2);
    let client = &clients[0];
    wait::until("the member to grant a lease", PATIENCE, || async { client.grant(2, 7).await.ok() }).await;
    let granted = Instant::now();
    wait::until("the lease to end", PATIENCE, || async {
        (client.time_to_live(7, false).await.ok()?.ttl == -1).then_some(())
    })
    .await;
    // Leases that are due are looked for every half second; an election timeout is a second.
    let over = granted.elapsed().checked_sub(TTL).expect("no lease ends before its time");
    assert!(over < Duration::from_millis(900), "{over:?} longer than it should");
}

async fn removed(clients: Vec<Client>, _: Wishes) {
    let first = leader(&clients).await;
    let leaving = &clients[(first + 1) % 3];
    let id = leaving.status().await.expect("a status").header.expect("a header").member_id;
    // Refused until the others have been heard of for five seconds.
    wait::until("a member to be removed", PATIENCE, || async { clients[first].member_remove(id).await.ok() }).await;
    let removed = Instant::now();
    wait::until("the member to end", PATIENCE, || async {
        leaving.with_deadline(Duration::from_millis(100)).status().await.is_err().then_some(())
    })
    .await;
    // A second it goes on, as in etcd; one that only misses its leader does so after an election timeout, another second.
    assert!(removed.elapsed() < Duration::from_millis(1_500), "{:?}", removed.elapsed());
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

async fn read_elsewhere(clients: Vec<Client>, wishes: Wishes) {
    let first = leader(&clients).await;
    let late = (first + 1) % 3;
    for number in 0..5 {
        // Shorter than an election timeout: it comes back to the same leader, with less than the others have.
        wishes.inject(Fault::Isolate(Duration::from_millis(400)), late);
        wait::pass(Duration::from_millis(50)).await;
        let written = clients[first].put("key", number.to_string()).await.expect("a put");
        let read = clients[late].get("key").await.expect("a read").kvs.pop().map(|kv| kv.mod_revision);
        assert_eq!(read, Some(written), "a read went back in time");
    }
}

async fn put_leased(client: &Client, lease: i64) {
    let put = PutRequest { key: "leased".into(), lease, ..Default::default() };
    client.put_request(put).await.expect("a put");
}

/// Renews through this member, which may take a while to know a leader. None if it does not answer.
async fn renew(client: &Client, lease: i64) -> Option<i64> {
    Some(client.keep_alive().renew(lease, Duration::from_secs(1)).await.ok()?.ttl)
}

async fn stopped_leader(clients: Vec<Client>, wishes: Wishes) {
    const TTL_SECS: i64 = 3;
    clients[leader(&clients).await].grant(TTL_SECS, 7).await.expect("a lease");
    put_leased(&clients[0], 7).await;
    // Who acts first after a stop is a matter of luck, so there are several.
    for round in 0..8 {
        let first = leader(&clients).await;
        let next = (first + 1) % 3;
        wishes.inject(Fault::Pause(Duration::from_millis(6_000 + 170 * round)), first);
        let begun = Instant::now();
        while begun.elapsed() < Duration::from_secs(9) {
            assert_ne!(renew(&clients[next], 7).await, Some(0), "the lease ended while it was renewed");
            wait::pass(Duration::from_millis(300)).await;
        }
        assert_eq!(clients[next].get("leased").await.expect("a read").count, 1, "round {round}");
    }
}

async fn cut_off_leader(clients: Vec<Client>, wishes: Wishes) {
    let first = leader(&clients).await;
    clients[first].grant(3, 7).await.expect("a lease");
    put_leased(&clients[first], 7).await;
    wishes.inject(Fault::Isolate(Duration::from_secs(20)), first);
    let (old, new) = (&clients[first].with_deadline(Duration::from_secs(1)), &clients[(first + 1) % 3]);
    // It ends under the next leader, since nobody renews it there.
    let ended = wait::until("the lease to end", PATIENCE, || async {
        renew(old, 7).await;
        let found = new.with_deadline(Duration::from_secs(1)).get("leased").await.ok()?;
        (found.count == 0).then_some(found.header?.revision)
    })
    .await;
    for _ in 0..5 {
        let read = old.get("leased").await.ok().map(|found| found.count);
        assert!(read.is_none_or(|count| count == 0), "a stale linearizable read, of before revision {ended}");
        let renewed = renew(old, 7).await;
        assert!(renewed.is_none_or(|ttl| ttl == 0), "the lease was renewed after it ended");
    }
}

async fn broken_forwards(clients: Vec<Client>, wishes: Wishes) {
    let follower = (leader(&clients).await + 1) % 3;
    let client = clients[follower].with_deadline(Duration::from_millis(500));
    for number in 0..150 {
        let put = client.put(format!("key/{number:03}"), "value");
        let breaks = async {
            // From before it has reached the leader until after it was answered.
            wait::pass(Duration::from_micros(100 * number)).await;
            wishes.inject(Fault::Reset, follower);
        };
        // Lost or not: it happens once at most.
        drop(tokio::join!(put, breaks));
    }
    let found = clients[follower].get_all().await.expect("a read");
    assert!(found.count > 0, "some were taken");
    for kv in found.kvs {
        assert_eq!(kv.version, 1, "a write happened twice: {kv:?}");
    }
}

/// Writes more than a log keeps, in less time than passes between two durable commits that nothing asks for.
async fn outwrite_the_log(client: &Client) {
    for batch in 0..13 {
        let puts = (0..100).map(|number| client.put(format!("key/{number}"), batch.to_string()));
        for put in futures_util::future::join_all(puts).await {
            put.expect("a put");
        }
    }
}

async fn watch_over_snapshot(clients: Vec<Client>, wishes: Wishes) {
    let first = leader(&clients).await;
    let behind = (first + 1) % 3;
    let mut stream = clients[behind].watch();
    let all = Bytes::from_static(b"\0");
    let request = WatchCreateRequest { key: all.clone(), range_end: all, start_revision: 2, ..Default::default() };
    stream.create_and_wait(request).await;
    wishes.inject(Fault::Isolate(Duration::from_secs(5)), behind);
    outwrite_the_log(&clients[first]).await;
    wait::pass(Duration::from_secs(6)).await;
    let last = wait::until("the member to be back", PATIENCE, || async {
        clients[behind].with_deadline(Duration::from_secs(1)).put("last", "value").await.ok()
    })
    .await;
    let mut told = Vec::new();
    while told.last().is_none_or(|revision| *revision < last) {
        let events = stream.events(1).await;
        told.extend(events.iter().filter_map(|event| Some(event.kv.as_ref()?.mod_revision)));
    }
    let missed = (2..=last).find(|revision| !told.contains(revision));
    assert_eq!(missed, None, "a revision that the watcher was not told of");
    assert!(told.is_sorted(), "out of order: {told:?}");
}

async fn snapshots_in_a_row(clients: Vec<Client>, wishes: Wishes) {
    let first = leader(&clients).await;
    let behind = (first + 1) % 3;
    wishes.inject(Fault::Isolate(Duration::from_secs(5)), behind);
    outwrite_the_log(&clients[first]).await;
    // Once one is installed, purging the log keeps consensus from taking up what is received next.
    wishes.inject(Fault::SlowDisk { write: Duration::from_secs(20), lasts: Duration::from_secs(60) }, behind);
    wait::pass(Duration::from_secs(6)).await;
    for round in 0..40 {
        if round % 8 == 0 {
            outwrite_the_log(&clients[first]).await;
        }
        wishes.inject(Fault::Reset, first);
        wait::pass(Duration::from_secs(1)).await;
    }
    let found = wait::until("the member to be back", Duration::from_secs(90), || async {
        clients[behind].with_deadline(Duration::from_secs(1)).get_all().await.ok()
    })
    .await;
    assert_eq!(found.count, 100);
}

async fn purged_log(clients: Vec<Client>, wishes: Wishes) {
    leader(&clients).await;
    outwrite_the_log(&clients[0]).await;
    wait::pass(Duration::from_secs(1)).await;
    wishes.inject(Fault::PowerLoss(Duration::from_millis(500)), 0);
    wait::pass(Duration::from_secs(1)).await;
    let client = clients[0].with_deadline(Duration::from_secs(1));
    let found = wait::until("the member to come back", PATIENCE, || async { client.get_all().await.ok() }).await;
    let last = found.kvs.iter().filter(|kv| kv.value == "12").count();
    assert_eq!((found.count, last), (100, 100), "all that was acknowledged");
}
