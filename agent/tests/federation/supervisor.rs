//! A double of k3s's supervisor, as far as a pre-flight sees it: TLS on a port of loopback, `/cacerts`, `/ping` and
//! `/v1-k3s/readyz` with the documented answers, or what a test puts in their place. The real program is not to be had on a test
//! machine; TLS and certificates are real.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::{Duration, SystemTime};

use rcgen::{
    BasicConstraints, Certificate, CertificateParams, CertifiedIssuer, DnType, IsCa, KeyPair,
};
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

/// The right token's secret.
pub const PASSWORD: &str = "hush";

/// Longest that a connection lasts.
const CONNECTION_MAX: Duration = Duration::from_secs(30);

/// An authority.
pub type Authority = CertifiedIssuer<'static, KeyPair>;

fn authority_parameters(name: &str) -> CertificateParams {
    let mut parameters = CertificateParams::new(Vec::new()).unwrap();
    parameters.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    parameters.distinguished_name.push(DnType::CommonName, name);
    parameters
}

/// An authority that signs itself, as k3s makes one.
pub fn authority(name: &str) -> Authority {
    CertifiedIssuer::self_signed(authority_parameters(name), KeyPair::generate().unwrap()).unwrap()
}

/// An authority below another one.
pub fn below(name: &str, above: &Authority) -> Authority {
    let key = KeyPair::generate().unwrap();
    CertifiedIssuer::signed_by(authority_parameters(name), key, above).unwrap()
}

/// A certificate for these names.
pub fn certificate(
    names: &[&str],
    by: &Authority,
    change: impl Fn(&mut CertificateParams),
) -> (Certificate, KeyPair) {
    let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
    let key = KeyPair::generate().unwrap();
    let mut parameters = CertificateParams::new(names).unwrap();
    change(&mut parameters);
    (parameters.signed_by(&key, by).unwrap(), key)
}

/// TLS of a server with this certificate.
pub fn server_tls((certificate, key): (Certificate, KeyPair)) -> Arc<ServerConfig> {
    let chain: Vec<CertificateDer<'static>> = vec![certificate.der().clone()];
    let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let tls = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(chain, key)
        .unwrap();
    Arc::new(tls)
}

/// How the supervisor behaves.
#[derive(Clone)]
pub struct Manner {
    /// What `/cacerts` gives.
    pub bundle: Vec<u8>,
    /// Status of `/v1-k3s/readyz` for the right token.
    pub readyz: u16,
    /// It is of before that path: its API answers there.
    pub old: bool,
    /// What its clock is ahead, in seconds.
    pub ahead_s: i64,
    /// Connections, counted from the first, that get no answer.
    pub silent: Vec<usize>,
    /// Everything is answered with this, in plain text.
    pub plain: Option<Vec<u8>>,
}

/// What somebody asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Asked {
    pub path: String,
    pub authorization: Option<String>,
}

/// A supervisor that answers until it is dropped.
pub struct Supervisor {
    pub address: SocketAddr,
    asked: Arc<Mutex<Vec<Asked>>>,
    ended: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Supervisor {
    pub fn start(identity: (Certificate, KeyPair), manner: Manner) -> Supervisor {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let tls = server_tls(identity);
        let (asked, ended) = (Arc::default(), Arc::new(AtomicBool::new(false)));
        let thread = {
            let (asked, ended) = (Arc::clone(&asked), Arc::clone(&ended));
            thread::spawn(move || {
                let mut held = Vec::new();
                for (number, stream) in listener.incoming().enumerate() {
                    if ended.load(Ordering::Relaxed) {
                        return;
                    }
                    let stream = stream.unwrap();
                    if manner.silent.contains(&number) {
                        held.push(stream);
                        continue;
                    }
                    // What a client breaks off is its business.
                    let _ = answer(stream, &tls, &manner, &asked);
                }
            })
        };
        Supervisor { address, asked, ended, thread: Some(thread) }
    }

    /// Everything that was asked so far.
    pub fn asked(&self) -> Vec<Asked> {
        self.asked.lock().unwrap().clone()
    }
}

impl Drop for Supervisor {
    fn drop(&mut self) {
        self.ended.store(true, Ordering::Relaxed);
        // Wakes the listener.
        let _ = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn answer(
    mut stream: TcpStream,
    tls: &Arc<ServerConfig>,
    manner: &Manner,
    asked: &Mutex<Vec<Asked>>,
) -> std::io::Result<()> {
    stream.set_read_timeout(Some(CONNECTION_MAX))?;
    if let Some(plain) = &manner.plain {
        let _ = stream.read(&mut [0; 512])?;
        return stream.write_all(plain);
    }
    let connection = ServerConnection::new(Arc::clone(tls)).unwrap();
    let mut reader = BufReader::new(StreamOwned::new(connection, stream));
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 || line == "\r\n" {
            break;
        }
        lines.push(line.trim_end().to_owned());
    }
    let path = lines.first().and_then(|line| line.split(' ').nth(1)).unwrap_or_default().to_owned();
    let authorization = lines.iter().find_map(|line| {
        let (name, value) = line.split_once(": ")?;
        name.eq_ignore_ascii_case("authorization").then(|| value.to_owned())
    });
    let right = format!("Basic {}", base64(&format!("node:{PASSWORD}")));
    let (status, body): (u16, &[u8]) = match path.as_str() {
        "/cacerts" => (200, &manner.bundle),
        "/ping" => (200, b"pong"),
        "/v1-k3s/readyz" if manner.old => (401, b"{}"),
        "/v1-k3s/config" if manner.old && authorization.as_ref() == Some(&right) => (200, b"{}"),
        "/v1-k3s/config" if manner.old => (401, b""),
        "/v1-k3s/readyz" if authorization.as_ref() == Some(&right) => (manner.readyz, b"ok"),
        "/v1-k3s/readyz" => (401, b"Unauthorized"),
        _ => (404, b"not found"),
    };
    let is_of_api = manner.old && path == "/v1-k3s/readyz";
    let caching = if is_of_api { "cache-control: no-cache, private\r\n" } else { "" };
    asked.lock().unwrap().push(Asked { path, authorization });
    let ahead = Duration::from_secs(manner.ahead_s.unsigned_abs());
    let now = SystemTime::now();
    let date = if manner.ahead_s < 0 { now - ahead } else { now + ahead };
    let head = format!(
        "HTTP/1.1 {status} x\r\n{caching}date: {}\r\ncontent-length: {}\r\n\r\n",
        httpdate::fmt_http_date(date),
        body.len()
    );
    let stream = reader.get_mut();
    stream.write_all(head.as_bytes())?;
    stream.write_all(body)?;
    stream.flush()
}

fn base64(text: &str) -> String {
    use base64::Engine as _;
    base64::engine::general_purpose::STANDARD.encode(text)
}
