//! A server that answers as a test wants it to, over real TLS and with connections that are kept: for what a real Kubernetes does
//! seldom, such as refusing for a while, answering nothing, or ending a connection.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use rcgen::{Certificate, KeyPair};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::supervisor::server_tls;

/// Longest that a connection waits for its next request.
const IDLE_MAX: Duration = Duration::from_secs(30);

/// A request.
#[derive(Clone, Debug)]
pub struct Asked {
    /// Connections before this one.
    pub connection: usize,
    /// Method and target.
    pub line: String,
    /// All header lines, in small letters up to the colon.
    pub head: Vec<String>,
    pub body: String,
}

impl Asked {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.iter().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
    }
}

/// An answer.
#[derive(Clone, Debug)]
pub enum Answer {
    /// Status, further header lines that each end the line, and body.
    Say(u16, &'static str, String),
    /// The same, and the connection ends without a word.
    Last(u16, String),
    /// Nothing, as long as the asker waits.
    Silence,
}

/// Answers everything but `/cacerts`; the number is that of requests before this one.
pub type Script = Box<dyn Fn(&Asked, usize) -> Answer + Send + Sync>;

struct Inner {
    tls: Arc<ServerConfig>,
    bundle: String,
    script: Script,
    asked: Mutex<Vec<Asked>>,
    ended: AtomicBool,
}

/// A server that answers until it is dropped.
pub struct Api {
    pub address: SocketAddr,
    inner: Arc<Inner>,
    thread: Option<JoinHandle<()>>,
}

impl Api {
    pub fn start(identity: (Certificate, KeyPair), bundle: &[u8], script: Script) -> Api {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let inner = Arc::new(Inner {
            tls: server_tls(identity),
            bundle: String::from_utf8(bundle.to_vec()).unwrap(),
            script,
            asked: Mutex::default(),
            ended: AtomicBool::new(false),
        });
        let thread = {
            let inner = Arc::clone(&inner);
            thread::spawn(move || {
                for (number, stream) in listener.incoming().enumerate() {
                    if inner.ended.load(Ordering::Relaxed) {
                        return;
                    }
                    let (inner, stream) = (Arc::clone(&inner), stream.unwrap());
                    // It ends with its connection; what a client breaks off is its business.
                    thread::spawn(move || drop(inner.serve(stream, number)));
                }
            })
        };
        Api { address, inner, thread: Some(thread) }
    }

    /// Everything that was asked so far but `/cacerts`.
    pub fn asked(&self) -> Vec<Asked> {
        self.inner.asked.lock().unwrap().clone()
    }
}

impl Drop for Api {
    fn drop(&mut self) {
        self.inner.ended.store(true, Ordering::Relaxed);
        // Wakes the listener.
        let _ = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Inner {
    fn serve(&self, stream: TcpStream, connection: usize) -> std::io::Result<()> {
        stream.set_read_timeout(Some(IDLE_MAX))?;
        let tls = ServerConnection::new(Arc::clone(&self.tls)).unwrap();
        let mut reader = BufReader::new(StreamOwned::new(tls, stream));
        while let Some(asked) = read(&mut reader, connection)? {
            let answer = if asked.line == "GET /cacerts" {
                Answer::Say(200, "", self.bundle.clone())
            } else {
                let mut all = self.asked.lock().unwrap();
                all.push(asked.clone());
                let before = all.len() - 1;
                drop(all);
                (self.script)(&asked, before)
            };
            let (status, head, body, last) = match answer {
                Answer::Say(status, head, body) => (status, head, body, false),
                Answer::Last(status, body) => (status, "", body, true),
                Answer::Silence => {
                    // Until the asker has gone.
                    let _ = reader.read(&mut [0]);
                    return Ok(());
                }
            };
            let stream = reader.get_mut();
            write!(
                stream,
                "HTTP/1.1 {status} x\r\n{head}content-length: {}\r\n\r\n{body}",
                body.len()
            )?;
            stream.flush()?;
            if last {
                return Ok(());
            }
        }
        Ok(())
    }
}

/// The next request; `None` when there is none.
fn read(
    reader: &mut BufReader<StreamOwned<ServerConnection, TcpStream>>,
    connection: usize,
) -> std::io::Result<Option<Asked>> {
    let mut lines = Vec::new();
    loop {
        let mut line = String::new();
        if reader.read_line(&mut line)? == 0 {
            return Ok(None);
        }
        if line == "\r\n" {
            break;
        }
        lines.push(line.trim_end().to_owned());
    }
    let line = lines.remove(0).trim_end_matches(" HTTP/1.1").to_owned();
    let mut asked = Asked { connection, line, head: lines, body: String::new() };
    let length = asked.header("content-length").map_or(0, |length| length.parse().unwrap());
    let mut body = vec![0; length];
    reader.read_exact(&mut body)?;
    asked.body = String::from_utf8(body).unwrap();
    Ok(Some(asked))
}
