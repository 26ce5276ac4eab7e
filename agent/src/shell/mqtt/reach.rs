//! From a broker's name to a stream of bytes: resolve, connect, TLS. Every failure becomes a text with a remedy.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::Settings;
use crate::shell::tls;

/// Addresses of one name that are tried in one attempt.
const ADDRESSES_MAX: usize = 4;

/// The kernel's buffer for what is to be sent: bandwidth times delay of the worst link the project knows (650 kbit/s, 3 s).
/// Bounding it also makes a stalled broker visible early.
const SEND_BUFFER_BYTES: u32 = 256 * 1024;

/// Plain text that TLS may hold back while the socket is full.
const TLS_BUFFER_BYTES: usize = 16 * 1024;

/// Both directions of a connection, plain or TLS.
pub trait Stream: AsyncRead + AsyncWrite + Send + Unpin {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin> Stream for T {}

/// Connects to the broker.
pub async fn reach(settings: &Settings) -> Result<Box<dyn Stream>, String> {
    let host = bare(&settings.host);
    // Read first: a broken file is worth knowing even while the broker is away.
    let tls = settings
        .tls
        .as_ref()
        .map(|files| tls::client_config(files).map_err(|e| e.to_string()))
        .transpose()?;
    let tcp = connect(settings, &resolve(host, settings.port).await?).await?;
    let Some(tls) = tls else { return Ok(Box::new(tcp)) };

    let name = ServerName::try_from(host.to_owned())
        .map_err(|_| format!("`mqtt.host` is `{host}`, which no certificate can be for"))?;
    let answer = settings.timing.answer;
    let mut stream = match timeout(answer, TlsConnector::from(tls).connect(name, tcp)).await {
        Ok(Ok(stream)) => stream,
        Ok(Err(error)) => return Err(broken_handshake(&error, settings)),
        Err(_) => {
            return Err(format!(
                "{} accepted the connection but did not answer TLS within {}: it may hang or be overloaded, or not speak \
                 TLS on this port",
                settings.broker(),
                seconds(answer)
            ));
        }
    };
    stream.get_mut().1.set_buffer_limit(Some(TLS_BUFFER_BYTES));
    Ok(Box::new(stream))
}

/// For texts.
pub fn seconds(duration: Duration) -> String {
    format!("{} s", duration.as_secs_f32())
}

/// Without the brackets of an IPv6 address and the dot of an absolute name.
fn bare(host: &str) -> &str {
    host.strip_prefix('[')
        .and_then(|inner| inner.strip_suffix(']'))
        .unwrap_or(host)
        .trim_end_matches('.')
}

/// A name is resolved on a thread of its own by the system's resolver, whose own time limits apply; an address needs none.
async fn resolve(host: &str, port: u16) -> Result<Vec<SocketAddr>, String> {
    if let Ok(address) = host.parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(address, port)]);
    }
    let found = tokio::net::lookup_host((host, port)).await.map_err(|error| {
        format!(
            "cannot resolve `{host}`: {error}; check `mqtt.host` and the resolver, or give an address"
        )
    })?;
    let addresses: Vec<SocketAddr> = found.take(ADDRESSES_MAX).collect();
    if addresses.is_empty() {
        return Err(format!("`{host}` has no address; check `mqtt.host`"));
    }
    Ok(addresses)
}

/// Connects to the first address that lets us.
async fn connect(settings: &Settings, addresses: &[SocketAddr]) -> Result<TcpStream, String> {
    let limit = settings.timing.connect;
    let mut failures = Vec::new();
    for address in addresses {
        match timeout(limit, connect_one(*address)).await {
            Ok(Ok(stream)) => return Ok(stream),
            Ok(Err(error)) => failures.push(format!("{address}: {}", unreachable(&error))),
            Err(_) => failures.push(format!(
                "{address}: no answer within {}; the broker's host is out of reach or a firewall drops the packets",
                seconds(limit)
            )),
        }
    }
    Err(format!("cannot connect to {}", failures.join("; ")))
}

async fn connect_one(address: SocketAddr) -> io::Result<TcpStream> {
    let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
    socket.set_send_buffer_size(SEND_BUFFER_BYTES)?;
    let stream = socket.connect(address).await?;
    // Packets are whole when they are written; waiting to join them only adds round trips.
    stream.set_nodelay(true)?;
    Ok(stream)
}

fn unreachable(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => {
            format!("{error}; no broker listens there: check `mqtt.port` and that it runs")
        }
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => {
            format!("{error}; there is no route to it at the moment")
        }
        _ => error.to_string(),
    }
}

fn broken_handshake(error: &io::Error, settings: &Settings) -> String {
    let broker = settings.broker();
    if let Some(text) = tls::explain(error, bare(&settings.host)) {
        return format!("{broker}: {text}");
    }
    format!(
        "{broker} closed the connection during the TLS handshake ({error}): check that it speaks TLS on this port, and its \
         log"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hosts_lose_brackets_and_dots() {
        assert_eq!(bare("[fd00::1]"), "fd00::1");
        assert_eq!(bare("broker.lan."), "broker.lan");
        assert_eq!(bare("10.0.0.1"), "10.0.0.1");
    }
}
