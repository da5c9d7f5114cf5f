//! One member: the node as it ships, on a simulated machine.

use crate::disk::TracedDisk;
use crate::endpoint::{SimulatedDial, SimulatedListener};
use crate::host::{Host, HostClock, HostId, HostTime, Program};
use crate::network::Network;
use crate::trace::Trace;
use keelstone::config::{ListenUrl, Settings};
use keelstone::disk::MemoryDisk;
use keelstone::logging::shutdown::Signal;
use keelstone::net::Reach;
use keelstone::net::tls::Entrance;
use keelstone::server::{self, Listeners, Observer, World};
use keelstone::threads::{Pace, Threads, Work};
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::Notify;

/// What is told about a member's machine: it lasts over crashes of the process.
#[derive(Clone, Debug)]
pub struct Machine {
    pub id: HostId,
    pub name: String,
    pub flags: Vec<String>,
    pub disk: MemoryDisk,
    pub wall_offset_ms: Arc<AtomicI64>,
    pub speed: Arc<Speed>,
    pub segment_bytes: u64,
}

/// How slow disk and processor are now, in microseconds for a piece of work.
#[derive(Debug, Default)]
pub struct Speed {
    pub log_us: AtomicU64,
    pub apply_us: AtomicU64,
}

impl Pace for Speed {
    fn delay(&self, work: Work) -> Duration {
        Duration::from_micros(match work {
            Work::Log => self.log_us.load(Ordering::Relaxed),
            Work::Apply | Work::Read => self.apply_us.load(Ordering::Relaxed),
        })
    }
}

/// How a member's process ended.
#[derive(Debug)]
pub enum Exit {
    /// Log or state failed and it ended itself at once, with this message.
    DiskFailed(String),
    Stopped,
    /// It did not start, or could not go on.
    Refused(String),
}

/// A process on a machine.
pub struct Running {
    pub host: Host<Exit>,
    stop: Arc<Notify>,
}

impl Running {
    pub fn start(machine: &Machine, network: &Network, trace: &Trace, now: Duration) -> Self {
        let stop = Arc::new(Notify::new());
        let asked = Arc::clone(&stop);
        let host = Host::boot(now, |time| program(machine.clone(), network.clone(), trace.clone(), time, asked));
        Self { host, stop }
    }

    /// As SIGTERM.
    pub fn stop(&self) {
        self.stop.notify_one();
    }
}

fn program(machine: Machine, network: Network, trace: Trace, time: HostTime, stop: Arc<Notify>) -> Program<Exit> {
    Box::pin(async move {
        let flags: Vec<&str> = machine.flags.iter().map(String::as_str).collect();
        let settings = Settings::from_args(&flags).expect("the plan's flags are right");
        let failure = Arc::new(Mutex::new(None));
        let failed = Arc::new(Notify::new());
        let (note_failure, tell_failed) = (Arc::clone(&failure), Arc::clone(&failed));
        let end_process: server::EndProcess = Arc::new(move |error| {
            note_failure.lock().expect("no panic here").get_or_insert_with(|| error.to_string());
            tell_failed.notify_one();
        });
        let (observe, name) = (trace.clone(), machine.name.clone());
        let observer = Observer(Arc::new(move |applied| {
            observe.note(time.now(), format_args!("{name} applied {}/{}", applied.term, applied.index));
        }));
        let world = World {
            disk: Arc::new(TracedDisk::new(machine.disk.clone(), machine.name.clone(), time, trace)),
            clock: Arc::new(HostClock { time, wall_offset_ms: Arc::clone(&machine.wall_offset_ms) }),
            threads: Threads::OnRuntime(machine.speed.clone()),
            reach: Reach {
                dial: Arc::new(SimulatedDial { network: network.clone(), host: machine.id, time }),
                tls: None,
            },
            segment_bytes: machine.segment_bytes,
            cache_bytes: 1 << 20,
            observer: Some(observer),
        };
        let listen = |urls: &[ListenUrl]| -> Vec<server::Listener> {
            let listener = |url: &ListenUrl| {
                let address = url.address().to_string();
                network.listen(machine.id, &address);
                Box::new(SimulatedListener { network: network.clone(), address, time })
            };
            let clear = |url: &ListenUrl| server::Listener {
                url: url.clone(),
                entrance: Entrance::Clear,
                socket: listener(url),
            };
            urls.iter().map(clear).collect()
        };
        let listeners = Listeners {
            peer: listen(&settings.urls.listen_peer),
            client: listen(&settings.urls.listen_client),
            ..Listeners::default()
        };
        let stopped = async {
            stop.notified().await;
            Signal::Terminate
        };
        // A process that ends itself does nothing more, whatever else is going on.
        tokio::select! {
            biased;
            () = failed.notified() => {
                Exit::DiskFailed(failure.lock().expect("no panic here").take().unwrap_or_default())
            }
            ended = server::run_member(&settings, world, listeners, end_process, stopped) => match ended {
                Ok(_) => Exit::Stopped,
                Err(error) => Exit::Refused(format!("{error:#}")),
            },
        }
    })
}
