//! From one HTTP request to one response: who may ask for what, and what goes around the answer.

use std::convert::Infallible;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use hyper::body::{Body as _, Frame, Incoming, SizeHint};
use hyper::header::{self, HeaderName, HeaderValue};
use hyper::{Method, StatusCode};
use tokio::sync::{mpsc, oneshot};
use tokio::time::{Interval, MissedTickBehavior, interval_at};

use super::coding::accepts_gzip;
use super::host::is_private;
use super::{Answer, Query, Read, Request, Shared, append, stream};
use crate::core::exposition::Format;
use crate::core::membership::{Wish, custom_metrics};

/// A file of the pages as `build.rs` compressed it. It is kept in no other form: twice the bytes would be in every program, and
/// every browser takes gzip.
macro_rules! page {
    ($name:literal) => {
        include_bytes!(concat!(env!("OUT_DIR"), "/", $name, ".gz"))
    };
}

const INDEX: &[u8] = page!("index.html");
const STYLE: &[u8] = page!("style.css");
const COMMON: &[u8] = page!("common.js");
const SCRIPT: &[u8] = page!("page.js");
const FLEET_INDEX: &[u8] = page!("fleet.html");
const FLEET_SCRIPT: &[u8] = page!("fleet.js");

/// For those who do not take gzip.
const ONLY_GZIP: &str =
    "this file is only sent compressed: ask with `Accept-Encoding: gzip` (curl: `--compressed`)";

/// The page loads its own two files, talks to its own server, and does nothing else, whatever a name contains.
const PAGE_POLICY: &str = "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; \
     img-src 'self' data:; base-uri 'none'; form-action 'none'; frame-ancestors 'none'";

/// Where a connection comes from, which decides what it may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Origin {
    /// Anybody: only shows.
    Tcp,
    /// The Unix socket: also takes commands.
    Control,
}

/// Which pages are served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Site {
    /// One vehicle's, by its agent.
    Vehicle,
    /// The whole fleet's.
    Fleet,
    /// None: what an API server passes on.
    Aggregated,
}

/// What a path stands for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Target {
    /// Media type, and content in gzip.
    File(&'static str, &'static [u8]),
    Read(Read),
    Stream,
    Reload,
    Wish(&'static str),
    Append,
}

const HTML: &str = "text/html; charset=utf-8";
const JAVASCRIPT: &str = "text/javascript; charset=utf-8";

const PAGE: Target = Target::File(HTML, INDEX);
const FLEET_PAGE: Target = Target::File(HTML, FLEET_INDEX);

/// Exact paths only: there is no file system behind them that a path could wander through.
fn target(site: Site, path: &str, accept: &str) -> Option<(&'static str, Target)> {
    Some(match (path, site) {
        (_, Site::Aggregated) => return None,
        ("/style.css", _) => ("/style.css", Target::File("text/css; charset=utf-8", STYLE)),
        ("/common.js", _) => ("/common.js", Target::File(JAVASCRIPT, COMMON)),
        ("/metrics", _) => ("/metrics", Target::Read(Read::Metrics(Format::negotiate(accept)))),
        ("/v1/stream", _) => ("/v1/stream", Target::Stream),
        ("/healthz", _) => ("/healthz", Target::Read(Read::Health)),
        ("/readyz", _) => ("/readyz", Target::Read(Read::Ready)),
        ("/", Site::Vehicle) => ("/", PAGE),
        ("/page.js", Site::Vehicle) => ("/page.js", Target::File(JAVASCRIPT, SCRIPT)),
        ("/v1/status", Site::Vehicle) => ("/v1/status", Target::Read(Read::Status)),
        ("/v1/mesh", Site::Vehicle) => ("/v1/mesh", Target::Read(Read::Mesh)),
        ("/v1/reload", Site::Vehicle) => ("/v1/reload", Target::Reload),
        ("/v1/streams", Site::Vehicle) => ("/v1/streams", Target::Read(Read::Streams)),
        ("/v1/federation", Site::Vehicle) => ("/v1/federation", Target::Read(Read::Federation)),
        (path, Site::Vehicle) if wish_of(path).is_some() => {
            ("/v1/federation/{wish}", Target::Wish(wish_of(path)?))
        }
        (path, Site::Vehicle) if append::stream_of(path).is_some() => {
            ("/v1/streams/{name}", Target::Append)
        }
        ("/", Site::Fleet) => ("/", FLEET_PAGE),
        ("/fleet.js", Site::Fleet) => ("/fleet.js", Target::File(JAVASCRIPT, FLEET_SCRIPT)),
        ("/api/fleet", Site::Fleet) => ("/api/fleet", Target::Read(Read::Status)),
        (_, Site::Vehicle | Site::Fleet) => return None,
    })
}

/// Words after `/v1/federation/`; the first is followed by a name.
const JOIN: &str = "join";
const WISHES: [&str; 5] = [JOIN, "leave", "leave-now", "hold", "release"];

/// The word of a path that tells what the operator wants.
fn wish_of(path: &str) -> Option<&'static str> {
    let rest = path.strip_prefix("/v1/federation/")?;
    let (word, name) = rest.split_once('/').map_or((rest, None), |(word, name)| (word, Some(name)));
    let word = WISHES.into_iter().find(|known| *known == word)?;
    (name.is_some() == (word == JOIN)).then_some(word)
}

/// What the operator wants, by word and path.
fn wish(word: &'static str, path: &str) -> Wish {
    match word {
        JOIN => Wish::Join(path.rsplit('/').next().unwrap_or_default().to_owned()),
        "leave" => Wish::Leave { now: false },
        "leave-now" => Wish::Leave { now: true },
        "hold" => Wish::Hold,
        _ => Wish::Policy,
    }
}

type Response = hyper::Response<Body>;

/// Answers one request. `streaming` is set for as long as the answer is a live stream.
pub(super) async fn respond(
    request: hyper::Request<Incoming>,
    origin: Origin,
    shared: Arc<Shared>,
    streaming: Arc<AtomicBool>,
) -> Result<Response, Infallible> {
    if shared.site == Site::Aggregated {
        let answer = aggregated(&request, &shared).await;
        *shared.state().requests.entry((AGGREGATED, answer.code)).or_default() += 1;
        return Ok(plain(answer));
    }
    let accept = request.headers().get(header::ACCEPT).and_then(|value| value.to_str().ok());
    let known = target(shared.site, request.uri().path(), accept.unwrap_or(""));
    let response = match refusal(&request, origin, known.map(|(_, target)| target)) {
        Some(refusal) => {
            shared.refused(refusal.cause);
            let mut response = plain(Answer::error(refusal.code, refusal.text));
            if let Some(allow) = refusal.allow {
                response.headers_mut().insert(header::ALLOW, HeaderValue::from_static(allow));
            }
            response
        }
        None => match known {
            Some((_, Target::Append)) => take_records(request, &shared, &streaming).await,
            Some((_, target)) => act(target, &request, &shared, streaming).await,
            None => plain(Answer::error(404, "no such page; the status page is at /")),
        },
    };
    let route = known.map_or("other", |(route, _)| route);
    *shared.state().requests.entry((route, response.status().as_u16())).or_default() += 1;
    Ok(guarded(response))
}

/// Where everything is that API servers pass on, for the counter.
const AGGREGATED: &str = "/apis/custom.metrics.k8s.io";

/// Answers what an API server passes on.
async fn aggregated(request: &hyper::Request<Incoming>, shared: &Shared) -> Answer {
    let refused = |code, text: &str| Answer::aggregated(custom_metrics::refusal(code, text));
    if request.method() != Method::GET {
        return refused(405, "only GET is answered here");
    }
    let target = request.uri().path_and_query().map_or("", |target| target.as_str());
    let asked = question(shared, Query::Aggregated(target.to_owned())).await;
    asked.unwrap_or_else(|text| refused(503, text))
}

/// Why a request is not even looked at.
struct Refusal {
    /// For the counter.
    cause: &'static str,
    code: u16,
    text: &'static str,
    /// Methods that are answered here (RFC 9110 section 15.5.6).
    allow: Option<&'static str>,
}

impl Refusal {
    fn new(cause: &'static str, code: u16, text: &'static str) -> Refusal {
        Refusal { cause, code, text, allow: None }
    }
}

fn refusal(
    request: &hyper::Request<Incoming>,
    origin: Origin,
    target: Option<Target>,
) -> Option<Refusal> {
    if origin == Origin::Tcp
        && let Some(refusal) = foreign(request, target)
    {
        return Some(refusal);
    }
    if target == Some(Target::Append) {
        return refused_change(request.method(), origin);
    }
    if !request.body().is_end_stream() {
        return Some(Refusal::new("body", 413, "requests here have no body"));
    }
    if matches!(target, Some(Target::Reload | Target::Wish(_))) {
        return refused_change(request.method(), origin);
    }
    let reads = [Method::GET, Method::HEAD].contains(request.method());
    (!reads).then(|| Refusal {
        allow: Some("GET, HEAD"),
        ..Refusal::new("method", 405, "only GET and HEAD are answered here")
    })
}

fn refused_change(method: &Method, origin: Origin) -> Option<Refusal> {
    match origin {
        Origin::Tcp => Some(Refusal::new(
            "change-over-tcp",
            403,
            "changes are only accepted on the control socket of this vehicle",
        )),
        Origin::Control => (method != Method::POST).then(|| Refusal {
            allow: Some("POST"),
            ..Refusal::new("method", 405, "use POST here")
        }),
    }
}

/// Requests that a foreign web page makes with the browser of somebody who can reach us.
fn foreign(request: &hyper::Request<Incoming>, target: Option<Target>) -> Option<Refusal> {
    let text_of =
        |name: HeaderName| request.headers().get(name).map(|value| value.to_str().unwrap_or(""));
    let host = match request.uri().authority() {
        // The absolute form outranks the header field (RFC 9112 section 3.2.2).
        Some(authority) => Some(authority.as_str()),
        None => text_of(header::HOST),
    };
    match host {
        None if request.version() == hyper::Version::HTTP_11 => {
            return Some(Refusal::new("host", 400, "the request names no host"));
        }
        Some(host) if !is_private(host) => {
            let text = "this vehicle does not answer to that name: use its address, its bare host \
                        name or a .local name";
            return Some(Refusal::new("host", 421, text));
        }
        None | Some(_) => {}
    }
    let cross_site = text_of(HeaderName::from_static("sec-fetch-site")) == Some("cross-site");
    let text = "other web sites may link to this page, not read from it";
    let page = [Some(PAGE), Some(FLEET_PAGE)].contains(&target);
    (cross_site && !page).then(|| Refusal::new("cross-site", 403, text))
}

async fn act(
    target: Target,
    request: &hyper::Request<Incoming>,
    shared: &Arc<Shared>,
    streaming: Arc<AtomicBool>,
) -> Response {
    match target {
        Target::File(content_type, content) => {
            file(content_type, content, accepts_gzip(request.headers()))
        }
        Target::Read(read) => plain(ask(shared, Query::Read(read)).await),
        Target::Reload => plain(ask(shared, Query::Reload).await),
        Target::Stream => open_stream(shared, streaming).await,
        Target::Append => plain(Answer::error(400, "records come in the body of a request")),
        Target::Wish(word) => {
            plain(ask(shared, Query::Wish(wish(word, request.uri().path()))).await)
        }
    }
}

/// A file of a page, for those who take what it is kept in.
fn file(content_type: &'static str, content: &'static [u8], accepts_gzip: bool) -> Response {
    let mut response = if accepts_gzip {
        let body = Bytes::from_static(content);
        let mut response = plain(Answer { code: 200, content_type, body, view_age_ms: None });
        response.headers_mut().insert(header::CONTENT_ENCODING, HeaderValue::from_static("gzip"));
        response
    } else {
        plain(Answer::error(406, ONLY_GZIP))
    };
    response.headers_mut().insert(header::VARY, HeaderValue::from_static("accept-encoding"));
    response
}

/// Takes the records in the body of a request.
async fn take_records(
    request: hyper::Request<Incoming>,
    shared: &Shared,
    busy: &AtomicBool,
) -> Response {
    let path = request.uri().path().to_owned();
    let name = append::stream_of(&path).unwrap_or_default();
    let intake = shared.intake.get();
    let (answer, retry_after_s) = append::append(request, name, intake, &shared.bodies, busy).await;
    let mut response = plain(answer);
    if let Some(seconds) = retry_after_s {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

/// Puts one question to the main loop; its answer, or that there is none.
async fn ask(shared: &Shared, query: Query) -> Answer {
    question(shared, query).await.unwrap_or_else(|text| Answer::error(503, text))
}

/// The same; the error says why there is no answer.
async fn question(shared: &Shared, query: Query) -> Result<Answer, &'static str> {
    let (reply, answer) = oneshot::channel();
    if shared.requests.try_send(Request { query, reply }).is_err() {
        shared.refused("busy");
        return Err("the agent is busy; try again in a moment");
    }
    match tokio::time::timeout(shared.limits.answer_within, answer).await {
        Ok(Ok(answer)) => Ok(answer),
        Ok(Err(_)) => Err("the agent is stopping"),
        Err(_) => {
            shared.refused("no-answer");
            Err("the agent did not answer in time")
        }
    }
}

/// A stream begins with the present status, so that the page need not wait for the next second.
async fn open_stream(shared: &Shared, streaming: Arc<AtomicBool>) -> Response {
    let Some(events) = shared.hub.subscribe() else {
        shared.refused("streams");
        let mut full = plain(Answer::error(503, "too many live streams; read /v1/status instead"));
        full.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from_static("10"));
        return full;
    };
    let first = ask(shared, Query::Read(Read::Status)).await;
    if first.code != 200 {
        return plain(first);
    }
    let heartbeat = shared.limits.heartbeat;
    let mut beats = interval_at(tokio::time::Instant::now() + heartbeat, heartbeat);
    beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
    streaming.store(true, Ordering::Relaxed);
    let body = Events { first: Some(stream::event(&first.body)), events, beats, streaming };
    let mut response = hyper::Response::new(Body::Events(body));
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static("text/event-stream"));
    response
}

fn plain(answer: Answer) -> Response {
    let mut response = hyper::Response::new(Body::Whole(Some(answer.body)));
    *response.status_mut() =
        StatusCode::from_u16(answer.code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    let headers = response.headers_mut();
    headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(answer.content_type));
    if let Some(age_ms) = answer.view_age_ms {
        headers.insert(HeaderName::from_static("outrider-view-age-ms"), HeaderValue::from(age_ms));
    }
    response
}

/// Header fields of every answer. No `Date`: a server without a believable clock must not send one (RFC 9110, 6.6.1).
fn guarded(mut response: Response) -> Response {
    let headers = response.headers_mut();
    for (name, value) in [
        (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
        (header::REFERRER_POLICY, "no-referrer"),
        (header::CONTENT_SECURITY_POLICY, PAGE_POLICY),
        (header::CACHE_CONTROL, "no-store"),
        (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    ] {
        headers.insert(name, HeaderValue::from_static(value));
    }
    response
}

/// What is sent: one piece, or events until somebody leaves.
pub(super) enum Body {
    Whole(Option<Bytes>),
    Events(Events),
}

/// A live stream. Dropping it lets the connection age again.
pub(super) struct Events {
    first: Option<Bytes>,
    events: mpsc::Receiver<Bytes>,
    beats: Interval,
    streaming: Arc<AtomicBool>,
}

impl Drop for Events {
    fn drop(&mut self) {
        self.streaming.store(false, Ordering::Relaxed);
    }
}

impl Events {
    fn poll_next(&mut self, context: &mut Context<'_>) -> Poll<Option<Bytes>> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(first));
        }
        if let Poll::Ready(event) = self.events.poll_recv(context) {
            self.beats.reset();
            return Poll::Ready(event);
        }
        self.beats.poll_tick(context).map(|_| Some(Bytes::from_static(b": still here\n\n")))
    }
}

impl hyper::body::Body for Body {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        match self.get_mut() {
            Body::Whole(content) => Poll::Ready(content.take().map(|bytes| Ok(Frame::data(bytes)))),
            Body::Events(events) => {
                events.poll_next(context).map(|next| next.map(|bytes| Ok(Frame::data(bytes))))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Body::Whole(content) => content.is_none(),
            Body::Events(_) => false,
        }
    }

    fn size_hint(&self) -> SizeHint {
        match self {
            Body::Whole(content) => {
                SizeHint::with_exact(content.as_ref().map_or(0, |bytes| bytes.len() as u64))
            }
            Body::Events(_) => SizeHint::default(),
        }
    }
}
