//! olsrd2: a telnet port that speaks the one-shot and the interactive form to three sessions, and an HTTP port.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::Semaphore;

use super::{Clocked, Hazards, Port, count, wall_s};
use crate::olsrd2::{self, Facts};

/// The telnet port's sessions at a time (`allowed_sessions`).
const SESSIONS_MAX: usize = 3;
/// The HTTP port's.
const HTTP_SESSIONS_MAX: usize = 10;
/// A session that says nothing is ended after this.
const SESSION_TIMEOUT: Duration = Duration::from_secs(120);
/// A line or request head longer than this ends the session; the daemon's own buffer is larger, no command is.
const LINE_BYTES_MAX: usize = 4096;
/// Pause between two looks at a port that is idle, to notice that the daemon was stopped.
const IDLE: Duration = Duration::from_millis(100);

/// One of olsrd2's two ways in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Port 2009 in the field.
    Telnet,
    /// Port 1980 in the field.
    Http,
}

/// Plays one port of the olsrd2 of one node.
#[derive(Debug)]
pub struct Olsrd2 {
    port: Port,
    access: Access,
    hazards: Hazards,
    sessions: Arc<Semaphore>,
}

impl Olsrd2 {
    /// Listens on `address`.
    ///
    /// # Errors
    /// When the address cannot be listened on.
    pub fn bind(
        clocked: Clocked,
        node: usize,
        access: Access,
        address: SocketAddr,
        hazards: Hazards,
    ) -> io::Result<Olsrd2> {
        let sessions = match access {
            Access::Telnet => SESSIONS_MAX,
            Access::Http => HTTP_SESSIONS_MAX,
        };
        let sessions = Arc::new(Semaphore::new(sessions));
        Ok(Olsrd2 { port: Port::bind(clocked, node, address)?, access, hazards, sessions })
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.port.address
    }

    /// Serves for ever.
    pub async fn run(mut self) {
        loop {
            let Some(listener) = self.port.open().await else { continue };
            let Ok(Ok((mut stream, _))) = tokio::time::timeout(IDLE, listener.accept()).await
            else {
                continue;
            };
            let Ok(permit) = Arc::clone(&self.sessions).try_acquire_owned() else {
                count(&self.hazards.0.refused_sessions);
                // Whether the refusal is read is up to the client.
                let _ = stream.write_all(b"Telnet service unavailable, too many sessions\n").await;
                continue;
            };
            let session = Session {
                clocked: self.port.clocked.clone(),
                node: self.port.node,
                hazards: self.hazards.clone(),
            };
            let access = self.access;
            tokio::spawn(async move {
                // A client that goes away early is no concern of the daemon.
                let _ = match access {
                    Access::Telnet => session.telnet(stream).await,
                    Access::Http => session.http(stream).await,
                };
                drop(permit);
            });
        }
    }
}

struct Session {
    clocked: Clocked,
    node: usize,
    hazards: Hazards,
}

impl Session {
    /// Makes an answer from what the daemon knows now; nothing when it has stopped.
    fn with_facts<T>(&self, answer: impl FnOnce(&Facts<'_>) -> T) -> Option<T> {
        let view = self.clocked.now().view(self.node)?;
        Some(answer(&Facts { view: &view, wall_s: wall_s() }))
    }

    async fn telnet(&self, mut stream: TcpStream) -> io::Result<()> {
        let mut buffer: Vec<u8> = Vec::new();
        loop {
            let Some(end) = buffer.iter().position(|byte| *byte == b'\n') else {
                if !read_more(&mut stream, &mut buffer).await? {
                    let counter = match buffer.is_empty() {
                        true => &self.hazards.0.leaked_sessions,
                        false => &self.hazards.0.unfinished_lines,
                    };
                    count(counter);
                    return Ok(());
                }
                continue;
            };
            let line = String::from_utf8_lossy(&buffer[..end]).trim_end().to_owned();
            buffer.drain(..=end);
            if line.starts_with('/') {
                let answer = self.with_facts(|facts| olsrd2::one_shot(&line, facts));
                stream.write_all(answer.unwrap_or_default().as_bytes()).await?;
                return stream.shutdown().await;
            }
            if matches!(line.as_str(), "quit" | "exit") {
                return stream.shutdown().await;
            }
            let Some(answer) = self.with_facts(|facts| olsrd2::command(&line, facts)) else {
                return Ok(());
            };
            stream.write_all(format!("{answer}\n> ").as_bytes()).await?;
        }
    }

    async fn http(&self, mut stream: TcpStream) -> io::Result<()> {
        let mut buffer: Vec<u8> = Vec::new();
        while !buffer.windows(4).any(|bytes| bytes == b"\r\n\r\n") {
            if !read_more(&mut stream, &mut buffer).await? {
                return Ok(());
            }
        }
        let head = String::from_utf8_lossy(&buffer).into_owned();
        let answer = self.with_facts(|facts| olsrd2::http(&head, facts));
        stream.write_all(&answer.unwrap_or_default()).await?;
        stream.shutdown().await
    }
}

/// Reads what is there; `false` when the client has closed, says nothing for too long or says too much.
async fn read_more(stream: &mut TcpStream, buffer: &mut Vec<u8>) -> io::Result<bool> {
    if buffer.len() >= LINE_BYTES_MAX {
        return Ok(false);
    }
    let read = tokio::time::timeout(SESSION_TIMEOUT, stream.read_buf(buffer)).await;
    Ok(matches!(read, Ok(Ok(length)) if length > 0))
}
