//! The certificate by which the API server knows who answers for the custom metrics, with its key: made once, kept in one file
//! that nobody else may read, and trusted by nobody but the APIServices that it was written into.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use ring::rand::SystemRandom;
use ring::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair, KeyPair as _};
use rustls::RootCertStore;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use rustls::server::{NoServerSessionStorage, WebPkiClientVerifier};

use crate::core::membership::kube::aggregation::{ProxyTrust, SERVICE_NAME};
use crate::core::x509::write;
use crate::shell::digest::Digest;
use crate::shell::http::door::Trust;
use crate::shell::replace;
use crate::shell::tls;

/// Name of the file in the folder of the membership.
const FILE: &str = "custom-metrics.pem";

/// Characters of a line of PEM (RFC 7468 section 2).
const LINE: usize = 64;

/// Who we are.
pub(super) struct Identity {
    identity: tls::Identity,
    /// The certificate as an APIService has it: PEM in base64.
    pub(super) ca_bundle: String,
}

/// Where it is kept.
pub(super) fn file(folder: &Path) -> PathBuf {
    folder.join(FILE)
}

impl Identity {
    /// The one that is kept, or one that is made and kept from now on.
    ///
    /// # Errors
    /// For a person: the file cannot be used, or not be written.
    pub(super) fn load_or_make(folder: &Path) -> Result<Identity, String> {
        let path = file(folder);
        match std::fs::symlink_metadata(&path) {
            Err(error) if replace::is_absent(&error) => {
                make(&path).map_err(|error| format!("writing {}: {error}", path.display()))?
            }
            Ok(_) | Err(_) => {}
        }
        Identity::load(folder)
    }

    /// The one that is kept.
    ///
    /// # Errors
    /// For a person: the file is not there or cannot be used.
    pub(super) fn load(folder: &Path) -> Result<Identity, String> {
        let path = file(folder);
        let remedy = "; delete the file and another one is made";
        let identity = tls::identity(&path, &path).map_err(|error| format!("{error}{remedy}"))?;
        let certificate = identity.0.first().map_or(&[][..], |certificate| certificate);
        let ca_bundle = BASE64_STANDARD.encode(pem("CERTIFICATE", certificate));
        Ok(Identity { identity, ca_bundle })
    }

    /// Our side of TLS towards a proxy that is known so.
    ///
    /// # Errors
    /// For a person: its authority cannot be read, or certificate and key do not go together.
    pub(super) fn trusting(&self, proxy: ProxyTrust) -> Result<Trust, String> {
        let mut roots = RootCertStore::empty();
        for certificate in CertificateDer::pem_slice_iter(proxy.authority.as_bytes()) {
            let added = certificate
                .map_err(|error| error.to_string())
                .and_then(|certificate| roots.add(certificate).map_err(|error| error.to_string()));
            added.map_err(|error| format!("the authority of the cluster's proxy: {error}"))?;
        }
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier =
            WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
                .allow_unauthenticated()
                .build()
                .map_err(|error| format!("the authority of the cluster's proxy: {error}"))?;
        let (chain, key) = (self.identity.0.clone(), self.identity.1.clone_key());
        let mut config = tls::server_builder()
            .map(|builder| builder.with_client_cert_verifier(verifier))
            .and_then(|builder| builder.with_single_cert(chain, key))
            .map_err(|error| format!("the certificate for custom metrics: {error}"))?;
        // Every connection shows its certificate.
        config.session_storage = Arc::new(NoServerSessionStorage {});
        config.send_tls13_tickets = 0;
        Ok(Trust { tls: Arc::new(config), names: proxy.names })
    }
}

/// Makes key and certificate, and keeps them.
fn make(path: &Path) -> io::Result<()> {
    let failed = |what: &str| io::Error::other(format!("{what} failed"));
    let random = SystemRandom::new();
    let algorithm = &ECDSA_P256_SHA256_ASN1_SIGNING;
    let key =
        EcdsaKeyPair::generate_pkcs8(algorithm, &random).map_err(|_| failed("making a key"))?;
    let pair = EcdsaKeyPair::from_pkcs8(algorithm, key.as_ref(), &random)
        .map_err(|_| failed("reading the key"))?;
    let public = pair.public_key().as_ref();
    // No other certificate has this number, because no other has this key.
    let digest = Digest::of(public);
    let serial = std::array::from_fn(|at| digest[at]);
    let body = write::to_be_signed(serial, public, SERVICE_NAME);
    let signature = pair.sign(&random, &body).map_err(|_| failed("signing"))?;
    let certificate = write::signed(&body, signature.as_ref());
    let text = pem("CERTIFICATE", &certificate) + &pem("PRIVATE KEY", key.as_ref());
    replace::write_private(path, text.as_bytes())
}

/// As RFC 7468 has it.
fn pem(label: &str, content: &[u8]) -> String {
    let encoded = BASE64_STANDARD.encode(content);
    let mut text = format!("-----BEGIN {label}-----\n");
    let mut rest = encoded.as_str();
    while !rest.is_empty() {
        let (line, after) = rest.split_at(rest.len().min(LINE));
        text = text + line + "\n";
        rest = after;
    }
    text + "-----END " + label + "-----\n"
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use rustls::client::WebPkiServerVerifier;
    use rustls::client::danger::ServerCertVerifier as _;
    use rustls::pki_types::{ServerName, UnixTime};

    use super::*;

    fn proxy() -> ProxyTrust {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut parameters = rcgen::CertificateParams::default();
        parameters.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let authority = parameters.self_signed(&key).unwrap().pem();
        ProxyTrust { authority, names: Vec::new() }
    }

    #[test]
    fn a_certificate_is_made_once_and_is_of_use_from_1970_on_for_one_name() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path().join("membership");
        let first = Identity::load_or_make(&folder).unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&folder), mode(&file(&folder))), (0o700, 0o600));
        assert_eq!(Identity::load_or_make(&folder).unwrap().ca_bundle, first.ca_bundle);
        first.trusting(proxy()).unwrap();

        let bundle = BASE64_STANDARD.decode(&first.ca_bundle).unwrap();
        assert!(!String::from_utf8(bundle.clone()).unwrap().contains("PRIVATE"));
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(&bundle).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider);
        let verifier = verifier.build().unwrap();
        let verified = |name: &str, seconds| {
            let name = ServerName::try_from(name.to_owned()).unwrap();
            let at = UnixTime::since_unix_epoch(std::time::Duration::from_secs(seconds));
            let chain = &first.identity.0;
            verifier.verify_server_cert(&chain[0], &[], &name, &[], at).is_ok()
        };
        for seconds in [0, 1_800_000_000, 5_000_000_000, 253_402_300_799] {
            assert!(verified(SERVICE_NAME, seconds), "{seconds}");
        }
        assert!(!verified("kubernetes.default.svc", 1_800_000_000));
    }

    #[test]
    fn what_cannot_be_used_is_named_with_what_to_do() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(file(folder.path()), "no PEM").unwrap();
        let error = Identity::load_or_make(folder.path()).err().unwrap();
        assert!(error.contains("custom-metrics.pem") && error.contains("delete"), "{error}");
        let folder = tempfile::tempdir().unwrap();
        let identity = Identity::load_or_make(folder.path()).unwrap();
        let strange = ProxyTrust { authority: "no PEM".to_owned(), names: Vec::new() };
        assert!(identity.trusting(strange).unwrap_err().contains("proxy"));
    }
}
