//! Passes requests on to the kube-apiserver: watches stream, and connections that change protocol (exec, attach) are joined.

use http_body_util::Either;
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{HeaderName, HeaderValue, UPGRADE};
use hyper::{HeaderMap, Request, Response, StatusCode};
use hyper_util::rt::TokioIo;
use tokio::sync::Mutex;

use super::Body;
use super::credentials::Client;
use crate::https::Server;

/// Headers by which a front proxy says for whom it speaks begin so; a client's own are taken away.
const REMOTE: &str = "x-remote-";

/// The kube-apiserver as one downstream connection sees it: one upstream connection, made when needed.
pub(crate) struct Upstream {
    server: Server,
    sender: Mutex<Option<SendRequest<Incoming>>>,
}

impl Upstream {
    /// `server` is with the front proxy's identity when requests are for clients with certificates.
    pub fn new(server: Server) -> Upstream {
        Upstream { server, sender: Mutex::new(None) }
    }

    /// Passes one request on.
    pub async fn forward(
        &self,
        mut request: Request<Incoming>,
        client: Option<&Client>,
    ) -> Result<Response<Body>, String> {
        speak_for(request.headers_mut(), client)?;
        // From `https://host/path` only the path is meant for a server.
        let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
        *request.uri_mut() = path.parse().map_err(|e| format!("`{path}` is no path: {e}"))?;
        let upgrades = request.headers().contains_key(UPGRADE);
        let downstream = upgrades.then(|| hyper::upgrade::on(&mut request));
        let mut sender = self.sender.lock().await;
        let usable = match sender.as_mut() {
            Some(sender) => sender.ready().await.is_ok(),
            None => false,
        };
        if !usable {
            *sender = Some(self.connect().await?);
        }
        let sending = sender.as_mut().ok_or("there is no connection")?.send_request(request);
        let mut answer = sending.await.map_err(|e| format!("passing a request on: {e}"))?;
        if let (StatusCode::SWITCHING_PROTOCOLS, Some(downstream)) = (answer.status(), downstream) {
            let upstream = hyper::upgrade::on(&mut answer);
            tokio::spawn(async move {
                let (Ok(down), Ok(up)) = (downstream.await, upstream.await) else { return };
                let (mut down, mut up) = (TokioIo::new(down), TokioIo::new(up));
                // Either side may end as it likes; there is nobody to tell.
                let _ = tokio::io::copy_bidirectional(&mut down, &mut up).await;
            });
        }
        Ok(answer.map(Either::Right))
    }

    async fn connect(&self) -> Result<SendRequest<Incoming>, String> {
        let stream = self.server.open().await?;
        let (sender, connection) =
            http1::handshake(stream).await.map_err(|e| format!("speaking HTTP: {e}"))?;
        tokio::spawn(connection.with_upgrades());
        Ok(sender)
    }
}

/// Puts the client's name and groups into the headers, and nobody else's.
fn speak_for(headers: &mut HeaderMap, client: Option<&Client>) -> Result<(), String> {
    let foreign: Vec<HeaderName> =
        headers.keys().filter(|name| name.as_str().starts_with(REMOTE)).cloned().collect();
    for name in foreign {
        headers.remove(name);
    }
    let Some(client) = client else { return Ok(()) };
    let value = |text: &str| {
        HeaderValue::from_str(text).map_err(|e| format!("`{text}` fits into no header: {e}"))
    };
    headers.insert("x-remote-user", value(&client.user)?);
    for group in &client.groups {
        headers.append("x-remote-group", value(group)?);
    }
    Ok(())
}
