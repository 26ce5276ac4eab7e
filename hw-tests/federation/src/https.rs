//! HTTPS as its users here need it: one request over one new connection with a limit for both, or several over one
//! connection that is kept; trust and identity given explicitly.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::client::conn::http1::{self, SendRequest};
use hyper::header::{HOST, HeaderMap};
use hyper::{Method, Request, Uri};
use hyper_util::rt::TokioIo;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls12_signature, verify_tls13_signature};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use crate::pki::Identity;

/// Which servers are believed.
#[derive(Clone, Debug)]
pub enum Trust {
    /// Whoever answers.
    Anybody,
    /// No one: the handshake fails unless an authority of the system's would vouch, and none does for a private one.
    Nobody,
    /// Those whom these authorities, in PEM, vouch for.
    Authorities(String),
}

/// A request; paths begin with `/`.
#[derive(Clone, Debug)]
pub struct Call {
    /// Method.
    pub method: Method,
    /// Path and query.
    pub path: String,
    /// Headers beside `Host`.
    pub headers: Vec<(&'static str, String)>,
    /// Body.
    pub body: Vec<u8>,
}

impl Call {
    /// GET.
    pub fn get(path: &str) -> Call {
        Call { method: Method::GET, path: path.to_owned(), headers: Vec::new(), body: Vec::new() }
    }

    /// Another method with a body of this type.
    pub fn with(method: Method, path: &str, kind: &str, body: impl Into<Vec<u8>>) -> Call {
        let headers = vec![(CONTENT_TYPE_NAME, kind.to_owned())];
        Call { method, path: path.to_owned(), headers, body: body.into() }
    }

    /// With one more header.
    pub fn header(mut self, name: &'static str, value: impl Into<String>) -> Call {
        self.headers.push((name, value.into()));
        self
    }
}

/// Name of the header that says what a body is.
const CONTENT_TYPE_NAME: &str = "content-type";

/// An answer.
#[derive(Clone, Debug)]
pub struct Answer {
    /// Status.
    pub status: u16,
    /// Headers.
    pub headers: HeaderMap,
    /// Body.
    pub body: Bytes,
}

impl Answer {
    /// The answer, when it has this status; else an error that says what was answered.
    pub fn expect(self, status: u16, what: &str) -> Result<Answer, String> {
        if self.status == status {
            return Ok(self);
        }
        Err(format!("{what}: answered {}: {}", self.status, self.text().trim()))
    }

    /// Body as text.
    pub fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    /// Body as JSON; null when it is none.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }

    /// Header as text.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.get(name)?.to_str().ok()
    }
}

/// A server, and how to speak to it.
#[derive(Clone, Debug)]
pub struct Server {
    /// `host:port`.
    pub address: String,
    config: Arc<ClientConfig>,
}

impl Server {
    /// `address` is `host:port`.
    pub fn new(
        address: &str,
        trust: &Trust,
        identity: Option<&Identity>,
    ) -> Result<Server, String> {
        Ok(Server { address: address.to_owned(), config: Arc::new(config(trust, identity)?) })
    }

    /// One request over a connection of its own. `limit` is for everything from the first packet to the last.
    pub async fn call(&self, call: Call, limit: Duration) -> Result<Answer, String> {
        let work = async {
            let mut connection = self.connect().await?;
            connection.call(call).await
        };
        match tokio::time::timeout(limit, work).await {
            Ok(result) => result,
            Err(_) => Err(format!("no answer from {} within {} s", self.address, limit.as_secs())),
        }
    }

    /// A connection that is kept.
    pub async fn connect(&self) -> Result<Connection, String> {
        let (sender, connection) = http1::handshake(self.open().await?)
            .await
            .map_err(|e| format!("speaking HTTP with {}: {e}", self.address))?;
        tokio::spawn(connection);
        Ok(Connection { address: self.address.clone(), sender })
    }

    /// A stream with TLS, to speak HTTP over.
    pub async fn open(&self) -> Result<TokioIo<TlsStream<TcpStream>>, String> {
        let failed = |e: std::io::Error| format!("connecting to {}: {e}", self.address);
        let stream = TcpStream::connect(&self.address).await.map_err(failed)?;
        stream.set_nodelay(true).map_err(failed)?;
        let host = self.address.rsplit_once(':').map_or(&*self.address, |(host, _)| host);
        let name = ServerName::try_from(host.to_owned())
            .map_err(|e| format!("`{host}` is no name of a server: {e}"))?;
        let connector = TlsConnector::from(Arc::clone(&self.config));
        Ok(TokioIo::new(connector.connect(name, stream).await.map_err(failed)?))
    }
}

/// A connection that is kept.
#[derive(Debug)]
pub struct Connection {
    address: String,
    sender: SendRequest<Full<Bytes>>,
}

impl Connection {
    /// One request over it.
    pub async fn call(&mut self, call: Call) -> Result<Answer, String> {
        let failed = |e: hyper::Error| format!("asking {} for {}: {e}", self.address, call.path);
        let uri: Uri = call.path.parse().map_err(|e| format!("`{}` is no path: {e}", call.path))?;
        let mut request =
            Request::builder().method(call.method.clone()).uri(uri).header(HOST, &self.address);
        for (name, value) in &call.headers {
            request = request.header(*name, value);
        }
        let request = request
            .body(Full::new(Bytes::from(call.body.clone())))
            .map_err(|e| format!("making a request for {}: {e}", call.path))?;
        self.sender.ready().await.map_err(failed)?;
        let answer = self.sender.send_request(request).await.map_err(failed)?;
        let (parts, body) = answer.into_parts();
        let body = body.collect().await.map_err(failed)?.to_bytes();
        Ok(Answer { status: parts.status.as_u16(), headers: parts.headers, body })
    }
}

/// Does asynchronous work on this thread.
pub fn block_on<T>(work: impl Future<Output = Result<T, String>>) -> Result<T, String> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| format!("starting a runtime: {e}"))?;
    runtime.block_on(work)
}

/// The certificates of a PEM text.
pub fn certificates(pem: &str) -> Result<Vec<CertificateDer<'static>>, String> {
    CertificateDer::pem_slice_iter(pem.as_bytes())
        .collect::<Result<_, _>>()
        .map_err(|e| format!("reading certificates: {e}"))
}

/// Roots from a PEM text.
pub fn roots(pem: &str) -> Result<RootCertStore, String> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(pem)? {
        roots.add(certificate).map_err(|e| format!("taking an authority: {e}"))?;
    }
    Ok(roots)
}

/// Certificate chain and key of an identity.
pub fn identity_of(
    identity: &Identity,
) -> Result<(Vec<CertificateDer<'static>>, PrivateKeyDer<'static>), String> {
    let key = PrivateKeyDer::from_pem_slice(identity.key.as_bytes())
        .map_err(|e| format!("reading a key: {e}"))?;
    Ok((certificates(&identity.certificate)?, key))
}

/// What does the cryptography.
pub fn provider() -> Arc<CryptoProvider> {
    Arc::new(ring::default_provider())
}

fn config(trust: &Trust, identity: Option<&Identity>) -> Result<ClientConfig, String> {
    let builder = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|e| format!("setting up TLS: {e}"))?;
    let builder = match trust {
        Trust::Anybody => {
            builder.dangerous().with_custom_certificate_verifier(Arc::new(Believes(provider())))
        }
        Trust::Nobody => builder.with_root_certificates(RootCertStore::empty()),
        Trust::Authorities(pem) => builder.with_root_certificates(roots(pem)?),
    };
    let Some(identity) = identity else { return Ok(builder.with_no_client_auth()) };
    let (chain, key) = identity_of(identity)?;
    builder.with_client_auth_cert(chain, key).map_err(|e| format!("setting up an identity: {e}"))
}

/// Believes every certificate, as a k3s agent does that only wants to see which authority a server shows.
#[derive(Debug)]
struct Believes(Arc<CryptoProvider>);

impl ServerCertVerifier for Believes {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls12_signature(
            message,
            certificate,
            signature,
            &self.0.signature_verification_algorithms,
        )
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        verify_tls13_signature(
            message,
            certificate,
            signature,
            &self.0.signature_verification_algorithms,
        )
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
