//! Requests to the control socket, byte by byte.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::Path;

use serde_json::Value;

use crate::program::PATIENCE;

/// What came back.
#[derive(Debug)]
pub struct Reply {
    pub code: u16,
    pub head: String,
    pub document: Value,
}

impl Reply {
    pub fn number(&self, name: &str) -> u64 {
        self.document[name].as_u64().unwrap_or_else(|| panic!("no {name} in {self:?}"))
    }

    pub fn reason(&self) -> &str {
        self.document["reason"].as_str().unwrap_or_else(|| panic!("no reason in {self:?}"))
    }
}

/// Posts `body`; `None` when the other side went away without an answer.
pub fn try_post(socket: &Path, path: &str, content_type: &str, body: &[u8]) -> Option<Reply> {
    let mut stream = UnixStream::connect(socket).ok()?;
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let content_type = match content_type {
        "" => String::new(),
        text => format!("content-type: {text}\r\n"),
    };
    let head = format!(
        "POST {path} HTTP/1.0\r\nhost: localhost\r\n{content_type}content-length: {}\r\n\r\n",
        body.len()
    );
    // Who refuses a body may close before all of it was sent, and answers all the same.
    let _ = stream.write_all(&[head.as_bytes(), body].concat());
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer);
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n")?;
    Some(Reply {
        code: head.get(9..12)?.parse().unwrap(),
        head: head.to_owned(),
        document: serde_json::from_str(body).unwrap_or_else(|e| panic!("{answer}: {e}")),
    })
}

pub fn post(socket: &Path, path: &str, content_type: &str, body: &[u8]) -> Reply {
    try_post(socket, path, content_type, body).expect("an answer")
}
