//! The programs that are measured, each in its namespace: the agent, a broker at the command post, and a broker with a bridge
//! on the vehicle.

use std::fs;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use super::place::{Ground, POST, path_of};
use crate::bench::page::exchange;
use crate::bench::{Child, until};
use crate::steps::quiet;

/// Port of the command post's broker, in a namespace where nobody else listens.
const BROKER_PORT: u16 = 1883;

/// Pause between two looks at whether a program is ready.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Unix socket of the command post's broker, by which arrivals are watched without touching the link.
pub fn broker_socket(folder: &Path) -> PathBuf {
    folder.join("post.sock")
}

/// Unix socket of the vehicle's own broker, by which records come in.
pub fn bridge_socket(folder: &Path) -> PathBuf {
    folder.join("vehicle.sock")
}

/// First lines of any broker's configuration.
fn broker_head() -> Result<String, String> {
    let user = quiet(Command::new("id").arg("-un"))?;
    Ok(format!("user {}\nallow_anonymous true\n", user.trim()))
}

fn write(path: &Path, text: &str) -> Result<(), String> {
    fs::write(path, text).map_err(|e| format!("writing {}: {e}", path.display()))
}

/// The command post's broker, which keeps nothing when it ends.
pub fn broker(ground: &Ground, folder: &Path) -> Result<Child, String> {
    let socket = broker_socket(folder);
    // What a killed one left. Where there is none, there is nothing to remove.
    let _ = fs::remove_file(&socket);
    let config = folder.join("post.conf");
    let listeners = format!("listener {BROKER_PORT} {POST}\nlistener 0 {}\n", socket.display());
    write(&config, &format!("{}{listeners}", broker_head()?))?;
    let mut command = ground.post.command(&path_of("mosquitto")?);
    command.arg("-c").arg(config);
    Child::start("post", &mut command, folder, Some(BROKER_PORT))
}

/// When a broker writes what it holds to disk, always as a whole.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Saving {
    /// After each change: the safest it has. A change is a message that is queued, not one in flight, so the limit of those stays
    /// at its default of 20: without a limit nothing is ever queued, and a kill takes all that waits.
    EachChange,
    /// Each second.
    EachSecond,
}

/// A broker on the vehicle that hands everything on by a bridge, as carefully as it can: the queue has no bound, the session at
/// the command post is kept, and a lost connection is tried again after a second.
pub fn bridge(ground: &Ground, folder: &Path, saving: Saving) -> Result<Child, String> {
    let socket = bridge_socket(folder);
    let _ = fs::remove_file(&socket);
    let store = folder.join("bridge");
    fs::create_dir_all(&store).map_err(|e| format!("making {}: {e}", store.display()))?;
    let config = folder.join("vehicle.conf");
    let text = format!(
        "{}listener 0 {}\npersistence true\npersistence_location {}/\nautosave_on_changes {}\nautosave_interval 1\n\
         max_queued_messages 0\nset_tcp_nodelay true\n\
         connection convoy\naddress {POST}:{BROKER_PORT}\ntopic # out 1\ncleansession false\nclientid vehicle\n\
         restart_timeout 1\nkeepalive_interval 30\ntry_private true\n",
        broker_head()?,
        socket.display(),
        store.display(),
        saving == Saving::EachChange
    );
    write(&config, &text)?;
    let mut command = ground.vehicle.command(&path_of("mosquitto")?);
    command.arg("-c").arg(config);
    let child = Child::start("vehicle", &mut command, folder, None)?;
    until("the vehicle's broker", LOOK_EVERY, || Ok(UnixStream::connect(&socket).ok().map(drop)))?;
    Ok(child)
}

/// The agent, and the way to ask it.
pub struct Agent {
    /// The running program.
    pub child: Child,
    socket: PathBuf,
}

impl Agent {
    /// Starts it with a spool in `folder`. Without `connected` it knows no broker and only gathers.
    pub fn start(
        ground: &Ground,
        binary: &Path,
        folder: &Path,
        connected: bool,
    ) -> Result<Agent, String> {
        let config = folder.join("agent.toml");
        let shown = folder.display();
        let mqtt = match connected {
            true => format!("[mqtt]\nhost = \"{POST}\"\nport = {BROKER_PORT}\n"),
            false => String::new(),
        };
        let text = format!(
            "[vehicle]\nname = \"vehicle\"\n[http]\nlisten = \"off\"\n[control]\npath = \"{shown}/control.sock\"\n\
             [mesh]\ndaemon = \"none\"\n[spool]\nfolder = \"{shown}/spool\"\nsize = \"4GiB\"\n{mqtt}"
        );
        write(&config, &text)?;
        let mut command = ground.vehicle.command(binary);
        command.arg("run").arg("--config").arg(config);
        let child = Child::start("outrider", &mut command, folder, None)?;
        let agent = Agent { child, socket: folder.join("control.sock") };
        until("the agent's spool", LOOK_EVERY, || {
            let page = agent.metrics().unwrap_or_default();
            Ok(page.lines().any(|line| line == "outrider_spool_open 1").then_some(()))
        })?;
        Ok(agent)
    }

    /// Its metrics.
    pub fn metrics(&self) -> Result<String, String> {
        let request = b"GET /metrics HTTP/1.0\r\nhost: localhost\r\n\r\n";
        match exchange(self.open()?, request)? {
            (200, page) => Ok(page),
            (code, page) => Err(format!("the agent's metrics: status {code}: {page}")),
        }
    }

    /// Brings records of stream `x`; see [`post`].
    pub fn post(&self, records: &[Vec<u8>], durable: bool) -> Result<(u16, String), String> {
        post(&self.socket, records, durable)
    }

    fn open(&self) -> Result<UnixStream, String> {
        connect(&self.socket)
    }
}

fn connect(socket: &Path) -> Result<UnixStream, String> {
    UnixStream::connect(socket).map_err(|e| format!("connecting to {}: {e}", socket.display()))
}

/// Brings records of stream `x` over the control socket `socket`, all in one request: status and answer. `durable` waits until
/// they are.
pub fn post(socket: &Path, records: &[Vec<u8>], durable: bool) -> Result<(u16, String), String> {
    let mut body = Vec::new();
    for record in records {
        let length = u32::try_from(record.len()).map_err(|_| "a record is too large".to_owned())?;
        body.extend_from_slice(&length.to_le_bytes());
        body.extend_from_slice(record);
    }
    let ack = if durable { "" } else { "&ack=accepted" };
    let length = body.len();
    let mut request = format!(
        "POST /v1/streams/x?split=lengths{ack} HTTP/1.0\r\nhost: localhost\r\ncontent-length: {length}\r\n\r\n"
    )
    .into_bytes();
    request.append(&mut body);
    exchange(connect(socket)?, &request)
}
