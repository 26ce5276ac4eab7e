//! One exchange with a daemon: connect, one write, read to the end, all before one deadline and
//! below one size. Decides nothing about content and never writes twice.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};

use super::answer;
use crate::failure::{Failure, FailureClass};
use crate::http;
use crate::view::Protocol;

/// How many bytes are asked of the kernel at once; the daemons' send buffers hold a few of these.
const READ_BYTES: usize = 16 * 1024;

/// Capacity of the read buffer that is kept between samples. What the answer about a larger mesh takes
/// is needed for milliseconds of each second, and would be a twentieth of the whole agent's memory
/// for the rest.
const BUFFER_BYTES_KEPT: usize = READ_BYTES;

/// Whom to ask, and the bounds of the exchange.
#[derive(Clone, Copy, Debug)]
pub(super) struct Target {
    pub(super) protocol: Protocol,
    pub(super) address: SocketAddr,
    pub(super) deadline: Instant,
    pub(super) answer_bytes_max: usize,
}

impl Target {
    /// A failure of this target, its text beginning with the operation and the object.
    pub(super) fn failure(&self, class: FailureClass, why: &str) -> Failure {
        let text = format!("reading {} at {}: {why}", name(self.protocol), self.address);
        Failure { class, text }
    }

    /// The failure for what the operating system said about a connection.
    pub(super) fn io(&self, error: &io::Error) -> Failure {
        match error.kind() {
            ErrorKind::ConnectionRefused => self.failure(
                FailureClass::Refused,
                "nobody listens; start the daemon or load its plugin, or name another address",
            ),
            ErrorKind::ConnectionReset if self.protocol == Protocol::Olsrd2Telnet => self.failure(
                FailureClass::Busy,
                "it reset the connection, as it does when all its telnet sessions are taken",
            ),
            _ => self.failure(FailureClass::Io, &error.to_string()),
        }
    }
}

/// The interface's name as on the command line.
pub(super) fn name(protocol: Protocol) -> &'static str {
    match protocol {
        Protocol::Jsoninfo => "jsoninfo",
        Protocol::Txtinfo => "txtinfo",
        Protocol::Olsrd2Http => "olsrd2-http",
        Protocol::Olsrd2Telnet => "olsrd2-telnet",
    }
}

/// Sends `request` and reads the answer into `buffer`; returns its body.
///
/// Dropping the future closes the connection. Since the request is written in one piece right after
/// connecting, this never leaves part of a line behind.
///
/// # Errors
/// Any [`FailureClass`]; the text names operation, object and remedy.
pub(super) async fn exchange<'b>(
    target: &Target,
    request: &[u8],
    buffer: &'b mut Vec<u8>,
) -> Result<&'b [u8], Failure> {
    buffer.clear();
    let ended_by_reset = match timeout_at(target.deadline, read(target, request, buffer)).await {
        Ok(end) => end?,
        Err(_) => {
            let why = format!(
                "no complete answer in time ({} bytes came); it hangs, is overloaded or is another program",
                buffer.len()
            );
            return Err(target.failure(FailureClass::Timeout, &why));
        }
    };
    answer::judge(target.protocol, buffer, ended_by_reset)
        .map_err(|(class, why)| target.failure(class, &why))
}

/// Gives back what a large answer took. Not by dropping it: glibc takes the size of what it freed last
/// for one that it had better keep.
pub(super) fn release(buffer: &mut Vec<u8>) {
    buffer.clear();
    buffer.shrink_to(BUFFER_BYTES_KEPT);
}

/// Reads until the announced length, the end or a reset (`true`).
async fn read(target: &Target, request: &[u8], buffer: &mut Vec<u8>) -> Result<bool, Failure> {
    let mut stream = connect(target).await?;
    // A fresh connection's send buffer takes any request whole; a second write would break the rule
    // of one segment.
    let written = stream.write(request).await.map_err(|error| target.io(&error))?;
    if written != request.len() {
        return Err(target.failure(FailureClass::Io, "the system took only part of the request"));
    }
    let mut wanted: Option<usize> = None;
    loop {
        if buffer.capacity() == buffer.len() {
            // Doubles, but never takes memory for more than will be read.
            let room = wanted.unwrap_or(target.answer_bytes_max + 1) - buffer.len();
            buffer.reserve_exact(room.min(buffer.len().max(READ_BYTES)));
        }
        match stream.read_buf(buffer).await {
            Ok(0) => return Ok(false),
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::ConnectionReset => return Ok(true),
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) => return Err(target.io(&error)),
        }
        if wanted.is_none() {
            wanted = announced(target, buffer)?;
        }
        if wanted.is_some_and(|wanted| buffer.len() >= wanted) {
            return Ok(false);
        }
        if buffer.len() > target.answer_bytes_max {
            return Err(too_large(target));
        }
    }
}

async fn connect(target: &Target) -> Result<TcpStream, Failure> {
    let stream = TcpStream::connect(target.address).await.map_err(|error| target.io(&error))?;
    stream.set_nodelay(true).map_err(|error| target.io(&error))?;
    Ok(stream)
}

/// Length of the whole answer once its headers tell it; reserves the room for it.
fn announced(target: &Target, buffer: &mut Vec<u8>) -> Result<Option<usize>, Failure> {
    let answer = http::split(buffer);
    if answer.status.is_none()
        && buffer.starts_with(b"HTTP/")
        && buffer.len() > answer::HEAD_BYTES_MAX
    {
        let why = format!("its headers are longer than {} bytes", answer::HEAD_BYTES_MAX);
        return Err(target.failure(FailureClass::NotUnderstood, &why));
    }
    let Some(length) = answer.length else { return Ok(None) };
    if answer.complete {
        return Ok(Some(buffer.len()));
    }
    let head = buffer.len() - answer.body.len();
    match head.checked_add(length).filter(|whole| *whole <= target.answer_bytes_max) {
        Some(whole) => {
            buffer.reserve_exact(whole - buffer.len());
            Ok(Some(whole))
        }
        None => Err(too_large(target)),
    }
}

fn too_large(target: &Target) -> Failure {
    let why = format!(
        "its answer is larger than {} bytes; raise the limit if the mesh is really that large",
        target.answer_bytes_max
    );
    target.failure(FailureClass::TooLarge, &why)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_large_answer_took_is_given_back() {
        for capacity in [READ_BYTES, 400_000] {
            let mut buffer = Vec::with_capacity(capacity);
            release(&mut buffer);
            assert_eq!(buffer.capacity(), BUFFER_BYTES_KEPT);
        }
    }
}
