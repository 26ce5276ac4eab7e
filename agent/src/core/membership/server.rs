//! Where a federation is to be found: a server as somebody writes it into a configuration.

use std::net::{IpAddr, Ipv6Addr};

use rustls::pki_types::ServerName;

/// Port of k3s: its supervisor and the Kubernetes API behind one listener.
const PORT: u16 = 6443;

/// A server.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Server {
    /// Name or address, for which its certificate has to be.
    pub host: String,
    /// Port.
    pub port: u16,
}

impl Server {
    /// Reads `host`, `host:port`, `address` or `[address]:port`, with or without `https://` in front.
    ///
    /// # Errors
    /// It is none of these; the text says what to write.
    pub fn parse(text: &str) -> Result<Server, String> {
        let unusable = || {
            format!(
                "`{}` is no server; write a name or address, and its port if that is not {PORT}, such as \"10.0.7.1\" or \
                 \"[fd00::1]:7443\"",
                text.escape_debug()
            )
        };
        let bare = text.strip_prefix("https://").unwrap_or(text);
        let (host, port) = split(bare).ok_or_else(unusable)?;
        let host = host.trim_end_matches('.');
        if ServerName::try_from(host).is_err() {
            return Err(unusable());
        }
        let port = match port {
            None => PORT,
            Some(port) => port.parse().ok().filter(|port| *port != 0).ok_or_else(unusable)?,
        };
        Ok(Server { host: host.to_owned(), port })
    }
}

/// Host and port.
fn split(text: &str) -> Option<(&str, Option<&str>)> {
    if text.parse::<IpAddr>().is_ok() {
        return Some((text, None));
    }
    let Some(rest) = text.strip_prefix('[') else {
        return Some(match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        });
    };
    let (address, rest) = rest.split_once(']')?;
    address.parse::<Ipv6Addr>().ok()?;
    match rest {
        "" => Some((address, None)),
        _ => rest.strip_prefix(':').map(|port| (address, Some(port))),
    }
}

impl std::fmt::Display for Server {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.host.contains(':') {
            return write!(f, "[{}]:{}", self.host, self.port);
        }
        write!(f, "{}:{}", self.host, self.port)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn servers_are_written_in_several_ways() {
        let server = |host: &str, port| Ok(Server { host: host.to_owned(), port });
        assert_eq!(Server::parse("10.0.7.1"), server("10.0.7.1", 6443));
        assert_eq!(Server::parse("https://10.0.7.1:7443"), server("10.0.7.1", 7443));
        assert_eq!(Server::parse("lead.convoy."), server("lead.convoy", 6443));
        assert_eq!(Server::parse("fd00::1"), server("fd00::1", 6443));
        assert_eq!(Server::parse("[fd00::1]:7443"), server("fd00::1", 7443));
        assert_eq!(Server::parse("https://[fd00::1]"), server("fd00::1", 6443));
        assert_eq!(Server::parse("fd00::1").unwrap().to_string(), "[fd00::1]:6443");
    }

    #[test]
    fn what_is_no_server_is_refused() {
        let wrong = [
            "",
            ":6443",
            "a b",
            "http://lead",
            "lead:0",
            "lead:66000",
            "lead:x",
            "lead:",
            "lead/x",
            "[lead]:6443",
            "[fd00::1",
            "[fd00::1]6443",
            "fd00::1::2",
            "https://",
        ];
        for text in wrong {
            assert!(Server::parse(text).is_err(), "{text}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_panic(text: String) {
            let _ = Server::parse(&text);
            let _ = Server::parse(&format!("[{text}"));
        }
    }
}
