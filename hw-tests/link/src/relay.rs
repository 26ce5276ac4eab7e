//! Carries frames between two interfaces of a namespace, as late and as incompletely as [`Traits`] say. The kernels that this
//! runs on often have no netem.

use std::collections::VecDeque;
use std::fs::File;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::ifaddrs::getifaddrs;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sched::{CloneFlags, setns};
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, bind, recv, send, socket,
};
use nix::sys::time::TimeSpec;
use nix::unistd::gettid;

use crate::{Direction, Traits};

/// What `ethtool -K INTERFACE` must be told for both senders: frames are then complete, and none is larger than a link takes.
pub const WHOLE_FRAMES: [&str; 8] = ["tx", "off", "tso", "off", "gso", "off", "gro", "off"];

/// Largest frame; see [`WHOLE_FRAMES`].
const FRAME_BYTES_MAX: usize = 2048;

/// Longest wait before it looks whether it should end.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Real-time priority of the thread: frames are on time beside programs that compute.
const PRIORITY: &str = "10";

/// Told to the thread and by it.
#[derive(Debug, Default)]
struct Shared {
    stop: AtomicBool,
    silent: AtomicBool,
    worst_lateness_us: AtomicU64,
}

/// Carries frames until it is dropped.
#[derive(Debug)]
pub struct Relay {
    shared: Arc<Shared>,
    thread: Option<JoinHandle<Result<(), String>>>,
}

/// One direction: where frames come out, and those on their way.
struct Way {
    direction: Direction,
    frames: VecDeque<(Duration, Vec<u8>)>,
}

impl Relay {
    /// Between two interfaces of the network namespace `network`; `seed` decides which frames it loses. Takes root.
    pub fn start(
        network: File,
        interfaces: [&str; 2],
        traits: Traits,
        seed: u64,
    ) -> Result<Relay, String> {
        let shared = Arc::new(Shared::default());
        let for_thread = Arc::clone(&shared);
        let interfaces = interfaces.map(str::to_owned);
        let (ready, when_ready) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            setns(network, CloneFlags::CLONE_NEWNET)
                .map_err(|e| format!("entering a network namespace: {e}"))?;
            let sockets = [open(&interfaces[0])?, open(&interfaces[1])?];
            // The one who waits is there until it hears.
            let _ = ready.send(gettid());
            carry(&sockets, traits, seed, &for_thread)
        });
        let relay = Relay { shared, thread: Some(thread) };
        match when_ready.recv() {
            Ok(thread_id) => relay.hurry(&thread_id.to_string()).map(|()| relay),
            Err(_) => Err(relay.end().err().unwrap_or("the link did not start".to_owned())),
        }
    }

    /// Gives the thread its priority.
    fn hurry(&self, thread_id: &str) -> Result<(), String> {
        let mut command = Command::new("chrt");
        let output = command.args(["--fifo", "--pid", PRIORITY, thread_id]).output();
        let output = output.map_err(|e| format!("starting chrt: {e}"))?;
        if output.status.success() {
            return Ok(());
        }
        Err(format!("chrt failed: {}", String::from_utf8_lossy(&output.stderr)))
    }

    fn end(mut self) -> Result<(), String> {
        self.stop()
    }

    fn stop(&mut self) -> Result<(), String> {
        self.shared.stop.store(true, Ordering::Relaxed);
        let Some(thread) = self.thread.take() else { return Ok(()) };
        thread.join().map_err(|_| "the thread of a link failed".to_owned())?
    }

    /// Loses every frame, or lets them pass again.
    pub fn silence(&self, silent: bool) {
        self.shared.silent.store(silent, Ordering::Relaxed);
    }

    /// How late a frame came out at worst.
    pub fn worst_lateness_ms(&self) -> u64 {
        self.shared.worst_lateness_us.load(Ordering::Relaxed).div_ceil(1000)
    }
}

impl Drop for Relay {
    fn drop(&mut self) {
        if let Err(error) = self.stop() {
            eprintln!("the link ended early: {error}");
        }
    }
}

/// A socket for all frames of an interface of the namespace that the thread is in.
fn open(interface: &str) -> Result<OwnedFd, String> {
    let failed = |e: Errno| format!("opening interface {interface}: {e}");
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let fd = socket(AddressFamily::Packet, SockType::Raw, flags, SockProtocol::EthAll)
        .map_err(failed)?;
    let mut addresses = getifaddrs().map_err(failed)?;
    let address = addresses
        .find(|found| found.interface_name == interface)
        .and_then(|found| found.address?.as_link_addr().copied())
        .ok_or(format!("there is no interface {interface}"))?;
    bind(fd.as_raw_fd(), &address).map_err(failed)?;
    Ok(fd)
}

fn carry(sockets: &[OwnedFd; 2], traits: Traits, seed: u64, shared: &Shared) -> Result<(), String> {
    let began = Instant::now();
    let mut ways = [0, 1].map(|index| Way {
        direction: Direction::new(traits, seed * 2 + index),
        frames: VecDeque::new(),
    });
    let mut buffer = [0; FRAME_BYTES_MAX];
    while !shared.stop.load(Ordering::Relaxed) {
        for (from, way) in sockets.iter().zip(&mut ways) {
            while let Some(length) = read(from, &mut buffer)? {
                let now = began.elapsed();
                if shared.silent.load(Ordering::Relaxed) {
                    continue;
                }
                if let Some(due) = way.direction.pass(length as u64, now) {
                    way.frames.push_back((due, buffer[..length].to_vec()));
                }
            }
        }
        for (to, way) in sockets.iter().rev().zip(&mut ways) {
            let now = began.elapsed();
            while let Some((due, frame)) = way.frames.pop_front_if(|(due, _)| *due <= now) {
                let late = u64::try_from((now - due).as_micros()).unwrap_or(u64::MAX);
                shared.worst_lateness_us.fetch_max(late, Ordering::Relaxed);
                // An interface that is down takes nothing: the frame is lost, as on a link.
                let _ = send(to.as_raw_fd(), &frame, MsgFlags::empty());
            }
        }
        let next = ways.iter().filter_map(|way| way.frames.front()).map(|(due, _)| *due).min();
        let wait = next.map_or(LOOK_EVERY, |due| due.saturating_sub(began.elapsed()));
        let mut wanted = sockets.each_ref().map(|fd| PollFd::new(fd.as_fd(), PollFlags::POLLIN));
        match ppoll(&mut wanted, Some(TimeSpec::from_duration(wait.min(LOOK_EVERY))), None) {
            Ok(_) | Err(Errno::EINTR) => {}
            Err(e) => return Err(format!("waiting for frames: {e}")),
        }
    }
    Ok(())
}

/// The next frame's length; `None` when there is none now.
fn read(from: &OwnedFd, buffer: &mut [u8]) -> Result<Option<usize>, String> {
    match recv(from.as_raw_fd(), buffer, MsgFlags::empty()) {
        Ok(length) => Ok(Some(length)),
        // The other end of the interface was taken down; it may come up again.
        Err(Errno::EAGAIN | Errno::EINTR | Errno::ENETDOWN) => Ok(None),
        Err(e) => Err(format!("reading a frame: {e}")),
    }
}
