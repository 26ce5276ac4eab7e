//! The supervisor half: the one port of a k3s server, in front of a real kube-apiserver.
//!
//! | request | answer |
//! |---|---|
//! | `/ping`, `/cacerts` | to anybody |
//! | `/v1-k3s/readyz`, `config`, `apiservers`, `client-ca.crt`, `server-ca.crt` | to who may join |
//! | POST `/v1-k3s/serving-kubelet.crt`, `client-kubelet.crt` | the same, with the right node password |
//! | POST `/v1-k3s/client-kube-proxy.crt`, `client-k3s-controller.crt` | to who may join |
//! | other paths below `/v1-k3s/` | 404: tunnel and server-only requests have no double |
//! | everything else | the kube-apiserver's |
//!
//! 401: no or wrong credentials, or the certificate of a Node that does not exist. 403: known, but not to join; or another
//! node password than the first. 429: more than 20 reading or 10 writing requests under way. 503: the kube-apiserver is not
//! ready. A client certificate of a foreign authority is ignored. Faults are set through a control socket.

mod control;
mod credentials;
mod node_password;
mod proxy;

use std::convert::Infallible;
use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Either, Full};
use hyper::body::Incoming;
use hyper::header::{CONTENT_TYPE, DATE, HeaderValue, RETRY_AFTER};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{HeaderMap, Method, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use serde::{Deserialize, Serialize};
use serde_json::json;
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::Semaphore;
use tokio::time::Instant;
use tokio_rustls::TlsAcceptor;

use super::{NODE_IP, NODE_NAME, NODE_PASSWORD};
use crate::https::{Answer, Call, Server, Trust, block_on};
use crate::pki::{Authority, Identity, Subject};
use control::Control;
use credentials::{Client, Grant};
use proxy::Upstream;

pub use control::{Fault, Order, Reply};

/// Reading join requests at the same time.
pub const READING_MAX: usize = 20;

/// Writing join requests at the same time.
pub const WRITING_MAX: usize = 10;

/// Largest signing request.
const REQUEST_BYTES_MAX: usize = 64 * 1024;

/// How often a delayed request looks whether its fault still holds.
const DELAY_STEP: Duration = Duration::from_millis(50);

/// Limit for requests to the kube-apiserver beside it.
const API_TIMEOUT: Duration = Duration::from_secs(10);

/// Network of the cluster's pods.
pub const POD_NETWORK: &str = "10.42.0.0/16";

/// Network of the cluster's services.
pub const SERVICE_NETWORK: &str = "10.43.0.0/16";

/// What a supervisor is told, as JSON in a file.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Settings {
    /// Where it listens.
    pub listen: SocketAddr,
    /// Addresses that agents are told, `host:port`.
    pub advertised: Vec<String>,
    /// Where the kube-apiserver is.
    pub api: String,
    /// Folder with the authorities and identities.
    pub pki: PathBuf,
    /// Secret of agents.
    pub agent_token: String,
    /// Secret of servers, which may join as an agent too.
    pub server_token: String,
    /// Where the control socket is made.
    pub control: PathBuf,
}

/// What connections share.
pub(crate) struct Supervisor {
    settings: Settings,
    /// Vouches for servers; its bundle is what `/cacerts` serves.
    servers: Authority,
    /// Vouches for clients.
    clients: Authority,
    verifier: Arc<dyn rustls::server::danger::ClientCertVerifier>,
    /// The kube-apiserver, as administrator.
    admin: Server,
    /// The kube-apiserver, on behalf of clients with a certificate.
    front: Server,
    /// The kube-apiserver, for clients with credentials in their headers.
    plain: Server,
    reading: Semaphore,
    writing: Semaphore,
    control: Control,
}

type Body = Either<Full<Bytes>, Incoming>;

/// Serves until it is killed; the argument is the file with the settings.
pub fn main(mut arguments: impl Iterator<Item = OsString>) -> Result<ExitCode, String> {
    let path = PathBuf::from(arguments.next().ok_or("which file has the settings?")?);
    let failed = |e: &dyn std::fmt::Display| format!("reading {}: {e}", path.display());
    let text = std::fs::read_to_string(&path).map_err(|e| failed(&e))?;
    let settings: Settings = serde_json::from_str(&text).map_err(|e| failed(&e))?;
    block_on(serve(settings))?;
    Ok(ExitCode::SUCCESS)
}

async fn serve(settings: Settings) -> Result<(), String> {
    let listen = settings.listen;
    let supervisor = Arc::new(Supervisor::new(settings)?);
    let acceptor = TlsAcceptor::from(Arc::new(supervisor.tls()?));
    let listener =
        TcpListener::bind(listen).await.map_err(|e| format!("listening on {listen}: {e}"))?;
    tokio::spawn(control::serve(Arc::clone(&supervisor))?);
    tokio::spawn(node_password::own_secrets(Arc::clone(&supervisor)));
    loop {
        let (stream, peer) = listener.accept().await.map_err(|e| format!("accepting: {e}"))?;
        let (supervisor, acceptor) = (Arc::clone(&supervisor), acceptor.clone());
        tokio::spawn(async move {
            if let Err(e) = connection(supervisor, acceptor, stream).await {
                eprintln!("connection from {peer}: {e}");
            }
        });
    }
}

async fn connection(
    supervisor: Arc<Supervisor>,
    acceptor: TlsAcceptor,
    stream: TcpStream,
) -> Result<(), String> {
    stream.set_nodelay(true).map_err(|e| e.to_string())?;
    let stream = acceptor.accept(stream).await.map_err(|e| format!("TLS: {e}"))?;
    let chain = stream.get_ref().1.peer_certificates().unwrap_or_default();
    let client = Arc::new(credentials::client(&*supervisor.verifier, chain));
    let upstream = Arc::new(Upstream::new(match &*client {
        Some(_) => supervisor.front.clone(),
        None => supervisor.plain.clone(),
    }));
    let service = service_fn(move |request| {
        let (supervisor, client) = (Arc::clone(&supervisor), Arc::clone(&client));
        let upstream = Arc::clone(&upstream);
        async move {
            let named = format!("{} {}", request.method(), request.uri().path());
            let mut answer = supervisor.answer(request, (*client).as_ref(), &upstream).await;
            let date = supervisor.control.date().map(httpdate::fmt_http_date);
            if let Some(Ok(date)) = date.map(HeaderValue::try_from) {
                answer.headers_mut().insert(DATE, date);
            }
            supervisor.control.count(&named, answer.status().as_u16());
            Ok::<_, Infallible>(answer)
        }
    });
    let serving = http1::Builder::new().serve_connection(TokioIo::new(stream), service);
    serving.with_upgrades().await.map_err(|e| e.to_string())
}

impl Supervisor {
    fn new(settings: Settings) -> Result<Supervisor, String> {
        let servers = Authority::read(&settings.pki, "server-ca")?;
        let clients = Authority::read(&settings.pki, "client-ca")?;
        let trust = Trust::Authorities(servers.bundle().to_owned());
        let api = |identity: Option<&str>| {
            let identity = identity.map(|name| Identity::read(&settings.pki, name)).transpose()?;
            Server::new(&settings.api, &trust, identity.as_ref())
        };
        let (admin, front, plain) = (api(Some("admin"))?, api(Some("auth-proxy"))?, api(None)?);
        Ok(Supervisor {
            verifier: credentials::verifier(clients.bundle())?,
            reading: Semaphore::new(READING_MAX),
            writing: Semaphore::new(WRITING_MAX),
            control: Control::default(),
            settings,
            servers,
            clients,
            admin,
            front,
            plain,
        })
    }

    fn tls(&self) -> Result<rustls::ServerConfig, String> {
        let identity = Identity::read(&self.settings.pki, "apiserver")?;
        credentials::server_config(&identity, Arc::clone(&self.verifier))
    }

    async fn answer(
        &self,
        request: Request<Incoming>,
        client: Option<&Client>,
        upstream: &Upstream,
    ) -> Response<Body> {
        let path = request.uri().path().to_owned();
        if let Some(rest) = path.strip_prefix("/v1-k3s/") {
            return self.join(rest, request, client).await;
        }
        if let Some(answer) = self.fault(&path).await {
            return answer;
        }
        match &*path {
            "/ping" => text(StatusCode::OK, "pong"),
            "/cacerts" => text(StatusCode::OK, self.servers.bundle()),
            _ => upstream.forward(request, client).await.unwrap_or_else(|e| {
                eprintln!("{path}: {e}");
                text(StatusCode::SERVICE_UNAVAILABLE, "the kube-apiserver does not answer")
            }),
        }
    }

    /// Requests below `/v1-k3s/`.
    async fn join(
        &self,
        what: &str,
        request: Request<Incoming>,
        client: Option<&Client>,
    ) -> Response<Body> {
        let reads = [Method::GET, Method::HEAD].contains(request.method());
        let Ok(_permit) = if reads { &self.reading } else { &self.writing }.try_acquire() else {
            let mut answer = text(StatusCode::TOO_MANY_REQUESTS, "too many join requests");
            answer.headers_mut().insert(RETRY_AFTER, 1.into());
            return answer;
        };
        if let Some(answer) = self.fault(request.uri().path()).await {
            return answer;
        }
        let grant = match self.authenticate(client, request.headers()).await {
            Ok(grant) => grant,
            Err(refusal) => return refusal.into(),
        };
        if !self.api_ready().await {
            return text(StatusCode::SERVICE_UNAVAILABLE, "not ready");
        }
        let done = if reads {
            self.read(what)
        } else if *request.method() == Method::POST {
            self.certify(what, &grant, request).await
        } else {
            Err(Refusal(StatusCode::METHOD_NOT_ALLOWED, "GET or POST".to_owned()))
        };
        done.unwrap_or_else(Response::from)
    }

    fn read(&self, what: &str) -> Result<Response<Body>, Refusal> {
        let pem = |authority: &Authority| Ok(text(StatusCode::OK, authority.bundle()));
        match what {
            "readyz" => Ok(text(StatusCode::OK, "ok")),
            "client-ca.crt" => pem(&self.clients),
            "server-ca.crt" => pem(&self.servers),
            "apiservers" => Ok(json_answer(&json!(self.settings.advertised))),
            "config" => Ok(json_answer(&json!({
                "ClusterIPRanges": [POD_NETWORK],
                "ServiceIPRanges": [SERVICE_NETWORK],
                "ClusterDomain": "cluster.local",
                "FlannelBackend": "none",
                "EgressSelectorMode": "disabled",
            }))),
            _ => Err(Refusal(StatusCode::NOT_FOUND, "there is no such join request".to_owned())),
        }
    }

    /// Signs what a node asks for.
    async fn certify(
        &self,
        what: &str,
        grant: &Grant,
        request: Request<Incoming>,
    ) -> Result<Response<Body>, Refusal> {
        let headers = request.headers().clone();
        let body = http_body_util::Limited::new(request.into_body(), REQUEST_BYTES_MAX);
        let body = body.collect().await.map_err(|e| {
            Refusal(StatusCode::BAD_REQUEST, format!("reading the signing request: {e}"))
        })?;
        let request = body.to_bytes();
        let signed = match what {
            "serving-kubelet.crt" => {
                let name = self.known_node(grant, &headers).await?;
                let mut alternatives =
                    vec![name.clone(), "localhost".to_owned(), "127.0.0.1".to_owned()];
                let addresses = header(&headers, NODE_IP).unwrap_or_default();
                alternatives
                    .extend(addresses.split(',').filter(|a| !a.is_empty()).map(str::to_owned));
                let subject = Subject::Server { name: &name, alternatives: &alternatives };
                self.servers.sign(&request, subject)
            }
            "client-kubelet.crt" => {
                let name = format!("system:node:{}", self.known_node(grant, &headers).await?);
                let subject = Subject::Client { name: &name, group: Some("system:nodes") };
                self.clients.sign(&request, subject)
            }
            "client-kube-proxy.crt" => {
                let subject = Subject::Client { name: "system:kube-proxy", group: None };
                self.clients.sign(&request, subject)
            }
            "client-k3s-controller.crt" => {
                let subject = Subject::Client { name: "system:k3s-controller", group: None };
                self.clients.sign(&request, subject)
            }
            _ => {
                let text = "there is no such certificate".to_owned();
                return Err(Refusal(StatusCode::NOT_FOUND, text));
            }
        };
        match signed {
            Ok(certificate) => Ok(text(StatusCode::OK, &certificate)),
            Err(e) => Err(Refusal(StatusCode::BAD_REQUEST, e)),
        }
    }

    /// The name of the node that asks, after its password was found right.
    async fn known_node(&self, grant: &Grant, headers: &HeaderMap) -> Result<String, Refusal> {
        let needed = |name| {
            header(headers, name).filter(|value| !value.is_empty()).ok_or_else(|| {
                Refusal(StatusCode::BAD_REQUEST, format!("the header {name} is missing"))
            })
        };
        let (node, password) = (needed(NODE_NAME)?, needed(NODE_PASSWORD)?);
        if matches!(grant, Grant::Node(own) if own != node) {
            let text = format!("this certificate is not for node {node}");
            return Err(Refusal(StatusCode::FORBIDDEN, text));
        }
        self.ensure_password(node, password).await?;
        Ok(node.to_owned())
    }

    /// Whether the kube-apiserver is ready.
    async fn api_ready(&self) -> bool {
        let answer = self.admin.call(Call::get("/readyz"), API_TIMEOUT).await;
        answer.is_ok_and(|answer| answer.status == 200)
    }

    /// Asks the kube-apiserver as administrator.
    async fn ask(&self, call: Call) -> Result<Answer, Refusal> {
        self.admin
            .call(call, API_TIMEOUT)
            .await
            .map_err(|e| Refusal(StatusCode::SERVICE_UNAVAILABLE, format!("not ready: {e}")))
    }

    /// Waits as long as a fault says, and gives the answer that it says, if any.
    async fn fault(&self, path: &str) -> Option<Response<Body>> {
        let fault = self.control.fault(path)?;
        let end = Instant::now() + Duration::from_millis(fault.delay_ms);
        while Instant::now() < end && self.control.fault(path).as_ref() == Some(&fault) {
            tokio::time::sleep_until(end.min(Instant::now() + DELAY_STEP)).await;
        }
        let status = StatusCode::from_u16(fault.status?).ok()?;
        let mut answer = text(status, "as ordered");
        if status == StatusCode::TOO_MANY_REQUESTS {
            answer.headers_mut().insert(RETRY_AFTER, 1.into());
        }
        Some(answer)
    }
}

/// An answer that is not what was asked for.
#[derive(Debug)]
pub(crate) struct Refusal(StatusCode, String);

impl From<Refusal> for Response<Body> {
    fn from(refusal: Refusal) -> Response<Body> {
        text(refusal.0, &refusal.1)
    }
}

fn header<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    headers.get(name)?.to_str().ok()
}

fn text(status: StatusCode, text: &str) -> Response<Body> {
    answer(status, "text/plain", text.as_bytes().to_vec())
}

fn json_answer(value: &serde_json::Value) -> Response<Body> {
    answer(StatusCode::OK, "application/json", value.to_string().into_bytes())
}

fn answer(status: StatusCode, kind: &'static str, body: Vec<u8>) -> Response<Body> {
    let mut answer = Response::new(Either::Left(Full::new(Bytes::from(body))));
    *answer.status_mut() = status;
    answer.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(kind));
    answer
}
