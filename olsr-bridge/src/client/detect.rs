//! Where a daemon may be found: the default ports on the loopback addresses, and which of a
//! daemon's interfaces listens on a port that says nothing by its number. Asks nothing that can
//! hurt a daemon or another program.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout_at;

use super::answer;
use super::wire::Target;
use super::{Choice, request};
use crate::failure::{Failure, FailureClass};
use crate::http;
use crate::view::Protocol;

const IPV4: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);
const IPV6: IpAddr = IpAddr::V6(Ipv6Addr::LOCALHOST);

/// Order of detection: the richest interface of each daemon first. jsoninfo knows more than
/// txtinfo; olsrd2's http has none of the hazards of its telnet.
const ORDER: [Protocol; 4] =
    [Protocol::Jsoninfo, Protocol::Olsrd2Http, Protocol::Txtinfo, Protocol::Olsrd2Telnet];

/// How much of an answer tells who speaks.
const IDENTIFY_BYTES_MAX: usize = 4096;

/// Port of an interface by default.
pub(super) fn default_port(protocol: Protocol) -> u16 {
    match protocol {
        Protocol::Jsoninfo => 9090,
        Protocol::Txtinfo => 2006,
        Protocol::Olsrd2Http => 1980,
        Protocol::Olsrd2Telnet => 2009,
    }
}

/// Interfaces to try in this order. Empty when only [`identify`] can tell.
pub(super) fn candidates(
    choice: Choice,
    connect: Option<SocketAddr>,
) -> Vec<(Protocol, SocketAddr)> {
    let protocols: &[Protocol] = match choice {
        Choice::Auto => &ORDER,
        Choice::Jsoninfo => &[Protocol::Jsoninfo],
        Choice::Txtinfo => &[Protocol::Txtinfo],
        Choice::Olsrd2Http => &[Protocol::Olsrd2Http],
        Choice::Olsrd2Telnet => &[Protocol::Olsrd2Telnet],
    };
    let Some(address) = connect else {
        return protocols
            .iter()
            .flat_map(|protocol| {
                [IPV4, IPV6].map(|ip| (*protocol, SocketAddr::new(ip, default_port(*protocol))))
            })
            .collect();
    };
    protocols
        .iter()
        .filter(|protocol| choice != Choice::Auto || default_port(**protocol) == address.port())
        .map(|protocol| (*protocol, address))
        .collect()
}

/// The same interface on the other loopback address, where a second olsrd for the other address
/// family would listen.
pub(super) fn other_family(address: SocketAddr) -> Option<SocketAddr> {
    match address.ip() {
        IPV4 => Some(SocketAddr::new(IPV6, address.port())),
        IPV6 => Some(SocketAddr::new(IPV4, address.port())),
        _ => None,
    }
}

/// Finds out who listens at `target.address` (its `protocol` is only used in failure texts): a
/// small jsoninfo request over HTTP makes each of the four show itself. olsrd2's telnet takes it
/// for an unknown command and waits for more; it is told `quit`, so that no session stays behind.
pub(super) async fn identify(target: &Target) -> Result<Protocol, Failure> {
    let mut seen = Vec::with_capacity(IDENTIFY_BYTES_MAX);
    let found = timeout_at(target.deadline, ask(target, &mut seen)).await;
    match found {
        Ok(Ok(Some(protocol))) => Ok(protocol),
        Ok(Ok(None)) => {
            let why = format!("no OLSR daemon begins its answer with `{}`", answer::shown(&seen));
            Err(target.failure(FailureClass::NotUnderstood, &why))
        }
        Ok(Err(failure)) => Err(failure),
        Err(_) => {
            let why = "no answer in time; it hangs, is overloaded or is another program";
            Err(target.failure(FailureClass::Timeout, why))
        }
    }
}

async fn ask(target: &Target, seen: &mut Vec<u8>) -> Result<Option<Protocol>, Failure> {
    let mut stream = TcpStream::connect(target.address).await.map_err(|error| target.io(&error))?;
    let request = request::bytes(Protocol::Jsoninfo, request::Ask::Near);
    stream.write(&request).await.map_err(|error| target.io(&error))?;
    loop {
        let ended = match stream.read_buf(seen).await {
            Ok(count) => count == 0,
            Err(_) => true,
        };
        match recognise(seen) {
            Recognised::Daemon(Protocol::Olsrd2Telnet) => {
                // Failing to say goodbye costs the daemon a session for two minutes, us nothing.
                let _ = stream.write(b"quit\n").await;
                return Ok(Some(Protocol::Olsrd2Telnet));
            }
            Recognised::Daemon(protocol) => return Ok(Some(protocol)),
            Recognised::Busy => {
                let why = "it is busy with earlier answers (503)";
                return Err(target.failure(FailureClass::Busy, why));
            }
            Recognised::Nobody => return Ok(None),
            Recognised::NotYet if ended && seen.is_empty() => {
                let why = "it closed the connection without an answer";
                return Err(target.failure(FailureClass::Io, why));
            }
            Recognised::NotYet if ended || seen.len() >= IDENTIFY_BYTES_MAX => return Ok(None),
            Recognised::NotYet => {}
        }
    }
}

/// What the beginning of an answer says.
#[derive(Debug, PartialEq, Eq)]
enum Recognised {
    Daemon(Protocol),
    Busy,
    Nobody,
    NotYet,
}

/// Recognises the speaker by the beginning of its answer to a jsoninfo request.
fn recognise(bytes: &[u8]) -> Recognised {
    if !bytes.starts_with(b"HTTP/") {
        return recognise_text(bytes);
    }
    let answer = http::split(bytes);
    let head = &bytes[..bytes.len() - answer.body.len()];
    let Some(status) = answer.status else { return Recognised::NotYet };
    for (name, protocol) in
        [(&b"OLSRD JSONINFO"[..], Protocol::Jsoninfo), (b"OLSRD TXTINFO", Protocol::Txtinfo)]
    {
        if head.windows(name.len()).any(|word| word == name) {
            return Recognised::Daemon(protocol);
        }
    }
    if answer::names_olsrd2(answer.body) {
        return Recognised::Daemon(Protocol::Olsrd2Http);
    }
    // olsrd sends this one without its name.
    if status == 503 && answer.body.is_empty() {
        return Recognised::Busy;
    }
    recognise_text(answer.body)
}

/// Recognises a speaker by its text; each phrase is longer than what could be another program's by
/// accident.
fn recognise_text(bytes: &[u8]) -> Recognised {
    const PHRASES: [(&[u8], Protocol); 5] = [
        (b"Table: ", Protocol::Txtinfo),
        (b"error: ", Protocol::Txtinfo),
        (b"Error, unknown command", Protocol::Olsrd2Telnet),
        (b"Telnet service unavailable", Protocol::Olsrd2Telnet),
        // Last: its one byte begins any JSON. The sample that follows says whether the tables are
        // there.
        (b"{", Protocol::Jsoninfo),
    ];
    let text = bytes.trim_ascii_start();
    if text.starts_with(b"HTTP/") || b"HTTP/".starts_with(text) {
        return Recognised::NotYet;
    }
    for (phrase, protocol) in PHRASES {
        if text.starts_with(phrase) {
            return Recognised::Daemon(protocol);
        }
    }
    // The phrases start differently from a page: a long or foreign beginning settles it.
    let may_grow = PHRASES.iter().any(|(phrase, _)| phrase.starts_with(text));
    let page = text.starts_with(b"<") && text.len() < IDENTIFY_BYTES_MAX;
    if may_grow || page { Recognised::NotYet } else { Recognised::Nobody }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn everything_is_tried_on_both_loopbacks_with_the_richest_first() {
        let all = candidates(Choice::Auto, None);
        let text: Vec<String> = all.iter().map(|(_, address)| address.to_string()).collect();
        let ports = ["9090", "1980", "2006", "2009"];
        let expected: Vec<String> = ports
            .iter()
            .flat_map(|port| [format!("127.0.0.1:{port}"), format!("[::1]:{port}")])
            .collect();
        assert_eq!(text, expected);
    }

    #[test]
    fn an_address_is_taken_at_its_ports_word_and_otherwise_identified() {
        let txtinfo = "10.0.0.1:2006".parse().unwrap();
        assert_eq!(candidates(Choice::Auto, Some(txtinfo)), [(Protocol::Txtinfo, txtinfo)]);
        let other = "127.0.0.1:4711".parse().unwrap();
        assert_eq!(candidates(Choice::Auto, Some(other)), []);
        let chosen = candidates(Choice::Olsrd2Http, Some(other));
        assert_eq!(chosen, [(Protocol::Olsrd2Http, other)]);
    }

    #[test]
    fn each_daemon_shows_itself() {
        let cases: [(&[u8], Recognised); 11] = [
            (
                b"HTTP/1.1 200 OK\r\nServer: OLSRD JSONINFO\r\n\r\n",
                Recognised::Daemon(Protocol::Jsoninfo),
            ),
            (
                b"HTTP/1.1 404 Not Found\r\nServer: OLSRD TXTINFO\r\n\r\n",
                Recognised::Daemon(Protocol::Txtinfo),
            ),
            (
                b"HTTP/1.0 200 OK\nContent-type: text/plain\n\nTable: Links\n",
                Recognised::Daemon(Protocol::Txtinfo),
            ),
            (b"{\"links\": [", Recognised::Daemon(Protocol::Jsoninfo)),
            (b"error: 404 Not Found\n", Recognised::Daemon(Protocol::Txtinfo)),
            (b"Error, unknown command 'GET'\n", Recognised::Daemon(Protocol::Olsrd2Telnet)),
            (
                b"HTTP/1.0 404 Not Found\r\nServer: 0.15.1\r\n\r\n<html><head><title>OLSRd2 0.15.1",
                Recognised::Daemon(Protocol::Olsrd2Http),
            ),
            (b"HTTP/1.1 503 Service Unavailable\r\n\r\n", Recognised::Busy),
            (b"SSH-2.0-OpenSSH_9.9\r\n", Recognised::Nobody),
            (b"Err", Recognised::NotYet),
            (b"HTTP/1.1 200 OK\r\n\r\n<html>", Recognised::NotYet),
        ];
        for (bytes, expected) in cases {
            assert_eq!(recognise(bytes), expected, "{}", String::from_utf8_lossy(bytes));
        }
    }
}
