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
    let (negative, digits) = match token.split_first()? {
        (b'-', rest) => (true, rest),
        _ => (false, token),
    };
    let mut mantissa: u64 = 0;
    let mut point = None;
    let mut seen = 0;
    for (at, &byte) in digits.iter().enumerate() {
        match byte {
            b'0'..=b'9' => {
                mantissa = mantissa.wrapping_mul(10).wrapping_add(u64::from(byte - b'0'));
                seen += 1;
            }
            b'.' if point.is_none() => point = Some(at),
            b'e' | b'E' if seen > 0 => return long(token),
            _ => return None,
        }
    }
    if seen == 0 {
        return None;
    }
    let sign = if negative { -1 } else { 1 };
    let Some(point) = point else {
        if seen <= SAFE_DIGITS {
            return Some(Number::Integer(sign * i64::try_from(mantissa).ok()?));
        }
        let text = std::str::from_utf8(token).ok()?;
        let limit = if negative { i64::MIN } else { i64::MAX };
        return Some(Number::Integer(text.parse().unwrap_or(limit)));
    };
    let decimals = digits.len() - point - 1;
    if seen > SAFE_DIGITS || mantissa > EXACT_MANTISSA || decimals >= POWERS_OF_TEN.len() {
        return long(token);
    }
    let value = mantissa as f64 / POWERS_OF_TEN[decimals];
    Some(Number::Float(if negative { -value } else { value }))
}

/// The slow path for exponents and long tokens (olsrd prints an infinity as 309 digits).
#[cold]
fn long(token: &[u8]) -> Option<Number> {
    let value: f64 = std::str::from_utf8(token).ok()?.parse().ok()?;
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

fn ipv4(text: &[u8]) -> Option<Ipv4Addr> {
    if text.len() > 15 {
        return None;
    }
    let mut octets = [0u8; 4];
    let mut index = 0;
    let mut octet: u32 = 0;
    let mut digits = 0;
    for &byte in text {
        match byte {
            b'0'..=b'9' => {
                octet = octet * 10 + u32::from(byte - b'0');
                digits += 1;
                if digits > 3 || octet > 255 {
                    return None;
                }
            }
            b'.' if digits > 0 && index < 3 => {
                octets[index] = octet as u8;
                index += 1;
                octet = 0;
                digits = 0;
            }
            _ => return None,
        }
    }
    if index != 3 || digits == 0 {
        return None;
    }
    octets[3] = octet as u8;
    Some(Ipv4Addr::from(octets))
}

/// Position of the first `wanted` in `bytes`, eight bytes at a step.
#[must_use]
pub fn find(wanted: u8, bytes: &[u8]) -> Option<usize> {
    const ONES: u64 = u64::from_le_bytes([1; 8]);
    const HIGHS: u64 = ONES << 7;
    let pattern = ONES * u64::from(wanted);
    let mut chunks = bytes.chunks_exact(8);
    let mut at = 0;
    for chunk in chunks.by_ref() {
        let word = u64::from_le_bytes(chunk.try_into().expect("chunks_exact gives 8 bytes"));
        let difference = word ^ pattern;
        // The lowest set bit marks the first zero byte of the difference.
        let zeros = difference.wrapping_sub(ONES) & !difference & HIGHS;
        if zeros != 0 {
            return Some(at + (zeros.trailing_zeros() / 8) as usize);
        }
        at += 8;
    }
    chunks.remainder().iter().position(|&byte| byte == wanted).map(|rest| at + rest)
}
