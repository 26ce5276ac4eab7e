//! Tells which process listens on a port, from `/proc`, in the network namespace of that process.

use std::fs;

/// State of a listening socket in `/proc/net/tcp` (Linux, include/net/tcp_states.h).
const LISTENS: &str = "0A";

/// Who listens on a port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listener {
    /// The process that was asked about.
    Process,
    /// Some process, but not that one.
    Other,
    Nobody,
}

/// Whether the process `pid` listens on the TCP port `port`, at whatever address of its network namespace.
pub fn listener(pid: u32, port: u16) -> Result<Listener, String> {
    let mut sockets = Vec::new();
    for table in ["tcp", "tcp6"] {
        let table = format!("/proc/{pid}/net/{table}");
        match fs::read_to_string(&table) {
            Ok(text) => sockets.extend(sockets_in(&text, port)),
            // A kernel without IPv6, or a process that has ended.
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {}
            Err(e) => return Err(format!("reading {table}: {e}")),
        }
    }
    if sockets.is_empty() {
        return Ok(Listener::Nobody);
    }
    // A process that has ended holds nothing.
    let Ok(files) = fs::read_dir(format!("/proc/{pid}/fd")) else { return Ok(Listener::Other) };
    let mut targets = files.flatten().filter_map(|file| fs::read_link(file.path()).ok());
    let holds = targets.any(|target| sockets.iter().any(|socket| target.as_os_str() == &**socket));
    Ok(if holds { Listener::Process } else { Listener::Other })
}

/// The sockets that listen on `port`, as links below `/proc/<pid>/fd` name them.
fn sockets_in(table: &str, port: u16) -> Vec<String> {
    let port = format!(":{port:04X}");
    let rows = table.lines().skip(1).map(|line| line.split_whitespace().collect::<Vec<_>>());
    rows.filter(|row| row.get(1).is_some_and(|local| local.ends_with(&port)))
        .filter(|row| row.get(3) == Some(&LISTENS))
        .filter_map(|row| Some(format!("socket:[{}]", row.get(9)?)))
        .collect()
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::{Listener, listener};

    #[test]
    fn only_the_process_that_listens_is_taken_for_it() {
        let process = std::process::id();
        let socket = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = socket.local_addr().unwrap().port();
        assert_eq!(listener(process, port), Ok(Listener::Process));
        assert_eq!(listener(u32::MAX, port), Ok(Listener::Nobody), "there is no such process");

        let client = TcpStream::connect(("127.0.0.1", port)).unwrap();
        let own = client.local_addr().unwrap().port();
        assert_eq!(listener(process, own), Ok(Listener::Nobody), "connected, not listening");
    }
}
