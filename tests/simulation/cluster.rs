//! The cluster under simulation: time moves in steps no longer than a message travels, in each step every machine runs
//! once, in an order that the seed decides, and what the plan has for this moment happens in between.

use crate::endpoint::SimulatedDial;
use crate::guest;
use crate::host::{Host, HostId, HostTime};
use crate::member::{Exit, Machine, Running, Speed};
use crate::network::Network;
use crate::plan::{Fault, Plan};
use crate::trace::Trace;
use keelstone::disk::MemoryDisk;
use keelstone::net::Reach;
use keelstone_harness::faults::{self, Summary};
use keelstone_harness::load::Load;
use keelstone_harness::{Client, Random};
use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::Notify;
use tonic::transport::Endpoint;

/// What is put right again at a later time.
#[derive(Clone, Copy, Debug)]
enum Step {
    Boot(usize),
    Resume(usize),
    /// All links, and the cut again after the time if there is a number left.
    Heal {
        cuts_left: u32,
        again: Duration,
    },
    Speed(usize),
    Room(usize),
    Fault,
}

pub struct Cluster {
    plan: Plan,
    random: Random,
    network: Network,
    trace: Trace,
    now: Duration,
    machines: Vec<Machine>,
    running: Vec<Option<Running>>,
    paused: Vec<bool>,
    /// Members whose disk was made to fail, or to fill up: they may end.
    doomed: Vec<bool>,
    /// The place of the guest, and whether it is let in.
    guest: Option<usize>,
    is_let_in: bool,
    agenda: BTreeMap<(Duration, u64), Step>,
    steps: u64,
    faults: u64,
}

/// What a run comes to.
#[derive(Debug)]
pub struct Outcome {
    pub members: usize,
    pub simulated: Duration,
    pub faults: u64,
    pub messages: u64,
    pub summary: Summary,
    pub trace: (u64, u64),
}

/// What a client asks for that is no request.
#[derive(Clone, Copy, Debug)]
pub enum Wish {
    Fault(Fault, usize),
    /// The guest is a member: its process may run.
    LetIn,
    /// It is none any more: its process ends and its disk is new.
    Wipe,
}

/// What scenarios and guests ask for. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Wishes(Arc<Mutex<Vec<Wish>>>);

impl Wishes {
    /// Does this to a member, at the next step.
    pub fn inject(&self, fault: Fault, place: usize) {
        self.ask(Wish::Fault(fault, place));
    }

    pub fn ask(&self, wish: Wish) {
        self.0.lock().expect("no panic here").push(wish);
    }

    fn take(&self) -> Vec<Wish> {
        std::mem::take(&mut *self.0.lock().expect("no panic here"))
    }
}

/// What disk and processor take when nothing is wrong, in microseconds.
const LOG_US: u64 = 700;
const APPLY_US: u64 = 100;
/// After the last fault everything must work again within this.
const RECOVERY: Duration = Duration::from_secs(60);
/// A run that takes longer after its faults hangs.
const LIMIT: Duration = Duration::from_secs(600);

impl Cluster {
    /// The cluster of a seed, with its faults to come.
    pub fn new(seed: u64, trace: Trace) -> Self {
        let mut random = Random::new(seed);
        let plan = Plan::draw(&mut random);
        let mut cluster = Self::of(plan, random, trace);
        cluster.at(Duration::from_secs(5), Step::Fault);
        cluster
    }

    /// A cluster to which nothing happens by itself.
    pub fn of(plan: Plan, mut random: Random, trace: Trace) -> Self {
        trace.note(Duration::ZERO, format_args!("{plan:?}"));
        let network = Network::new(random.fork(), plan.latency, trace.clone());
        let guest = plan.guest.then_some(plan.members);
        let machines: Vec<Machine> =
            (0..plan.members + usize::from(plan.guest)).map(|place| machine(&plan, place)).collect();
        let mut cluster = Self {
            running: machines.iter().map(|_| None).collect(),
            paused: vec![false; machines.len()],
            doomed: vec![false; machines.len()],
            guest,
            is_let_in: false,
            machines,
            network,
            trace,
            random,
            now: Duration::ZERO,
            agenda: BTreeMap::new(),
            steps: 0,
            faults: 0,
            plan,
        };
        for place in 0..cluster.machines.len() {
            cluster.at(Duration::ZERO, Step::Boot(place));
        }
        cluster
    }

    /// Runs the plan to its end and judges what clients and watchers were told.
    ///
    /// # Panics
    /// If anything is wrong.
    pub fn run(mut self) -> Outcome {
        let calm = Arc::new(Notify::new());
        let wishes = Wishes::default();
        let mut clients = self.clients(Arc::clone(&calm), wishes.clone());
        let mut ending = false;
        let summary = loop {
            assert!(self.now < self.plan.span + LIMIT, "the run does not come to its end");
            self.now += self.plan.latency.shortest;
            if !ending && self.now >= self.plan.span {
                ending = true;
                self.end_faults();
                calm.notify_waiters();
            }
            self.fulfil(&wishes);
            self.do_what_is_due();
            self.run_members();
            if let Some(summary) = clients.run(self.now) {
                break summary;
            }
        };
        self.network.switch_off(clients);
        self.stop_all();
        Outcome {
            members: self.plan.members,
            simulated: self.now,
            faults: self.faults,
            messages: self.network.messages(),
            summary,
            trace: self.trace.sum(),
        }
    }

    /// Runs a scenario, which asks for its faults by itself, to its end.
    ///
    /// # Panics
    /// If the scenario does, or takes longer than the plan's span.
    pub fn play<F: Future<Output = ()> + 'static>(
        mut self,
        scenario: impl FnOnce(Vec<Client>, Wishes) -> F,
    ) -> Duration {
        let wishes = Wishes::default();
        let (network, members, asked) = (self.network.clone(), self.machines.len(), wishes.clone());
        let mut player = Host::boot(self.now, move |time| {
            let clients = (0..members).map(|place| client(&network, time, members, place)).collect();
            Box::pin(scenario(clients, asked))
        });
        loop {
            assert!(self.now < self.plan.span, "the scenario does not come to its end");
            self.now += self.plan.latency.shortest;
            self.fulfil(&wishes);
            self.do_what_is_due();
            self.run_members();
            if player.run(self.now).is_some() {
                break;
            }
        }
        self.network.switch_off(player);
        self.stop_all();
        self.now
    }

    fn fulfil(&mut self, wishes: &Wishes) {
        for wish in wishes.take() {
            self.note(format_args!("{wish:?}"));
            match (wish, self.guest) {
                (Wish::Fault(fault, place), _) => self.inject(fault, place),
                (Wish::LetIn, Some(guest)) => {
                    self.is_let_in = true;
                    self.boot(guest);
                }
                (Wish::Wipe, Some(guest)) => {
                    self.is_let_in = false;
                    self.take_away(guest, false, false);
                    self.machines[guest].disk = MemoryDisk::new();
                }
                (Wish::LetIn | Wish::Wipe, None) => {}
            }
        }
    }

    fn clients(&mut self, calm: Arc<Notify>, wishes: Wishes) -> Host<Summary> {
        let (network, plan) = (self.network.clone(), self.plan.clone());
        let (hosts, members) = (self.machines.len(), self.plan.members);
        let mut random = self.random.fork();
        let visits = self.guest.map(|guest| (url(guest, 2380), self.random.fork()));
        Host::boot(self.now, move |time| {
            Box::pin(async move {
                let clients: Vec<Client> = (0..members).map(|place| client(&network, time, hosts, place)).collect();
                let load = Load::start(&clients, plan.load, &mut random);
                match visits {
                    Some((url, random)) => guest::come_and_go(clients.clone(), url, wishes, random, &calm).await,
                    None => calm.notified().await,
                }
                for client in &clients {
                    faults::serves(client, RECOVERY).await;
                }
                load.progress(20, RECOVERY).await;
                faults::judge(&clients, load).await
            })
        })
    }

    fn at(&mut self, at: Duration, step: Step) {
        self.steps += 1;
        self.agenda.insert((at, self.steps), step);
    }

    fn do_what_is_due(&mut self) {
        while let Some(next) = self.agenda.first_entry() {
            if next.key().0 > self.now {
                return;
            }
            match next.remove() {
                Step::Boot(place) => self.boot(place),
                Step::Resume(place) => self.paused[place] = false,
                Step::Heal { cuts_left, again } => self.heal(cuts_left, again),
                Step::Speed(place) => self.speed(place, Duration::from_micros(LOG_US)),
                Step::Room(place) => self.machines[place].disk.set_free_bytes(u64::MAX),
                Step::Fault => self.next_fault(),
            }
        }
    }

    fn run_members(&mut self) {
        let first = self.random.below(self.machines.len() as u64) as usize;
        for place in (first..self.machines.len()).chain(0..first) {
            let Some(running) = &mut self.running[place] else { continue };
            if self.paused[place] {
                running.host.stand_still(self.now);
            } else if let Some(exit) = running.host.run(self.now) {
                self.ended(place, &exit);
            }
        }
    }

    fn note(&self, event: std::fmt::Arguments<'_>) {
        self.trace.note(self.now, event);
    }

    fn boot(&mut self, place: usize) {
        if self.running[place].is_some() || (self.guest == Some(place) && !self.is_let_in) {
            return;
        }
        self.note(format_args!("boot of m{place}"));
        let machine = &self.machines[place];
        // What still came for the process before finds nobody now.
        self.network.leave(machine.id, self.now, false);
        self.running[place] = Some(Running::start(machine, &self.network, &self.trace, self.now));
    }

    fn ended(&mut self, place: usize, exit: &Exit) {
        self.note(format_args!("end of m{place}: {exit:?}"));
        match exit {
            Exit::Stopped => self.take_away(place, false, false),
            // Those that it asks who it is are away, or have not heard of it yet.
            Exit::Refused(_) if self.guest == Some(place) => self.take_away(place, false, false),
            Exit::DiskFailed(_) | Exit::Refused(_) if self.doomed[place] => {
                let loses_power = self.random.chance(50);
                self.take_away(place, loses_power, false);
            }
            Exit::DiskFailed(message) | Exit::Refused(message) => {
                panic!("m{place} ended by itself at {:?}: {message}", self.now)
            }
        }
        let boot = self.now + Duration::from_millis(100 + self.random.below(3_000));
        self.at(boot, Step::Boot(place));
    }

    /// Ends a process at once. `silent`: its machine does not even reset connections.
    fn take_away(&mut self, place: usize, loses_power: bool, silent: bool) {
        let Some(running) = self.running[place].take() else { return };
        let machine = &mut self.machines[place];
        // Before the process is dropped: what that writes never happened.
        let left = if loses_power { machine.disk.crash(self.random.draw()) } else { machine.disk.kill() };
        self.network.leave(machine.id, self.now, silent);
        self.network.switch_off(running);
        machine.disk = left;
        (self.paused[place], self.doomed[place]) = (false, false);
    }

    fn heal(&mut self, cuts_left: u32, again: Duration) {
        self.note(format_args!("heal"));
        self.network.heal(self.now);
        if cuts_left > 0 {
            let place = self.random.below(self.machines.len() as u64) as usize;
            self.cut_off(place, true, true);
            self.at(self.now + again, Step::Heal { cuts_left: cuts_left - 1, again });
        }
    }

    fn speed(&mut self, place: usize, write: Duration) {
        let speed = &self.machines[place].speed;
        speed.log_us.store(u64::try_from(write.as_micros()).unwrap_or(u64::MAX), Ordering::Relaxed);
    }

    fn cut_off(&mut self, place: usize, deaf: bool, mute: bool) {
        for other in (0..self.machines.len()).filter(|other| *other != place) {
            if deaf {
                self.network.block(HostId(other), HostId(place));
            }
            if mute {
                self.network.block(HostId(place), HostId(other));
            }
        }
    }

    fn next_fault(&mut self) {
        if self.now >= self.plan.span {
            return;
        }
        let pause = self.plan.calm / 2 + Duration::from_millis(self.random.below(self.plan.calm.as_millis() as u64));
        self.at(self.now + pause, Step::Fault);
        let fault = self.plan.fault(&mut self.random);
        let place = self.random.below(self.machines.len() as u64) as usize;
        self.faults += 1;
        self.note(format_args!("{fault:?} of m{place}"));
        self.inject(fault, place);
    }

    fn inject(&mut self, fault: Fault, place: usize) {
        match fault {
            Fault::Kill(lasts) => {
                self.take_away(place, false, false);
                self.at(self.now + lasts, Step::Boot(place));
            }
            Fault::PowerLoss(lasts) => {
                let silent = self.random.chance(50);
                self.take_away(place, true, silent);
                self.at(self.now + lasts, Step::Boot(place));
            }
            Fault::PowerLossOfAll(lasts) => {
                for place in 0..self.machines.len() {
                    self.take_away(place, true, false);
                    self.at(self.now + lasts, Step::Boot(place));
                }
            }
            Fault::DiskError { after, .. } => {
                let disk = &self.machines[place].disk;
                disk.fail_from(disk.operations() + after, io::ErrorKind::Other);
                self.doomed[place] = true;
            }
            Fault::FullDisk { bytes, lasts } => {
                self.machines[place].disk.set_free_bytes(bytes);
                self.doomed[place] = true;
                self.at(self.now + lasts, Step::Room(place));
            }
            Fault::SlowDisk { write, lasts } => {
                self.speed(place, write);
                self.at(self.now + lasts, Step::Speed(place));
            }
            Fault::Pause(lasts) => {
                self.paused[place] = true;
                self.at(self.now + lasts, Step::Resume(place));
            }
            Fault::Isolate(lasts) => self.cut_off_for(place, (true, true), lasts),
            Fault::OneWay { hears, lasts } => self.cut_off_for(place, (!hears, hears), lasts),
            Fault::Flap { times, lasts } => {
                let again = lasts / times;
                self.cut_off(place, true, true);
                self.at(self.now + again, Step::Heal { cuts_left: times, again });
            }
            Fault::Bridge(lasts) => {
                let other = (place + 1) % self.machines.len();
                self.network.block(HostId(place), HostId(other));
                self.network.block(HostId(other), HostId(place));
                self.at(self.now + lasts, Step::Heal { cuts_left: 0, again: lasts });
            }
            Fault::Reset => {
                for other in (0..self.machines.len()).filter(|other| *other != place) {
                    self.network.reset(HostId(place), HostId(other), self.now);
                }
            }
            Fault::WallJump(millis) => {
                self.machines[place].wall_offset_ms.fetch_add(millis, Ordering::Relaxed);
            }
            Fault::Restart(_) => {
                if let Some(running) = &self.running[place] {
                    running.stop();
                }
            }
        }
    }

    fn cut_off_for(&mut self, place: usize, (deaf, mute): (bool, bool), lasts: Duration) {
        self.cut_off(place, deaf, mute);
        self.at(self.now + lasts, Step::Heal { cuts_left: 0, again: lasts });
    }

    /// Puts all right that was made wrong.
    fn end_faults(&mut self) {
        self.note(format_args!("the faults are over"));
        self.agenda.clear();
        self.network.heal(self.now);
        for place in 0..self.machines.len() {
            self.paused[place] = false;
            self.speed(place, Duration::from_micros(LOG_US));
            self.machines[place].disk.set_free_bytes(u64::MAX);
            if self.doomed[place] {
                // Operations are still to fail: only another disk ends that.
                self.take_away(place, false, false);
            }
            self.at(self.now + Duration::from_millis(100), Step::Boot(place));
        }
    }

    /// Every member must end in order.
    fn stop_all(&mut self) {
        for running in self.running.iter().flatten() {
            running.stop();
        }
        let limit = self.now + RECOVERY;
        while let Some(place) = self.running.iter().position(Option::is_some) {
            assert!(self.now < limit, "m{place} does not stop");
            self.now += self.plan.latency.shortest;
            self.run_members();
        }
    }
}

fn url(place: usize, port: u16) -> String {
    format!("http://{}:{port}", HostId(place).ip())
}

fn machine(plan: &Plan, place: usize) -> Machine {
    let id = HostId(place);
    let is_guest = place >= plan.members;
    let listed = (0..plan.members).chain(is_guest.then_some(place));
    let listed: Vec<String> = listed.map(|other| format!("m{other}={}", url(other, 2380))).collect();
    let mut flags = vec![
        format!("--name=m{place}"),
        "--data-dir=/data".to_owned(),
        format!("--listen-peer-urls={}", url(place, 2380)),
        format!("--initial-advertise-peer-urls={}", url(place, 2380)),
        format!("--listen-client-urls={}", url(place, 2379)),
        format!("--advertise-client-urls={}", url(place, 2379)),
        format!("--initial-cluster={}", listed.join(",")),
        format!("--initial-cluster-state={}", if is_guest { "existing" } else { "new" }),
        format!("--heartbeat-interval={}", plan.heartbeat_ms),
        format!("--election-timeout={}", plan.election_ms),
        format!("--snapshot-count={}", plan.snapshot_count),
        format!("--snapshot-catchup-entries={}", plan.catchup_entries),
        // Members must never be found different, whatever happens to them.
        "--corrupt-check-time=4s".to_owned(),
        "--compact-hash-check-time=3s".to_owned(),
    ];
    if let Some(kept) = plan.kept_revisions {
        flags.extend(["--auto-compaction-mode=revision".to_owned(), format!("--auto-compaction-retention={kept}")]);
    }
    if plan.lease_checkpoints {
        flags.push("--feature-gates=LeaseCheckpoint=true".to_owned());
    }
    let speed = Speed::default();
    speed.log_us.store(LOG_US, Ordering::Relaxed);
    speed.apply_us.store(APPLY_US, Ordering::Relaxed);
    Machine {
        id,
        name: format!("m{place}"),
        flags,
        disk: MemoryDisk::new(),
        wall_offset_ms: Arc::default(),
        speed: Arc::new(speed),
        segment_bytes: plan.segment_bytes,
    }
}

/// A client of the member at `place`, on the machine behind the last member's.
fn client(network: &Network, time: HostTime, hosts: usize, place: usize) -> Client {
    let address = format!("http://{}:2379", HostId(place).ip());
    let endpoint = Endpoint::from_shared(address.clone()).expect("an address that was just made");
    let dial = Arc::new(SimulatedDial { network: network.clone(), host: HostId(hosts), time });
    let connector = Reach { dial, tls: None }.connector(&[&address]).expect("an address that was just made");
    let connecting = endpoint.connect_timeout(Duration::from_secs(2));
    // A machine that is switched off says nothing: as the official clients do, ask whether it is there.
    let alive =
        connecting.http2_keep_alive_interval(Duration::from_secs(10)).keep_alive_timeout(Duration::from_secs(3));
    let channel = alive.keep_alive_while_idle(true).connect_with_connector_lazy(connector);
    Client::over(channel, &address)
}
