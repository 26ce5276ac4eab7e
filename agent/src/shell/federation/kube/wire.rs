//! Requests to the servers of a federation over one connection that is kept for a burst, with time-outs that follow the link.
//!
//! Every request that is made here may be made twice without harm. One that got no answer is made once more over a new
//! connection; after that it is the caller's to try again later.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{
    ACCEPT, AUTHORIZATION, CONTENT_TYPE, HOST, HeaderValue, RETRY_AFTER, USER_AGENT,
};
use hyper::{Method, Response};
use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout};
use tokio_rustls::TlsConnector;

use super::credential::{Credential, Secret};
use crate::core::membership::kube::answer::Answer;
use crate::core::membership::patience::{self, Patience};
use crate::core::membership::preflight::{Cure, Finding, Stage, Verdict};
use crate::core::membership::{CaHash, Outcome, Server};
use crate::shell::federation::probe::{self, Part, Target, Trouble};
use crate::shell::federation::trust::{self, Bundle};
use crate::shell::federation::{Content, expected, refused};

/// For a request with everything that it needs: connections, repetition, a page of a hundred kilobytes over a thin link.
const REQUEST_MAX: Duration = Duration::from_secs(180);

/// A connection that was silent for so long is not trusted any more: on a link that was cut meanwhile, opening another takes less
/// than finding out.
const IDLE_MAX: Duration = Duration::from_secs(60);

/// Answers of a server that cannot serve, as one without a datastore gives: another server may. (RFC 9110 section 15.6.)
const NO_USE: [u16; 4] = [500, 502, 503, 504];

/// Largest answer: 50 Nodes with the lists of their images, or 50 pods with who manages which field, have 1 MB.
const ANSWER_BYTES_MAX: usize = 4 << 20;

/// Largest answer that is no object: a bundle of authorities has 2 kB.
const AUTHORITY_BYTES_MAX: usize = 64 << 10;

/// What is asked.
#[derive(Debug)]
pub(super) struct Request<'a> {
    pub(super) method: Method,
    /// Path and query.
    pub(super) path: &'a str,
    /// Media type and content.
    pub(super) body: Option<(&'static str, Vec<u8>)>,
}

impl<'a> Request<'a> {
    /// What is to be answered. Whoever changes an object gets it back, and a Node has 4 kB, and more with the images that it lists;
    /// of a patched one only the metadata is wanted, or all of it from a server that cannot do that.
    fn accept(&self) -> &'static str {
        if self.method == Method::PATCH {
            return "application/json;as=PartialObjectMetadata;g=meta.k8s.io;v=v1,application/json";
        }
        "application/json"
    }

    pub(super) const fn get(path: &'a str) -> Request<'a> {
        Request { method: Method::GET, path, body: None }
    }
}

/// What was answered.
#[derive(Debug)]
pub(super) struct Reply {
    pub(super) status: u16,
    pub(super) retry_after_s: Option<u64>,
    pub(super) body: Vec<u8>,
}

impl Reply {
    pub(super) fn answer(&self) -> Answer<'_> {
        Answer { status: self.status, retry_after_s: self.retry_after_s, body: &self.body }
    }
}

type Driver = http1::Connection<TokioIo<tokio_rustls::client::TlsStream<TcpStream>>, Content>;

/// A connection. It is driven only while a request is under way, by that request: nothing runs beside.
struct Link {
    sender: SendRequest<Content>,
    driver: Pin<Box<Driver>>,
    /// It has ended, and must not be driven any further.
    ended: bool,
    authority: String,
    authorization: Option<HeaderValue>,
    used: Instant,
}

/// The way to a federation's servers.
pub(super) struct Wire {
    servers: Vec<Server>,
    ca: CaHash,
    credential: Credential,
    /// The server that was reached last.
    first: usize,
    /// The servers' authority, once one of them has shown it and its hash was right.
    bundle: Option<Bundle>,
    link: Option<Link>,
    patience: Patience,
    /// Who has the servers' addresses is not of this authority, as of the last attempt to connect.
    stranger: bool,
}

impl std::fmt::Debug for Wire {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Wire")
            .field("servers", &self.servers)
            .field("credential", &self.credential)
            .field("patience", &self.patience)
            .finish_non_exhaustive()
    }
}

impl Wire {
    pub(super) fn new(servers: Vec<Server>, ca: CaHash, credential: Credential) -> Wire {
        Wire {
            servers,
            ca,
            credential,
            first: 0,
            bundle: None,
            link: None,
            patience: Patience::default(),
            stranger: false,
        }
    }

    /// Whether somebody else has the servers' addresses, as of the last attempt to connect.
    pub(super) const fn is_stranger(&self) -> bool {
        self.stranger
    }

    /// Mean of the round trips so far.
    pub(super) const fn round_trip(&self) -> Option<Duration> {
        self.patience.round_trip()
    }

    /// Ends the connection, if there is one. The next request opens another.
    pub(super) fn close(&mut self) {
        self.link = None;
    }

    /// Asks, and waits for the whole answer.
    ///
    /// # Errors
    /// There was none: [`Outcome::Unreachable`], or [`Outcome::Refused`] when no waiting will help.
    pub(super) async fn ask(&mut self, request: &Request<'_>) -> Result<Reply, Outcome> {
        match timeout(REQUEST_MAX, self.ask_twice(request)).await {
            Ok(reply) => reply,
            Err(_) => Err(Outcome::Unreachable(format!(
                "no whole answer within {} s",
                REQUEST_MAX.as_secs()
            ))),
        }
    }

    async fn ask_twice(&mut self, request: &Request<'_>) -> Result<Reply, Outcome> {
        if let Ok(reply) = self.ask_once(request).await? {
            return Ok(reply);
        }
        self.ask_once(request).await?.map_err(Outcome::Unreachable)
    }

    /// The inner error is what happened after a connection was there.
    async fn ask_once(&mut self, request: &Request<'_>) -> Result<Result<Reply, String>, Outcome> {
        // While a request is under way the connection is nobody's: one that is given up midway takes its connection along.
        let kept = self.link.take().filter(|link| link.used.elapsed() < IDLE_MAX && !link.ended);
        let mut link = match kept {
            Some(link) => link,
            None => self.connect().await?,
        };
        let wait = self.patience.wait();
        match link.exchange(request, wait, ANSWER_BYTES_MAX).await {
            Ok((reply, trip)) => {
                self.patience.answered(trip);
                // Behind a new connection there is a credential that was read anew, or a server whose datastore answers.
                if NO_USE.contains(&reply.status) {
                    self.first = (self.first + 1) % self.servers.len().max(1);
                } else if reply.status != 401 {
                    link.used = Instant::now();
                    self.link = Some(link);
                }
                Ok(Ok(reply))
            }
            Err(Trouble::Slow(_)) => {
                self.patience.waited_in_vain();
                let seconds = wait.as_secs();
                Ok(Err(format!("{} gave no answer within {seconds} s", link.authority)))
            }
            Err(Trouble::Connect(error) | Trouble::Tls(error)) => {
                Ok(Err(format!("{}: {error}", link.authority)))
            }
            Err(Trouble::Broken(text)) => Ok(Err(format!("{}: {text}", link.authority))),
        }
    }

    /// A connection to the first server that can be reached, beginning with the one that was reached last.
    async fn connect(&mut self) -> Result<Link, Outcome> {
        self.stranger = false;
        let secret = self.credential.read().map_err(Outcome::Refused)?;
        let (mut faults, mut time_cures, mut stranger) = (Vec::new(), false, true);
        for step in 0..self.servers.len() {
            let index = (self.first + step) % self.servers.len();
            let server = self.servers[index].clone();
            let targets = match timeout(patience::LONGEST, probe::targets(&server)).await {
                Ok(Ok(targets)) => targets,
                Ok(Err(text)) => {
                    time_cures = true;
                    faults.push(text);
                    continue;
                }
                Err(_) => {
                    time_cures = true;
                    faults.push(format!("`{}` is not resolved in time", server.host));
                    continue;
                }
            };
            for target in targets {
                match self.connect_to(&server, &target, &secret).await {
                    Ok(link) => {
                        self.first = index;
                        return Ok(link);
                    }
                    Err(finding) => {
                        time_cures |= finding.verdict == Verdict::Bad(Cure::Time);
                        stranger &= finding.stage == Stage::Authority;
                        faults.push(finding.told());
                    }
                }
            }
        }
        self.stranger = stranger && !time_cures && !faults.is_empty();
        let text = faults.join("; ");
        match (time_cures, faults.is_empty()) {
            (_, true) => Err(Outcome::Refused("the federation has no servers".to_owned())),
            (true, false) => Err(Outcome::Unreachable(text)),
            (false, false) => Err(Outcome::Refused(text)),
        }
    }

    /// Shows `secret` only to a server whose certificate the expected authority has signed.
    async fn connect_to(
        &mut self,
        server: &Server,
        target: &Target,
        secret: &Secret,
    ) -> Result<Link, Finding> {
        if self.bundle.is_none() {
            self.bundle = Some(self.authority(server, target).await?);
        }
        let bundle = self.bundle.as_ref().expect("it was put there");
        let identity =
            secret.identity.as_ref().map(|(chain, key)| (chain.clone(), key.clone_key()));
        let trusted = bundle.trusted(identity).map_err(|error| {
            unusable(format!(
                "the client certificate or the server's authority cannot be used: {error}"
            ))
        })?;
        match self.open(target, &trusted).await {
            Ok(mut link) => {
                link.authorization.clone_from(&secret.authorization);
                Ok(link)
            }
            Err(trouble) => {
                // The same root may have other certificates under it by now, or somebody else may have the address: a certificate
                // that is out of date hides that it is of another authority.
                if is_invalid_certificate(&trouble) {
                    self.bundle = None;
                }
                Err(self.fault(trouble, server, target))
            }
        }
    }

    /// What the server shows as its authority, if its hash is the expected one.
    async fn authority(&mut self, server: &Server, target: &Target) -> Result<Bundle, Finding> {
        let anybody = trust::of_anybody().map_err(unusable)?;
        let answered = async {
            let mut link = self.open(target, &anybody).await?;
            let wait = self.patience.wait();
            link.exchange(&Request::get("/cacerts"), wait, AUTHORITY_BYTES_MAX).await
        };
        match answered.await {
            Ok((reply, trip)) => {
                self.patience.answered(trip);
                expected(reply.status, reply.body, Some(self.ca))
            }
            Err(trouble) => Err(self.fault(trouble, server, target)),
        }
    }

    async fn open(&mut self, target: &Target, tls: &Arc<ClientConfig>) -> Result<Link, Trouble> {
        let started = Instant::now();
        let tcp = timeout(self.patience.wait(), TcpStream::connect(target.address))
            .await
            .map_err(|_| Trouble::Slow(Part::Connecting))?
            .map_err(Trouble::Connect)?;
        self.patience.connected(started.elapsed());
        tcp.set_nodelay(true).map_err(Trouble::Connect)?;
        let started = Instant::now();
        let connector = TlsConnector::from(tls.clone());
        let stream = timeout(self.patience.wait(), connector.connect(target.name.clone(), tcp))
            .await
            .map_err(|_| Trouble::Slow(Part::Handshake))?
            .map_err(Trouble::Tls)?;
        self.patience.connected(started.elapsed());
        let (sender, driver) =
            http1::handshake(TokioIo::new(stream)).await.map_err(|error| probe::broken(&error))?;
        Ok(Link {
            sender,
            driver: Box::pin(driver),
            ended: false,
            authority: target.authority.clone(),
            authorization: None,
            used: Instant::now(),
        })
    }

    /// What a connection that did not come about means, and what cures it.
    fn fault(&mut self, trouble: Trouble, server: &Server, target: &Target) -> Finding {
        let Trouble::Slow(part) = trouble else { return refused(trouble, server, target) };
        let seconds = self.patience.wait().as_secs();
        self.patience.waited_in_vain();
        let what = match part {
            Part::Connecting => "did not accept a connection",
            Part::Handshake => "did not end the TLS handshake",
            Part::Answer => "gave no answer",
        };
        let text = format!("{} {what} within {seconds} s", target.address);
        Finding::bad(Stage::Connect, Cure::Time, text, "")
    }
}

impl Link {
    /// The answer to a request, and how long it took to begin. `wait` is for its beginning, and for each piece after.
    async fn exchange(
        &mut self,
        request: &Request<'_>,
        wait: Duration,
        bytes_max: usize,
    ) -> Result<(Reply, Duration), Trouble> {
        let mut parts = hyper::Request::builder()
            .method(request.method.clone())
            .uri(request.path)
            .header(HOST, &self.authority)
            .header(ACCEPT, request.accept())
            .header(USER_AGENT, concat!("outrider/", env!("CARGO_PKG_VERSION")));
        if let Some(authorization) = &self.authorization {
            parts = parts.header(AUTHORIZATION, authorization);
        }
        let mut content = Content(None);
        if let Some((kind, body)) = &request.body {
            parts = parts.header(CONTENT_TYPE, *kind);
            content = Content(Some(Bytes::from(body.clone())));
        }
        let sent = parts.body(content).map_err(|error| probe::broken(&error))?;
        let Link { sender, driver, ended, .. } = self;
        let answer = async {
            let slow = |_| Trouble::Slow(Part::Answer);
            let started = Instant::now();
            let exchange = async {
                sender.ready().await?;
                sender.send_request(sent).await
            };
            let response = timeout(wait, exchange)
                .await
                .map_err(slow)?
                .map_err(|error| probe::broken(&error))?;
            let trip = started.elapsed();
            let (status, retry_after_s) = (response.status().as_u16(), retry_after_s(&response));
            let (mut body, mut content) = (response.into_body(), Vec::new());
            while let Some(piece) = timeout(wait, probe::piece(&mut body)).await.map_err(slow)?? {
                if content.len() + piece.len() > bytes_max {
                    let text = format!("the answer is larger than {bytes_max} bytes");
                    return Err(Trouble::Broken(text));
                }
                content.extend_from_slice(&piece);
            }
            Ok((Reply { status, retry_after_s, body: content }, trip))
        };
        tokio::pin!(answer);
        tokio::select! {
            biased;
            answer = &mut answer => answer,
            _ = driver.as_mut() => {
                *ended = true;
                // What was read before the end is still on its way to the question, which otherwise learns the cause.
                answer.await
            }
        }
    }
}

fn retry_after_s<T>(response: &Response<T>) -> Option<u64> {
    response.headers().get(RETRY_AFTER)?.to_str().ok()?.trim().parse().ok()
}

fn is_invalid_certificate(trouble: &Trouble) -> bool {
    let Trouble::Tls(error) = trouble else { return false };
    let cause = error.get_ref().and_then(|cause| cause.downcast_ref::<rustls::Error>());
    matches!(cause, Some(rustls::Error::InvalidCertificate(_)))
}

/// What is wrong with something on this vehicle.
fn unusable(text: String) -> Finding {
    Finding::bad(Stage::Credentials, Cure::Person, text, "")
}
