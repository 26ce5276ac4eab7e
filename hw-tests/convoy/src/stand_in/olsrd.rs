//! olsrd: one connection at a time, looked at every 50 ms, a request that must come in one piece within 20 ms, tables cached for a
//! second, always closed after the answer.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

use super::{Clocked, Hazards, Port, count, wall_s};
use crate::mesh::View;
use crate::olsrd::{Facts, Plugin};

/// olsrd looks at its sockets this often (`Pollrate` 0.05).
const POLL: Duration = Duration::from_millis(50);
/// olsrd waits this long for a request once it has accepted (`requesttimeout`).
const REQUEST_TIMEOUT: Duration = Duration::from_millis(20);
/// olsrd reads less than this of a request.
const REQUEST_BYTES_LIMIT: usize = 1024;
/// olsrd answers from memory for this long (`cachetimeout`).
const CACHE: Duration = Duration::from_millis(1000);
/// An answer that nobody reads is given up after this; the daemon itself would wait for ever.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(20);

/// A process id for one run of a node's daemon: another run has another one.
fn process_id(view: &View) -> u32 {
    20_000 + view.node as u32 * 16 + view.run
}

/// Plays one plugin of the olsrd of one node.
#[derive(Debug)]
pub struct Olsrd {
    port: Port,
    plugin: Plugin,
    hazards: Hazards,
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
        hazards: Hazards,
    ) -> io::Result<Olsrd> {
        let port = Port::bind(clocked, node, address)?;
        Ok(Olsrd { port, plugin, hazards, cached: None })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.port.address
    }

    /// Serves for ever.
    pub async fn run(mut self) {
        loop {
            let Some(listener) = self.port.open().await else {
                self.cached = None;
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
        let elapsed = self.port.clocked.elapsed().as_millis() as u64;
        let poll_ms = POLL.as_millis() as u64;
        Duration::from_millis(poll_ms - elapsed % poll_ms)
    }

    async fn serve(&mut self, mut stream: TcpStream) -> io::Result<()> {
        let mut request = [0; REQUEST_BYTES_LIMIT];
        let length = match tokio::time::timeout(REQUEST_TIMEOUT, stream.read(&mut request)).await {
            Ok(length) => length?,
            Err(_) => 0,
        };
        match length {
            0 => count(&self.hazards.0.late_requests),
            REQUEST_BYTES_LIMIT => count(&self.hazards.0.long_requests),
            _ => {}
        }
        let Some(answer) = self.answer(&request[..length]) else { return Ok(()) };
        stream.write_all(&answer).await?;
        stream.shutdown().await
    }

    /// The answer, or nothing when the daemon has stopped meanwhile.
    fn answer(&mut self, request: &[u8]) -> Option<Vec<u8>> {
        let node = self.port.node;
        let world = self.port.clocked.now();
        if !world.running(node) {
            return None;
        }
        let fresh = self.cached.as_ref().is_some_and(|(at, _)| at.elapsed() < CACHE);
        if !fresh {
            self.cached = world.view(node).map(|view| (Instant::now(), view));
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
