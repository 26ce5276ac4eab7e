//! Takes the TCP address and the path of the control socket, and says in words why it cannot.

use std::fmt;
use std::io;
use std::net::SocketAddr;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::socket::{setsockopt, sockopt};
use tokio::net::{TcpListener, TcpSocket, UnixListener, UnixStream};

/// Connections the kernel keeps for us while we are busy.
const BACKLOG: u32 = 64;

/// The control socket is for its owner and group.
const CONTROL_MODE: u32 = 0o660;

/// Time another agent has to take our connection before its socket counts as alive but busy.
const ANSWER_WITHIN: Duration = Duration::from_secs(1);

/// Why an address or path could not be taken.
#[derive(Debug)]
pub struct BindError {
    text: String,
    cause: Option<io::Error>,
    held: bool,
}

impl BindError {
    /// Another agent answers there: starting a second one would be a mistake.
    #[must_use]
    pub fn held_by_another(&self) -> bool {
        self.held
    }
}

impl fmt::Display for BindError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl std::error::Error for BindError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        self.cause.as_ref().map(|cause| cause as _)
    }
}

/// Takes `listen` for the read-only routes. An address this machine does not have yet (the mesh interface comes up later)
/// is taken all the same, by `IP_FREEBIND` (ip(7)); port 0 takes any free port.
///
/// # Errors
///
/// When the port is taken or may not be taken. Retrying helps once the other program has let go.
pub fn bind_tcp(listen: SocketAddr) -> Result<TcpListener, BindError> {
    bind_tcp_as(listen, "at `listen` in section `[http]`")
}

/// As [`bind_tcp`], for an address that was set where `place` says.
///
/// # Errors
///
/// As [`bind_tcp`].
pub fn bind_tcp_as(listen: SocketAddr, place: &str) -> Result<TcpListener, BindError> {
    listen_on(listen).map_err(|cause| {
        let remedy = match cause.kind() {
            io::ErrorKind::AddrInUse => format!(
                "another program, perhaps another outrider, holds the port: stop it, or set another address {place}"
            ),
            io::ErrorKind::PermissionDenied => format!(
                "ports below 1024 need the capability CAP_NET_BIND_SERVICE: choose a higher one {place}"
            ),
            _ => format!("check the address {place}"),
        };
        BindError { text: format!("cannot listen for HTTP on {listen}: {remedy}"), cause: Some(cause), held: false }
    })
}

fn listen_on(listen: SocketAddr) -> io::Result<TcpListener> {
    let socket = if listen.is_ipv4() { TcpSocket::new_v4() } else { TcpSocket::new_v6() }?;
    // Connections of a former run that linger in TIME_WAIT must not keep us from starting.
    socket.set_reuseaddr(true)?;
    setsockopt(&socket, sockopt::IpFreebind, &true)?;
    socket.bind(listen)?;
    socket.listen(BACKLOG)
}

/// The control socket. Its file goes away with it.
#[derive(Debug)]
pub struct ControlSocket {
    pub(super) listener: UnixListener,
    path: PathBuf,
    /// Device and inode of the file we made.
    file: (u64, u64),
}

impl Drop for ControlSocket {
    fn drop(&mut self) {
        // Somebody may have put another file there; that one is not ours to remove.
        if identity(&self.path).is_ok_and(|file| file == self.file) {
            // Nothing is lost when this fails: the next start finds nobody answering and takes over.
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

fn identity(path: &Path) -> io::Result<(u64, u64)> {
    let metadata = std::fs::symlink_metadata(path)?;
    Ok((metadata.dev(), metadata.ino()))
}

/// Makes the control socket at `path`, with mode 0660, creating its directory when possible. A socket file on which
/// nobody answers is left over from a run that was killed, and is replaced; anything else at `path` is left alone.
///
/// # Errors
///
/// When another agent answers there, when something else lies there, or when the directory cannot be written. The agent
/// works without a control socket; only commands on this machine do not reach it.
pub async fn bind_control(path: &Path) -> Result<ControlSocket, BindError> {
    let fail = |what: &str, cause: Option<io::Error>| BindError {
        text: format!("cannot make the control socket {}: {what}", path.display()),
        cause,
        held: false,
    };
    if let Some(directory) = path.parent() {
        // When this fails, making the socket fails too and tells more.
        let _ = std::fs::create_dir_all(directory);
    }
    match std::fs::symlink_metadata(path) {
        Ok(metadata) if !metadata.file_type().is_socket() => {
            return Err(fail(
                "something that is no socket lies there: remove it, or set another `path` in section `[control]`",
                None,
            ));
        }
        Ok(_) if somebody_answers(path).await => {
            let error = fail(
                "another outrider answers there: stop it, or set another `path` in section `[control]`",
                None,
            );
            return Err(BindError { held: true, ..error });
        }
        Ok(_) | Err(_) => {}
    }
    make(path).map_err(|cause| {
        fail(
            "set a `path` in section `[control]` that this user may write, of at most 100 characters",
            Some(cause),
        )
    })
}

/// A listener with a full backlog keeps us waiting, so silence counts as an answer.
async fn somebody_answers(path: &Path) -> bool {
    match tokio::time::timeout(ANSWER_WITHIN, UnixStream::connect(path)).await {
        Ok(Ok(_)) | Err(_) => true,
        Ok(Err(error)) => {
            !matches!(error.kind(), io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound)
        }
    }
}

/// Under another name first and renamed when it is complete, so that nobody meets a socket with the wrong mode and a
/// stale file is replaced in one step.
fn make(path: &Path) -> io::Result<ControlSocket> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    let draft = path.with_file_name(name);
    match std::fs::remove_file(&draft) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        Ok(()) | Err(_) => {}
    }
    let listener = UnixListener::bind(&draft)?;
    let finished = std::fs::set_permissions(&draft, std::fs::Permissions::from_mode(CONTROL_MODE))
        .and_then(|()| std::fs::rename(&draft, path))
        .and_then(|()| identity(path));
    match finished {
        Ok(file) => Ok(ControlSocket { listener, path: path.to_owned(), file }),
        Err(error) => {
            let _ = std::fs::remove_file(&draft);
            Err(error)
        }
    }
}
