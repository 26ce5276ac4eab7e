//! Servers that behave on TCP like the info plugins of the routing daemons, fed by a [`World`].
//!
//! olsrd: one connection at a time, looked at every 50 ms, a request that must come in one piece within 20 ms, tables cached for
//! a second, always closed after the answer. A daemon that does not run refuses connections. Only loopback is served, as
//! the plugins do by default.

use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpSocket, TcpStream};

use crate::mesh::View;
use crate::olsrd::{Facts, Plugin};
use crate::world::World;

/// olsrd looks at its sockets this often (`Pollrate` 0.05).
const POLL: Duration = Duration::from_millis(50);
/// olsrd waits this long for a request once it has accepted (`requesttimeout`).
const REQUEST_TIMEOUT: Duration = Duration::from_millis(20);
/// olsrd reads at most this much of a request.
const REQUEST_BYTES_MAX: usize = 1023;
/// olsrd answers from memory for this long (`cachetimeout`).
const CACHE: Duration = Duration::from_millis(1000);
/// An answer that nobody reads is given up after this; the daemon itself would wait for ever.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);
/// Pause before a closed port is tried again after a failure to listen.
const LISTEN_PAUSE: Duration = Duration::from_millis(200);

/// A world that follows the clock, shared by all servers.
#[derive(Clone, Debug)]
pub struct Clocked {
    world: Arc<Mutex<World>>,
    began: Instant,
}

impl Clocked {
    /// Starts the world's time now.
    #[must_use]
    pub fn new(world: World) -> Clocked {
        Clocked { world: Arc::new(Mutex::new(world)), began: Instant::now() }
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
        world.advance(self.began.elapsed().as_millis() as u64);
        world
    }
}

/// Wall time in Unix seconds; 0 before 1970.
#[must_use]
pub fn wall_s() -> u64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).map_or(0, |since| since.as_secs())
}

/// A process id for one run of a node's daemon: another run has another one.
pub(crate) fn process_id(view: &View) -> u32 {
    20_000 + view.node as u32 * 16 + view.run
}

/// Listens on `address` with the short backlog of the daemons.
pub(crate) fn listen(address: SocketAddr) -> io::Result<TcpListener> {
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

/// Plays one plugin of the olsrd of `node`.
#[derive(Debug)]
pub struct Olsrd {
    clocked: Clocked,
    node: usize,
    plugin: Plugin,
    listener: Option<TcpListener>,
    address: SocketAddr,
    cached: Option<(Instant, View)>,
}

impl Olsrd {
    /// Listens on `address`.
    ///
    /// # Errors
    /// When the address cannot be listened on.
    pub fn bind(
        clocked: Clocked,
        node: usize,
        plugin: Plugin,
        address: SocketAddr,
    ) -> io::Result<Olsrd> {
        let listener = listen(address)?;
        let address = listener.local_addr()?;
        Ok(Olsrd { clocked, node, plugin, listener: Some(listener), address, cached: None })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Serves for ever.
    pub async fn run(mut self) {
        loop {
            if !self.clocked.now().running(self.node) {
                self.listener = None;
                self.cached = None;
                tokio::time::sleep(POLL).await;
                continue;
            }
            let Some(listener) = &self.listener else {
                match listen(self.address) {
                    Ok(listener) => self.listener = Some(listener),
                    Err(_) => tokio::time::sleep(LISTEN_PAUSE).await,
                }
                continue;
            };
            // One poll of the daemon: whoever waits is served, one after the other.
            let accepted = tokio::time::timeout(POLL, listener.accept()).await;
            if let Ok(Ok((stream, _))) = accepted {
                tokio::time::sleep(self.until_poll()).await;
                // A client that goes away early is no concern of the daemon.
                let _ = tokio::time::timeout(ANSWER_TIMEOUT, self.serve(stream)).await;
            }
        }
    }

    /// Time until the daemon's next look at its sockets.
    fn until_poll(&self) -> Duration {
        let elapsed = self.clocked.elapsed().as_millis() as u64;
        let poll_ms = POLL.as_millis() as u64;
        Duration::from_millis(poll_ms - elapsed % poll_ms)
    }

    async fn serve(&mut self, mut stream: TcpStream) -> io::Result<()> {
        let mut request = [0; REQUEST_BYTES_MAX];
        let length = match tokio::time::timeout(REQUEST_TIMEOUT, stream.read(&mut request)).await {
            Ok(length) => length?,
            Err(_) => 0,
        };
        let Some(answer) = self.answer(&request[..length]) else { return Ok(()) };
        stream.write_all(&answer).await?;
        stream.shutdown().await
    }

    /// The answer, or nothing when the daemon has stopped meanwhile.
    fn answer(&mut self, request: &[u8]) -> Option<Vec<u8>> {
        let world = self.clocked.now();
        let fresh = self.cached.as_ref().is_some_and(|(at, _)| at.elapsed() < CACHE);
        if !world.running(self.node) {
            return None;
        }
        if !fresh {
            self.cached = world.view(self.node).map(|view| (Instant::now(), view));
        }
        drop(world);
        let (at, view) = self.cached.as_ref()?;
        let facts = Facts {
            view,
            pid: process_id(view),
            wall_s: wall_s(),
            uptime_ms: view.uptime_ms + at.elapsed().as_millis() as u64,
        };
        Some(self.plugin.answer(request, &facts))
    }
}
