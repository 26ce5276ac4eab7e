//! Whom a vehicle trusts as a federation's server: nobody but the authority whose hash it was given.

use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, ring, verify_tls13_signature};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::{
    ClientConfig, DigitallySignedStruct, PeerIncompatible, RootCertStore, SignatureScheme,
};

use crate::core::membership::CaHash;
use crate::core::x509::names;
use crate::shell::digest::Digest;
use crate::shell::tls;

/// Certificates of a bundle that are looked at: an authority with a few levels, and its successor while it is exchanged.
const CERTIFICATES_MAX: usize = 16;

/// The certificates that a server shows as its authority's.
#[derive(Debug)]
pub struct Bundle {
    served: Vec<u8>,
    certificates: Vec<CertificateDer<'static>>,
}

impl Bundle {
    /// Reads the PEM text that the server gave.
    ///
    /// # Errors
    /// There is no certificate in it, or too many, or one that cannot be read.
    pub fn read(served: Vec<u8>) -> Result<Bundle, String> {
        let certificates = CertificateDer::pem_slice_iter(&served)
            .take(CERTIFICATES_MAX + 1)
            .collect::<Result<Vec<_>, _>>()
            .map_err(|error| format!("it is no PEM: {error}"))?;
        match certificates.len() {
            0 => Err("there is no certificate in it".to_owned()),
            1..=CERTIFICATES_MAX => Ok(Bundle { served, certificates }),
            _ => Err(format!("there are more than {CERTIFICATES_MAX} certificates in it")),
        }
    }

    /// The hash by which k3s names it: of the bytes as served when there is one certificate, of the root of the first one's chain
    /// when there are several (k3s 1.34, `pkg/clientaccess/token.go`).
    #[must_use]
    pub fn hash(&self) -> CaHash {
        match self.certificates.as_slice() {
            [_] => CaHash(Digest::of(&self.served)),
            _ => CaHash(Digest::of(self.root())),
        }
    }

    /// The last of the first certificate's chain. By names alone: whoever put somebody else's root here cannot sign with it,
    /// and nothing but this root is trusted.
    fn root(&self) -> &CertificateDer<'static> {
        let mut last = &self.certificates[0];
        for _ in &self.certificates {
            let Some(of_last) = names(last) else { break };
            if of_last.issuer == of_last.subject {
                break;
            }
            let by = |other: &&CertificateDer<'static>| {
                names(other).is_some_and(|other| other.subject == of_last.issuer)
            };
            let Some(issuer) = self.certificates.iter().find(by) else { break };
            last = issuer;
        }
        last
    }

    /// TLS towards a server with a certificate of this authority. `identity` is shown to no other: a client shows who it is only
    /// after it has verified the server (RFC 8446 section 2).
    ///
    /// # Errors
    /// The root cannot be used as one, or certificate and key of the identity do not go together.
    pub fn trusted(&self, identity: Option<tls::Identity>) -> Result<Arc<ClientConfig>, String> {
        let mut roots = RootCertStore::empty();
        roots.add(self.root().clone()).map_err(|error| error.to_string())?;
        let provider = Arc::new(ring::default_provider());
        let inner = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider)
            .build()
            .map_err(|error| error.to_string())?;
        config(Arc::new(Pinned { inner, between: self.certificates.clone() }), identity)
    }
}

/// TLS towards whoever answers. Only for what is judged by its hash, and never with a secret.
///
/// # Errors
/// The TLS library cannot be set up.
pub fn of_anybody() -> Result<Arc<ClientConfig>, String> {
    config(Arc::new(Anybody(ring::default_provider())), None)
}

fn config(
    verifier: Arc<dyn ServerCertVerifier>,
    identity: Option<tls::Identity>,
) -> Result<Arc<ClientConfig>, String> {
    let builder = tls::client_builder().map_err(|error| error.to_string())?;
    let builder = builder.dangerous().with_custom_certificate_verifier(verifier);
    let mut config = match identity {
        None => builder.with_no_client_auth(),
        Some((chain, key)) => {
            builder.with_client_auth_cert(chain, key).map_err(|error| error.to_string())?
        }
    };
    config.resumption = rustls::client::Resumption::disabled();
    Ok(Arc::new(config))
}

/// Trusts one root, and knows the certificates between it and a server that does not send them: k3s's own agent takes them from
/// the bundle as well.
#[derive(Debug)]
struct Pinned {
    inner: Arc<WebPkiServerVerifier>,
    between: Vec<CertificateDer<'static>>,
}

impl ServerCertVerifier for Pinned {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        let sent = intermediates.iter().cloned();
        let all: Vec<CertificateDer<'_>> = sent.chain(self.between.iter().cloned()).collect();
        self.inner.verify_server_cert(end_entity, &all, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls12_signature(message, certificate, signature)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        self.inner.verify_tls13_signature(message, certificate, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

/// Accepts every certificate whose key the server has.
#[derive(Debug)]
struct Anybody(CryptoProvider);

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _end_entity: &CertificateDer<'_>,
        _intermediates: &[CertificateDer<'_>],
        _server_name: &ServerName<'_>,
        _ocsp_response: &[u8],
        _now: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _message: &[u8],
        _certificate: &CertificateDer<'_>,
        _signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        // Only TLS 1.3 is offered.
        Err(rustls::Error::PeerIncompatible(
            PeerIncompatible::ServerTlsVersionIsDisabledByOurConfig,
        ))
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}
