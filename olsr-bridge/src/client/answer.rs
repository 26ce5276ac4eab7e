//! Judges a whole answer: the body that a parser shall read, or why there is none. Pure.

use crate::failure::FailureClass;
use crate::http;
use crate::view::Protocol;

/// Longest header block believed; the daemons send 400 bytes.
pub(super) const HEAD_BYTES_MAX: usize = 8192;

/// The body of `bytes`, an answer that ended regularly or (`ended_by_reset`) with the connection
/// breaking.
pub(super) fn judge(
    protocol: Protocol,
    bytes: &[u8],
    ended_by_reset: bool,
) -> Result<&[u8], (FailureClass, String)> {
    if bytes.is_empty() {
        return Err(nothing(protocol, ended_by_reset));
    }
    let answer = http::split(bytes);
    if bytes.starts_with(b"HTTP/") && answer.status.is_none() {
        let why = format!("its HTTP headers are cut off or malformed (`{}`)", shown(bytes));
        return Err((FailureClass::NotUnderstood, why));
    }
    if let Some(class) = answer.refusal() {
        return Err(refusal(protocol, class, answer.status.unwrap_or_default(), answer.body));
    }
    if let Some(length) = answer.length.filter(|_| !answer.complete) {
        let why = format!(
            "it ended after {} of the {length} bytes it announced; the daemon stopped meanwhile or something cuts \
             connections",
            answer.body.len()
        );
        return Err((FailureClass::NotUnderstood, why));
    }
    content(protocol, answer.body)?;
    // olsrd2's answers have no end mark of their own; a missing table is found by its parser.
    let end_matters = match protocol {
        Protocol::Jsoninfo | Protocol::Txtinfo => true,
        Protocol::Olsrd2Http | Protocol::Olsrd2Telnet => ended_by_reset,
    };
    if end_matters && answer.length.is_none() && !looks_complete(protocol, answer.body) {
        let why = format!(
            "it was cut off after {} bytes; the daemon stopped meanwhile or something cuts connections",
            bytes.len()
        );
        return Err((FailureClass::NotUnderstood, why));
    }
    Ok(answer.body)
}

/// A connection that ended before the first byte. olsrd2 resets one that finds all telnet sessions
/// taken, which often swallows the line that says so.
fn nothing(protocol: Protocol, ended_by_reset: bool) -> (FailureClass, String) {
    if protocol == Protocol::Olsrd2Telnet && ended_by_reset {
        let why = "it reset the connection, as it does when all its telnet sessions are taken";
        return (FailureClass::Busy, why.to_owned());
    }
    (FailureClass::Io, "it closed the connection without an answer".to_owned())
}

/// An HTTP status other than success. The daemons' own errors are recognisable: olsrd's have no
/// body, olsrd2's name it.
fn refusal(
    protocol: Protocol,
    class: FailureClass,
    status: u16,
    body: &[u8],
) -> (FailureClass, String) {
    let from_daemon = match protocol {
        Protocol::Jsoninfo | Protocol::Txtinfo => body.is_empty(),
        Protocol::Olsrd2Http | Protocol::Olsrd2Telnet => names_olsrd2(body),
    };
    if from_daemon {
        return (class, meaning(class, &status.to_string()));
    }
    let why = format!(
        "it sent HTTP status {status} as no OLSR daemon does: another program listens there"
    );
    (FailureClass::NotUnderstood, why)
}

/// Whether a page says that olsrd2 made it.
pub(super) fn names_olsrd2(page: &[u8]) -> bool {
    page.windows(6).any(|word| word.eq_ignore_ascii_case(b"olsrd2"))
}

/// What a daemon's refusal means and what helps.
pub(super) fn meaning(class: FailureClass, status: &str) -> String {
    match class {
        FailureClass::NotAllowed => format!(
            "it does not accept our address ({status}); set its `accept` parameter to the loopback address"
        ),
        FailureClass::NotFound => {
            format!(
                "it does not know the request ({status}); its plugin is too old, or another one"
            )
        }
        FailureClass::Busy => format!("it is busy ({status}); other clients may ask it too often"),
        FailureClass::Refused
        | FailureClass::Timeout
        | FailureClass::NotUnderstood
        | FailureClass::TooLarge
        | FailureClass::Io => format!("it refused the request ({status})"),
    }
}

/// Whether a body without announced length ends the way a complete one does: a JSON document
/// closes, and text ends in an empty line after its last table, in the version line, or is an
/// error.
fn looks_complete(protocol: Protocol, body: &[u8]) -> bool {
    let closed = body.trim_ascii_end().ends_with(b"}");
    match protocol {
        Protocol::Jsoninfo => closed,
        Protocol::Txtinfo => {
            let last = last_line(body);
            body.ends_with(b"\n\n") || last.starts_with(b"Version:") || last.starts_with(b"error:")
        }
        Protocol::Olsrd2Http | Protocol::Olsrd2Telnet => closed || body.ends_with(b"\n"),
    }
}

/// The last line, empty unless it has its end.
fn last_line(body: &[u8]) -> &[u8] {
    let Some(text) = body.strip_suffix(b"\n") else { return b"" };
    &text[text.iter().rposition(|byte| *byte == b'\n').map_or(0, |at| at + 1)..]
}

/// Names what stands in a body in place of tables.
fn content(protocol: Protocol, body: &[u8]) -> Result<(), (FailureClass, String)> {
    let start = body.trim_ascii_start();
    if start.starts_with(b"<") {
        let why = format!("it sent a page (`{}`): another program listens there", shown(start));
        return Err((FailureClass::NotUnderstood, why));
    }
    if start.starts_with(b"Telnet service unavailable") {
        let why = "all its telnet sessions are taken; they come free within two minutes";
        return Err((FailureClass::Busy, why.to_owned()));
    }
    let plausible = match protocol {
        Protocol::Txtinfo => {
            [&b"Table:"[..], b"Version:", b"error:"].iter().any(|word| start.starts_with(word))
        }
        Protocol::Jsoninfo => start.starts_with(b"{"),
        // olsrd2 puts an error line where an answer would stand.
        Protocol::Olsrd2Http | Protocol::Olsrd2Telnet => {
            [&b"{"[..], b"Error,", b"Unknown parameter"].iter().any(|word| start.starts_with(word))
        }
    };
    if plausible {
        return Ok(());
    }
    let why =
        format!("no such answer begins with `{}`: another program listens there", shown(start));
    Err((FailureClass::NotUnderstood, why))
}

/// The beginning of foreign bytes, short and printable.
pub(super) fn shown(bytes: &[u8]) -> String {
    const CHARS_MAX: usize = 40;
    String::from_utf8_lossy(&bytes[..bytes.len().min(4 * CHARS_MAX)])
        .chars()
        .take(CHARS_MAX)
        .map(|character| if character.is_control() { ' ' } else { character })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class(protocol: Protocol, bytes: &[u8]) -> FailureClass {
        judge(protocol, bytes, false).unwrap_err().0
    }

    #[test]
    fn a_reset_after_the_whole_body_is_success_and_before_it_is_not() {
        let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n{}\n";
        assert_eq!(judge(Protocol::Jsoninfo, answer, true), Ok(&b"{}\n"[..]));
        let cut = &answer[..answer.len() - 1];
        assert_eq!(class(Protocol::Jsoninfo, cut), FailureClass::NotUnderstood);
        assert!(judge(Protocol::Jsoninfo, b"{\"links\": []}\n", true).is_ok());
        assert!(judge(Protocol::Jsoninfo, b"{\"links\": [", true).is_err());
        assert!(judge(Protocol::Olsrd2Telnet, b"{\"link\": [", true).is_err());
    }

    #[test]
    fn old_answers_without_headers_must_close() {
        assert!(judge(Protocol::Jsoninfo, b"{\"links\": []}\n\n", false).is_ok());
        let cut = b"{\"links\": [{\"a\": 1";
        assert_eq!(class(Protocol::Jsoninfo, cut), FailureClass::NotUnderstood);
        let headers = b"HTTP/1.0 200 OK\nContent-type: text/plain\n\n";
        for (tables, complete) in [
            ("Table: Links\nLocal IP\n\n", true),
            ("Version: olsr.org - 0.9.0.3 (built on vm)\n", true),
            ("Table: Links\nLocal IP\n", false),
            ("Table: Links\nVersion: olsr.o", false),
        ] {
            let answer = [headers, tables.as_bytes()].concat();
            let judged = judge(Protocol::Txtinfo, &answer, false);
            assert_eq!(judged.is_ok(), complete, "{tables}");
        }
    }

    #[test]
    fn the_daemons_refusals_are_told_apart() {
        let http = |status: &str| {
            format!("HTTP/1.1 {status}\r\nServer: OLSRD JSONINFO\r\nContent-Length: 0   \r\n\r\n")
                .into_bytes()
        };
        let jsoninfo = Protocol::Jsoninfo;
        assert_eq!(class(jsoninfo, &http("403 Forbidden")), FailureClass::NotAllowed);
        assert_eq!(class(jsoninfo, &http("404 Not Found")), FailureClass::NotFound);
        assert_eq!(class(jsoninfo, &http("408 Request Timeout")), FailureClass::Busy);
        let bare_503 = b"HTTP/1.1 503 Service Unavailable\r\n\r\n";
        assert_eq!(class(jsoninfo, bare_503), FailureClass::Busy);
        let telnet = b"Telnet service unavailable, too many sessions\n";
        assert_eq!(class(Protocol::Olsrd2Telnet, telnet), FailureClass::Busy);
        assert_eq!(nothing(Protocol::Olsrd2Telnet, true).0, FailureClass::Busy);
        assert_eq!(nothing(jsoninfo, true).0, FailureClass::Io);
    }

    #[test]
    fn other_programs_are_recognised() {
        let page =
            b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\n\r\n<!doctype html><html></html>";
        let missing = b"HTTP/1.1 404 Not Found\r\nContent-Length: 19\r\n\r\n404 page not found\n";
        for answer in
            [&page[..], &missing[..], b"SSH-2.0-OpenSSH_9.9\r\n", b"HTTP/1.1 what\r\n\r\n"]
        {
            for protocol in [Protocol::Jsoninfo, Protocol::Txtinfo, Protocol::Olsrd2Http] {
                assert_eq!(class(protocol, answer), FailureClass::NotUnderstood);
            }
        }
        let olsrd2 =
            b"HTTP/1.0 404 Not Found\r\n\r\n<html><title>OLSRd2 0.15.1 http server</title>";
        assert_eq!(class(Protocol::Olsrd2Http, olsrd2), FailureClass::NotFound);
    }
}
