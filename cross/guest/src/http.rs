//! Asks the agent over HTTP.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// Where the agent listens in this machine; nothing else runs in it.
pub const ADDRESS: &str = "127.0.0.1:9100";

/// Longest wait for one answer. Emulation on a busy machine is slow; a stuck agent is stuck for ever.
const ANSWER_WITHIN: Duration = Duration::from_secs(120);

/// An answer, taken apart.
pub struct Answer {
    /// Status code.
    pub status: u16,
    /// Header fields as they came.
    pub head: String,
    /// Content.
    pub body: String,
}

/// Asks for `path`.
pub fn get(path: &str) -> Result<Answer, String> {
    let failed = |e: std::io::Error| format!("asking for {path}: {e}");
    let address: SocketAddr = ADDRESS.parse().map_err(|e| format!("{ADDRESS}: {e}"))?;
    let mut stream = TcpStream::connect_timeout(&address, ANSWER_WITHIN).map_err(failed)?;
    stream.set_read_timeout(Some(ANSWER_WITHIN)).map_err(failed)?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: {ADDRESS}\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).map_err(failed)?;
    let mut text = String::new();
    stream.read_to_string(&mut text).map_err(failed)?;
    let (head, body) =
        text.split_once("\r\n\r\n").ok_or(format!("{path}: `{text}` is no answer"))?;
    let status = head.split(' ').nth(1).and_then(|word| word.parse().ok());
    let status = status.ok_or(format!("{path}: `{head}` has no status"))?;
    Ok(Answer { status, head: head.to_owned(), body: body.to_owned() })
}
