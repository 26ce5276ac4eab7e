//! A TLS listener for one kind of client: the proxy of a cluster's API servers, known by its certificate. Nobody else's request
//! is read, let alone answered: whoever shows no certificate, or that of somebody else, gets a fixed refusal and is gone; one that
//! the proxy's authority has not signed does not get through the handshake.
//!
//! What the proxy says about who asks (`X-Remote-User`) is not looked at: the API server has checked that this user may.

use std::io;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rustls::ServerConfig;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use crate::core::x509;

/// Sent to whoever is not the proxy.
const STRANGER: &[u8] = b"HTTP/1.1 401 Unauthorized\r\nconnection: close\r\ncontent-type: application/json\r\n\
    content-length: 160\r\n\r\n{\"kind\":\"Status\",\"apiVersion\":\"v1\",\"metadata\":{},\"status\":\"Failure\",\
    \"message\":\"only the API server's proxy is answered here\",\"reason\":\"Unauthorized\",\"code\":401}";

/// Most that is read, and thrown away, of what a stranger asks for: a connection that is closed with something unread in it is
/// reset, and the refusal lost.
const STRANGER_BYTES_MAX: usize = 4096;

/// Who may come in, which can change.
#[derive(Debug, Default)]
pub struct Door(Mutex<Option<Arc<Trust>>>);

/// How those are known who may come in.
#[derive(Debug)]
pub struct Trust {
    /// Our side of TLS, which verifies certificates of clients, and lets those in that have none.
    pub tls: Arc<ServerConfig>,
    /// Common names that the certificate of a client may have; any when there is none.
    pub names: Vec<String>,
}

impl Door {
    /// From now on these may come in. As long as nobody may, connections are closed at once.
    pub fn open(&self, trust: Trust) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(trust));
    }

    /// The stream of one who may come in.
    ///
    /// # Errors
    /// Why not, as a fixed word for a counter.
    pub(super) async fn enter(
        &self,
        stream: TcpStream,
        within: Duration,
    ) -> Result<TlsStream<TcpStream>, &'static str> {
        let trust = self.0.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let trust = trust.ok_or("no-authority")?;
        match timeout(within, trust.let_in(stream)).await {
            Ok(Ok(entered)) => entered.ok_or("no-certificate"),
            Ok(Err(error)) => {
                tracing::debug!(%error, "a TLS handshake failed");
                Err("tls")
            }
            Err(_) => Err("tls"),
        }
    }
}

impl Trust {
    /// `None` for one who is refused.
    async fn let_in(&self, stream: TcpStream) -> io::Result<Option<TlsStream<TcpStream>>> {
        let mut stream = TlsAcceptor::from(Arc::clone(&self.tls)).accept(stream).await?;
        let shown = stream.get_ref().1.peer_certificates().and_then(<[_]>::first);
        if shown.is_some_and(|certificate| self.knows(certificate)) {
            return Ok(Some(stream));
        }
        let _ = stream.read(&mut [0; STRANGER_BYTES_MAX]).await?;
        stream.write_all(STRANGER).await?;
        stream.shutdown().await?;
        Ok(None)
    }

    /// Whether a certificate, which has been verified, is the proxy's.
    fn knows(&self, certificate: &[u8]) -> bool {
        let name = x509::names(certificate).and_then(|names| x509::common_name(names.subject));
        self.names.is_empty()
            || name.is_some_and(|name| self.names.iter().any(|allowed| allowed == name))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_refusal_is_as_long_as_it_says() {
        let text = std::str::from_utf8(STRANGER).unwrap();
        let (head, body) = text.split_once("\r\n\r\n").unwrap();
        let length = head.rsplit_once("content-length: ").map(|(_, length)| length);
        assert_eq!(length, Some(body.len().to_string().as_str()));
        let status: serde_json::Value = serde_json::from_str(body).unwrap();
        assert_eq!((&status["kind"], &status["code"]), (&"Status".into(), &401.into()));
    }
}
