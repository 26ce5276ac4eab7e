//! Who asks, and whether that one may join.

use std::sync::Arc;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use hyper::header::AUTHORIZATION;
use hyper::{HeaderMap, Method, StatusCode};
use rustls::client::danger::HandshakeSignatureValid;
use rustls::pki_types::{CertificateDer, UnixTime};
use rustls::server::WebPkiClientVerifier;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{DigitallySignedStruct, DistinguishedName, ServerConfig, SignatureScheme};
use serde_json::json;
use x509_parser::parse_x509_certificate;

use super::{Refusal, Supervisor, header};
use crate::https::{Call, identity_of, provider, roots};
use crate::k3s::BOOTSTRAP_GROUP;
use crate::pki::Identity;

/// Begins the user name of a node.
const NODE_USER: &str = "system:node:";

/// Group of nodes.
const NODE_GROUP: &str = "system:nodes";

/// A client with a certificate that the cluster's authority vouches for.
#[derive(Clone, Debug)]
pub(crate) struct Client {
    /// Common name.
    pub user: String,
    /// Organisations.
    pub groups: Vec<String>,
}

/// What the credentials give a right to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Grant {
    /// To join as any node.
    Join,
    /// To renew what this existing node has.
    Node(String),
}

/// Checks client certificates against the authorities of `bundle`.
pub fn verifier(bundle: &str) -> Result<Arc<dyn ClientCertVerifier>, String> {
    let roots = Arc::new(roots(bundle)?);
    let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider())
        .allow_unauthenticated()
        .build()
        .map_err(|e| format!("setting up the check of clients: {e}"))?;
    Ok(verifier)
}

/// TLS that asks for a client certificate, needs none, and lets a foreign one pass as if there were none.
pub fn server_config(
    identity: &Identity,
    verifier: Arc<dyn ClientCertVerifier>,
) -> Result<ServerConfig, String> {
    let (chain, key) = identity_of(identity)?;
    ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(|e| format!("setting up TLS: {e}"))?
        .with_client_cert_verifier(Arc::new(Lenient(verifier)))
        .with_single_cert(chain, key)
        .map_err(|e| format!("setting up the server's identity: {e}"))
}

/// The client of a connection, when its certificate is one of the cluster's.
pub fn client(verifier: &dyn ClientCertVerifier, chain: &[CertificateDer<'_>]) -> Option<Client> {
    let (first, rest) = chain.split_first()?;
    verifier.verify_client_cert(first, rest, UnixTime::now()).ok()?;
    let (_, certificate) = parse_x509_certificate(first).ok()?;
    let subject = certificate.subject();
    let user = subject.iter_common_name().next()?.as_str().ok()?.to_owned();
    let groups = subject.iter_organization().filter_map(|group| group.as_str().ok());
    Some(Client { user, groups: groups.map(str::to_owned).collect() })
}

impl Supervisor {
    /// Whether these credentials allow to join.
    pub(super) async fn authenticate(
        &self,
        client: Option<&Client>,
        headers: &HeaderMap,
    ) -> Result<Grant, Refusal> {
        if let Some(client) = client {
            return self.node(client).await;
        }
        let refused = || Refusal(StatusCode::UNAUTHORIZED, "not authorized".to_owned());
        let authorization = header(headers, AUTHORIZATION.as_str()).ok_or_else(refused)?;
        if let Some(token) = authorization.strip_prefix("Bearer ") {
            return self.bearer(token).await;
        }
        let basic = authorization.strip_prefix("Basic ").ok_or_else(refused)?;
        let decoded = BASE64_STANDARD.decode(basic).map_err(|_| refused())?;
        let decoded = String::from_utf8(decoded).map_err(|_| refused())?;
        let (user, password) = decoded.split_once(':').ok_or_else(refused)?;
        let settings = &self.settings;
        let right = match user {
            "node" => password == settings.agent_token || password == settings.server_token,
            "server" => password == settings.server_token,
            _ => false,
        };
        if right { Ok(Grant::Join) } else { Err(refused()) }
    }

    /// A node's certificate counts as long as the Node exists.
    async fn node(&self, client: &Client) -> Result<Grant, Refusal> {
        let name = client.user.strip_prefix(NODE_USER);
        let (Some(name), true) = (name, client.groups.iter().any(|group| group == NODE_GROUP))
        else {
            return Err(Refusal(StatusCode::FORBIDDEN, format!("{} is no node", client.user)));
        };
        let answer = self.ask(Call::get(&format!("/api/v1/nodes/{name}"))).await?;
        match answer.status {
            200 => Ok(Grant::Node(name.to_owned())),
            404 => Err(Refusal(StatusCode::UNAUTHORIZED, format!("there is no node {name}"))),
            status => {
                Err(Refusal(StatusCode::SERVICE_UNAVAILABLE, format!("the API answers {status}")))
            }
        }
    }

    /// A bearer token is what the real API server takes it for.
    async fn bearer(&self, token: &str) -> Result<Grant, Refusal> {
        let review = json!({
            "apiVersion": "authentication.k8s.io/v1",
            "kind": "TokenReview",
            "spec": { "token": token },
        });
        let path = "/apis/authentication.k8s.io/v1/tokenreviews";
        let call = Call::with(Method::POST, path, "application/json", review.to_string());
        let status = self.ask(call).await?.json()["status"].take();
        if status["authenticated"] != json!(true) {
            return Err(Refusal(StatusCode::UNAUTHORIZED, "not authorized".to_owned()));
        }
        let groups = status["user"]["groups"].as_array().cloned().unwrap_or_default();
        if groups.iter().any(|group| group == BOOTSTRAP_GROUP) {
            return Ok(Grant::Join);
        }
        Err(Refusal(StatusCode::FORBIDDEN, "these credentials do not allow to join".to_owned()))
    }
}

/// Lets every certificate through the handshake; whether it counts is decided per connection.
#[derive(Debug)]
struct Lenient(Arc<dyn ClientCertVerifier>);

impl ClientCertVerifier for Lenient {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        // A hint would keep clients from sending a foreign certificate at all.
        &[]
    }

    fn client_auth_mandatory(&self) -> bool {
        false
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, rustls::Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.0.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.supported_verify_schemes()
    }
}
