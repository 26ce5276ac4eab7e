//! Reads what an agent says of itself: `/readyz` and `/v1/status`, the parts the demo shows.

use std::net::SocketAddr;
use std::time::Duration;

use serde::Deserialize;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

/// An agent on a busy machine may take a while; the demo goes on without it.
const TIMEOUT: Duration = Duration::from_secs(2);
/// More than the status of thirty vehicles takes.
const ANSWER_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// The parts of the status document that are shown.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct Status {
    /// Vehicles by name.
    pub vehicles: Vec<Vehicle>,
    /// The broker.
    pub mqtt: Mqtt,
    /// The routing daemon.
    pub mesh: Mesh,
}

/// One vehicle in the status document.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct Vehicle {
    /// Name.
    pub name: String,
    /// Network cost: 0 own, -1 unreachable, nothing when unknown.
    pub cost: Option<i64>,
    /// The value is held from before the daemon fell silent.
    #[serde(default)]
    pub stale: bool,
}

/// The broker in the status document.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct Mqtt {
    /// Connected.
    pub connected: bool,
}

/// The routing daemon in the status document.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
pub struct Mesh {
    /// The latest view is old.
    #[serde(default)]
    pub stale: bool,
}

/// What one look at an agent gave.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Look {
    /// `/readyz` says yes.
    pub ready: bool,
    /// The status document, when there was one.
    pub status: Option<Status>,
}

impl Look {
    /// The cost of reaching `name`.
    pub fn cost(&self, name: &str) -> Option<i64> {
        self.vehicle(name)?.cost
    }

    /// What is said about `name`.
    pub fn vehicle(&self, name: &str) -> Option<&Vehicle> {
        self.status.as_ref()?.vehicles.iter().find(|vehicle| vehicle.name == name)
    }
}

/// Looks at the agent whose page is at `page`.
pub async fn look(page: SocketAddr) -> Look {
    let ready = get(page, "/readyz").await.is_some_and(|(code, _)| code == 200);
    let status = get(page, "/v1/status")
        .await
        .filter(|(code, _)| *code == 200)
        .and_then(|(_, body)| serde_json::from_slice(&body).ok());
    Look { ready, status }
}

/// One GET: status code and body.
async fn get(address: SocketAddr, path: &str) -> Option<(u16, Vec<u8>)> {
    let exchange = async {
        let mut stream = TcpStream::connect(address).await?;
        let request =
            format!("GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await?;
        let mut answer = Vec::new();
        stream.take(ANSWER_BYTES_MAX).read_to_end(&mut answer).await?;
        std::io::Result::Ok(answer)
    };
    let answer = tokio::time::timeout(TIMEOUT, exchange).await.ok()?.ok()?;
    split(&answer)
}

fn split(answer: &[u8]) -> Option<(u16, Vec<u8>)> {
    let end = answer.windows(4).position(|bytes| bytes == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&answer[..end]).ok()?;
    let code = head.split(' ').nth(1)?.parse().ok()?;
    // An answer with Content-Length; the agent uses no other form for these two.
    Some((code, answer[end + 4..].to_vec()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_split_and_halves_of_answers_are_none() {
        let answer = b"HTTP/1.1 503 Service Unavailable\r\ncontent-length: 2\r\n\r\nno";
        assert_eq!(split(answer), Some((503, b"no".to_vec())));
        assert_eq!(split(b"HTTP/1.1 200 OK\r\n"), None);
        assert_eq!(split(b""), None);
    }

    #[test]
    fn unknown_fields_do_not_matter_and_missing_costs_are_none() {
        let text = r#"{"schema":1,"vehicles":[{"name":"a","cost":0,"reach":"own"},{"name":"b","cost":null}],
            "mqtt":{"connected":true,"broker":"x"},"mesh":{"stale":false},"extra":[]}"#;
        let look = Look { ready: true, status: serde_json::from_str(text).ok() };
        assert_eq!((look.cost("a"), look.cost("b"), look.cost("c")), (Some(0), None, None));
    }
}
