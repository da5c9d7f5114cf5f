//! Rows that are a load on a server with 150 000 keys: on one member, and on three.

use crate::args::Args;
use crate::report::Report;
use crate::rows::*;
use crate::subject::Subjects;
use crate::work::{Ground, Work};

const ROUNDS: usize = 3;

const ONE: &[(&str, Work)] = &[
    (PUT_1, Work::Put { clients: 1 }),
    (PUT_100, Work::Put { clients: 100 }),
    (PUT_1000, Work::Put { clients: 1000 }),
    (PUT_OPEN, Work::PutAtRate { per_sec: 5000 }),
    (HOT_KEY, Work::PutHotKey { clients: 100 }),
    (COMPARE_AND_PUT, Work::CompareAndPut { clients: 100 }),
    (GET_1, Work::Get { clients: 1 }),
    (GET_100, Work::Get { clients: 100 }),
    (GET_1000, Work::Get { clients: 1000 }),
    (GET_OPEN, Work::GetAtRate { per_sec: 10_000 }),
    (GET_SERIALIZABLE, Work::GetSerializable { clients: 100 }),
    (PAGE, Work::Page { clients: 10 }),
    (OLD_PAGE, Work::PageWalk { clients: 10 }),
    (FAN_OUT, Work::FanOut { watchers: 100, writers: 10 }),
    (KEEP_ALIVE, Work::KeepAlive { streams: 100 }),
    // Last, for the leases stay.
    (LEASE_GRANT, Work::LeaseGrant { clients: 100 }),
];

const THREE: &[(&str, Work)] = &[
    (THREE_PUT_1, Work::Put { clients: 1 }),
    (THREE_PUT_100, Work::Put { clients: 100 }),
    (THREE_PUT_1000, Work::Put { clients: 1000 }),
    (THREE_COMPARE_AND_PUT, Work::CompareAndPut { clients: 100 }),
    (THREE_GET_100, Work::Get { clients: 100 }),
    (THREE_GET_SERIALIZABLE, Work::GetSerializable { clients: 100 }),
];

pub async fn one(args: &Args, subjects: &Subjects, report: &mut Report) {
    for round in 0..args.rounds.unwrap_or(ROUNDS) {
        Set { members: 1, rows: ONE.to_vec() }.measure(args, subjects, report, round).await;
    }
}

/// Clients are spread over all members, and the members share one core.
pub async fn three(args: &Args, subjects: &Subjects, report: &mut Report) {
    for round in 0..args.rounds.unwrap_or(ROUNDS) {
        Set { members: 3, rows: THREE.to_vec() }.measure(args, subjects, report, round).await;
    }
}

/// One round of these rows of one member.
pub async fn some_of_one(args: &Args, subjects: &Subjects, report: &mut Report, names: &[&str]) {
    let rows = ONE.iter().copied().filter(|(name, _)| names.contains(name)).collect();
    Set { members: 1, rows }.measure(args, subjects, report, 0).await;
}

struct Set {
    members: usize,
    rows: Vec<(&'static str, Work)>,
}

impl Set {
    /// One round of both servers.
    async fn measure(&self, args: &Args, subjects: &Subjects, report: &mut Report, round: usize) {
        let rows: Vec<_> = self.rows.iter().filter(|(name, _)| name.contains(&args.row)).collect();
        if rows.is_empty() {
            return;
        }
        // Turn and turn about, for what a first run leaves to the second.
        let mut servers = args.servers.clone();
        servers.rotate_left(round % args.servers.len());
        for server in servers {
            let ground = Ground::prepare(subjects.start(server, self.members).await, args.window).await;
            for (name, work) in &rows {
                report.add(name, server, &ground.measure(*work).await);
            }
        }
    }
}
