//! The threads that run collectors. In normal operation there is one worker, because every thread costs memory. When a
//! run takes longer than a fraction of the deadline while others wait behind it, another worker is started; a worker
//! that finds nothing to do ends unless it is the last. So a hung sensor costs one thread until it comes back, and
//! a collector whose run has not returned is never started again.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use tokio::sync::mpsc;

use super::filter::Filter;
use super::tree::{Output, Tree};
use super::{Collector, Report, Started};

/// Threads that may hang at once. Beyond that something is wrong with the whole machine, and more threads would only
/// add memory to it: collectors then wait until a run returns.
const HUNG_WORKERS_MAX: usize = 4;
/// Stack of a worker. Collectors keep what is large on the heap; only touched pages take memory.
const STACK_BYTES: usize = 256 * 1024;
/// Fraction of the deadline after which those that wait get another worker, so that they still meet theirs.
const PATIENCE_DIVISOR: u32 = 4;
/// Least patience: below it a busy machine would start threads for nothing.
const PATIENCE_MIN: Duration = Duration::from_millis(20);

/// One collector and what it is doing.
pub(super) struct Slot {
    pub name: &'static str,
    filter: Arc<Filter>,
    samples_before: usize,
    state: SlotState,
}

enum SlotState {
    Idle(Box<dyn Collector>),
    /// The collector is in the queue.
    Queued,
    /// The collector is with the worker that runs it, since then.
    Running(Instant),
}

impl Slot {
    pub fn new(name: &'static str, filter: Filter, collector: Box<dyn Collector>) -> Slot {
        let state = SlotState::Idle(collector);
        Slot { name, filter: Arc::new(filter), samples_before: 0, state }
    }
}

/// The workers and what they share.
pub(super) struct Pool {
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    wake: Condvar,
    root: PathBuf,
    patience: Duration,
    reports: mpsc::Sender<Report>,
}

struct State {
    slots: Vec<Slot>,
    queue: VecDeque<(usize, Box<dyn Collector>)>,
    workers: usize,
    idle: usize,
    watched: bool,
    closing: bool,
}

impl Pool {
    pub fn new(
        slots: Vec<Slot>,
        root: PathBuf,
        deadline: Duration,
        reports: mpsc::Sender<Report>,
    ) -> Pool {
        let queue = VecDeque::with_capacity(slots.len());
        let state = State { slots, queue, workers: 0, idle: 0, watched: false, closing: false };
        let patience = (deadline / PATIENCE_DIVISOR).max(PATIENCE_MIN);
        let (state, wake) = (Mutex::new(state), Condvar::new());
        Pool { shared: Arc::new(Shared { state, wake, root, patience, reports }) }
    }

    /// Queues a run of the collector in slot `at` unless its previous run is still under way.
    pub fn start(&mut self, at: usize) -> Started {
        let mut state = self.shared.lock();
        if state.workers == 0 && !spawn_worker(&self.shared, &mut state) {
            return Started::NoThread;
        }
        let slot = &mut state.slots[at].state;
        if !matches!(slot, SlotState::Idle(_)) {
            return Started::StillRunning;
        }
        if let SlotState::Idle(collector) = std::mem::replace(slot, SlotState::Queued) {
            state.queue.push_back((at, collector));
        }
        if !state.watched {
            state.watched = true;
            tokio::spawn(watch(Arc::clone(&self.shared)));
        }
        drop(state);
        self.shared.wake.notify_one();
        Started::Yes
    }

    /// Worker threads that exist.
    #[cfg(test)]
    pub fn workers(&self) -> usize {
        self.shared.lock().workers
    }
}

impl Drop for Pool {
    fn drop(&mut self) {
        self.shared.lock().closing = true;
        self.shared.wake.notify_all();
    }
}

impl Shared {
    /// The state. Nothing that can panic runs under this lock, and if it did, the state would still be consistent.
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Looks after the queue while there is one.
async fn watch(shared: Arc<Shared>) {
    loop {
        tokio::time::sleep(shared.patience).await;
        let mut state = shared.lock();
        if state.queue.is_empty() || state.closing {
            state.watched = false;
            return;
        }
        let stuck = state.slots.iter().filter(|slot| match slot.state {
            SlotState::Running(since) => since.elapsed() >= shared.patience,
            SlotState::Idle(_) | SlotState::Queued => false,
        });
        if stuck.count() == state.workers && state.workers <= HUNG_WORKERS_MAX {
            // When the kernel has no thread to give, the next look tries again.
            spawn_worker(&shared, &mut state);
        }
    }
}

/// Starts one more worker; false when the kernel refuses.
fn spawn_worker(shared: &Arc<Shared>, state: &mut State) -> bool {
    let worker = Arc::clone(shared);
    let spawned = thread::Builder::new()
        .name("hardware".to_owned())
        .stack_size(STACK_BYTES)
        .spawn(move || work(&worker));
    state.workers += usize::from(spawned.is_ok());
    spawned.is_ok()
}

/// What a worker does all its life.
fn work(shared: &Shared) {
    let mut tree = Tree::new(&shared.root);
    while let Some(job) = next_job(shared) {
        let report = run(shared, job, &mut tree);
        if shared.reports.blocking_send(report).is_err() {
            break;
        }
    }
}

struct Job {
    at: usize,
    name: &'static str,
    filter: Arc<Filter>,
    samples_before: usize,
    collector: Box<dyn Collector>,
}

/// Waits for a job; `None` when this worker is not needed any more.
fn next_job(shared: &Shared) -> Option<Job> {
    let mut state = shared.lock();
    loop {
        if state.closing {
            state.workers -= 1;
            return None;
        }
        if let Some((at, collector)) = state.queue.pop_front() {
            let slot = &mut state.slots[at];
            slot.state = SlotState::Running(Instant::now());
            let filter = Arc::clone(&slot.filter);
            let (name, samples_before) = (slot.name, slot.samples_before);
            return Some(Job { at, name, filter, samples_before, collector });
        }
        if state.idle > 0 {
            state.workers -= 1;
            return None;
        }
        state.idle += 1;
        state = shared.wake.wait(state).unwrap_or_else(PoisonError::into_inner);
        state.idle -= 1;
    }
}

/// Runs a job and makes its collector available again.
fn run(shared: &Shared, mut job: Job, tree: &mut Tree) -> Report {
    let started = Instant::now();
    let mut output = Output::new(&job.filter, job.samples_before);
    job.collector.collect(tree, &mut output);
    let (result, complaints) = output.finish(job.name);
    let took = started.elapsed();

    let mut state = shared.lock();
    let slot = &mut state.slots[job.at];
    slot.samples_before = result.as_ref().map_or(0, Vec::len);
    slot.state = SlotState::Idle(job.collector);
    Report { collector: job.name, took, result, complaints }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};
    use std::fs;
    use std::path::Path;

    use nix::sys::stat::Mode;
    use nix::unistd::mkfifo;

    use super::*;
    use crate::config;
    use crate::shell::hw::Hardware;

    /// What all that is awaited below may take at most on a busy machine.
    const GENEROUS: Duration = Duration::from_secs(60);
    /// Files that one collector each reads, in the order in which the collectors are started.
    const FILES: [(&str, &str); 6] = [
        ("load", "proc/loadavg"),
        ("memory", "proc/meminfo"),
        ("pressure", "proc/pressure/cpu"),
        ("cpu", "proc/stat"),
        ("network", "proc/net/dev"),
        ("wifi", "proc/net/wireless"),
    ];

    /// Soon: a worker that takes a quarter of it hangs.
    const DEADLINE: Duration = Duration::from_millis(200);

    fn hardware(root: &Path, deadline: Duration) -> (Hardware, mpsc::Receiver<Report>) {
        Hardware::new(&config::Hardware {
            enabled: true,
            interval: Duration::from_secs(1),
            deadline,
            root: root.to_owned(),
            disable: BTreeSet::new(),
            exclude: BTreeMap::new(),
            include: BTreeMap::new(),
        })
    }

    fn fifo(path: &Path) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        mkfifo(path, Mode::S_IRWXU).unwrap();
    }

    async fn receive(reports: &mut mpsc::Receiver<Report>) -> Report {
        tokio::time::timeout(GENEROUS, reports.recv()).await.expect("no report").unwrap()
    }

    #[tokio::test]
    async fn one_worker_does_everything_while_nothing_hangs() {
        let root = tempfile::tempdir().unwrap();
        let (mut hardware, mut reports) = hardware(root.path(), GENEROUS);
        let names = hardware.collectors().to_vec();
        for round in 0..3 {
            for name in &names {
                assert_eq!(hardware.start(name), Started::Yes, "{name} in round {round}");
            }
            for name in &names {
                assert_eq!(receive(&mut reports).await.collector, *name);
            }
        }
        assert_eq!(hardware.pool.workers(), 1);
        assert_eq!(hardware.start("no such collector"), Started::Unknown);
    }

    #[tokio::test]
    async fn a_hanging_sensor_hides_nothing_but_itself_and_recovers() {
        let root = tempfile::tempdir().unwrap();
        let sensor = root.path().join("sys/class/thermal/thermal_zone0/temp");
        fifo(&sensor);
        fs::write(sensor.with_file_name("type"), "stuck\n").unwrap();
        fs::create_dir_all(root.path().join("proc")).unwrap();
        fs::write(root.path().join("proc/loadavg"), "0.5 0.4 0.3 1/99 1234\n").unwrap();
        // Long enough for the others to have their turn where much else runs.
        let (mut hardware, mut reports) = hardware(root.path(), DEADLINE * 40);
        for _ in 0..3 {
            // The others answer although they wait behind the one that hangs.
            hardware.start("thermal");
            assert_eq!(hardware.start("load"), Started::Yes);
            let report = receive(&mut reports).await;
            assert_eq!(report.collector, "load");
            assert_eq!(report.result.unwrap().len(), 5);
            assert_eq!(hardware.start("thermal"), Started::StillRunning);
        }
        assert_eq!(hardware.pool.workers(), 2);

        // Opening a FIFO for writing waits for its reader, which is there.
        fs::write(&sensor, "41500\n").unwrap();
        let report = receive(&mut reports).await;
        assert_eq!(report.collector, "thermal");
        let samples = report.result.unwrap();
        let line = r#"outrider_thermal_zone_celsius{zone="thermal_zone0",type="stuck"} 41.5"#;
        assert_eq!(samples[0].to_string(), line);
        let shared = Arc::clone(&hardware.pool.shared);
        until(|| shared.lock().workers == 1).await;

        fs::remove_file(&sensor).unwrap();
        fs::write(&sensor, "42000\n").unwrap();
        assert_eq!(hardware.start("thermal"), Started::Yes);
        assert_eq!(receive(&mut reports).await.result.unwrap()[0].value, 42.0);
    }

    #[tokio::test]
    async fn hung_workers_are_bounded_and_those_that_wait_are_served_later() {
        let root = tempfile::tempdir().unwrap();
        for (_, file) in FILES {
            fifo(&root.path().join(file));
        }
        let (mut hardware, mut reports) = hardware(root.path(), DEADLINE);
        for (name, _) in FILES {
            assert_eq!(hardware.start(name), Started::Yes);
        }
        assert_eq!(hardware.start("time"), Started::Yes);
        let shared = Arc::clone(&hardware.pool.shared);
        until(|| shared.lock().workers == HUNG_WORKERS_MAX + 1).await;
        tokio::time::sleep(shared.patience * 4).await;
        assert_eq!(shared.lock().workers, HUNG_WORKERS_MAX + 1);
        assert!(reports.try_recv().is_err(), "with every worker stuck nothing can report");
        for (name, _) in FILES {
            assert_eq!(hardware.start(name), Started::StillRunning);
        }

        // The first comes back: its worker turns to the last of the hanging ones, then that one comes back too.
        fs::write(root.path().join(FILES[0].1), "0.5 0.4 0.3 1/99 1234\n").unwrap();
        assert_eq!(receive(&mut reports).await.collector, FILES[0].0);
        let line = "face\nface\n wlan0: 0000   35.  -56.  -256        0      0      0      0     23        0\n";
        fs::write(root.path().join(FILES[5].1), line).unwrap();
        let last = receive(&mut reports).await;
        assert_eq!((last.collector, last.result.unwrap()[0].value), (FILES[5].0, 0.5));
        assert_eq!(receive(&mut reports).await.collector, "time");
        for (_, file) in &FILES[1..5] {
            fs::write(root.path().join(file), "").unwrap();
        }
    }

    async fn until(mut condition: impl FnMut() -> bool) {
        let waiting = async {
            while !condition() {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::time::timeout(GENEROUS, waiting).await.expect("the condition never held");
    }
}
