//! How a file travels that was gathered from a folder: what its records' content types say. A file is one record, or chunks and a
//! record that describes them (`shell/gather/folder.rs` says when). Reads only what a gatherer writes: anything else is any
//! record.

use serde::{Deserialize, Serialize};

/// Content type of a part of a large file, before its parameters `file` and `offset`.
pub const CHUNK_TYPE: &str = "application/vnd.outrider.chunk";

/// Content type of the [`Manifest`] that follows the chunks.
pub const MANIFEST_TYPE: &str = "application/vnd.outrider.file+json";

/// Hexadecimal digits of a SHA-256.
const SHA256_DIGITS: usize = 64;

/// What chunks make together.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// Id of the file, which the chunks name: the first half of `sha256`.
    pub file: String,
    /// Its name, with bytes other than letters, digits and `._-~+=@,` as `%` and two hexadecimal digits.
    pub name: String,
    /// Bytes.
    pub size: u64,
    /// SHA-256 of the content in lower-case hexadecimal.
    pub sha256: String,
}

impl Manifest {
    /// Reads the payload of a record of the type [`MANIFEST_TYPE`]. `None` when its digest and its id are not such.
    #[must_use]
    pub fn read(payload: &[u8]) -> Option<Manifest> {
        let manifest: Manifest = serde_json::from_slice(payload).ok()?;
        let is_digest = manifest.sha256.len() == SHA256_DIGITS && is_hexadecimal(&manifest.sha256);
        let is_ours = is_id(&manifest.file) && manifest.sha256.starts_with(&manifest.file);
        (is_digest && is_ours).then_some(manifest)
    }
}

/// What a record is to a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Piece<'t> {
    /// All of it.
    Whole {
        /// Id of the file.
        id: &'t str,
        /// Its name as in a [`Manifest`].
        name: &'t str,
    },
    /// Some of its bytes.
    Chunk {
        /// Id of the file.
        id: &'t str,
        /// Where they begin.
        offset: u64,
    },
    /// What its chunks make together.
    Manifest,
}

impl<'t> Piece<'t> {
    /// `None` for a record that is no part of a file.
    #[must_use]
    pub fn of(content_type: &'t str) -> Option<Piece<'t>> {
        let (essence, _) = content_type.split_once(';').unwrap_or((content_type, ""));
        let parameter = |name: &str| {
            let mut parameters = content_type.split("; ").skip(1);
            parameters.find_map(|text| text.strip_prefix(name)?.strip_prefix('='))
        };
        let id = parameter("file").filter(|id| is_id(id));
        match essence {
            MANIFEST_TYPE => Some(Piece::Manifest),
            CHUNK_TYPE => {
                Some(Piece::Chunk { id: id?, offset: parameter("offset")?.parse().ok()? })
            }
            _ => {
                let name = parameter("name")?.strip_prefix('"')?.strip_suffix('"')?;
                Some(Piece::Whole { id: id?, name })
            }
        }
    }
}

/// The bytes of a name as in a [`Manifest`]. A `%` without two digits is itself.
#[must_use]
pub fn decode_name(name: &str) -> Vec<u8> {
    let mut bytes = Vec::with_capacity(name.len());
    let mut rest = name.as_bytes();
    while let Some((&first, after)) = rest.split_first() {
        let digit = |at: usize| char::from(*after.get(at)?).to_digit(16);
        let escaped = digit(0).zip(digit(1)).filter(|_| first == b'%');
        let escaped = escaped.and_then(|(high, low)| u8::try_from(high * 16 + low).ok());
        bytes.push(escaped.unwrap_or(first));
        rest = if escaped.is_some() { &after[2..] } else { after };
    }
    bytes
}

fn is_id(text: &str) -> bool {
    text.len() == SHA256_DIGITS / 2 && is_hexadecimal(text)
}

fn is_hexadecimal(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ID: &str = "0123456789abcdef0123456789abcdef";

    #[test]
    fn what_a_gatherer_writes_is_read() {
        let whole = format!("image/png; charset=x; name=\"a%20b.png\"; file={ID}");
        assert_eq!(Piece::of(&whole), Some(Piece::Whole { id: ID, name: "a%20b.png" }));
        let chunk = format!("{CHUNK_TYPE}; file={ID}; offset=262144");
        assert_eq!(Piece::of(&chunk), Some(Piece::Chunk { id: ID, offset: 262_144 }));
        assert_eq!(Piece::of(MANIFEST_TYPE), Some(Piece::Manifest));
        for (name, bytes) in [
            ("a%20b", &b"a b"[..]),
            ("%FF%2f..", b"\xff/.."),
            ("100%", b"100%"),
            ("%2", b"%2"),
            ("%zz", b"%zz"),
        ] {
            assert_eq!(decode_name(name), bytes);
        }
    }

    #[test]
    fn anything_else_is_any_record() {
        for text in [
            "application/json".to_owned(),
            format!("image/png; file={ID}"),
            "image/png; name=\"a\"; file=../../../etc/passwd".to_owned(),
            format!("image/png; name=a; file={ID}"),
            format!("{CHUNK_TYPE}; file={}; offset=0", ID.to_uppercase()),
            format!("{CHUNK_TYPE}; file={ID}; offset=-1"),
            format!("{CHUNK_TYPE}; file={ID}; offset=18446744073709551616"),
            format!("{CHUNK_TYPE}; file={ID}"),
        ] {
            assert_eq!(Piece::of(&text), None, "{text}");
        }
        let manifest = |file: &str, sha256: &str, size: &str| {
            let text = format!(
                "{{\"file\":\"{file}\",\"name\":\"a\",\"size\":{size},\"sha256\":\"{sha256}\"}}"
            );
            Manifest::read(text.as_bytes()).is_some()
        };
        assert!(manifest(ID, &ID.repeat(2), "5"));
        assert!(!manifest(ID, &ID.repeat(2), "-5"));
        assert!(!manifest(ID, ID, "5"));
        assert!(!manifest(ID, &"0".repeat(64), "5"), "of another file");
        assert!(!manifest("..", &ID.repeat(2), "5"));
    }

    proptest! {
        #[test]
        fn no_text_can_hurt(text in any::<String>(), payload in any::<Vec<u8>>()) {
            let _ = (Piece::of(&text), decode_name(&text), Manifest::read(&payload));
        }
    }
}
