//! A lenient pull reader for what routing daemons call JSON.
//!
//! Reads straight from the answer's bytes without copying or allocating. It accepts what olsrd and olsrd2 really send:
//! strings that contain unescaped quotes, bare words such as `859m` or `nan`, stray commas (`{,`), numbers of 309
//! digits, documents that follow each other without a separator, and documents that end in the middle. It tells integer
//! tokens from tokens with a decimal point, because the scale of olsrd's costs is told by that alone. It does not check
//! that a document is valid JSON, does not decode escapes (no field that matters has any), and never fails: what cannot
//! be read is skipped, and [`Reader::damaged`] and [`Reader::truncated`] say so.
//!
//! Every call moves forward or ends, so the work is linear in the input whatever it holds.

mod shape;

pub use shape::Shape;

use std::net::IpAddr;

use crate::number;
use crate::scan::{self, IS_DELIMITER, begins_with, plain_number};

/// Deepest nesting that is followed. The daemons use at most 6 levels; a document beyond this limit is treated as if it
/// ended there.
pub const DEPTH_MAX: u32 = 64;

/// A value that is neither object nor array.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Scalar<'a> {
    /// The bytes between quotes, as sent.
    Text(&'a [u8]),
    /// A number token without decimal point or exponent; saturates at the limits of the type.
    Integer(i64),
    /// A number token with decimal point or exponent. Finite or infinite, never NaN.
    Float(f64),
    /// `true` or `false` without quotes.
    Bool(bool),
    /// Any other bare token.
    Word(&'a [u8]),
    /// `null`, nothing at all, or an object or array (skipped) where a scalar was asked for.
    Missing,
}

impl<'a> Scalar<'a> {
    /// The value as a number, also when it is sent as text (`"5"`, `"0.5"`). Never NaN.
    #[must_use]
    pub fn number(self) -> Option<f64> {
        match self {
            Scalar::Integer(value) => Some(value as f64),
            Scalar::Float(value) => Some(value),
            Scalar::Text(text) => match number::parse(text)? {
                number::Number::Integer(value) => Some(value as f64),
                number::Number::Float(value) => Some(value),
            },
            Scalar::Bool(_) | Scalar::Word(_) | Scalar::Missing => None,
        }
    }

    /// The value as a whole number, also when it is sent as text. Fractions are not rounded: they give `None`.
    #[must_use]
    pub fn integer(self) -> Option<i64> {
        match self {
            Scalar::Integer(value) => Some(value),
            Scalar::Text(text) => match number::parse(text)? {
                number::Number::Integer(value) => Some(value),
                number::Number::Float(_) => None,
            },
            Scalar::Float(_) | Scalar::Bool(_) | Scalar::Word(_) | Scalar::Missing => None,
        }
    }

    /// The value as an unsigned number of 32 bits.
    #[must_use]
    pub fn unsigned(self) -> Option<u32> {
        u32::try_from(self.integer()?).ok()
    }

    /// The value as a truth value, also when it is sent as text (`"true"`).
    #[must_use]
    pub fn boolean(self) -> Option<bool> {
        match self {
            Scalar::Bool(value) => Some(value),
            Scalar::Text(b"true") => Some(true),
            Scalar::Text(b"false") => Some(false),
            Scalar::Text(_)
            | Scalar::Integer(_)
            | Scalar::Float(_)
            | Scalar::Word(_)
            | Scalar::Missing => None,
        }
    }

    /// The bytes of a quoted string.
    #[must_use]
    pub fn text(self) -> Option<&'a [u8]> {
        match self {
            Scalar::Text(text) => Some(text),
            Scalar::Integer(_)
            | Scalar::Float(_)
            | Scalar::Bool(_)
            | Scalar::Word(_)
            | Scalar::Missing => None,
        }
    }

    /// The quoted string as text for people; bytes that are not UTF-8 become U+FFFD.
    #[must_use]
    pub fn string(self) -> Option<String> {
        self.text().map(|text| String::from_utf8_lossy(text).into_owned())
    }

    /// The quoted string as an IP address.
    #[must_use]
    pub fn address(self) -> Option<IpAddr> {
        number::address(self.text()?)
    }
}

/// Reads one answer from its beginning to its end.
pub struct Reader<'a> {
    input: &'a [u8],
    at: usize,
    depth: u32,
    truncated: bool,
    damaged: bool,
}

impl<'a> Reader<'a> {
    /// Starts at the first byte of `input`.
    #[must_use]
    pub fn new(input: &'a [u8]) -> Reader<'a> {
        Reader { input, at: 0, depth: 0, truncated: false, damaged: false }
    }

    /// Whether the input ended (or nested deeper than [`DEPTH_MAX`]) inside an object, array or string.
    #[must_use]
    pub fn truncated(&self) -> bool {
        self.truncated
    }

    /// Whether something had to be skipped because it was no JSON at all.
    #[must_use]
    pub fn damaged(&self) -> bool {
        self.damaged
    }

    /// What has not been read yet.
    #[must_use]
    pub fn rest(&self) -> &'a [u8] {
        &self.input[self.at..]
    }

    /// Where the reader stands, for [`Reader::since`].
    pub(crate) fn position(&self) -> usize {
        self.at
    }

    /// The bytes from an earlier `position` up to here.
    pub(crate) fn since(&self, position: usize) -> &'a [u8] {
        &self.input[position..self.at]
    }

    /// Passes over exactly `bytes`, which are not empty and hold no bracket that is not closed, if they stand here.
    pub(crate) fn pass(&mut self, bytes: &[u8]) -> bool {
        self.pass_inlined(bytes)
    }

    /// [`Reader::pass`] for the two places that most bytes of an answer go through, where a call would be a tenth of it.
    #[inline(always)]
    pub(crate) fn pass_inlined(&mut self, bytes: &[u8]) -> bool {
        let stands = begins_with(&self.input[self.at..], bytes);
        if stands {
            self.at += bytes.len();
        }
        stands
    }

    /// Passes over the rest of an object, its closing brace included, if exactly these bytes stand here.
    #[inline(always)]
    pub(crate) fn pass_to_end(&mut self, bytes: &[u8]) -> bool {
        let stands = self.pass_inlined(bytes);
        if stands {
            self.depth = self.depth.saturating_sub(1);
        }
        stands
    }

    /// Goes to the next `{` or `[` at the top level and returns the bytes in front of it without surrounding white
    /// space (error lines of olsrd2 stand there); `None` in the second place at the end of the input.
    pub fn document(&mut self) -> (&'a [u8], Option<u8>) {
        self.depth = 0;
        let start = self.at;
        while let Some(byte) = self.peek() {
            if byte == b'{' || byte == b'[' {
                return (self.input[start..self.at].trim_ascii(), Some(byte));
            }
            self.at += 1;
        }
        (self.input[start..].trim_ascii(), None)
    }

    /// The first byte of the value that stands here, without reading it.
    pub fn upcoming(&mut self) -> Option<u8> {
        self.white_space();
        self.peek()
    }

    /// Enters the object that stands here. Anything else is skipped, and the answer is `false`.
    pub fn open_object(&mut self) -> bool {
        self.open(b'{')
    }

    /// Enters the array that stands here. Anything else is skipped, and the answer is `false`.
    pub fn open_array(&mut self) -> bool {
        self.open(b'[')
    }

    fn open(&mut self, bracket: u8) -> bool {
        self.white_space();
        if self.peek() != Some(bracket) {
            self.skip();
            return false;
        }
        self.at += 1;
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            self.end_of_input();
        }
        true
    }

    /// Inside an object: the next key, or `None` after its last one. The value must be read or skipped next.
    pub fn key(&mut self) -> Option<&'a [u8]> {
        loop {
            self.separators();
            match self.peek() {
                None => {
                    self.end_of_input();
                    return None;
                }
                Some(b'}') => {
                    self.close();
                    return None;
                }
                Some(b']') => {
                    // The closing brace is missing; the bracket belongs to the array around this object.
                    self.damaged = true;
                    self.depth = self.depth.saturating_sub(1);
                    return None;
                }
                Some(b'"') => {
                    let key = self.name();
                    self.white_space();
                    if self.peek() == Some(b':') {
                        self.at += 1;
                        return Some(key);
                    }
                    self.damaged = true;
                }
                Some(_) => {
                    self.damaged = true;
                    self.skip();
                }
            }
        }
    }

    /// Inside an array: whether another element follows; it must be read or skipped next.
    pub fn element(&mut self) -> bool {
        self.separators();
        match self.peek() {
            None => {
                self.end_of_input();
                false
            }
            Some(b']') => {
                self.close();
                false
            }
            Some(b'}') => {
                // The closing bracket is missing; the brace belongs to the object around this array.
                self.damaged = true;
                self.depth = self.depth.saturating_sub(1);
                false
            }
            Some(_) => true,
        }
    }

    /// Reads the scalar that stands here. An object or array is skipped and gives [`Scalar::Missing`].
    pub fn scalar(&mut self) -> Scalar<'a> {
        if let Some(number) = self.number() {
            return number;
        }
        self.white_space();
        match self.peek() {
            None => {
                self.end_of_input();
                Scalar::Missing
            }
            Some(b'"') => Scalar::Text(self.quoted(false)),
            Some(b'{' | b'[') => {
                self.skip();
                Scalar::Missing
            }
            Some(_) => self.bare(),
        }
    }

    /// The bytes of the quoted string that stands here; anything else is skipped.
    pub fn text(&mut self) -> Option<&'a [u8]> {
        self.white_space();
        if self.peek() == Some(b'"') {
            return Some(self.quoted(false));
        }
        self.skip();
        None
    }

    /// Reads the scalar that stands here as an IP address in quotes.
    #[inline]
    pub fn address(&mut self) -> Option<IpAddr> {
        if let Some((address, length)) = number::quoted_ipv4(&self.input[self.at..]) {
            self.at += length;
            return Some(IpAddr::V4(address));
        }
        self.other_address()
    }

    #[cold]
    fn other_address(&mut self) -> Option<IpAddr> {
        self.scalar().address()
    }

    /// The bytes of the bare token that stands here, for values that are rarely looked at. Anything else is skipped and
    /// gives nothing.
    pub fn raw(&mut self) -> &'a [u8] {
        self.white_space();
        match self.peek() {
            None | Some(b'"' | b'{' | b'[') => {
                self.skip();
                &[]
            }
            Some(_) => self.token(),
        }
    }

    /// Reads the plain number that stands exactly here and is followed by a delimiter; everything else, also the end of
    /// the input and numbers of many digits, is left to [`Reader::bare`].
    fn number(&mut self) -> Option<Scalar<'a>> {
        let rest = &self.input[self.at..];
        let delimited =
            |length: usize| rest.get(length).is_some_and(|byte| IS_DELIMITER[usize::from(*byte)]);
        if delimited(number::SIX_DECIMALS_LENGTH)
            && let Some(value) = number::six_decimals(rest)
        {
            self.at += number::SIX_DECIMALS_LENGTH;
            return Some(Scalar::Float(value));
        }
        let (number, length) = number::parse_prefix(rest)?;
        if !delimited(length) {
            return None;
        }
        self.at += length;
        Some(match number {
            number::Number::Integer(value) => Scalar::Integer(value),
            number::Number::Float(value) => Scalar::Float(value),
        })
    }

    /// Skips the value that stands here, whatever it is.
    pub fn skip(&mut self) {
        self.white_space();
        match self.peek() {
            None => self.end_of_input(),
            Some(b'"') => {
                self.quoted(false);
            }
            Some(b'{' | b'[') => self.skip_nested(),
            Some(_) => {
                self.token();
            }
        }
    }

    fn skip_nested(&mut self) {
        let outer = self.depth;
        while let Some(byte) = self.peek() {
            match byte {
                // Key or value: where this text is skipped it does not matter which.
                b'"' => {
                    self.quoted(true);
                }
                b'{' | b'[' => {
                    self.at += 1;
                    self.depth += 1;
                    if self.depth > DEPTH_MAX {
                        self.end_of_input();
                    }
                }
                b'}' | b']' => {
                    self.at += 1;
                    self.depth -= 1;
                    if self.depth == outer {
                        return;
                    }
                }
                _ => self.at += 1,
            }
        }
        self.end_of_input();
    }

    fn peek(&self) -> Option<u8> {
        self.input.get(self.at).copied()
    }

    fn close(&mut self) {
        self.at += 1;
        self.depth = self.depth.saturating_sub(1);
    }

    fn end_of_input(&mut self) {
        self.at = self.input.len();
        self.truncated = true;
    }

    fn white_space(&mut self) {
        while let Some(b' ' | b'\n' | b'\t' | b'\r') = self.peek() {
            self.at += 1;
        }
    }

    /// White space and commas; a comma too many (`{,`) carries no meaning.
    fn separators(&mut self) {
        while let Some(b' ' | b'\n' | b'\t' | b'\r' | b',') = self.peek() {
            self.at += 1;
        }
    }

    /// The bytes of the key whose opening quote stands here.
    fn name(&mut self) -> &'a [u8] {
        let start = self.at + 1;
        let Some(length) = scan::find(b'"', &self.input[start..]) else {
            self.end_of_input();
            return &[];
        };
        self.at = start + length + 1;
        &self.input[start..start + length]
    }

    /// The bytes of the string value (or, where asked for, the key) whose opening quote stands here.
    ///
    /// olsrd does not escape, so a quote closes the string only where the document can go on after it.
    fn quoted(&mut self, or_key: bool) -> &'a [u8] {
        let start = self.at + 1;
        let mut from = start;
        while let Some(length) = scan::find(b'"', &self.input[from..]) {
            let end = from + length;
            if closes(&self.input[end + 1..], or_key) {
                self.at = end + 1;
                return &self.input[start..end];
            }
            from = end + 1;
        }
        self.end_of_input();
        &self.input[start.min(self.input.len())..]
    }

    /// The token up to the next delimiter. May be empty in front of a delimiter, else moves at least one byte.
    fn token(&mut self) -> &'a [u8] {
        let rest = &self.input[self.at..];
        let mut length = plain_number(rest);
        while let Some(byte) = rest.get(length)
            && !IS_DELIMITER[usize::from(*byte)]
        {
            length += 1;
        }
        // A bracket or quote begins something else, but it must not stop the reader.
        if length == 0 && matches!(rest.first(), Some(b'{' | b'[' | b'"')) {
            length = 1;
        }
        self.at += length;
        &rest[..length]
    }

    fn bare(&mut self) -> Scalar<'a> {
        Scalar::of_token(self.token())
    }
}

impl<'a> Scalar<'a> {
    /// What a bare token says; nothing for an empty one.
    #[must_use]
    pub fn of_token(token: &'a [u8]) -> Scalar<'a> {
        match token {
            b"true" => Scalar::Bool(true),
            b"false" => Scalar::Bool(false),
            b"null" | b"" => Scalar::Missing,
            _ => match number::parse(token) {
                Some(number::Number::Integer(value)) => Scalar::Integer(value),
                Some(number::Number::Float(value)) => Scalar::Float(value),
                None => Scalar::Word(token),
            },
        }
    }
}

/// Whether a quote followed by `rest` ends its value: it is followed by the end of its container or of the input, or by
/// a comma and the beginning of another key or value. A key ends in front of a colon.
fn closes(rest: &[u8], or_key: bool) -> bool {
    let rest = trim_start(rest);
    match rest.first() {
        None | Some(b'}' | b']') => true,
        Some(b':') => or_key,
        Some(b',') => match trim_start(&rest[1..]).first() {
            None | Some(b'"' | b'{' | b'[' | b'}' | b']' | b'-' | b'0'..=b'9') => true,
            Some(_) => false,
        },
        Some(_) => false,
    }
}

fn trim_start(bytes: &[u8]) -> &[u8] {
    match bytes.iter().position(|byte| !byte.is_ascii_whitespace()) {
        Some(start) => &bytes[start..],
        None => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn scalars(document: &str) -> Vec<Scalar<'_>> {
        let mut reader = Reader::new(document.as_bytes());
        assert!(reader.open_array(), "{document}");
        let mut values = Vec::new();
        while reader.element() {
            values.push(reader.scalar());
        }
        values
    }

    #[test]
    fn tells_integer_tokens_from_float_tokens() {
        assert_eq!(
            scalars("[1024, 1024.000000, -3, 1e3, 859m, nan, true, null, \"5\"]"),
            [
                Scalar::Integer(1024),
                Scalar::Float(1024.0),
                Scalar::Integer(-3),
                Scalar::Float(1000.0),
                Scalar::Word(b"859m"),
                Scalar::Word(b"nan"),
                Scalar::Bool(true),
                Scalar::Missing,
                Scalar::Text(b"5"),
            ]
        );
    }

    #[test]
    fn huge_numbers_saturate_or_become_infinite() {
        let digits = "1".repeat(400);
        assert_eq!(
            scalars(&format!("[{digits}, -{digits}, {digits}.000000, 4294967295.000000]")),
            [
                Scalar::Integer(i64::MAX),
                Scalar::Integer(i64::MIN),
                Scalar::Float(f64::INFINITY),
                Scalar::Float(4_294_967_295.0),
            ]
        );
    }

    #[test]
    fn unescaped_quotes_stay_inside_their_string() {
        let mut reader = Reader::new(br#"{"uuid": "a "quoted" word", "n": 1}"#);
        assert!(reader.open_object());
        assert_eq!(reader.key(), Some(&b"uuid"[..]));
        assert_eq!(reader.scalar(), Scalar::Text(br#"a "quoted" word"#));
        assert_eq!(reader.key(), Some(&b"n"[..]));
        assert_eq!(reader.scalar(), Scalar::Integer(1));
        assert_eq!(reader.key(), None);
        assert!(!reader.truncated());
    }

    #[test]
    fn a_stray_comma_and_bare_keys_are_passed_over() {
        let mut reader = Reader::new(br#"{, junk "a" 1, "b": 2}"#);
        assert!(reader.open_object());
        assert_eq!(reader.key(), Some(&b"b"[..]));
        assert_eq!(reader.scalar(), Scalar::Integer(2));
        assert_eq!(reader.key(), None);
        assert!(reader.damaged());
    }

    #[test]
    fn documents_without_separator_are_told_apart() {
        let mut reader = Reader::new(b"{\"a\": 1}{\"b\": 2}Error, unknown command 'x'\n");
        let mut keys = Vec::new();
        let tail = loop {
            let (before, start) = reader.document();
            if start.is_none() {
                break before;
            }
            assert!(reader.open_object());
            while let Some(key) = reader.key() {
                keys.push(key);
                reader.skip();
            }
        };
        assert_eq!(keys, [b"a", b"b"]);
        assert_eq!(tail, b"Error, unknown command 'x'");
        assert!(!reader.truncated());
    }

    #[test]
    fn nesting_without_end_ends() {
        for bracket in ["[", "{\"a\":", "[{"] {
            let bomb = bracket.repeat(100_000);
            let mut reader = Reader::new(bomb.as_bytes());
            reader.skip();
            assert!(reader.truncated());
            assert!(reader.rest().is_empty());
        }
    }
}
