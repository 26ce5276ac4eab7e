//! One question to a federation's server, on a connection of its own, as k3s asks: TCP, TLS, one request, one answer.

use std::error::Error;
use std::future::poll_fn;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use bytes::Bytes;
use hyper::Request;
use hyper::body::{Body as _, Incoming};
use hyper::header::{AUTHORIZATION, CACHE_CONTROL, DATE, HOST, HeaderMap};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls::pki_types::ServerName;
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;

use super::Content;
use crate::core::membership::Server;

/// Largest answer that is read: a bundle of authorities has 2 kB, the configuration of a server 4 kB.
const ANSWER_BYTES_MAX: usize = 64 * 1024;

/// Addresses of one name.
const ADDRESSES_MAX: usize = 4;

/// An address of a server.
#[derive(Clone, Debug)]
pub struct Target {
    /// What its certificate has to be for.
    pub name: ServerName<'static>,
    /// Where it listens.
    pub address: SocketAddr,
    /// `host:port`, for the header `Host`.
    pub authority: String,
}

/// What a server said.
#[derive(Debug)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// Its clock, in milliseconds since 1970.
    pub date_ms: Option<i64>,
    /// It forbids caching, as the Kubernetes API does with everything it says, and k3s's own part with nothing.
    pub is_of_api: bool,
    /// The body.
    pub body: Vec<u8>,
    /// From the first packet to the end of the body.
    pub took: Duration,
}

/// How far a question came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// TCP.
    Connecting,
    /// TLS.
    Handshake,
    /// The request was sent.
    Answer,
}

/// Why there is no answer.
#[derive(Debug)]
pub enum Trouble {
    /// TCP could not connect.
    Connect(io::Error),
    /// TLS failed.
    Tls(io::Error),
    /// It did not end in time, and came as far as this.
    Slow(Part),
    /// What came is no answer.
    Broken(String),
}

/// The addresses of a server. A name is asked for at the system's resolver.
///
/// # Errors
/// There is none.
pub async fn targets(server: &Server) -> Result<Vec<Target>, String> {
    let host = server.host.as_str();
    let found: Vec<SocketAddr> = match host.parse::<IpAddr>() {
        Ok(address) => vec![SocketAddr::new(address, server.port)],
        Err(_) => tokio::net::lookup_host((host, server.port))
            .await
            .map_err(|error| format!("`{host}` cannot be resolved: {error}"))?
            .take(ADDRESSES_MAX)
            .collect(),
    };
    let name = ServerName::try_from(host.to_owned())
        .map_err(|_| format!("no certificate can be for `{host}`"))?;
    if found.is_empty() {
        return Err(format!("`{host}` has no address"));
    }
    let target = |address| Target { name: name.clone(), address, authority: server.to_string() };
    Ok(found.into_iter().map(target).collect())
}

/// Whether the kernel knows a way to an address. Sends nothing.
///
/// # Errors
/// It knows none.
pub async fn route(address: SocketAddr) -> io::Result<()> {
    let any: SocketAddr =
        if address.is_ipv4() { ([0, 0, 0, 0], 0).into() } else { ([0u16; 8], 0).into() };
    UdpSocket::bind(any).await?.connect(address).await
}

/// Asks for `path`, with `authorization` if given, and waits no longer than `within` for all of it.
///
/// # Errors
/// A [`Trouble`], by how far it came.
pub async fn ask(
    target: &Target,
    tls: &Arc<ClientConfig>,
    path: &str,
    authorization: Option<&str>,
    within: Duration,
) -> Result<Answer, Trouble> {
    let started = Instant::now();
    let until = started + within;
    let tcp = timeout_at(until, TcpStream::connect(target.address))
        .await
        .map_err(|_| Trouble::Slow(Part::Connecting))?
        .map_err(Trouble::Connect)?;
    tcp.set_nodelay(true).map_err(Trouble::Connect)?;
    let connector = TlsConnector::from(tls.clone());
    let stream = timeout_at(until, connector.connect(target.name.clone(), tcp))
        .await
        .map_err(|_| Trouble::Slow(Part::Handshake))?
        .map_err(Trouble::Tls)?;
    let mut request = Request::get(path).header(HOST, &target.authority);
    if let Some(authorization) = authorization {
        request = request.header(AUTHORIZATION, authorization);
    }
    let request = request.body(Content(None)).map_err(|error| broken(&error))?;
    let exchange = async {
        let (mut sender, connection) = hyper::client::conn::http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| broken(&error))?;
        let answer = async {
            let response = sender.send_request(request).await.map_err(|error| broken(&error))?;
            let (status, date_ms) = (response.status().as_u16(), date_ms(response.headers()));
            let is_of_api = response.headers().contains_key(CACHE_CONTROL);
            let body = read(response.into_body()).await?;
            Ok(Answer { status, date_ms, is_of_api, body, took: started.elapsed() })
        };
        // The connection is driven here, beside the question, and ends with it.
        tokio::pin!(connection, answer);
        tokio::select! {
            biased;
            answer = &mut answer => answer,
            // What was read before the end is still on its way to the question, which otherwise learns the cause.
            _ = &mut connection => answer.await,
        }
    };
    timeout_at(until, exchange).await.map_err(|_| Trouble::Slow(Part::Answer))?
}

/// An error with its causes: hyper's own words are those of the last alone.
pub(super) fn broken(error: &dyn Error) -> Trouble {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        text.push_str(&format!(": {error}"));
        cause = error.source();
    }
    Trouble::Broken(text)
}

async fn read(mut body: Incoming) -> Result<Vec<u8>, Trouble> {
    let mut content = Vec::new();
    while let Some(piece) = piece(&mut body).await? {
        if content.len() + piece.len() > ANSWER_BYTES_MAX {
            let text = format!("the answer is larger than {ANSWER_BYTES_MAX} bytes");
            return Err(Trouble::Broken(text));
        }
        content.extend_from_slice(&piece);
    }
    Ok(content)
}

/// The next piece of an answer; `None` after the last.
pub(super) async fn piece(body: &mut Incoming) -> Result<Option<Bytes>, Trouble> {
    match poll_fn(|context| Pin::new(&mut *body).poll_frame(context)).await {
        None => Ok(None),
        Some(Err(error)) => Err(broken(&error)),
        Some(Ok(frame)) => Ok(Some(frame.into_data().unwrap_or_default())),
    }
}

fn date_ms(headers: &HeaderMap) -> Option<i64> {
    let date = httpdate::parse_http_date(headers.get(DATE)?.to_str().ok()?).ok()?;
    let since = date.duration_since(SystemTime::UNIX_EPOCH).ok()?;
    i64::try_from(since.as_millis()).ok()
}
