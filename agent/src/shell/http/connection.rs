//! Accepts connections and keeps each of them within its limits.

use std::collections::BTreeMap;
use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{Sleep, sleep};

use super::bind::ControlSocket;
use super::route::{Origin, respond};
use super::{AGGREGATED_FIELDS_MAX, HEADER_BYTES_MAX, HEADER_FIELDS_MAX, Shared};

/// Pause following a failed accept: descriptors or memory have run out, and asking again at once would spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// Buffer of one connection; hyper's smallest is 8 KiB, and the header limit must fit.
const BUFFER_BYTES: usize = 16 * 1024;

/// Time a connection has to finish its answer when its life is over.
const FAREWELL: Duration = Duration::from_secs(5);

/// Sent to those for whom there is no room.
const FULL: &[u8] = b"HTTP/1.1 503 Service Unavailable\r\nconnection: close\r\nretry-after: 10\r\n\
    content-type: application/json\r\ncontent-length: 35\r\n\r\n{\"error\": \"too many connections\"}\r\n";

/// Cause of a refusal: one client has many.
const OF_ADDRESS: &str = "connections-of-address";

/// Serves the TCP listener until dropped.
pub(super) async fn accept_tcp(listener: TcpListener, shared: Arc<Shared>) {
    let mut room = Room::default();
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, from)) => {
                    // An IPv4 client of an IPv6 socket is the same client.
                    let from = from.ip().to_canonical();
                    if let Some(cause) = room.refusal(from, &shared) {
                        shared.refused(cause);
                        if shared.door.is_none() {
                            let _ = stream.try_write(FULL);
                            continue;
                        }
                        // Behind a door TLS is spoken, in which that is no sentence, and strangers who say nothing take all room.
                        if !room.send_away(from, cause) {
                            continue;
                        }
                    }
                    // The answer is one piece; waiting for more to send would only delay it. Failing is harmless.
                    let _ = stream.set_nodelay(true);
                    let through = Arc::new(AtomicBool::new(shared.door.is_none()));
                    let serving = serve_tcp(stream, Arc::clone(&shared), Arc::clone(&through));
                    room.enter(from, &shared, through, serving);
                }
                Err(error) => accept_failed(&error, &shared).await,
            },
            () = room.leave(&shared) => {}
        }
    }
}

/// Serves the control socket until dropped.
pub(super) async fn accept_control(socket: ControlSocket, shared: Arc<Shared>) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = socket.listener.accept() => match accepted {
                Ok((stream, _)) if connections.len() >= shared.limits.control_connections_max => {
                    shared.refused("control-connections");
                    let _ = stream.try_write(FULL);
                }
                Ok((stream, _)) => {
                    let stream = Box::new(stream);
                    connections.spawn(serve_one(stream, Origin::Control, Arc::clone(&shared)));
                }
                Err(error) => accept_failed(&error, &shared).await,
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn accept_failed(error: &io::Error, shared: &Shared) {
    shared.refused("accept");
    tracing::debug!(%error, "accepting an HTTP connection failed");
    sleep(ACCEPT_PAUSE).await;
}

/// Open TCP connections, counted by where they come from.
#[derive(Default)]
struct Room {
    connections: JoinSet<IpAddr>,
    by_address: BTreeMap<IpAddr, usize>,
    /// Those that are not through the door, the oldest first, and some that are by now.
    waiting: Vec<Waiting>,
}

struct Waiting {
    from: IpAddr,
    through: Arc<AtomicBool>,
    task: AbortHandle,
}

impl Room {
    fn refusal(&self, from: IpAddr, shared: &Shared) -> Option<&'static str> {
        let limits = &shared.limits;
        let of_address = self.by_address.get(&from).copied().unwrap_or(0);
        if self.connections.len() >= limits.connections_max {
            Some("connections")
        } else if of_address >= limits.connections_per_address_max {
            Some(OF_ADDRESS)
        } else {
            None
        }
    }

    fn enter(
        &mut self,
        from: IpAddr,
        shared: &Shared,
        through: Arc<AtomicBool>,
        serving: impl Future<Output = ()> + Send + 'static,
    ) {
        *self.by_address.entry(from).or_default() += 1;
        shared.state().connections += 1;
        let is_waiting = !through.load(Ordering::Relaxed);
        let task = self.connections.spawn(async move {
            serving.await;
            from
        });
        if is_waiting {
            self.forget_the_served();
            self.waiting.push(Waiting { from, through, task });
        }
    }

    fn forget_the_served(&mut self) {
        self.waiting.retain(|waiting| {
            !waiting.task.is_finished() && !waiting.through.load(Ordering::Relaxed)
        });
    }

    /// Ends the oldest connection that is not through the door yet, in favour of a new one for which there is no room: whoever has
    /// the key is through in a moment. False when there is none.
    fn send_away(&mut self, from: IpAddr, cause: &str) -> bool {
        self.forget_the_served();
        let in_the_way = |waiting: &Waiting| cause != OF_ADDRESS || waiting.from == from;
        let Some(oldest) = self.waiting.iter().position(in_the_way) else { return false };
        let oldest = self.waiting.remove(oldest);
        oldest.task.abort();
        self.give_back(oldest.from);
        true
    }

    fn give_back(&mut self, from: IpAddr) {
        if let Some(count) = self.by_address.get_mut(&from) {
            *count -= 1;
            if *count == 0 {
                self.by_address.remove(&from);
            }
        }
    }

    /// Waits for one to go; for ever when there is none.
    async fn leave(&mut self, shared: &Shared) {
        let Some(ended) = self.connections.join_next().await else {
            return std::future::pending().await;
        };
        let mut state = shared.state();
        state.connections = state.connections.saturating_sub(1);
        // One that was sent away has given its place back. Only a panic inside hyper ends another without its address; its place is then
        // given back by the total.
        if let Ok(from) = ended {
            self.give_back(from);
        }
    }
}

/// What comes and goes over a connection of any kind. One type for all: the program then has the HTTP server once.
trait Duplex: AsyncRead + AsyncWrite + Unpin + Send {}

impl<S: AsyncRead + AsyncWrite + Unpin + Send> Duplex for S {}

/// Serves one TCP connection, if it gets through the door.
async fn serve_tcp(stream: TcpStream, shared: Arc<Shared>, through: Arc<AtomicBool>) {
    let Some(door) = &shared.door else {
        return serve_one(Box::new(stream), Origin::Tcp, shared).await;
    };
    match door.enter(stream, shared.limits.header_within).await {
        Ok(stream) => {
            through.store(true, Ordering::Relaxed);
            serve_one(Box::new(stream), Origin::Tcp, shared).await;
        }
        Err(cause) => shared.refused(cause),
    }
}

/// Serves one connection for at most its life, longer only while it streams.
async fn serve_one(stream: Box<dyn Duplex>, origin: Origin, shared: Arc<Shared>) {
    let limits = shared.limits.clone();
    let is_aggregated = shared.door.is_some();
    let streaming = Arc::new(AtomicBool::new(false));
    let service = {
        let streaming = Arc::clone(&streaming);
        service_fn(move |request| {
            respond(request, origin, Arc::clone(&shared), Arc::clone(&streaming))
        })
    };
    let io = TokioIo::new(Watched::new(stream, limits.write_stall_max));
    let mut connection = pin!(
        http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(limits.header_within)
            .max_headers(match is_aggregated {
                true => AGGREGATED_FIELDS_MAX,
                false => HEADER_FIELDS_MAX,
            })
            .max_header_size(HEADER_BYTES_MAX)
            .max_buf_size(BUFFER_BYTES)
            .auto_date_header(false)
            .serve_connection(io, service)
    );
    loop {
        tokio::select! {
            // What went wrong on the way is the client's affair; refusals are counted where they happen.
            _ = connection.as_mut() => return,
            () = sleep(limits.life_max) => {
                if !streaming.load(Ordering::Relaxed) {
                    break;
                }
            }
        }
    }
    connection.as_mut().graceful_shutdown();
    let _ = tokio::time::timeout(FAREWELL, connection).await;
}

/// A stream whose writes must make progress: one that is not read from for too long fails.
struct Watched<S> {
    stream: S,
    stall_max: Duration,
    stalled: Option<Pin<Box<Sleep>>>,
}

impl<S: Unpin> Watched<S> {
    fn new(stream: S, stall_max: Duration) -> Watched<S> {
        Watched { stream, stall_max, stalled: None }
    }

    fn watch<T>(
        &mut self,
        context: &mut Context<'_>,
        progress: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if progress.is_ready() {
            self.stalled = None;
            return progress;
        }
        let stall_max = self.stall_max;
        let stalled = self.stalled.get_or_insert_with(|| Box::pin(sleep(stall_max)));
        stalled.as_mut().poll(context).map(|()| Err(io::ErrorKind::TimedOut.into()))
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Watched<S> {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_read(context, buffer)
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Watched<S> {
    fn poll_write(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let progress = Pin::new(&mut this.stream).poll_write(context, bytes);
        this.watch(context, progress)
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let progress = Pin::new(&mut this.stream).poll_flush(context);
        this.watch(context, progress)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let progress = Pin::new(&mut this.stream).poll_shutdown(context);
        this.watch(context, progress)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        pieces: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let progress = Pin::new(&mut this.stream).poll_write_vectored(context, pieces);
        this.watch(context, progress)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
