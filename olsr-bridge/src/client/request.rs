//! The bytes we send: one short request that is complete in one segment. Refuses to ask for
//! anything that is known to hang, crash or needlessly burden a daemon.
//!
//! olsrd reads its request once, 20 ms after the connection at the latest, into a buffer of 1024
//! bytes: a request that arrives in pieces is misread, a longer one is answered with a reset at the
//! end. olsrd2's telnet interface loops for ever on a line without its newline and leaks a session
//! when it is left without `quit`. So each request is one buffer for one write, below
//! [`REQUEST_BYTES_MAX`], and a telnet line always ends in `/quit` and a newline. `/all`, `/sgw`,
//! `/olsrd.conf` and `layer2info` are never asked for: unneeded, heavy, or known to kill old
//! daemons.

use std::time::Duration;

use crate::view::Protocol;

/// olsrd reads one segment into a buffer of 1024 bytes and wants room for the end mark.
pub(super) const REQUEST_BYTES_MAX: usize = 1023;

/// Time after which a large mesh's slow tables are read again. Reports of daemons that crash on
/// small routers name frequent dumps of large tables; five seconds is also the default interval at
/// which the topology itself is announced.
pub(super) const LARGE_MESH_PERIOD: Duration = Duration::from_secs(5);

/// Number of nodes above which routes and topology are read each [`LARGE_MESH_PERIOD`] only.
pub(super) const LARGE_MESH_NODES: usize = 200;

/// What one request shall bring.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Ask {
    /// Everything that changes: links, neighbours, routes, topology, networks, aliases, gateways.
    Everything,
    /// Only what is small and urgent: links and neighbours.
    Near,
    /// What changes only when the daemon restarts: its version, configuration and interfaces.
    Startup,
    /// olsrd2 without the commands that a minimal build may lack (`netjsoninfo`, `systeminfo`).
    Basic,
}

/// The request for `ask` over `protocol`.
pub(super) fn bytes(protocol: Protocol, ask: Ask) -> Vec<u8> {
    let request = match protocol {
        Protocol::Jsoninfo => get(jsoninfo_path(ask)),
        Protocol::Txtinfo => get(txtinfo_path(ask)),
        Protocol::Olsrd2Http => {
            let path: String = commands(ask)
                .iter()
                .map(|command| format!("/{}", command.replace(' ', "%20")))
                .collect();
            get(&format!("/telnet{path}"))
        }
        Protocol::Olsrd2Telnet => {
            let line: String = commands(ask).iter().map(|command| format!("/{command}")).collect();
            format!("{line}/quit\n")
        }
    };
    assert!(request.len() <= REQUEST_BYTES_MAX, "a request fits the daemon's buffer");
    request.into_bytes()
}

/// HTTP/1.0 without any header: nothing is optional here for either daemon, and less is less to
/// misread.
fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.0\r\n\r\n")
}

fn jsoninfo_path(ask: Ask) -> &'static str {
    match ask {
        Ask::Everything | Ask::Basic => "/neighbors/links/routes/hna/mid/topology/gateways",
        Ask::Near => "/neighbors/links",
        Ask::Startup => "/version/config/interfaces",
    }
}

fn txtinfo_path(ask: Ask) -> &'static str {
    match ask {
        Ask::Everything | Ask::Basic => "/nei/lin/rou/hna/mid/top/gat",
        Ask::Near => "/nei/lin",
        Ask::Startup => "/ver/int",
    }
}

/// olsrd2's commands. `systeminfo jsonraw time` is in each of them because its uptime is the only
/// sign of a restart.
fn commands(ask: Ask) -> &'static [&'static str] {
    match ask {
        Ask::Everything => &[
            "nhdpinfo jsonraw link",
            "nhdpinfo jsonraw neighbor",
            "olsrv2info jsonraw originator",
            "olsrv2info jsonraw route",
            "olsrv2info jsonraw attached_network",
            "olsrv2info jsonraw lan",
            "systeminfo jsonraw time",
            "netjsoninfo graph",
        ],
        Ask::Near => {
            &["nhdpinfo jsonraw link", "nhdpinfo jsonraw neighbor", "systeminfo jsonraw time"]
        }
        Ask::Startup => &["systeminfo jsonraw version", "systeminfo jsonraw time"],
        Ask::Basic => &[
            "nhdpinfo jsonraw link",
            "nhdpinfo jsonraw neighbor",
            "olsrv2info jsonraw originator",
            "olsrv2info jsonraw route",
            "olsrv2info jsonraw attached_network",
            "olsrv2info jsonraw lan",
            "olsrv2info jsonraw edge",
        ],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROTOCOLS: [Protocol; 4] =
        [Protocol::Jsoninfo, Protocol::Txtinfo, Protocol::Olsrd2Http, Protocol::Olsrd2Telnet];
    const ASKS: [Ask; 4] = [Ask::Everything, Ask::Near, Ask::Startup, Ask::Basic];

    fn all() -> impl Iterator<Item = (Protocol, String)> {
        PROTOCOLS.into_iter().flat_map(|protocol| {
            ASKS.map(|ask| (protocol, String::from_utf8(bytes(protocol, ask)).unwrap()))
        })
    }

    #[test]
    fn every_request_fits_one_read_of_the_daemon() {
        for (_, request) in all() {
            assert!(request.len() < 1024, "{} bytes: {request}", request.len());
        }
    }

    #[test]
    fn nothing_dangerous_is_ever_asked_for() {
        for (_, request) in all() {
            for word in
                ["/all", "/sgw", "olsrd.conf", "layer2info", "config ", "/runtime", "/startup"]
            {
                assert!(!request.contains(word), "`{word}` in `{request}`");
            }
        }
    }

    #[test]
    fn http_requests_are_a_bare_get_with_encoded_spaces() {
        for (protocol, request) in all() {
            if protocol == Protocol::Olsrd2Telnet {
                continue;
            }
            let line = request.strip_suffix(" HTTP/1.0\r\n\r\n").unwrap();
            let path = line.strip_prefix("GET /").unwrap();
            assert!(!path.contains([' ', '+', '?', '\r', '\n']), "{request}");
        }
    }

    #[test]
    fn telnet_lines_are_one_shot_and_complete() {
        for (protocol, request) in all() {
            if protocol != Protocol::Olsrd2Telnet {
                continue;
            }
            assert!(request.starts_with('/') && request.ends_with("/quit\n"), "{request}");
            assert_eq!(request.matches('\n').count(), 1, "{request}");
        }
    }
}
