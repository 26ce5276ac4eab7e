//! Answers people, scrapers and the command line over HTTP/1.1: a TCP listener that only shows, and a Unix control
//! socket that also takes commands.
//!
//! Nothing is measured or decided here. Each request for data becomes one [`Request`] to the main loop over a bounded
//! channel, and the loop answers it with [`answer`]; the page's files never leave this module. Every connection is
//! bounded in number, header size, time to ask, time to take the answer and total life ([`Limits`]), so that a slow or
//! hostile client costs its own connection and nothing else. Nothing is compressed while it is asked for: the page's files are
//! kept and sent in gzip, all other answers as they are. Only one kind of request has a body, and nothing that changes or adds
//! anything is reachable over TCP.
//!
//! | route | answer |
//! |---|---|
//! | `/` , `/style.css`, `/common.js`, `/page.js` | the status page, in gzip only: 406 for those who do not take it |
//! | `/metrics` | Prometheus text, or OpenMetrics when the client prefers it |
//! | `/v1/status` | [`crate::core::status::Status`] as JSON |
//! | `/v1/mesh` | the latest [`olsr_bridge::view::MeshView`] as JSON, its age in the header `outrider-view-age-ms` |
//! | `/v1/stream` | server-sent events: `status` with the status document, at most one each second |
//! | `/v1/streams` | [`crate::core::status::SpoolStatus`] as JSON: the streams of gathered records |
//! | `/healthz`, `/readyz` | 200 or 503, [`crate::core::health::Health`] as JSON |
//! | `/v1/federation` | [`crate::core::membership::report::MembershipStatus`] as JSON |
//! | `POST /v1/reload` | control socket only: read the configuration again |
//! | `POST /v1/federation/join/<name>`, `.../leave`, `.../leave-now`, `.../hold`, `.../release` | control socket only: what the operator wants |
//! | `POST /v1/streams/<name>` | control socket only: records for the spool, see [`append`] |
//!
//! `outrider fleet` serves its own page and answers the same way ([`Site::Fleet`]), with its document at `/api/fleet` and in
//! the stream, and without a control socket.
//!
//! What a cluster's API server passes on ([`Site::Aggregated`], see [`crate::core::membership::custom_metrics`]) is answered at an
//! address of its own, behind a [`door`], as Kubernetes does.
//!
//! Errors are JSON: `{"error": "..."}`.

pub mod append;
mod bind;
mod coding;
mod connection;
pub mod door;
mod host;
mod route;
mod stream;

use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use serde::Serialize;
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinSet;

use crate::core::exposition::{self, Format};
use crate::core::health;
use crate::core::membership::{Wish, custom_metrics};
use crate::core::state::{HttpState, State};
use crate::core::status;
use crate::core::time::millis;
use crate::shell::gather::Intake;

pub use door::Door;

pub use bind::{BindError, ControlSocket, bind_control, bind_tcp, bind_tcp_as};
pub use route::Site;
pub use stream::Hub;

/// Requests waiting for the main loop. It answers each within milliseconds, so more waiting means that it is stuck.
const REQUESTS_WAITING_MAX: usize = 16;

/// What a client may take. The defaults are for production; tests shorten the times.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    /// TCP connections at once. Each may hold its buffer of 16 KiB and one answer of some 100 KiB.
    pub connections_max: usize,
    /// TCP connections at once from one address, so that one client cannot take all. A browser opens up to six.
    pub connections_per_address_max: usize,
    /// Connections at once on the control socket, counted on their own: the operator on the vehicle always gets in.
    pub control_connections_max: usize,
    /// Live streams at once. Each receives the whole status document every second.
    pub streams_max: usize,
    /// Time for a request's header to arrive, and for the next request on an idle connection.
    pub header_within: Duration,
    /// Time a write may make no progress.
    pub write_stall_max: Duration,
    /// Life of a connection that streams nothing.
    pub life_max: Duration,
    /// Time the main loop has for an answer.
    pub answer_within: Duration,
    /// Time between signs of life on a stream without events.
    pub heartbeat: Duration,
}

impl Default for Limits {
    fn default() -> Limits {
        Limits {
            connections_max: 48,
            connections_per_address_max: 16,
            control_connections_max: 16,
            streams_max: 8,
            header_within: Duration::from_secs(10),
            write_stall_max: Duration::from_secs(20),
            life_max: Duration::from_secs(120),
            answer_within: Duration::from_secs(5),
            heartbeat: Duration::from_secs(15),
        }
    }
}

/// Connections at once behind a door: three API servers as below, and some more. Strangers who do not get through it are sent away
/// for whoever comes after them.
const AGGREGATED_MAX: usize = 96;

/// Connections at once behind a door from one address. An API server tries each of two APIServices five times at once every
/// 30 s, keeps one or two connections, and shares its address with the pods of its machine.
const AGGREGATED_PER_ADDRESS_MAX: usize = 24;

/// Bytes of a request's line and header fields; browsers stay below 2 KiB.
const HEADER_BYTES_MAX: usize = 8 * 1024;

/// Header fields of a request; browsers send about 20.
const HEADER_FIELDS_MAX: usize = 64;

/// The same behind a door: an API server sends one for each group that its user is in.
const AGGREGATED_FIELDS_MAX: usize = 256;

/// What a client wants to read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Read {
    /// All metrics.
    Metrics(Format),
    /// The status document.
    Status,
    /// The latest view of the mesh.
    Mesh,
    /// Whether data moves.
    Health,
    /// Whether the first data has arrived.
    Ready,
    /// The streams of gathered records.
    Streams,
    /// Federations.
    Federation,
}

/// What a client wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Query {
    /// To be answered with [`answer`].
    Read(Read),
    /// Read the configuration again and say what was taken over. Only ever comes from the control socket.
    Reload,
    /// What an API server asks for, by path and query. Only ever comes through a [`Door`].
    Aggregated(String),
    /// Want this of federations, and say how the membership is. Only ever comes from the control socket.
    Wish(Wish),
}

/// One question to the main loop.
#[derive(Debug)]
pub struct Request {
    /// What is wanted.
    pub query: Query,
    /// Where the answer goes. A dropped sender is answered with 503; a client that has left makes sending fail, which
    /// is nothing to worry about.
    pub reply: oneshot::Sender<Answer>,
}

/// One answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// HTTP status code.
    pub code: u16,
    /// Media type.
    pub content_type: &'static str,
    /// Content.
    pub body: Bytes,
    /// Age of the view of the mesh in milliseconds, for the answers that are nothing but a view.
    pub view_age_ms: Option<u64>,
}

const JSON: &str = "application/json";

impl Answer {
    /// A JSON document.
    #[must_use]
    pub fn json(code: u16, document: &impl Serialize) -> Answer {
        match serde_json::to_vec(document) {
            Ok(body) => Answer { code, content_type: JSON, body: body.into(), view_age_ms: None },
            Err(error) => Answer::error(500, &format!("cannot write the document: {error}")),
        }
    }

    /// What an API server passes on.
    #[must_use]
    pub fn aggregated(answer: custom_metrics::Answer) -> Answer {
        let custom_metrics::Answer { code, body } = answer;
        Answer { code, content_type: JSON, body: body.into(), view_age_ms: None }
    }

    /// An error for a person.
    #[must_use]
    pub fn error(code: u16, text: &str) -> Answer {
        let body = serde_json::json!({ "error": text }).to_string() + "\n";
        Answer { code, content_type: JSON, body: body.into(), view_age_ms: None }
    }
}

/// Answers what can be answered from the state alone.
#[must_use]
pub fn answer(state: &State, read: Read) -> Answer {
    match read {
        Read::Metrics(format) => Answer {
            code: 200,
            content_type: format.content_type(),
            body: exposition::render(state, format).into(),
            view_age_ms: None,
        },
        Read::Status => Answer::json(200, &status::document(state)),
        Read::Mesh => mesh(state),
        Read::Health => {
            let health = health::judge(state);
            Answer::json(if health.healthy { 200 } else { 503 }, &health)
        }
        Read::Streams => {
            Answer::json(200, &status::spool(&state.spool, &state.delivery, state.now.mono))
        }
        Read::Federation => Answer::json(200, &state.membership),
        Read::Ready => {
            let health = health::judge(state);
            Answer::json(if health.ready { 200 } else { 503 }, &health)
        }
    }
}

fn mesh(state: &State) -> Answer {
    let Some(view) = &state.mesh.view else {
        let cause = match &state.mesh.error {
            Some((_, text)) => text.as_str(),
            None if state.mesh.configured => "the routing daemon has not been read yet",
            None => "no routing daemon is configured",
        };
        return Answer::error(503, &format!("no view of the mesh: {cause}"));
    };
    let mut answer = Answer::json(200, view.as_ref());
    answer.view_age_ms = state.view_age().map(millis);
    answer
}

/// The running server. Dropping it closes every connection and removes the control socket's file.
#[derive(Debug)]
pub struct Server {
    /// Questions for the main loop.
    pub requests: mpsc::Receiver<Request>,
    /// The live streams, to be fed by the main loop.
    pub hub: Hub,
    shared: Arc<Shared>,
    accepting: JoinSet<()>,
}

impl Server {
    /// Serves one more TCP address, one that could not be had before.
    pub fn listen(&mut self, listener: tokio::net::TcpListener) {
        self.accepting.spawn(connection::accept_tcp(listener, Arc::clone(&self.shared)));
    }

    /// What answers those who get through this door, to the same main loop and with the same counters.
    #[must_use]
    pub fn behind(&self, door: Arc<Door>) -> Behind {
        let limits = Limits {
            connections_max: AGGREGATED_MAX,
            connections_per_address_max: AGGREGATED_PER_ADDRESS_MAX,
            ..self.shared.limits.clone()
        };
        Behind(Arc::new(Shared {
            site: Site::Aggregated,
            door: Some(door),
            limits,
            requests: self.shared.requests.clone(),
            hub: self.hub.clone(),
            intake: OnceLock::new(),
            bodies: append::Bodies::new(),
            state: Arc::clone(&self.shared.state),
        }))
    }

    /// Waits until nobody waits for the answer to records that were brought, at most for `within`.
    pub async fn drain(&self, within: Duration) {
        let _ = tokio::time::timeout(within, self.shared.bodies.idle()).await;
    }

    /// Lets records in over the control socket. To be called once; before, whoever brings some is refused.
    pub fn take_records(&self, intake: Intake) {
        let _ = self.shared.intake.set(intake);
    }

    /// Counters for the metrics.
    #[must_use]
    pub fn state(&self) -> HttpState {
        let mut state = self.shared.state().clone();
        state.streams = self.hub.streams() as u64;
        match self.hub.dropped() {
            0 => {}
            dropped => _ = state.refused.insert("slow-stream", dropped),
        }
        state
    }
}

/// What answers behind a door.
#[derive(Debug)]
pub struct Behind(Arc<Shared>);

impl Behind {
    /// Serves this address until dropped.
    pub fn accept(&self, listener: tokio::net::TcpListener) -> impl Future<Output = ()> + use<> {
        connection::accept_tcp(listener, Arc::clone(&self.0))
    }
}

/// What all connections share.
#[derive(Debug)]
struct Shared {
    site: Site,
    /// Whoever comes has to get through it.
    door: Option<Arc<Door>>,
    limits: Limits,
    requests: mpsc::Sender<Request>,
    hub: Hub,
    intake: OnceLock<Intake>,
    bodies: append::Bodies,
    state: Arc<Mutex<HttpState>>,
}

impl Shared {
    /// The counters. They are valid after any interrupted change, so poison means nothing.
    fn state(&self) -> MutexGuard<'_, HttpState> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn refused(&self, cause: &'static str) {
        *self.state().refused.entry(cause).or_default() += 1;
    }
}

/// Starts serving what was bound; needs a running tokio runtime. Both may be missing, and then nobody ever asks.
#[must_use]
pub fn serve(
    tcp: Option<tokio::net::TcpListener>,
    control: Option<ControlSocket>,
    limits: Limits,
) -> Server {
    serve_site(Site::Vehicle, tcp, control, limits)
}

/// As [`serve`], for any site.
#[must_use]
pub fn serve_site(
    site: Site,
    tcp: Option<tokio::net::TcpListener>,
    control: Option<ControlSocket>,
    limits: Limits,
) -> Server {
    let (sender, requests) = mpsc::channel(REQUESTS_WAITING_MAX);
    let hub = Hub::new(limits.streams_max);
    let shared = Arc::new(Shared {
        site,
        door: None,
        limits,
        requests: sender,
        hub: hub.clone(),
        intake: OnceLock::new(),
        bodies: append::Bodies::new(),
        state: Arc::default(),
    });
    let mut accepting = JoinSet::new();
    if let Some(listener) = tcp {
        accepting.spawn(connection::accept_tcp(listener, Arc::clone(&shared)));
    }
    if let Some(socket) = control {
        accepting.spawn(connection::accept_control(socket, Arc::clone(&shared)));
    }
    Server { requests, hub, shared, accepting }
}
