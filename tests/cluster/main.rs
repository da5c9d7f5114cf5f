//! Three members, and one, through kills, stops, cuts and restarts. Limits are counted in election timeouts and
//! measured times are printed. Everything that clients and watchers were told is judged at the end.
//!
//! `KEELSTONE_FAULTS` sets the number of random faults (100), `KEELSTONE_SEED` repeats a run's choices.

mod catch_up;
mod corruption;
mod defragment;
mod failing_disk;
mod failover;
mod failpoint;
mod force_new_cluster;
mod full_disk;
mod isolation;
mod members;
mod offline;
mod pause;
mod previous;
mod random_faults;
mod releases;
mod start;
mod stop;
mod users;

use keelstone_harness::history::{Action, Outcome};
use keelstone_harness::load::Load;
use keelstone_harness::{Client, Cluster, ClusterSpec, Suite, wait};
use std::sync::OnceLock;
use std::time::Duration;
use tokio::sync::RwLock;
use tokio::time::Instant;

fn suite() -> &'static Suite {
    static SUITE: OnceLock<Suite> = OnceLock::new();
    SUITE.get_or_init(|| Suite::new(env!("CARGO_BIN_EXE_keelstone"), env!("CARGO_TARGET_TMPDIR"), "cluster"))
}

/// Cases that measure times run alone; the long runs of random faults may overlap.
static MACHINE: RwLock<()> = RwLock::const_new(());

/// Runs a case on a fresh cluster with nothing else on the machine.
async fn check(spec: ClusterSpec, case: impl AsyncFnOnce(&mut Cluster)) {
    let _alone = MACHINE.write().await;
    run(spec, case).await;
}

async fn run(spec: ClusterSpec, case: impl AsyncFnOnce(&mut Cluster)) {
    let mut cluster = Cluster::start(suite(), &spec).await;
    case(&mut cluster).await;
    if !suite().server.is_etcd {
        // etcd logs errors for much that is expected of a cluster under faults; ours says so with warnings.
        cluster.assert_no_unexpected_errors();
    }
}

/// How long until a put through one of these members succeeds, from now on. Recorded with the load's history.
async fn time_to_serve(load: &Load, places: &[usize], clients: &[Client]) -> Duration {
    let begun = Instant::now();
    let mut attempt = 0;
    wait::until("a put to succeed", Duration::from_secs(30), || {
        attempt += 1;
        let place = places[attempt % places.len()];
        // Short, so that a dead member costs little of the time; longer and longer for a machine that is slow itself.
        let client = clients[place].with_deadline(Duration::from_millis(150) * (1 + attempt as u32 / 10));
        let value = format!("probe-{:?}", load.recorder.since_start(Instant::now())).into();
        let action = Action::Put { keys: vec!["probe".into()], value, lease: 0 };
        async move {
            let operation = load.recorder.run(999, place, &client, action).await;
            matches!(operation.outcome, Outcome::Done(_)).then_some(())
        }
    })
    .await;
    begun.elapsed()
}

/// Prints a measured time beside its limit in election timeouts.
fn report(what: &str, measured: Duration, election_timeout: Duration) {
    let timeouts = measured.as_secs_f64() / election_timeout.as_secs_f64();
    println!("{what}: {:.0} ms, {timeouts:.2} election timeouts", measured.as_secs_f64() * 1000.0);
}
