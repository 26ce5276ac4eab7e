//! Whether a client takes what is only kept compressed (RFC 9110 section 12.5.3).
//!
//! Reads `Accept-Encoding` and nothing else. Both forms of a file would have to be kept to choose between them, so there
//! is no choosing here: the answer is yes or no.

use hyper::HeaderMap;
use hyper::header::ACCEPT_ENCODING;

/// Whether an answer in gzip is acceptable. Who says nothing takes everything; who names codings takes only these.
pub(super) fn accepts_gzip(headers: &HeaderMap) -> bool {
    let mut fields = headers.get_all(ACCEPT_ENCODING).iter().peekable();
    if fields.peek().is_none() {
        return true;
    }
    let mut any = false;
    let codings = fields.filter_map(|field| field.to_str().ok()).flat_map(|list| list.split(','));
    for coding in codings {
        let (name, weight) = coding.split_once(';').unwrap_or((coding, ""));
        match name.trim() {
            // A coding that is named outranks the asterisk.
            name if ["gzip", "x-gzip"].iter().any(|gzip| name.eq_ignore_ascii_case(gzip)) => {
                return !is_zero(weight);
            }
            "*" => any = !is_zero(weight),
            _ => {}
        }
    }
    any
}

/// Whether `weight` is a quality of zero (section 12.4.2): `q=0`, `q=0.0` up to three decimals.
fn is_zero(weight: &str) -> bool {
    let Some((name, value)) = weight.split_once('=') else { return false };
    name.trim().eq_ignore_ascii_case("q") && value.trim().parse() == Ok(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use hyper::header::HeaderValue;

    fn accepts(fields: &[&'static str]) -> bool {
        let mut headers = HeaderMap::new();
        for field in fields {
            headers.append(ACCEPT_ENCODING, HeaderValue::from_static(field));
        }
        accepts_gzip(&headers)
    }

    #[test]
    fn who_says_nothing_or_names_gzip_gets_it() {
        for fields in [
            &[][..],
            &["gzip"],
            &["gzip, deflate, br, zstd"],
            &["br;q=1.0, GZip ; q=0.001"],
            &["x-gzip"],
            &["*"],
            &["identity;q=0.5, *;q=0.1"],
            &["br", "gzip"],
            &["*;q=0, gzip"],
        ] {
            assert!(accepts(fields), "{fields:?}");
        }
    }

    #[test]
    fn who_refuses_gzip_or_names_only_others_does_not() {
        for fields in [
            &[""][..],
            &["identity"],
            &["br, zstd"],
            &["gzip;q=0"],
            &["gzip; Q=0.000, *"],
            &["*;q=0"],
            &["*, gzip;q=0"],
        ] {
            assert!(!accepts(fields), "{fields:?}");
        }
    }
}
