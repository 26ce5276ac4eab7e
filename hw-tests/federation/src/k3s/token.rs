//! Join tokens, and the hash of an authority that they carry.
//!
//! The full forms are `K10<hash>::<user>:<password>` and `K10<hash>::<id>.<secret>`; the short ones are a bare password and
//! `<id>.<secret>`, which carry no hash.

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use ring::digest::{SHA256, digest};
use x509_parser::parse_x509_certificate;

use crate::https::certificates;
use crate::programs::hex;

/// Begins a full token.
const FULL: &str = "K10";

/// Digits of a hash.
const HASH_DIGITS: usize = 64;

/// Digits of a bootstrap token's id and secret.
const BOOTSTRAP_DIGITS: (usize, usize) = (6, 16);

/// A token.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    /// Hash of the authority that must vouch for the server.
    pub hash: Option<String>,
    /// What proves the right to join.
    pub secret: Secret,
}

/// What proves the right to join.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Secret {
    /// A password; agents present it as user `node`, whatever user the token names.
    Password(String),
    /// A bootstrap token, `id.secret`.
    Bootstrap(String),
}

impl Token {
    /// Reads a token; spaces and line ends around it do not count.
    pub fn parse(text: &str) -> Result<Token, String> {
        let text = text.trim();
        let (hash, rest) = match text.strip_prefix(FULL).and_then(|rest| rest.split_once("::")) {
            Some((hash, rest)) => (Some(hash), rest),
            None => (None, text),
        };
        if hash.is_some_and(|hash| hash.len() != HASH_DIGITS) {
            return Err(format!("the hash in the token does not have {HASH_DIGITS} digits"));
        }
        let hash = hash.map(str::to_owned);
        if is_bootstrap(rest) {
            return Ok(Token { hash, secret: Secret::Bootstrap(rest.to_owned()) });
        }
        let password = rest.split_once(':').map_or(rest, |(_, password)| password);
        if password.is_empty() {
            return Err("the token has no password".to_owned());
        }
        Ok(Token { hash, secret: Secret::Password(password.to_owned()) })
    }

    /// The header that presents it.
    pub fn authorization(&self) -> String {
        match &self.secret {
            Secret::Password(password) => {
                format!("Basic {}", BASE64_STANDARD.encode(format!("node:{password}")))
            }
            Secret::Bootstrap(token) => format!("Bearer {token}"),
        }
    }
}

fn is_bootstrap(text: &str) -> bool {
    let digits = |part: &str, count| {
        part.len() == count
            && part.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
    };
    text.split_once('.').is_some_and(|(id, secret)| {
        digits(id, BOOTSTRAP_DIGITS.0) && digits(secret, BOOTSTRAP_DIGITS.1)
    })
}

/// The hash of what `/cacerts` serves: over its very bytes when it is one certificate, else over the root (in DER) of the
/// first one's chain.
pub fn fingerprint(bundle: &str) -> Result<String, String> {
    let all = certificates(bundle)?;
    if all.len() < 2 {
        return Ok(hex(digest(&SHA256, bundle.as_bytes()).as_ref()));
    }
    let mut parsed = Vec::new();
    for der in &all {
        let (_, certificate) = parse_x509_certificate(der)
            .map_err(|e| format!("reading a certificate of the bundle: {e}"))?;
        parsed.push((der, certificate));
    }
    let mut at = &parsed[0];
    // A chain is no longer than the bundle; one that goes round has no root.
    for _ in 0..parsed.len() {
        if at.1.subject() == at.1.issuer() {
            return Ok(hex(digest(&SHA256, at.0).as_ref()));
        }
        at = parsed
            .iter()
            .find(|(_, certificate)| certificate.subject() == at.1.issuer())
            .ok_or("the bundle lacks the root of its first certificate")?;
    }
    Err("the first certificate of the bundle has no root".to_owned())
}

#[cfg(test)]
mod tests {
    use super::{Secret, Token, fingerprint};
    use crate::pki::Authority;

    #[test]
    fn all_forms_of_tokens_are_read() {
        let hash = "0123456789abcdef".repeat(4);
        let password = |text: &str| Secret::Password(text.to_owned());
        let full = Token::parse(&format!("K10{hash}::server:pass:word\n")).unwrap();
        assert_eq!(full, Token { hash: Some(hash.clone()), secret: password("pass:word") });
        let bootstrap = Token::parse(&format!("K10{hash}::abc123.0123456789abcdef")).unwrap();
        assert_eq!(bootstrap.secret, Secret::Bootstrap("abc123.0123456789abcdef".to_owned()));
        assert_eq!(bootstrap.authorization(), "Bearer abc123.0123456789abcdef");
        let short = Token::parse("secret").unwrap();
        assert_eq!(short, Token { hash: None, secret: password("secret") });
        assert_eq!(short.authorization(), "Basic bm9kZTpzZWNyZXQ=");
        for bad in ["", "K10abc::node:x", &format!("K10{hash}::node:")] {
            assert!(Token::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn the_hash_of_one_certificate_is_over_its_text_and_of_several_over_the_root() {
        let root = Authority::root("root").unwrap();
        let alone = fingerprint(root.bundle()).unwrap();
        assert_ne!(alone, fingerprint(root.bundle().trim_end()).unwrap());
        let one = fingerprint(root.intermediate("one").unwrap().bundle()).unwrap();
        let two = fingerprint(root.intermediate("two").unwrap().bundle()).unwrap();
        assert_eq!(one, two, "both chains end in the same root");
        assert_ne!(one, alone);
        let intermediate = root.intermediate("three").unwrap();
        let end = "-----END CERTIFICATE-----\n";
        let first = intermediate.bundle().split_inclusive(end).next().unwrap().repeat(2);
        assert!(fingerprint(&first).is_err());
    }
}
