//! Authorities and certificates of a cluster, laid out as k3s does: one authority for servers, one for clients, one for the
//! front proxy.

use std::fs;
use std::path::Path;

use rcgen::{
    BasicConstraints, CertificateParams, CertificateSigningRequestParams, DistinguishedName,
    DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};
use rustls::pki_types::CertificateSigningRequestDer;
use time::{Duration, OffsetDateTime};

/// k3s dates what it signs back by this much, for clocks that lag.
const BACKDATED: Duration = Duration::HOUR;

/// How long a node's certificate holds.
const NODE_VALIDITY: Duration = Duration::days(365);

/// How long an authority holds.
const AUTHORITY_VALIDITY: Duration = Duration::days(3650);

/// Key and certificate of an authority, with those above it.
#[derive(Debug)]
pub struct Authority {
    issuer: Issuer<'static, KeyPair>,
    /// Own certificate first, the root last.
    bundle: String,
    key: String,
}

/// Who a certificate is for.
#[derive(Clone, Copy, Debug)]
pub enum Subject<'a> {
    /// A server with these names and addresses.
    Server {
        /// Common name.
        name: &'a str,
        /// Names and addresses that it may be called by.
        alternatives: &'a [String],
    },
    /// A client.
    Client {
        /// Common name: the user.
        name: &'a str,
        /// Organisation: the group, if any.
        group: Option<&'a str>,
    },
}

/// A certificate and its key, in PEM.
#[derive(Clone, Debug)]
pub struct Identity {
    /// Certificate.
    pub certificate: String,
    /// Key.
    pub key: String,
}

fn failed(e: rcgen::Error) -> String {
    format!("making a certificate: {e}")
}

impl Authority {
    /// A self-signed one.
    pub fn root(name: &str) -> Result<Authority, String> {
        let key = KeyPair::generate().map_err(failed)?;
        let params = authority_params(name);
        let certificate = params.self_signed(&key).map_err(failed)?;
        let bundle = certificate.pem();
        Ok(Authority { key: key.serialize_pem(), issuer: Issuer::new(params, key), bundle })
    }

    /// One whose certificate this authority signs.
    pub fn intermediate(&self, name: &str) -> Result<Authority, String> {
        let key = KeyPair::generate().map_err(failed)?;
        let params = authority_params(name);
        let certificate = params.signed_by(&key, &self.issuer).map_err(failed)?;
        let bundle = certificate.pem() + &self.bundle;
        Ok(Authority { key: key.serialize_pem(), issuer: Issuer::new(params, key), bundle })
    }

    /// Reads one that [`write`](Authority::write) wrote.
    pub fn read(folder: &Path, name: &str) -> Result<Authority, String> {
        let (bundle, key) = read_pair(folder, name)?;
        let pair = KeyPair::from_pem(&key).map_err(failed)?;
        let issuer = Issuer::from_ca_cert_pem(&bundle, pair).map_err(failed)?;
        Ok(Authority { issuer, bundle, key })
    }

    /// Own certificate and those above it, the root last.
    pub fn bundle(&self) -> &str {
        &self.bundle
    }

    /// Writes `<name>.crt` and `<name>.key`.
    pub fn write(&self, folder: &Path, name: &str) -> Result<(), String> {
        write_pair(folder, name, &self.bundle, &self.key)
    }

    /// A new key, and a certificate for it.
    pub fn issue(&self, subject: Subject<'_>) -> Result<Identity, String> {
        let key = KeyPair::generate().map_err(failed)?;
        let params = params_of(subject)?;
        let certificate = params.signed_by(&key, &self.issuer).map_err(failed)?.pem();
        Ok(Identity { certificate, key: key.serialize_pem() })
    }

    /// A certificate for the key of a signing request; whatever else the request asks for is replaced.
    pub fn sign(&self, request: &[u8], subject: Subject<'_>) -> Result<String, String> {
        let request = CertificateSigningRequestDer::from(request);
        let mut parsed = CertificateSigningRequestParams::from_der(&request).map_err(failed)?;
        parsed.params = params_of(subject)?;
        Ok(parsed.signed_by(&self.issuer).map_err(failed)?.pem())
    }
}

impl Identity {
    /// Reads `<name>.crt` and `<name>.key`.
    pub fn read(folder: &Path, name: &str) -> Result<Identity, String> {
        let (certificate, key) = read_pair(folder, name)?;
        Ok(Identity { certificate, key })
    }

    /// Writes `<name>.crt` and `<name>.key`.
    pub fn write(&self, folder: &Path, name: &str) -> Result<(), String> {
        write_pair(folder, name, &self.certificate, &self.key)
    }
}

/// A key and a signing request for it, in DER, as a joining node makes them.
pub fn request() -> Result<(String, Vec<u8>), String> {
    let key = KeyPair::generate().map_err(failed)?;
    let request = CertificateParams::default().serialize_request(&key).map_err(failed)?;
    Ok((key.serialize_pem(), request.der().to_vec()))
}

/// Keys that sign the tokens of service accounts: `sa.key`, and `sa.pub` to check them with.
pub fn write_token_keys(folder: &Path) -> Result<(), String> {
    let key = KeyPair::generate().map_err(failed)?;
    for (name, text) in [("sa.key", key.serialize_pem()), ("sa.pub", key.public_key_pem())] {
        write(&folder.join(name), &text)?;
    }
    Ok(())
}

fn read_pair(folder: &Path, name: &str) -> Result<(String, String), String> {
    let read = |kind: &str| {
        let path = folder.join(format!("{name}.{kind}"));
        fs::read_to_string(&path).map_err(|e| format!("reading {}: {e}", path.display()))
    };
    Ok((read("crt")?, read("key")?))
}

fn write_pair(folder: &Path, name: &str, certificate: &str, key: &str) -> Result<(), String> {
    write(&folder.join(format!("{name}.crt")), certificate)?;
    write(&folder.join(format!("{name}.key")), key)
}

fn write(path: &Path, text: &str) -> Result<(), String> {
    fs::write(path, text).map_err(|e| format!("writing {}: {e}", path.display()))
}

fn named(name: &str, group: Option<&str>) -> DistinguishedName {
    let mut subject = DistinguishedName::new();
    subject.push(DnType::CommonName, name);
    if let Some(group) = group {
        subject.push(DnType::OrganizationName, group);
    }
    subject
}

fn dated(params: &mut CertificateParams, validity: Duration) {
    let now = OffsetDateTime::now_utc();
    params.not_before = now - BACKDATED;
    params.not_after = now + validity;
}

fn authority_params(name: &str) -> CertificateParams {
    let mut params = CertificateParams::default();
    dated(&mut params, AUTHORITY_VALIDITY);
    params.distinguished_name = named(name, None);
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![
        KeyUsagePurpose::KeyCertSign,
        KeyUsagePurpose::CrlSign,
        KeyUsagePurpose::DigitalSignature,
    ];
    params
}

fn params_of(subject: Subject<'_>) -> Result<CertificateParams, String> {
    let (mut params, name, group, usage) = match subject {
        Subject::Server { name, alternatives } => {
            let params = CertificateParams::new(alternatives).map_err(failed)?;
            (params, name, None, ExtendedKeyUsagePurpose::ServerAuth)
        }
        Subject::Client { name, group } => {
            (CertificateParams::default(), name, group, ExtendedKeyUsagePurpose::ClientAuth)
        }
    };
    dated(&mut params, NODE_VALIDITY);
    params.distinguished_name = named(name, group);
    params.use_authority_key_identifier_extension = true;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyEncipherment];
    params.extended_key_usages = vec![usage];
    Ok(params)
}
