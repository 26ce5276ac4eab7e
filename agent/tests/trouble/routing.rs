//! A routing daemon that can be switched from one manner to another while it is read.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use crate::program::AT_ONCE;
use crate::stand_in::{Daemon, http};

/// What it does with a connection after it has read the request.
#[derive(Clone)]
pub enum Manner {
    /// Sends these bytes and closes.
    Says(Vec<u8>),
    /// Sends these bytes one by one, with pauses.
    Drips(Vec<u8>),
    /// Waits for the client to leave.
    Silent,
    /// Sends the first bytes, then the others again and again until so many were sent.
    Floods(Vec<u8>, Vec<u8>, usize),
}

/// A daemon whose manner can be changed.
pub struct Routing {
    pub address: SocketAddr,
    manner: Arc<Mutex<Manner>>,
    daemon: Daemon,
}

impl Routing {
    pub fn start(manner: Manner) -> Routing {
        let manner = Arc::new(Mutex::new(manner));
        let present = Arc::clone(&manner);
        let daemon = Daemon::start(move |_, _, stream| {
            let manner = present.lock().unwrap().clone();
            // A client that has enough and leaves is what most of these tests want.
            let _ = serve(&manner, stream);
        });
        Routing { address: daemon.address, manner, daemon }
    }

    /// A daemon that answers as the captured one did.
    pub fn healthy() -> Routing {
        Routing::start(Manner::Says(captured()))
    }

    pub fn change(&self, manner: Manner) {
        *self.manner.lock().unwrap() = manner;
    }

    /// Requests served so far.
    pub fn requests(&self) -> usize {
        self.daemon.visits().len()
    }

    /// The configuration that reads it: vehicles `b` to `e` of the captured mesh, seen from `a`.
    pub fn config(&self) -> String {
        mesh_at(self.address)
    }
}

/// The configuration for a daemon at `address`; the deadline is short for what never answers.
pub fn mesh_at(address: SocketAddr) -> String {
    format!(
        "[mesh]\ndaemon = \"jsoninfo\"\nconnect = \"{address}\"\ntimeout = \"2s\"\nvehicles = {{ \
         b = [\"10.77.0.2\"], c = [\"10.77.0.3\"], d = [\"10.77.0.4\"], e = [\"10.77.0.5\"] }}\n\
         {AT_ONCE}"
    )
}

/// What olsrd really said in the captured mesh `diamond5`, asked at node `a`: a-b, a-c, b-d, c-d,
/// d-e.
pub fn captured() -> Vec<u8> {
    fixture("diamond5/a/jsoninfo-all.http")
}

/// Published costs of the vehicles in [`captured`]: 100 for each perfect hop.
pub const CAPTURED_COSTS: [(&str, i64); 4] = [("b", 100), ("c", 100), ("d", 200), ("e", 300)];

/// One answer of olsrd from the fixtures.
pub fn fixture(name: &str) -> Vec<u8> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../olsr-bridge/fixtures/olsrd");
    std::fs::read(folder.join(name)).unwrap()
}

/// The captured answer with its body changed.
pub fn altered(change: impl Fn(&str) -> String) -> Manner {
    let text = String::from_utf8(captured()).unwrap();
    let (_, body) = text.split_once("\r\n\r\n").unwrap();
    let changed = change(body);
    assert_ne!(changed, body, "the capture has what is to be changed");
    Manner::Says(http(changed.as_bytes()))
}

fn serve(manner: &Manner, stream: &mut TcpStream) -> std::io::Result<()> {
    match manner {
        Manner::Says(bytes) => stream.write_all(bytes),
        Manner::Drips(bytes) => bytes.iter().try_for_each(|byte| {
            std::thread::sleep(Duration::from_millis(100));
            stream.write_all(&[*byte])
        }),
        Manner::Silent => stream.read(&mut [0; 64]).map(drop),
        Manner::Floods(first, more, bytes) => {
            stream.write_all(first)?;
            let mut sent = 0;
            while sent < *bytes {
                stream.write_all(more)?;
                sent += more.len();
            }
            Ok(())
        }
    }
}
