//! Reads who issued a certificate to whom, and from when to when it is valid (X.509, RFC 5280 section 4.1). Checks no
//! signature and nothing else.

pub mod write;

use crate::core::time::days;

/// When a certificate is valid, in milliseconds since 1970.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Validity {
    /// First moment.
    pub from_ms: i64,
    /// Last moment.
    pub until_ms: i64,
}

/// DER tags (ITU-T X.690).
const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const OCTET_STRING: u8 = 0x04;
const OBJECT_ID: u8 = 0x06;
const UTF8_STRING: u8 = 0x0c;
const PRINTABLE_STRING: u8 = 0x13;
const UTC_TIME: u8 = 0x17;
const GENERALIZED_TIME: u8 = 0x18;
const SEQUENCE: u8 = 0x30;
const SET: u8 = 0x31;
const VERSION: u8 = 0xa0;

/// Who issued a certificate to whom, as DER: equal bytes are the same name (RFC 5280 section 4.1.2.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Names<'a> {
    /// Who signed it.
    pub issuer: &'a [u8],
    /// Whose it is.
    pub subject: &'a [u8],
}

/// The validity in a certificate's DER form; `None` when it is not one.
#[must_use]
pub fn validity(certificate: &[u8]) -> Option<Validity> {
    let (_, body) = element(from_issuer(certificate)?, SEQUENCE)?;
    let (validity, _) = element(body, SEQUENCE)?;
    let (from_ms, rest) = time(validity)?;
    let (until_ms, _) = time(rest)?;
    Some(Validity { from_ms, until_ms })
}

/// The names in a certificate's DER form; `None` when it is not one.
#[must_use]
pub fn names(certificate: &[u8]) -> Option<Names<'_>> {
    let (issuer, body) = element(from_issuer(certificate)?, SEQUENCE)?;
    let (_, body) = element(body, SEQUENCE)?; // validity
    let (subject, _) = element(body, SEQUENCE)?;
    Some(Names { issuer, subject })
}

/// The common name of a subject or issuer, the last if there are several, as Go takes it; `None` when there is none that is
/// UTF-8 or printable ASCII.
#[must_use]
pub fn common_name(mut name: &[u8]) -> Option<&str> {
    let mut found = None;
    while let Some((mut set, rest)) = element(name, SET) {
        name = rest;
        while let Some((attribute, rest)) = element(set, SEQUENCE) {
            set = rest;
            if let Some((write::COMMON_NAME, value)) = element(attribute, OBJECT_ID) {
                let text = element(value, UTF8_STRING).or_else(|| element(value, PRINTABLE_STRING));
                found = text.and_then(|(text, _)| std::str::from_utf8(text).ok());
            }
        }
    }
    found
}

/// What is signed, from the issuer on.
fn from_issuer(certificate: &[u8]) -> Option<&[u8]> {
    let (certificate, _) = element(certificate, SEQUENCE)?;
    let (body, _) = element(certificate, SEQUENCE)?;
    let body = match element(body, VERSION) {
        Some((_, rest)) => rest,
        None => body,
    };
    let (_, body) = element(body, INTEGER)?; // serial number
    let (_, body) = element(body, SEQUENCE)?; // signature algorithm
    Some(body)
}

/// Content of the element with `tag` at the front, and what follows it.
fn element(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    let (&first, rest) = bytes.split_first()?;
    let (&short, rest) = rest.split_first()?;
    if first != tag {
        return None;
    }
    let (length, rest) = if short < 0x80 {
        (usize::from(short), rest)
    } else {
        // The long form: so many bytes of length follow. Certificates need two at most.
        let (bytes, rest) = rest.split_at_checked(usize::from(short & 0x7f))?;
        if bytes.len() > 3 {
            return None;
        }
        (bytes.iter().fold(0, |length, byte| length << 8 | usize::from(*byte)), rest)
    };
    rest.split_at_checked(length)
}

/// A moment, and what follows it.
fn time(bytes: &[u8]) -> Option<(i64, &[u8])> {
    let (text, rest, year_digits) = match element(bytes, UTC_TIME) {
        Some((text, rest)) => (text, rest, 2),
        None => element(bytes, GENERALIZED_TIME).map(|(text, rest)| (text, rest, 4))?,
    };
    let text = std::str::from_utf8(text).ok()?.strip_suffix('Z')?;
    let (year, text) = text.split_at_checked(year_digits)?;
    let year: i64 = year.parse().ok()?;
    // Two digits of a year stand for 1950 to 2049 (RFC 5280 section 4.1.2.5.1).
    let year = match (year_digits, year) {
        (2, 50..) => 1900 + year,
        (2, _) => 2000 + year,
        _ => year,
    };
    let mut numbers = [0i64; 5];
    if text.len() != 10 || !text.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    for (number, digits) in numbers.iter_mut().zip(text.as_bytes().chunks(2)) {
        *number = i64::from(digits[0] - b'0') * 10 + i64::from(digits[1] - b'0');
    }
    let [month, day, hour, minute, second] = numbers;
    if !(1..=12).contains(&month) {
        return None;
    }
    let seconds = ((days(year, month, day) * 24 + hour) * 60 + minute) * 60 + second;
    Some((seconds * 1_000, rest))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::units::date;

    #[test]
    fn the_validity_of_a_certificate_is_read() {
        let mut parameters = rcgen::CertificateParams::new(vec!["alpha".to_owned()]).unwrap();
        parameters.not_before = rcgen::date_time_ymd(2026, 2, 28);
        parameters.not_after = rcgen::date_time_ymd(2052, 3, 1);
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = parameters.self_signed(&key).unwrap();
        let Validity { from_ms, until_ms } = validity(certificate.der()).unwrap();
        assert_eq!(date(from_ms), "2026-02-28 00:00:00 UTC");
        assert_eq!(date(until_ms), "2052-03-01 00:00:00 UTC");

        for end in 0..certificate.der().len().min(200) {
            // Whatever is cut off: no panic, and no date from beyond the end.
            let _ = validity(&certificate.der()[..end]);
        }
        assert_eq!(validity(&certificate.der()[..60]), None);
    }

    #[test]
    fn issuer_and_subject_are_read() {
        let name = |name: &str| {
            let mut parameters = rcgen::CertificateParams::new(vec![name.to_owned()]).unwrap();
            parameters.distinguished_name.push(rcgen::DnType::CommonName, name);
            parameters
        };
        let key = rcgen::KeyPair::generate().unwrap();
        let root = name("root").self_signed(&key).unwrap();
        let issuer_parameters = name("root");
        let issuer = rcgen::Issuer::from_params(&issuer_parameters, &key);
        let leaf = name("leaf").signed_by(&key, &issuer).unwrap();
        let (root, leaf) = (names(root.der()).unwrap(), names(leaf.der()).unwrap());
        assert_eq!(root.issuer, root.subject);
        assert_eq!(leaf.issuer, root.subject);
        assert_ne!(leaf.subject, root.subject);
        assert_eq!(common_name(leaf.subject), Some("leaf"));
    }

    #[test]
    fn the_last_common_name_counts_and_other_attributes_do_not() {
        let mut parameters = rcgen::CertificateParams::default();
        parameters.distinguished_name = rcgen::DistinguishedName::new();
        parameters.distinguished_name.push(rcgen::DnType::OrganizationName, "system:masters");
        let key = rcgen::KeyPair::generate().unwrap();
        let without = parameters.self_signed(&key).unwrap();
        assert_eq!(common_name(names(without.der()).unwrap().subject), None);
        let printable = rcgen::DnValue::PrintableString("front-proxy".try_into().unwrap());
        parameters.distinguished_name.push(rcgen::DnType::CommonName, printable);
        let with = parameters.self_signed(&key).unwrap();
        assert_eq!(common_name(names(with.der()).unwrap().subject), Some("front-proxy"));
        let twice = b"\x31\x0a\x30\x08\x06\x03\x55\x04\x03\x0c\x01a\x31\x0a\x30\x08\x06\x03\x55\x04\x03\x13\x01b";
        assert_eq!(common_name(twice), Some("b"));
    }

    #[test]
    fn what_is_written_is_read_as_a_certificate() {
        let key = [4; 65];
        let body = write::to_be_signed([0xff; 16], &key, "a.b.svc");
        let certificate = write::signed(&body, &[7; 70]);
        let names = names(&certificate).unwrap();
        assert_eq!(names.issuer, names.subject);
        assert_eq!(common_name(names.subject), Some("a.b.svc"));
        let validity = validity(&certificate).unwrap();
        assert_eq!(validity.from_ms, 0);
        assert_eq!(date(validity.until_ms), "9999-12-31 23:59:59 UTC");
    }

    #[test]
    fn what_is_no_certificate_has_no_validity() {
        for bytes in [&b""[..], b"\x30", b"\x30\xff", b"\x30\x84\xff\xff\xff\xff", b"hello"] {
            assert_eq!((validity(bytes), names(bytes)), (None, None), "{bytes:?}");
        }
    }

    proptest::proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>) {
            let _ = validity(&bytes);
            let _ = names(&bytes);
            let _ = common_name(&bytes);
            let _ = time(&bytes);
        }

        #[test]
        fn days_and_dates_agree(day in -100_000i64..200_000) {
            let shown = date(day * 86_400_000);
            let number = |range: std::ops::Range<usize>| shown[range].parse::<i64>().unwrap();
            assert_eq!(days(number(0..4), number(5..7), number(8..10)), day);
        }
    }
}
