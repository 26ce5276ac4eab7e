//! TLS towards a broker: what is trusted, who we are, and what went wrong in words that lead to a remedy.
//!
//! - TLS 1.3 only. Every broker library of the last years speaks it (OpenSSL since 1.1.1, 2018), and leaving 1.2 out saves
//!   binary size and choices.
//! - Only the authority in the configured CA file is trusted, never the system's public authorities: there is no internet
//!   behind a convoy, and whoever can get a public certificate must not be able to pose as its broker.
//! - Verification is never switched off or weakened, not even while the clock is obviously wrong. A machine that booted in
//!   1970 sees every certificate as not valid yet; the error then says that the clock is the cause, and the connection is
//!   tried again with back-off until something has set the clock.
//! - Files are read anew for each connection, so renewed certificates need no restart.

use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, UnixTime};
use rustls::time_provider::TimeProvider;
use rustls::{
    AlertDescription, CertificateError, ClientConfig, ConfigBuilder, RootCertStore, ServerConfig,
    WantsVerifier,
};

use crate::shell::clock;

/// Largest PEM or password file that is read: far more than any chain, far less than would hurt.
const FILE_BYTES_MAX: u64 = 256 * 1024;

/// Certificate chain and key that say who we are.
pub type Identity = (Vec<CertificateDer<'static>>, PrivateKeyDer<'static>);

/// Where trust and identity lie.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Files {
    /// PEM file with the authority that signed the broker's certificate (`mqtt.ca_file`).
    pub ca: Option<PathBuf>,
    /// PEM file with our certificate chain (`mqtt.certificate_file`).
    pub certificate: Option<PathBuf>,
    /// PEM file with our private key (`mqtt.key_file`).
    pub key: Option<PathBuf>,
}

/// Why no TLS configuration could be made. Trying again can help: the files may be put right meanwhile.
#[derive(Debug)]
pub enum Error {
    /// No authority is configured.
    NoAuthority,
    /// Certificate without key, or key without certificate.
    HalfIdentity,
    /// A file could not be read.
    Read {
        /// Which file.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
    /// A file has no usable content of the kind that is needed.
    Content {
        /// Which file.
        path: PathBuf,
        /// What it should hold.
        wanted: &'static str,
        /// What is wrong with it.
        why: String,
    },
    /// Certificate and key do not go together, or are of a kind that is not supported.
    Identity {
        /// File of the certificate.
        path: PathBuf,
        /// What the TLS library says.
        source: rustls::Error,
    },
    /// The TLS library cannot be set up.
    Library(rustls::Error),
}

impl std::fmt::Display for Error {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Error::NoAuthority => f.write_str(
                "TLS needs to know whom to trust: set `mqtt.ca_file` to the certificate of the authority that signed \
                 the broker's certificate",
            ),
            Error::HalfIdentity => {
                f.write_str("a client certificate needs both `mqtt.certificate_file` and `mqtt.key_file`")
            }
            Error::Read { path, source } => {
                write!(f, "cannot read {}: {source}; check the path and its permissions", path.display())
            }
            Error::Content { path, wanted, why } => {
                write!(f, "{} holds no usable {wanted} in PEM form: {why}", path.display())
            }
            Error::Identity { path, source } => write!(
                f,
                "the client certificate in {} cannot be used with its key: {source}; check that they belong together",
                path.display()
            ),
            Error::Library(source) => write!(f, "cannot set up TLS: {source}"),
        }
    }
}

impl std::error::Error for Error {}

/// Reads the files and builds the configuration for one connection.
///
/// # Errors
///
/// An [`Error`] whose text names file and remedy.
pub fn client_config(files: &Files) -> Result<Arc<ClientConfig>, Error> {
    let ca = files.ca.as_deref().ok_or(Error::NoAuthority)?;
    let mut roots = RootCertStore::empty();
    for certificate in certificates(ca)? {
        roots.add(certificate).map_err(|e| Error::Content {
            path: ca.to_owned(),
            wanted: "authority certificate",
            why: e.to_string(),
        })?;
    }

    let builder = client_builder().map_err(Error::Library)?.with_root_certificates(roots);
    let mut config = match (files.certificate.as_deref(), files.key.as_deref()) {
        (None, None) => builder.with_no_client_auth(),
        (Some(certificate), Some(key)) => {
            let (chain, private) = identity(certificate, key)?;
            builder
                .with_client_auth_cert(chain, private)
                .map_err(|source| Error::Identity { path: certificate.to_owned(), source })?
        }
        (Some(_), None) | (None, Some(_)) => return Err(Error::HalfIdentity),
    };
    // The configuration lives for one connection: a store of sessions to resume would only cost memory.
    config.resumption = rustls::client::Resumption::disabled();
    Ok(Arc::new(config))
}

/// Reads who we are.
///
/// # Errors
///
/// A file cannot be read, or has no certificate or key; the text names it.
pub fn identity(certificate: &Path, key: &Path) -> Result<Identity, Error> {
    Ok((certificates(certificate)?, private_key(key)?))
}

/// A configuration of the project's choices, to which trust and identity are to be added.
///
/// # Errors
///
/// The TLS library cannot be set up.
pub fn client_builder() -> Result<ConfigBuilder<ClientConfig, WantsVerifier>, rustls::Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    ClientConfig::builder_with_details(provider, Arc::new(WallClock))
        .with_protocol_versions(&[&rustls::version::TLS13])
}

/// The same for a server.
///
/// # Errors
///
/// The TLS library cannot be set up.
pub fn server_builder() -> Result<ConfigBuilder<ServerConfig, WantsVerifier>, rustls::Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    ServerConfig::builder_with_details(provider, Arc::new(WallClock))
        .with_protocol_versions(&[&rustls::version::TLS13])
}

/// The wall clock as [`clock::wall`] reads it. The library's own reading stands still in 2038, or panics, on 32-bit machines
/// whose clock claims a later date.
#[derive(Debug)]
struct WallClock;

impl TimeProvider for WallClock {
    fn current_time(&self) -> Option<UnixTime> {
        clock::wall().map(UnixTime::since_unix_epoch)
    }
}

/// Reads a small file whole.
///
/// # Errors
///
/// When it cannot be read or is larger than any file of its kind.
pub fn read_small_file(path: &Path) -> io::Result<Vec<u8>> {
    let mut content = Vec::new();
    std::fs::File::open(path)?.take(FILE_BYTES_MAX + 1).read_to_end(&mut content)?;
    if content.len() as u64 > FILE_BYTES_MAX {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "larger than 256 KiB"));
    }
    Ok(content)
}

fn read(path: &Path) -> Result<Vec<u8>, Error> {
    read_small_file(path).map_err(|source| Error::Read { path: path.to_owned(), source })
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, Error> {
    let unusable =
        |why: String| Error::Content { path: path.to_owned(), wanted: "certificate", why };
    let certificates = CertificateDer::pem_slice_iter(&read(path)?)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|e| unusable(e.to_string()))?;
    if certificates.is_empty() {
        return Err(unusable("there is none in it".to_owned()));
    }
    Ok(certificates)
}

fn private_key(path: &Path) -> Result<PrivateKeyDer<'static>, Error> {
    PrivateKeyDer::from_pem_slice(&read(path)?).map_err(|e| Error::Content {
        path: path.to_owned(),
        wanted: "private key",
        why: e.to_string(),
    })
}

/// What a failed read, write or handshake on a TLS connection to `host` means, with a remedy; `None` when TLS has nothing
/// to say about it.
#[must_use]
pub fn explain(error: &io::Error, host: &str) -> Option<String> {
    let cause = error.get_ref()?.downcast_ref::<rustls::Error>()?;
    let text = match cause {
        rustls::Error::InvalidCertificate(problem) => explain_certificate(problem, host),
        rustls::Error::AlertReceived(alert) => explain_alert(*alert),
        rustls::Error::InvalidMessage(_) => {
            "the broker's answer is not TLS: check `mqtt.port` (brokers usually have TLS on 8883 and plain MQTT on 1883)"
                .to_owned()
        }
        rustls::Error::PeerIncompatible(why) => {
            format!("the broker's TLS does not fit ours ({why:?}): it must offer TLS 1.3")
        }
        rustls::Error::FailedToGetCurrentTime => {
            "certificates cannot be checked, because this machine's clock shows no date that can be read: set the clock".to_owned()
        }
        other => format!("TLS failed: {other}"),
    };
    Some(text)
}

fn explain_certificate(problem: &CertificateError, host: &str) -> String {
    match problem {
        CertificateError::NotValidYetContext { time, not_before } => format!(
            "the broker's certificate is valid from {}, but this machine's clock says {}: set the clock (GPS, NTP, RTC), or \
             issue the certificate with an earlier start; it is not accepted unverified",
            date(*not_before),
            date(*time)
        ),
        CertificateError::NotValidYet => {
            "the broker's certificate is not valid yet by this machine's clock: set the clock".to_owned()
        }
        CertificateError::ExpiredContext { time, not_after } => format!(
            "the broker's certificate expired on {} (this machine's clock says {}): renew it, or set the clock if that is \
             wrong",
            date(*not_after),
            date(*time)
        ),
        CertificateError::Expired => {
            "the broker's certificate has expired by this machine's clock: renew it".to_owned()
        }
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            "the broker's certificate is not signed by the authority in `mqtt.ca_file`: install the right authority, or find \
             out who answers in the broker's place"
                .to_owned()
        }
        CertificateError::NotValidForNameContext { presented, .. } => format!(
            "the broker's certificate is not for `{host}` but for {}: set `mqtt.host` to one of these, or issue it with that \
             name",
            if presented.is_empty() { "no name at all".to_owned() } else { presented.join(", ") }
        ),
        CertificateError::NotValidForName => {
            format!("the broker's certificate is not for `{host}`: set `mqtt.host` to a name in it")
        }
        other => format!("the broker's certificate cannot be used: {other}"),
    }
}

fn explain_alert(alert: AlertDescription) -> String {
    match alert {
        AlertDescription::CertificateRequired => {
            "the broker requires a client certificate: set `mqtt.certificate_file` and `mqtt.key_file`".to_owned()
        }
        AlertDescription::UnknownCA
        | AlertDescription::BadCertificate
        | AlertDescription::CertificateUnknown
        | AlertDescription::CertificateExpired
        | AlertDescription::CertificateRevoked
        | AlertDescription::AccessDenied
        | AlertDescription::DecryptError => format!(
            "the broker rejects our client certificate ({alert:?}): check that `mqtt.certificate_file` is signed by the \
             authority the broker trusts and has not expired"
        ),
        AlertDescription::ProtocolVersion => {
            "the broker does not speak TLS 1.3, the only version used here: update its TLS library".to_owned()
        }
        other => format!("the broker broke off TLS ({other:?}): see the broker's log"),
    }
}

/// `YYYY-MM-DD HH:MM UTC`.
fn date(time: UnixTime) -> String {
    const DAY_S: u64 = 86_400;
    let seconds = time.as_secs();
    let (mut days, second) = (seconds / DAY_S, seconds % DAY_S);
    // Four centuries of the Gregorian calendar always have 146,097 days; the rest is counted year by year.
    let mut year = 1970 + 400 * (days / 146_097);
    days %= 146_097;
    while days >= year_days(year) {
        days -= year_days(year);
        year += 1;
    }
    let february = year_days(year) - 337;
    let mut month = 1;
    for month_days in [31, february, 31, 30, 31, 30, 31, 31, 30, 31, 30] {
        if days < month_days {
            break;
        }
        days -= month_days;
        month += 1;
    }
    format!("{year}-{month:02}-{:02} {:02}:{:02} UTC", days + 1, second / 3600, second / 60 % 60)
}

fn year_days(year: u64) -> u64 {
    let leap = year.is_multiple_of(4) && (!year.is_multiple_of(100) || year.is_multiple_of(400));
    if leap { 366 } else { 365 }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn unix(seconds: u64) -> UnixTime {
        UnixTime::since_unix_epoch(Duration::from_secs(seconds))
    }

    fn explained(cause: rustls::Error) -> String {
        explain(&io::Error::new(io::ErrorKind::InvalidData, cause), "broker.lan").unwrap()
    }

    #[test]
    fn dates_are_gregorian() {
        assert_eq!(date(unix(0)), "1970-01-01 00:00 UTC");
        assert_eq!(date(unix(951_782_400)), "2000-02-29 00:00 UTC");
        assert_eq!(date(unix(1_709_251_199)), "2024-02-29 23:59 UTC");
        assert_eq!(date(unix(1_798_761_599)), "2026-12-31 23:59 UTC");
        assert_eq!(date(unix(4_107_542_400)), "2100-03-01 00:00 UTC");
        assert_eq!(date(unix(13_569_465_600)), "2400-01-01 00:00 UTC");
    }

    #[test]
    fn a_clock_in_1970_is_named_as_the_cause() {
        let text =
            explained(rustls::Error::InvalidCertificate(CertificateError::NotValidYetContext {
                time: unix(42),
                not_before: unix(1_709_251_199),
            }));
        assert!(text.contains("clock says 1970-01-01"), "{text}");
        assert!(text.contains("set the clock"), "{text}");
    }

    #[test]
    fn errors_that_are_not_of_tls_are_left_to_others() {
        assert_eq!(explain(&io::Error::from(io::ErrorKind::ConnectionReset), "b"), None);
    }

    #[test]
    fn unusable_files_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let file = folder.path().join("ca.pem");
        let files =
            |ca: Option<&Path>| Files { ca: ca.map(Path::to_owned), certificate: None, key: None };

        assert!(matches!(client_config(&files(None)), Err(Error::NoAuthority)));
        assert!(matches!(client_config(&files(Some(&file))), Err(Error::Read { .. })));
        std::fs::write(&file, "not PEM").unwrap();
        let error = client_config(&files(Some(&file))).unwrap_err().to_string();
        assert!(error.contains("ca.pem") && error.contains("certificate"), "{error}");
        std::fs::write(&file, vec![b'x'; 300_000]).unwrap();
        assert!(matches!(client_config(&files(Some(&file))), Err(Error::Read { .. })));
    }
}
