//! Numbers and addresses out of bytes, fast enough for thousands of rows a second on a small processor.

use std::net::{IpAddr, Ipv4Addr};

use crate::view::Prefix;

/// A number token.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Number {
    /// Without decimal point or exponent; saturates at the limits of the type.
    Integer(i64),
    /// With decimal point or exponent; may be infinite, never NaN.
    Float(f64),
}

/// Powers of ten that `f64` holds exactly and that six decimals and most other tokens need.
const POWERS_OF_TEN: [f64; 16] =
    [1.0, 1e1, 1e2, 1e3, 1e4, 1e5, 1e6, 1e7, 1e8, 1e9, 1e10, 1e11, 1e12, 1e13, 1e14, 1e15];

/// Digits that fit 64 bits whatever they are.
const SAFE_DIGITS: usize = 18;

/// Up to here every integer is exact in `f64`.
const EXACT_MANTISSA: u64 = 1 << 53;

/// Reads a whole token: optional minus, digits, optional fraction and exponent. `None` for anything else (`859m`, `nan`).
#[must_use]
pub fn parse(token: &[u8]) -> Option<Number> {
    match parse_prefix(token) {
        Some((number, length)) if length == token.len() => Some(number),
        Some(_) | None => long(token),
    }
}

/// Reads the number at the beginning of `bytes`, as far as its digits and one point go, and tells its length. `None`
/// where there is none, and for numbers so long that they need more care.
pub(crate) fn parse_prefix(bytes: &[u8]) -> Option<(Number, usize)> {
    if let Some(rest) = bytes.strip_prefix(b"-") {
        return match parse_prefix_unsigned(rest)? {
            (Number::Integer(value), length) => Some((Number::Integer(-value), length + 1)),
            (Number::Float(value), length) => Some((Number::Float(-value), length + 1)),
        };
    }
    parse_prefix_unsigned(bytes)
}

/// Reads the number at the beginning of `bytes` if it has one digit, a point and six decimals, which is how C prints most
/// metrics; the next byte must be looked at.
#[inline]
pub(crate) fn six_decimals(bytes: &[u8]) -> Option<f64> {
    let token = bytes.first_chunk::<SIX_DECIMALS_LENGTH>()?;
    if token[1] != b'.' {
        return None;
    }
    let word = u64::from_le_bytes(*token) ^ u64::from_le_bytes(*b"0.000000");
    // The digits' values without the point, the first one in the second lowest byte.
    let digits = (word >> 16 << 16) | ((word & 0xff) << 8);
    const SIXES: u64 = u64::from_le_bytes([6; 8]);
    const HIGH_HALVES: u64 = u64::from_le_bytes([0xf0; 8]);
    if (digits | ((digits & !HIGH_HALVES) + SIXES)) & HIGH_HALVES != 0 {
        return None;
    }
    // Pairs of digits, then pairs of pairs, then both halves.
    let pairs = (digits * 10 + (digits >> 8)) & 0x00ff_00ff_00ff_00ff;
    let fours = (pairs * 100 + (pairs >> 16)) & 0x0000_ffff_0000_ffff;
    let micros = (fours * 10_000 + (fours >> 32)) & 0xffff_ffff;
    Some(micros as f64 / 1e6)
}

/// Bytes of a number as [`six_decimals`] reads it.
pub(crate) const SIX_DECIMALS_LENGTH: usize = 8;

fn parse_prefix_unsigned(bytes: &[u8]) -> Option<(Number, usize)> {
    let (whole, point) = digits(bytes, 0);
    if point == 0 || point > SAFE_DIGITS {
        return None;
    }
    if bytes.get(point) != Some(&b'.') {
        return Some((Number::Integer(i64::try_from(whole).ok()?), point));
    }
    let (mantissa, decimals) = digits(&bytes[point + 1..], whole);
    if point + decimals > SAFE_DIGITS || mantissa > EXACT_MANTISSA {
        return None;
    }
    let value = mantissa as f64 / POWERS_OF_TEN.get(decimals)?;
    Some((Number::Float(value), point + 1 + decimals))
}

/// Appends the digits at the beginning of `bytes` to `value` (wrapping) and tells how many they are.
fn digits(bytes: &[u8], mut value: u64) -> (u64, usize) {
    for (at, byte) in bytes.iter().enumerate() {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return (value, at);
        }
        value = value.wrapping_mul(10).wrapping_add(u64::from(digit));
    }
    (value, bytes.len())
}

/// The slow path for exponents and long tokens (olsrd prints an infinity as 309 digits).
#[cold]
fn long(token: &[u8]) -> Option<Number> {
    let plain = |byte: &u8| matches!(byte, b'0'..=b'9' | b'.' | b'-' | b'+' | b'e' | b'E');
    if !token.iter().all(plain) || !token.first()?.is_ascii_digit() && token.first() != Some(&b'-')
    {
        return None;
    }
    let text = std::str::from_utf8(token).ok()?;
    if token.iter().all(|byte| byte.is_ascii_digit() || *byte == b'-') {
        let digits = text.strip_prefix('-').unwrap_or(text);
        if digits.is_empty() || digits.contains('-') {
            return None;
        }
        let limit = if text.len() > digits.len() { i64::MIN } else { i64::MAX };
        return Some(Number::Integer(text.parse().unwrap_or(limit)));
    }
    let value: f64 = text.parse().ok()?;
    (!value.is_nan()).then_some(Number::Float(value))
}

/// Reads a whole token as an IPv4 or IPv6 address without zone or prefix length.
#[must_use]
pub fn address(text: &[u8]) -> Option<IpAddr> {
    if let Some(v4) = ipv4(text) {
        return Some(IpAddr::V4(v4));
    }
    // The longest IPv6 address has 45 characters; more is no address and need not be looked at.
    if text.len() > 45 || !text.contains(&b':') {
        return None;
    }
    std::str::from_utf8(text).ok()?.parse().ok()
}

/// Reads `address` or `address/length`; an address alone is a host prefix.
#[must_use]
pub fn prefix(text: &[u8]) -> Option<Prefix> {
    let Some(slash) = text.iter().position(|&byte| byte == b'/') else {
        return address(text).map(Prefix::host);
    };
    let host = Prefix::host(address(&text[..slash])?);
    match parse(&text[slash + 1..])? {
        Number::Integer(length) if (0..=i64::from(host.length)).contains(&length) => {
            Some(Prefix { address: host.address, length: u8::try_from(length).ok()? })
        }
        Number::Integer(_) | Number::Float(_) => None,
    }
}

/// Reads the IPv4 address in quotes at the beginning of `bytes`, if a value surely ends behind it, and tells how many bytes
/// it took.
#[inline]
pub(crate) fn quoted_ipv4(bytes: &[u8]) -> Option<(Ipv4Addr, usize)> {
    let window = bytes.first_chunk::<32>()?;
    if window[0] != b'"' {
        return None;
    }
    let (address, end) = ipv4_of_window(window, 1);
    // The address ends before the eighteenth byte.
    let (quote, next) = (window[end & 31], window[(end + 1) & 31]);
    (quote == b'"' && matches!(next, b',' | b'}' | b']')).then_some((address?, end + 1))
}

fn ipv4(text: &[u8]) -> Option<Ipv4Addr> {
    match ipv4_prefix(text) {
        (address, length) if length == text.len() => address,
        _ => None,
    }
}

/// Reads the IPv4 address at the beginning of `bytes` and tells how many bytes it took (without address: any number).
fn ipv4_prefix(bytes: &[u8]) -> (Option<Ipv4Addr>, usize) {
    if let Some(window) = bytes.first_chunk::<16>() {
        return ipv4_of_window(window, 0);
    }
    let mut window = [0; 16];
    window[..bytes.len()].copy_from_slice(bytes);
    ipv4_of_window(&window, 0)
}

/// The address that begins at `start`, and where it ends. The longest address has 15 characters and something behind it;
/// positions never pass the window, whose size is a power of two, which the mask tells the compiler.
#[inline]
fn ipv4_of_window<const SIZE: usize>(
    window: &[u8; SIZE],
    start: usize,
) -> (Option<Ipv4Addr>, usize) {
    const { assert!(SIZE.is_power_of_two()) };
    let byte = |at: usize| window[at & (SIZE - 1)];
    let digit = |at: usize| u32::from(byte(at).wrapping_sub(b'0'));
    let mut at = start;
    let mut address: u32 = 0;
    for place in 0..4 {
        let mut octet = digit(at);
        if octet > 9 {
            return (None, at);
        }
        at += 1;
        let second = digit(at);
        if second <= 9 {
            octet = octet * 10 + second;
            at += 1;
            let third = digit(at);
            if third <= 9 {
                octet = octet * 10 + third;
                at += 1;
            }
        }
        if octet > 255 {
            return (None, at);
        }
        address = (address << 8) | octet;
        if place < 3 {
            if byte(at) != b'.' {
                return (None, at);
            }
            at += 1;
        }
    }
    (Some(Ipv4Addr::from_bits(address)), at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn six_decimals_are_read_as_the_standard_library_reads_them() {
        for micros in (0..10_000_000).step_by(997).chain([1, 9_999_999, 1_000_000, 999_999]) {
            let text = format!("{}.{:06}", micros / 1_000_000, micros % 1_000_000);
            assert_eq!(six_decimals(text.as_bytes()), text.parse().ok(), "{text}");
        }
    }

    #[test]
    fn what_is_no_digit_is_no_decimal() {
        for at in (0..8).filter(|&at| at != 1) {
            for byte in (0..=255).filter(|byte: &u8| !byte.is_ascii_digit()) {
                let mut text = *b"1.234567";
                text[at] = byte;
                assert_eq!(six_decimals(&text), None, "{text:?}");
            }
        }
        assert_eq!(six_decimals(b"12.34567"), None);
        assert_eq!(six_decimals(b"1.23456"), None);
    }

    #[test]
    fn addresses_in_quotes_end_where_a_value_can() {
        let padded = |text: &str| format!("{text}{:32}", "").into_bytes();
        for address in ["10.1.2.3", "255.255.255.255", "0.0.0.0", "10.250.0.99"] {
            let read = quoted_ipv4(&padded(&format!("\"{address}\",")));
            assert_eq!(read, address.parse().ok().map(|it| (it, address.len() + 2)), "{address}");
        }
        for text in
            ["\"10.1.2\",", "\"10.1.2.256\",", "\"10.1.2.3x\",", "\"10.1.2.3\"x", "10.1.2.3,"]
        {
            assert_eq!(quoted_ipv4(&padded(text)), None, "{text}");
        }
    }
}
