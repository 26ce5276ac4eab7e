//! Asks the running agent: one HTTP request over its control socket or its TCP port, blocking,
//! within a deadline and a size limit. Speaks just enough HTTP for that and only to agents.

use std::fmt;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, UnixAddr, connect, setsockopt, socket, sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike};

use super::exit::{Exit, Failure};

/// Deadline of connecting and answering together. The agent answers within milliseconds; a busy
/// vehicle computer and a radio link in between need longer.
pub const ANSWER_WITHIN: Duration = Duration::from_secs(10);

/// Bytes of an answer that are read. The view of a mesh of 1,000 nodes has about 2 MB.
const ANSWER_BYTES_MAX: usize = 16 << 20;

/// Where an agent may listen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Endpoint {
    /// Its control socket.
    Control(PathBuf),
    /// Its HTTP port, as `host:port`.
    Tcp(String),
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Endpoint::Control(path) => write!(f, "{}", path.display()),
            Endpoint::Tcp(address) => f.write_str(address),
        }
    }
}

/// An answer of the agent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// HTTP status code.
    pub code: u16,
    /// Header fields with names in lower case.
    pub fields: Vec<(String, String)>,
    /// Content.
    pub body: String,
}

/// Why there is no answer.
#[derive(Debug)]
pub enum AskError {
    /// Nobody listens there. Trying again helps once the agent runs.
    Absent,
    /// This user may not use the control socket.
    NotAllowed,
    /// It did not answer in time.
    Slow,
    /// What answered is no agent, or one of another kind.
    NotUnderstood(String),
    /// Anything else the system said.
    Io(io::Error),
}

impl From<io::Error> for AskError {
    fn from(error: io::Error) -> AskError {
        match error.kind() {
            ErrorKind::NotFound | ErrorKind::ConnectionRefused => AskError::Absent,
            ErrorKind::PermissionDenied => AskError::NotAllowed,
            ErrorKind::WouldBlock | ErrorKind::TimedOut => AskError::Slow,
            _ => AskError::Io(error),
        }
    }
}

impl AskError {
    /// The error of asking at `endpoint`, with its remedy.
    #[must_use]
    pub fn at(&self, endpoint: &Endpoint) -> Failure {
        let unreachable = |text: String| Failure::new(Exit::Unreachable, text);
        match self {
            AskError::Absent => unreachable(format!(
                "the agent is not running: nobody listens at {endpoint}; start it with `systemctl \
                 start outrider` or `outrider run`, or say where it listens with --connect or \
                 --config"
            )),
            AskError::NotAllowed => unreachable(format!(
                "this user may not ask the agent at {endpoint}; use sudo, or join the group of \
                 that socket"
            )),
            AskError::Slow => unreachable(format!(
                "the agent at {endpoint} did not answer within {} s; `systemctl status outrider` \
                 may say why",
                ANSWER_WITHIN.as_secs()
            )),
            AskError::NotUnderstood(what) => Failure::new(
                Exit::NotUnderstood,
                format!("what answered at {endpoint} is no outrider of this version: {what}"),
            ),
            AskError::Io(error) => {
                unreachable(format!("cannot ask the agent at {endpoint}: {error}"))
            }
        }
    }
}

/// Asks for `path` and waits for the whole answer.
///
/// # Errors
///
/// When no complete answer of an agent arrived in time.
pub fn get(endpoint: &Endpoint, path: &str, within: Duration) -> Result<Answer, AskError> {
    let head = |host: &str| {
        format!("GET {path} HTTP/1.0\r\nHost: {host}\r\nAccept: application/json\r\n\r\n")
    };
    send(endpoint, head, &[], within)
}

/// What [`post`] sends.
#[derive(Clone, Copy, Debug)]
pub struct Upload<'a> {
    /// Path and query.
    pub path: &'a str,
    /// What the body is, if that is to be said.
    pub content_type: Option<&'a str>,
    /// The body.
    pub body: &'a [u8],
}

/// Sends a body and waits for the whole answer.
///
/// # Errors
///
/// When no complete answer of an agent arrived in time. It may have acted all the same.
pub fn post(
    endpoint: &Endpoint,
    upload: &Upload<'_>,
    within: Duration,
) -> Result<Answer, AskError> {
    let content_type =
        upload.content_type.map_or_else(String::new, |text| format!("Content-Type: {text}\r\n"));
    let head = |host: &str| {
        format!(
            "POST {} HTTP/1.0\r\nHost: {host}\r\n{content_type}Content-Length: {}\r\n\r\n",
            upload.path,
            upload.body.len()
        )
    };
    send(endpoint, head, upload.body, within)
}

fn send(
    endpoint: &Endpoint,
    head: impl Fn(&str) -> String,
    body: &[u8],
    within: Duration,
) -> Result<Answer, AskError> {
    let deadline = Deadline(Instant::now() + within);
    match endpoint {
        Endpoint::Control(socket) => {
            let stream = connect_control(socket, deadline)?;
            let request = [head("localhost").as_bytes(), body].concat();
            exchange(stream, &request, deadline, UnixStream::set_read_timeout)
        }
        Endpoint::Tcp(address) => {
            let stream = connect_tcp(address, deadline)?;
            let request = [head(address).as_bytes(), body].concat();
            exchange(stream, &request, deadline, TcpStream::set_read_timeout)
        }
    }
}

/// The moment by which everything must be done.
#[derive(Clone, Copy)]
struct Deadline(Instant);

impl Deadline {
    fn left(self) -> io::Result<Duration> {
        match self.0.checked_duration_since(Instant::now()) {
            Some(left) if !left.is_zero() => Ok(left),
            Some(_) | None => Err(ErrorKind::TimedOut.into()),
        }
    }
}

/// Connects with a deadline, which the standard library cannot: a stuck agent with a full queue
/// would block for ever.
fn connect_control(path: &Path, deadline: Deadline) -> io::Result<UnixStream> {
    let fd = socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC, None)?;
    let left = deadline.left()?;
    // 0 would mean for ever; 71 minutes are more than any deadline here.
    let micros = u32::try_from(left.as_micros()).unwrap_or(u32::MAX).max(1);
    setsockopt(&fd, sockopt::SendTimeout, &TimeVal::microseconds(micros.into()))?;
    connect(fd.as_raw_fd(), &UnixAddr::new(path)?)?;
    Ok(UnixStream::from(fd))
}

fn connect_tcp(address: &str, deadline: Deadline) -> io::Result<TcpStream> {
    let unknown = || io::Error::new(ErrorKind::InvalidInput, format!("`{address}` has no address"));
    let addresses: Vec<SocketAddr> = address.to_socket_addrs()?.collect();
    let mut last = unknown();
    for address in addresses {
        match TcpStream::connect_timeout(&address, deadline.left()?) {
            Ok(stream) => {
                stream.set_write_timeout(Some(deadline.left()?))?;
                return Ok(stream);
            }
            Err(error) => last = error,
        }
    }
    Err(last)
}

/// Sends the request and reads to the end of the stream. HTTP/1.0, so that nobody answers in
/// chunks.
fn exchange<S: Read + Write>(
    mut stream: S,
    request: &[u8],
    deadline: Deadline,
    set_timeout: fn(&S, Option<Duration>) -> io::Result<()>,
) -> Result<Answer, AskError> {
    match stream.write_all(request) {
        // Who refuses a body need not read it, but answers.
        Err(error) if error.kind() != ErrorKind::BrokenPipe => return Err(error.into()),
        Ok(()) | Err(_) => {}
    }
    let mut bytes = Vec::new();
    let mut buffer = vec![0; 16 << 10];
    loop {
        set_timeout(&stream, Some(deadline.left()?))?;
        let count = match stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(count) => count,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            // A peer that closes right after its answer may reset the connection; what is missing
            // shows below.
            Err(error) if error.kind() == ErrorKind::ConnectionReset => break,
            Err(error) => return Err(error.into()),
        };
        bytes.extend_from_slice(&buffer[..count]);
        if bytes.len() > ANSWER_BYTES_MAX {
            let text = format!("its answer is larger than {ANSWER_BYTES_MAX} bytes");
            return Err(AskError::NotUnderstood(text));
        }
    }
    parse(&bytes)
}

/// Takes an answer apart.
fn parse(bytes: &[u8]) -> Result<Answer, AskError> {
    let wrong = |text: &str| AskError::NotUnderstood(text.to_owned());
    let end = bytes.windows(4).position(|four| four == b"\r\n\r\n");
    let end = end.ok_or_else(|| wrong("it does not speak HTTP"))?;
    let head = std::str::from_utf8(&bytes[..end]).map_err(|_| wrong("its header is no text"))?;
    let mut lines = head.split("\r\n");
    let code = lines
        .next()
        .and_then(|line| line.strip_prefix("HTTP/1."))
        .and_then(|rest| rest.split(' ').nth(1))
        .and_then(|code| code.parse().ok())
        .ok_or_else(|| wrong("it does not speak HTTP"))?;
    let fields: Vec<(String, String)> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    let body =
        std::str::from_utf8(&bytes[end + 4..]).map_err(|_| wrong("its answer is no text"))?;
    let length = fields.iter().find(|(name, _)| name == "content-length").map(|(_, value)| value);
    if length.is_some_and(|length| length.parse() != Ok(body.len())) {
        return Err(wrong("its answer was cut off"));
    }
    Ok(Answer { code, fields, body: body.to_owned() })
}

#[cfg(test)]
mod tests {
    use std::net::TcpListener;
    use std::os::unix::net::UnixListener;
    use std::thread;

    use super::*;

    /// Answers one connection with `bytes` and closes, or with `None` keeps silent until the client
    /// leaves.
    fn server(bytes: Option<&'static [u8]>) -> Endpoint {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            let mut request = [0; 1024];
            let length = stream.read(&mut request).unwrap();
            assert!(request[..length].starts_with(b"GET /v1/status HTTP/1.0\r\n"));
            match bytes {
                Some(bytes) => drop(stream.write_all(bytes)),
                None => drop(stream.read(&mut request)),
            }
        });
        Endpoint::Tcp(address)
    }

    fn ask(bytes: &'static [u8]) -> Result<Answer, AskError> {
        get(&server(Some(bytes)), "/v1/status", ANSWER_WITHIN)
    }

    #[test]
    fn an_answer_has_code_fields_and_body() {
        let answer = ask(b"HTTP/1.0 503 Busy\r\nContent-Length: 2\r\nX-A:  b \r\n\r\n{}").unwrap();
        assert_eq!((answer.code, answer.body.as_str()), (503, "{}"));
        assert!(answer.fields.contains(&("x-a".to_owned(), "b".to_owned())));
    }

    #[test]
    fn what_is_no_answer_of_an_agent_is_named() {
        for bytes in [
            &b""[..],
            b"SSH-2.0-OpenSSH_9.2\r\n",
            b"HTTP/1.1 abc\r\n\r\n",
            b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\n{}",
            b"HTTP/1.1 200 OK\r\n\r\n\xff\xfe",
        ] {
            assert!(matches!(ask(bytes), Err(AskError::NotUnderstood(_))), "{bytes:?}");
        }
    }

    #[test]
    fn silence_ends_at_the_deadline() {
        let result = get(&server(None), "/v1/status", Duration::from_millis(200));
        assert!(matches!(result, Err(AskError::Slow)), "{result:?}");
    }

    #[test]
    fn an_answer_without_end_is_cut_short() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap().to_string();
        thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").unwrap();
            while stream.write_all(&[b'x'; 1 << 16]).is_ok() {}
        });
        let result = get(&Endpoint::Tcp(address), "/v1/status", Duration::from_secs(60));
        assert!(matches!(result, Err(AskError::NotUnderstood(_))));
    }

    #[test]
    fn an_absent_agent_is_told_from_a_stuck_one() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("control.sock");
        let endpoint = Endpoint::Control(path.clone());
        let ask = || get(&endpoint, "/v1/status", Duration::from_millis(200));
        assert!(matches!(ask(), Err(AskError::Absent)));
        let listener = UnixListener::bind(&path).unwrap();
        // Nobody accepts: at first connections queue up, then not even that.
        for _ in 0..3 {
            let result = ask();
            assert!(matches!(result, Err(AskError::Slow)), "{result:?}");
        }
        drop(listener);
        assert!(matches!(ask(), Err(AskError::Absent)), "a socket left over from a killed agent");
    }
}
