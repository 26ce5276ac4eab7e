//! Splits what a daemon sent into its HTTP head, if there is one, and its body.
//!
//! Knows only the little HTTP that the daemons speak: a status line, headers that end in an empty line, and a length
//! that may be missing. olsrd pads `Content-Length` with spaces; txtinfo before 0.9.5 ends its lines with LF alone;
//! jsoninfo before 0.9.5 and raw requests have no head at all. Chunked or compressed bodies do not exist here. It reads
//! no sockets: the caller asks again when more bytes have arrived.

use crate::failure::FailureClass;

/// An answer taken apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer<'a> {
    /// Status code, `None` when there is no HTTP head (or not yet a whole one).
    pub status: Option<u16>,
    /// The length that the head announces.
    pub length: Option<usize>,
    /// What has arrived of the body, never more than the announced length.
    pub body: &'a [u8],
    /// Whether the head says that nothing more belongs to this answer. Without a length only the end of the stream
    /// tells.
    pub complete: bool,
}

impl Answer<'_> {
    /// What kind of refusal the status code is, `None` for success and for answers without a head.
    #[must_use]
    pub fn refusal(&self) -> Option<FailureClass> {
        self.status.and_then(refusal)
    }
}

/// What kind of refusal an HTTP status `code` is, `None` for success.
#[must_use]
pub fn refusal(code: u16) -> Option<FailureClass> {
    match code {
        200..=299 => None,
        403 => Some(FailureClass::NotAllowed),
        404 => Some(FailureClass::NotFound),
        408 | 429 | 503 => Some(FailureClass::Busy),
        _ => Some(FailureClass::NotUnderstood),
    }
}

/// The status code at the beginning of an error text such as `404 Not Found`.
#[must_use]
pub fn status_code(text: &[u8]) -> Option<u16> {
    let digits = text.get(..3)?;
    if !digits.iter().all(u8::is_ascii_digit) || text.get(3).is_some_and(u8::is_ascii_digit) {
        return None;
    }
    std::str::from_utf8(digits).ok()?.parse().ok()
}

/// Takes `bytes`, the answer so far, apart. Bytes that do not begin with `HTTP/` are all body.
#[must_use]
pub fn split(bytes: &[u8]) -> Answer<'_> {
    let waiting = Answer { status: None, length: None, body: &[], complete: false };
    if !bytes.starts_with(b"HTTP/") {
        let maybe_head = b"HTTP/".starts_with(bytes);
        return if maybe_head { waiting } else { Answer { body: bytes, ..waiting } };
    }
    let Some(end) = head_end(bytes) else { return waiting };
    let (head, rest) = bytes.split_at(end);
    let mut lines = head.split(|&byte| byte == b'\n');
    let first = lines.next().unwrap_or_default();
    let status = first
        .iter()
        .position(|&byte| byte == b' ')
        .and_then(|space| status_code(first[space..].trim_ascii_start()));
    let length = lines.find_map(content_length);
    let body = &rest[..rest.len().min(length.unwrap_or(usize::MAX))];
    Answer { status, length, body, complete: length == Some(body.len()) }
}

/// Where the body begins: behind the first empty line.
fn head_end(bytes: &[u8]) -> Option<usize> {
    let mut start = 0;
    for (at, _) in bytes.iter().enumerate().filter(|(_, byte)| **byte == b'\n') {
        let line = &bytes[start..at];
        if line.is_empty() || line == b"\r" {
            return Some(at + 1);
        }
        start = at + 1;
    }
    None
}

fn content_length(line: &[u8]) -> Option<usize> {
    let colon = line.iter().position(|&byte| byte == b':')?;
    if !line[..colon].trim_ascii().eq_ignore_ascii_case(b"content-length") {
        return None;
    }
    std::str::from_utf8(line[colon + 1..].trim_ascii()).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_padded_length_delimits_the_body() {
        let answer = split(b"HTTP/1.1 200 OK\r\nContent-Length: 3         \r\n\r\n{}\nrest");
        assert_eq!(answer.status, Some(200));
        assert_eq!(answer.body, b"{}\n");
        assert!(answer.complete);
        assert_eq!(answer.refusal(), None);
    }

    #[test]
    fn lines_may_end_with_lf_alone_and_have_no_length() {
        let answer = split(b"HTTP/1.0 200 OK\nContent-type: text/plain\n\nTable: Links\n");
        assert_eq!((answer.status, answer.length), (Some(200), None));
        assert_eq!(answer.body, b"Table: Links\n");
        assert!(!answer.complete);
    }

    #[test]
    fn without_a_head_everything_is_body() {
        assert_eq!(split(b"{\"pid\": 1}").body, b"{\"pid\": 1}");
        assert_eq!(split(b"").body, b"");
    }

    #[test]
    fn an_unfinished_head_is_waited_for() {
        for head in [&b"HTT"[..], b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n"] {
            assert_eq!(split(head).status, None);
            assert!(split(head).body.is_empty());
        }
    }

    #[test]
    fn refusals_are_told_apart() {
        let busy = split(b"HTTP/1.1 503 Service Unavailable\r\n\r\n");
        assert_eq!(busy.refusal(), Some(FailureClass::Busy));
        assert_eq!(refusal(403), Some(FailureClass::NotAllowed));
        assert_eq!(refusal(404), Some(FailureClass::NotFound));
        assert_eq!(refusal(501), Some(FailureClass::NotUnderstood));
        assert_eq!(status_code(b"404 Not Found"), Some(404));
        assert_eq!(status_code(b"4040"), None);
    }
}
