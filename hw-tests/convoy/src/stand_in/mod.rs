//! Servers that behave on TCP like the info plugins of the routing daemons, fed by a [`World`].
//!
//! A daemon that does not run refuses connections, like the real one. Only loopback is served, as the plugins do by
//! default. What would hurt a real daemon is counted: see [`Hazards`].

mod olsrd;
mod olsrd2;

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use tokio::net::{TcpListener, TcpSocket};

pub use olsrd::Olsrd;
pub use olsrd2::{Access, Olsrd2};

use crate::world::World;

/// Pause before a closed port is tried again after a failure to listen.
const LISTEN_PAUSE: Duration = Duration::from_millis(200);
/// How often a stopped daemon is looked at.
const STOPPED_PAUSE: Duration = Duration::from_millis(50);

/// Client behaviour that harms a real daemon, counted over all stand-ins that share it. A careful client leaves all at 0.
#[derive(Clone, Debug, Default)]
pub struct Hazards(Arc<HazardCounts>);

#[derive(Debug, Default)]
struct HazardCounts {
    unfinished_lines: AtomicU64,
    leaked_sessions: AtomicU64,
    refused_sessions: AtomicU64,
    long_requests: AtomicU64,
    late_requests: AtomicU64,
}

impl Hazards {
    /// olsrd2 telnet: connections closed within a command line, which sends the daemon into an endless loop.
    #[must_use]
    pub fn unfinished_lines(&self) -> u64 {
        self.0.unfinished_lines.load(Ordering::Relaxed)
    }

    /// olsrd2 telnet: connections closed without `quit`, which block one of three sessions for two minutes.
    #[must_use]
    pub fn leaked_sessions(&self) -> u64 {
        self.0.leaked_sessions.load(Ordering::Relaxed)
    }

    /// olsrd2 telnet: connections beyond the third at a time.
    #[must_use]
    pub fn refused_sessions(&self) -> u64 {
        self.0.refused_sessions.load(Ordering::Relaxed)
    }

    /// olsrd: requests of 1024 bytes or more, which are answered and then reset.
    #[must_use]
    pub fn long_requests(&self) -> u64 {
        self.0.long_requests.load(Ordering::Relaxed)
    }

    /// olsrd: connections that sent nothing in time, which keep the routing daemon from its work. On a busy machine a careful
    /// client can be late, too.
    #[must_use]
    pub fn late_requests(&self) -> u64 {
        self.0.late_requests.load(Ordering::Relaxed)
    }
}

fn count(counter: &AtomicU64) {
    counter.fetch_add(1, Ordering::Relaxed);
}

/// A world that follows the clock, shared by all servers.
#[derive(Clone, Debug)]
pub struct Clocked {
    world: Arc<Mutex<World>>,
    began: Instant,
    moving: bool,
}

impl Clocked {
    /// Starts the world's time now.
    #[must_use]
    pub fn new(world: World) -> Clocked {
        Clocked { world: Arc::new(Mutex::new(world)), began: Instant::now(), moving: true }
    }

    /// A world whose time stands still, so that an answer can be compared with what it was made from. Its daemons go on
    /// answering, about one and the same moment.
    #[must_use]
    pub fn frozen(world: World) -> Clocked {
        Clocked { moving: false, ..Clocked::new(world) }
    }

    /// Time since the world began.
    #[must_use]
    pub fn elapsed(&self) -> Duration {
        self.began.elapsed()
    }

    /// The world at this moment.
    pub fn now(&self) -> MutexGuard<'_, World> {
        // A panic elsewhere leaves a world that is at worst a step behind.
        let mut world = self.world.lock().unwrap_or_else(PoisonError::into_inner);
        if self.moving {
            world.advance(self.began.elapsed().as_millis() as u64);
        }
        world
    }
}

/// Wall time in Unix seconds; 0 before 1970.
#[must_use]
pub fn wall_s() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// Listens on `address` with the short backlog of the daemons.
fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = TcpSocket::new_v4()?;
    socket.set_reuseaddr(true)?;
    socket.bind(address)?;
    socket.listen(1)
}

/// A loopback address with a port that is free now: 0 lets the system choose.
#[must_use]
pub fn loopback(port: u16) -> SocketAddr {
    SocketAddr::from((Ipv4Addr::LOCALHOST, port))
}

/// A listening socket that exists only while the daemon of a node runs.
#[derive(Debug)]
struct Port {
    clocked: Clocked,
    node: usize,
    listener: Option<TcpListener>,
    address: SocketAddr,
}

impl Port {
    fn bind(clocked: Clocked, node: usize, address: SocketAddr) -> io::Result<Port> {
        let listener = listen(address)?;
        let address = listener.local_addr()?;
        Ok(Port { clocked, node, listener: Some(listener), address })
    }

    /// The socket, or nothing after a pause while the daemon does not run.
    async fn open(&mut self) -> Option<&TcpListener> {
        if !self.clocked.now().running(self.node) {
            self.listener = None;
            tokio::time::sleep(STOPPED_PAUSE).await;
            return None;
        }
        if self.listener.is_none() {
            match listen(self.address) {
                Ok(listener) => self.listener = Some(listener),
                Err(_) => tokio::time::sleep(LISTEN_PAUSE).await,
            }
        }
        self.listener.as_ref()
    }
}
