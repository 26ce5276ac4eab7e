//! Writes the one kind of certificate that this program makes: self-signed, for a server of one DNS name, with a key on the
//! curve P-256 (X.509, RFC 5280). Makes no key and signs nothing.
//!
//! It is valid from 1970 to 9999, the date for "no end" (RFC 5280 section 4.1.2.5): whoever trusts it was given this very
//! certificate, and a machine that boots in 1970, or that nobody looks after for years, has to be served as well. It is no
//! authority, so nothing else can be signed with its key.

use super::{BIT_STRING, INTEGER, OBJECT_ID, OCTET_STRING, SEQUENCE, SET, UTF8_STRING, VERSION};

/// `[2]` of a GeneralName: a DNS name.
const DNS_NAME: u8 = 0x82;
/// `[3]` of a TBSCertificate.
const EXTENSIONS: u8 = 0xa3;

/// `ecdsa-with-SHA256` (RFC 5758 section 3.2), as an AlgorithmIdentifier's content.
const ECDSA_WITH_SHA256: &[u8] = b"\x06\x08\x2a\x86\x48\xce\x3d\x04\x03\x02";
/// `id-ecPublicKey` on `secp256r1` (RFC 5480 section 2.1), as an AlgorithmIdentifier's content.
const KEY_ON_P256: &[u8] =
    b"\x06\x07\x2a\x86\x48\xce\x3d\x02\x01\x06\x08\x2a\x86\x48\xce\x3d\x03\x01\x07";
/// From 1970-01-01 as UTCTime to the end of 9999 as GeneralizedTime.
const ALWAYS: &[u8] = b"\x17\x0d700101000000Z\x18\x0f99991231235959Z";
/// `commonName`.
pub(super) const COMMON_NAME: &[u8] = b"\x55\x04\x03";
/// `subjectAltName`.
const ALTERNATIVE_NAME: &[u8] = b"\x55\x1d\x11";
/// The extension `extKeyUsage` with `serverAuth` alone.
const FOR_SERVERS: &[u8] =
    b"\x30\x13\x06\x03\x55\x1d\x25\x04\x0c\x30\x0a\x06\x08\x2b\x06\x01\x05\x05\x07\x03\x01";

/// What is to be signed: a certificate for the server called `name`, which has at most 64 characters (RFC 5280, upper bound
/// of a common name), with this public key, an uncompressed point. Of `serial` the highest bits are replaced, since a number
/// has to be positive.
#[must_use]
pub fn to_be_signed(mut serial: [u8; 16], public_key: &[u8], name: &str) -> Vec<u8> {
    serial[0] = serial[0] & 0x3f | 0x40;
    let common_name =
        [element(OBJECT_ID, &[COMMON_NAME]), element(UTF8_STRING, &[name.as_bytes()])].concat();
    let who = element(SEQUENCE, &[&element(SET, &[&element(SEQUENCE, &[&common_name])])]);
    let names = element(SEQUENCE, &[&element(DNS_NAME, &[name.as_bytes()])]);
    let alternative =
        [element(OBJECT_ID, &[ALTERNATIVE_NAME]), element(OCTET_STRING, &[&names])].concat();
    let extensions = element(SEQUENCE, &[&element(SEQUENCE, &[&alternative]), FOR_SERVERS]);
    element(
        SEQUENCE,
        &[
            &element(VERSION, &[b"\x02\x01\x02"]),
            &element(INTEGER, &[&serial]),
            &element(SEQUENCE, &[ECDSA_WITH_SHA256]),
            &who,
            &element(SEQUENCE, &[ALWAYS]),
            &who,
            &element(
                SEQUENCE,
                &[&element(SEQUENCE, &[KEY_ON_P256]), &element(BIT_STRING, &[&[0], public_key])],
            ),
            &element(EXTENSIONS, &[&extensions]),
        ],
    )
}

/// The certificate: what was to be signed, with its signature, ECDSA with SHA-256 in the form of ASN.1.
#[must_use]
pub fn signed(to_be_signed: &[u8], signature: &[u8]) -> Vec<u8> {
    let algorithm = element(SEQUENCE, &[ECDSA_WITH_SHA256]);
    element(SEQUENCE, &[to_be_signed, &algorithm, &element(BIT_STRING, &[&[0], signature])])
}

/// An element of DER with these contents, one after the other; together less than 64 KiB.
fn element(tag: u8, contents: &[&[u8]]) -> Vec<u8> {
    let length: usize = contents.iter().map(|content| content.len()).sum();
    let [.., high, low] = length.to_be_bytes();
    let mut element = vec![tag];
    match length {
        0..0x80 => element.push(low),
        0x80..0x100 => element.extend([0x81, low]),
        _ => element.extend([0x82, high, low]),
    }
    for content in contents {
        element.extend_from_slice(content);
    }
    element
}
