//! A record as a line of JSON, and where it goes below the folder of the streams. Decides names that no file system and no
//! shell can be hurt by; writes nothing.
//!
//! ```text
//! <vehicle>/<stream>/000001.jsonl            one line for each record
//! <vehicle>/<stream>/<epoch>-<sequence>.bin  its payload, when that is large
//! <vehicle>/<stream>/files/...               what was gathered as a file (super::files)
//! ```
//!
//! A line has the record's name, times and type, and one of: `json`, the payload, when it is a JSON document in one line;
//! `text`, when it is other UTF-8; `base64`, when it is neither; `file`, the name of the file beside the line, when it is
//! larger than [`TEXT_BYTES_MAX`] or [`BINARY_BYTES_MAX`]. So nothing depends on what a sender says that its payload is, but for
//! gathered files: a whole one is always a file, and the line of a chunk has no payload, because the file that it belongs to
//! will have it.

use bytes::Bytes;
use serde::Serialize;
use serde::de::IgnoredAny;

use super::moment::Moment;
use crate::core::record::assemble::Received;
use crate::core::record::checksum::crc32c;
use crate::core::telemetry::BootId;
use crate::core::time::ClockQuality;

/// Largest text inside a line, in bytes; larger ones get a file of their own, so that lines stay handy.
pub const TEXT_BYTES_MAX: usize = 64 << 10;

/// Largest payload that is no text inside a line, in bytes. Frames of a bus or a sensor stay together, pictures become files.
pub const BINARY_BYTES_MAX: usize = 4 << 10;

/// Longest name of a folder made from a vehicle's name; file systems allow 255 bytes.
const FOLDER_BYTES_MAX: usize = 120;

/// Where the payload of a record is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kept {
    /// In its line, or beside it when it is large.
    InLine,
    /// In a file that has or will have this path from the folder of its stream, and is written elsewhere.
    InFile(String),
    /// In a file that it is a part of.
    InPart,
}

/// What is written for one record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write {
    /// Whose stream.
    pub vehicle: String,
    /// Its name.
    pub stream: String,
    /// The line, with its line feed.
    pub line: Vec<u8>,
    /// Name and content of the file beside it.
    pub file: Option<(String, Bytes)>,
}

/// What stands in front of the payload.
#[derive(Serialize)]
struct Head<'r> {
    vehicle: &'r str,
    stream: &'r str,
    epoch: u32,
    sequence: u64,
    boot_id: Option<String>,
    boot_ms: u64,
    wall_ms: Option<i64>,
    clock: ClockQuality,
    received_ms: Option<i64>,
    content_type: Option<&'r str>,
    bytes: usize,
}

/// How a payload stands in a line.
enum Body<'r> {
    Json(&'r [u8]),
    Text(&'r str),
    Binary,
    Large,
}

fn body(payload: &[u8], limits: [usize; 2]) -> Body<'_> {
    let [text_max, binary_max] = limits;
    if payload.len() > text_max {
        return Body::Large;
    }
    let Ok(text) = std::str::from_utf8(payload) else {
        return if payload.len() > binary_max { Body::Large } else { Body::Binary };
    };
    let one_line = !payload.iter().any(|byte| matches!(byte, b'\n' | b'\r'));
    if one_line && serde_json::from_slice::<IgnoredAny>(payload).is_ok() {
        return Body::Json(payload);
    }
    Body::Text(text)
}

fn head(vehicle: &str, stream: &str, record: &Received, arrived: &Moment) -> Vec<u8> {
    let stamp = &record.stamp;
    let head = Head {
        vehicle,
        stream,
        epoch: record.epoch,
        sequence: record.sequence,
        boot_id: (stamp.boot != BootId::default()).then(|| stamp.boot.to_string()),
        boot_ms: stamp.boot_ms,
        wall_ms: stamp.wall_ms(),
        clock: stamp.wall.map_or(ClockQuality::Unset, |wall| wall.quality),
        received_ms: arrived.wall_ms,
        content_type: record.content_type.as_deref(),
        bytes: record.payload.len(),
    };
    let mut line = serde_json::to_vec(&head).expect("strings and numbers serialise");
    // The closing brace comes after the payload.
    line.pop();
    line
}

fn field(line: &mut Vec<u8>, name: &str, json: &[u8]) {
    line.extend(b",\"");
    line.extend(name.as_bytes());
    line.extend(b"\":");
    line.extend(json);
    line.push(b'}');
}

fn text_field(line: &mut Vec<u8>, name: &str, text: &str) {
    field(line, name, &serde_json::to_vec(text).expect("a string serialises"));
}

/// What is written to files for a record.
#[must_use]
pub fn write(
    vehicle: &str,
    stream: &str,
    record: &Received,
    arrived: &Moment,
    kept: Kept,
) -> Write {
    let mut line = head(vehicle, stream, record, arrived);
    let mut file = None;
    match kept {
        Kept::InFile(path) => text_field(&mut line, "file", &path),
        Kept::InPart => line.push(b'}'),
        Kept::InLine => match body(&record.payload, [TEXT_BYTES_MAX, BINARY_BYTES_MAX]) {
            Body::Json(json) => field(&mut line, "json", json),
            Body::Text(text) => text_field(&mut line, "text", text),
            Body::Binary => text_field(&mut line, "base64", &base64(&record.payload)),
            Body::Large => {
                let name = format!("{}-{}.bin", record.epoch, record.sequence);
                text_field(&mut line, "file", &name);
                file = Some((name, record.payload.clone()));
            }
        },
    }
    line.push(b'\n');
    Write { vehicle: vehicle.to_owned(), stream: stream.to_owned(), line, file }
}

/// The same as one document, for another topic.
#[must_use]
pub fn document(vehicle: &str, stream: &str, record: &Received, arrived: &Moment) -> Vec<u8> {
    let mut line = head(vehicle, stream, record, arrived);
    match body(&record.payload, [usize::MAX; 2]) {
        Body::Json(json) => field(&mut line, "json", json),
        Body::Text(text) => text_field(&mut line, "text", text),
        Body::Binary | Body::Large => text_field(&mut line, "base64", &base64(&record.payload)),
    }
    line
}

/// RFC 4648 section 4, with padding.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let three = [0, 1, 2].map(|at| group.get(at).copied().unwrap_or(0));
        let bits = u32::from_be_bytes([0, three[0], three[1], three[2]]);
        for at in 0..4 {
            let digit = DIGITS[(bits >> (18 - 6 * at)) as usize & 63];
            text.push(if at <= group.len() { char::from(digit) } else { '=' });
        }
    }
    text
}

/// The folder of a vehicle: its name where that is plain, else with `%` and two digits for each other byte, also for a dot
/// or a dash at its beginning. Long names are cut and get a checksum, so that they stay unique.
#[must_use]
pub fn folder(vehicle: &str) -> String {
    let mut folder = plain(vehicle.as_bytes());
    if folder.len() > FOLDER_BYTES_MAX {
        folder.truncate(FOLDER_BYTES_MAX);
        // No plain name has this sign, so a short name cannot look like a cut one.
        folder.push_str(&format!("~{:08x}", crc32c(vehicle.as_bytes())));
    }
    folder
}

/// A name that hurts no file system and no shell: bytes other than letters, digits and `_` as `%` and two digits, but for a dot or
/// a dash that is not at its beginning.
pub(super) fn plain(name: &[u8]) -> String {
    let mut text = String::new();
    for (at, &byte) in name.iter().enumerate() {
        let stays = byte.is_ascii_alphanumeric() || byte == b'_';
        if stays || (at > 0 && b".-".contains(&byte)) {
            text.push(char::from(byte));
        } else {
            text.push_str(&format!("%{byte:02X}"));
        }
    }
    text
}

/// The name of a file of lines.
#[must_use]
pub fn lines_file(number: u32) -> String {
    format!("{number:06}.jsonl")
}

/// The number of a file of lines; `None` for another file.
#[must_use]
pub fn lines_file_number(name: &str) -> Option<u32> {
    let number = name.strip_suffix(".jsonl")?.parse().ok()?;
    (lines_file(number) == name).then_some(number)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;
    use serde_json::Value;

    use super::*;
    use crate::core::record::Stamp;

    fn record(payload: &[u8]) -> Received {
        Received {
            epoch: 3,
            sequence: 9,
            stamp: Stamp { boot: BootId([1; 16]), boot_ms: 5, wall: None },
            content_type: Some("text/x".into()),
            payload: Bytes::copy_from_slice(payload),
        }
    }

    #[test]
    fn a_line_is_as_documented() {
        let arrived = Moment { wall_ms: Some(1_795_000_000_000), ..Moment::default() };
        let line = |payload: &[u8]| write("alpha", "gps", &record(payload), &arrived, Kept::InLine);
        let head = |bytes: usize| {
            format!(
                r#"{{"vehicle":"alpha","stream":"gps","epoch":3,"sequence":9,"boot_id":"01010101-0101-0101-0101-010101010101","boot_ms":5,"wall_ms":null,"clock":"unset","received_ms":1795000000000,"content_type":"text/x","bytes":{bytes}"#
            )
        };
        for (payload, end) in [
            (&br#"{"lat":1.50}"#[..], r#","json":{"lat":1.50}}"#),
            (b"{\"lat\":\n1}", r#","text":"{\"lat\":\n1}"}"#),
            (b"", r#","text":""}"#),
            (b"\x00", r#","text":"\u0000"}"#),
            (b"\xff\x00", r#","base64":"/wA="}"#),
            (&[0xff; BINARY_BYTES_MAX + 1], r#","file":"3-9.bin"}"#),
            (&[b'1'; TEXT_BYTES_MAX + 1], r#","file":"3-9.bin"}"#),
        ] {
            let Write { line, file, .. } = line(payload);
            let expected = format!("{}{end}\n", head(payload.len()));
            assert_eq!(String::from_utf8(line).unwrap(), expected);
            assert_eq!(file.is_some(), end.contains("file"));
        }
        let sent = document("alpha", "gps", &record(b"\xff\x00"), &arrived);
        assert!(String::from_utf8(sent).unwrap().ends_with(r#","base64":"/wA="}"#));
    }

    #[test]
    fn base64_is_that_of_the_rfc() {
        let cases =
            [("", ""), ("f", "Zg=="), ("fo", "Zm8="), ("foo", "Zm9v"), ("foobar", "Zm9vYmFy")];
        for (bytes, text) in cases {
            assert_eq!(base64(bytes.as_bytes()), text);
        }
    }

    #[test]
    fn folders_are_harmless_and_unique() {
        let long = "x".repeat(255);
        let longer = format!("{}y", "x".repeat(254));
        let names = [
            "alpha",
            "Alpha",
            "..",
            ".",
            "a.b",
            "a b",
            "a%20b",
            "a\u{202e}b",
            "-rf",
            "~",
            &long,
            &longer,
        ];
        let folders: BTreeSet<String> = names.iter().map(|name| folder(name)).collect();
        assert_eq!(folders.len(), names.len(), "{folders:?}");
        assert_eq!(folder("alpha-7.b"), "alpha-7.b");
        assert_eq!(folder(".."), "%2E.");
        assert!(folders.iter().all(|folder| folder.len() <= 140 && !folder.starts_with('.')));
    }

    #[test]
    fn files_of_lines_are_told_from_others() {
        assert_eq!(lines_file_number(&lines_file(12)), Some(12));
        assert_eq!(lines_file_number(&lines_file(1_234_567)), Some(1_234_567));
        for name in ["12.jsonl", "000012.jsonl.bak", "3-9.bin", "", "00001a.jsonl", "+00012.jsonl"]
        {
            assert_eq!(lines_file_number(name), None, "{name}");
        }
    }

    proptest! {
        /// Whatever a payload is, its line is one line, is JSON, and has the payload.
        #[test]
        fn every_payload_makes_one_line(payload in prop_oneof![
            prop::collection::vec(any::<u8>(), 0..100),
            any::<String>().prop_map(String::into_bytes),
            "[\\[\\]{}0-9,\":a\\\\ ]{0,20}".prop_map(String::into_bytes),
        ]) {
            let Write { line, file, .. } = write("v", "s", &record(&payload), &Moment::default(), Kept::InLine);
            prop_assert_eq!(line.iter().filter(|byte| **byte == b'\n').count(), 1);
            let document: Value = serde_json::from_slice(&line).unwrap();
            prop_assert!(file.is_none());
            let content = match (document.get("base64"), document.get("text"), document.get("json")) {
                (Some(text), None, None) => {
                    prop_assert_eq!(text.as_str(), Some(&*base64(&payload)));
                    payload.clone()
                }
                (None, Some(text), None) => text.as_str().unwrap().as_bytes().to_vec(),
                (None, None, Some(_)) => {
                    prop_assert!(line.windows(payload.len()).any(|part| part == payload));
                    payload.clone()
                }
                _ => panic!("{document}"),
            };
            prop_assert_eq!(content, payload);
        }

        #[test]
        fn folders_stay_below_their_parent(name in any::<String>()) {
            let folder = folder(&name);
            prop_assert!(!folder.contains(['/', '\0', '\n']) && folder.is_ascii());
            prop_assert!(!folder.starts_with('.') && folder.len() <= 140);
        }
    }
}
