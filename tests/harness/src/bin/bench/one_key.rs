//! A million puts to one key, with none of its revisions compacted: the last must cost what the first did.

use crate::args::Args;
use crate::calls::{Calls, writers};
use crate::keys::random_keys;
use crate::load::{Client, finish_within};
use crate::report::Report;
use crate::rows::*;
use crate::subject::Subjects;
use crate::usage::{Usage, usage};
use keelstone_harness::Cluster;
use std::sync::{Arc, Mutex};
use std::time::Duration;

const CLIENTS: usize = 100;
/// Puts at either end that are compared: as many as there are to a durable commit of ours.
const END: usize = 10_000;
const LIMIT: Duration = Duration::from_secs(1800);

pub async fn run(args: &Args, subjects: &Subjects, report: &mut Report) {
    for _ in 0..args.rounds.unwrap_or(1) {
        for &server in &args.servers {
            let cluster = subjects.start(server, 1).await;
            let [first, last] = cpu_us_per_put(&cluster, args.million).await;
            report.add_value(ONE_KEY_FIRST, server, first);
            report.add_value(ONE_KEY_LAST, server, last);
            report.add_value(ONE_KEY_TIMES, server, last / first);
        }
    }
}

/// Of the first [`END`] puts and of the last, after so many to other keys that the server is warm.
async fn cpu_us_per_put(cluster: &Cluster, puts: usize) -> [f64; 2] {
    let others = Arc::new(random_keys("", 1, END));
    crate::fill::fill(cluster, &others, LIMIT).await;
    let puts = puts.max(3 * END);
    let course = Arc::new(Mutex::new(Course { sent: 0, answered: 0, puts, usage: Vec::new() }));
    let pid = cluster[0].pid().expect("a running server");
    course.lock().expect("no panic while counting").usage.push(usage(&cluster[0]));
    let clients = writers(cluster, CLIENTS, &random_keys("hot/", 2, 1)).await;
    let tasks = clients.into_iter().map(|client| tokio::spawn(put(client, Arc::clone(&course), pid)));
    finish_within(LIMIT, tasks.collect()).await;
    let course = course.lock().expect("no panic while counting");
    let [start, first, last, end] = &course.usage[..] else { panic!("{} marks", course.usage.len()) };
    [first.cpu_secs_since(start), end.cpu_secs_since(last)].map(|secs| secs * 1e6 / END as f64)
}

struct Course {
    sent: usize,
    answered: usize,
    puts: usize,
    /// At the start, behind the first puts, before the last ones and at the end.
    usage: Vec<Usage>,
}

async fn put(mut client: Calls, course: Arc<Mutex<Course>>, pid: u32) {
    loop {
        {
            let mut course = course.lock().expect("no panic while counting");
            if course.sent == course.puts {
                return;
            }
            course.sent += 1;
        }
        client.once().await;
        let mut course = course.lock().expect("no panic while counting");
        course.answered += 1;
        if [END, course.puts - END, course.puts].contains(&course.answered) {
            course.usage.push(Usage::of(pid));
        }
    }
}
