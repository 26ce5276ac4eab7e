//! The secret by which a vehicle is let into a federation, as k3s writes it, and the hash of the authority that it names. Reads
//! only; says nothing of a secret in an error or in a debug print.
//!
//! | form | |
//! |---|---|
//! | `K10<64 hex>::<user>:<password>` | a server's or agent's token with the hash of the authority |
//! | `K10<64 hex>::<id>.<secret>` | a bootstrap token, `k3s token create`, with the hash |
//! | `<id>.<secret>`, `<password>` | the same without: only good beside a configured hash |
//!
//! Source: k3s 1.34, `pkg/clientaccess/token.go`.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;

/// What a full token begins with.
const PREFIX: &str = "K10";

/// Between hash and secret.
const SEPARATOR: &str = "::";

/// User that an agent presents itself as, whatever its token says.
const AGENT_USER: &str = "node";

/// User in the token of a server.
const SERVER_USER: &str = "server";

/// Letters of the two parts of a bootstrap token.
const BOOTSTRAP: [usize; 2] = [6, 16];

/// SHA-256 that names an authority.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct CaHash(pub [u8; 32]);

impl CaHash {
    /// From 64 hexadecimal digits.
    #[must_use]
    pub fn parse(digits: &str) -> Option<CaHash> {
        if digits.len() != 64 || !digits.bytes().all(|digit| digit.is_ascii_hexdigit()) {
            return None;
        }
        let mut hash = [0; 32];
        for (index, byte) in hash.iter_mut().enumerate() {
            *byte = u8::from_str_radix(&digits[2 * index..2 * index + 2], 16).ok()?;
        }
        Some(CaHash(hash))
    }
}

impl std::fmt::Display for CaHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl std::fmt::Debug for CaHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self}")
    }
}

/// A token.
#[derive(Clone, PartialEq, Eq)]
pub struct Token {
    ca: Option<CaHash>,
    secret: Secret,
}

#[derive(Clone, PartialEq, Eq)]
enum Secret {
    Password { user: Option<String>, password: String },
    Bootstrap(String),
}

impl std::fmt::Debug for Token {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Token({:?})", self.ca)
    }
}

/// Why a text is no token.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TokenError {
    /// There is nothing in it.
    Empty,
    /// It has several lines, or characters that no token has.
    Characters,
    /// It begins like a full token, and the hash is not 64 hexadecimal digits followed by `::`.
    Hash,
    /// Nothing, or no `user:password` and no `id.secret`, follows the hash.
    Secret,
}

impl std::fmt::Display for TokenError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            TokenError::Empty => "there is no token in it",
            TokenError::Characters => "a token is one line of letters without blanks",
            TokenError::Hash => "`K10` must be followed by 64 hexadecimal digits and `::`",
            TokenError::Secret => "after `::` there must be `user:password` or `id.secret`",
        })
    }
}

impl std::error::Error for TokenError {}

impl Token {
    /// Reads a token, as it stands in a file.
    ///
    /// # Errors
    /// It is none; the error tells nothing of it.
    pub fn parse(text: &str) -> Result<Token, TokenError> {
        let text = text.trim();
        if text.is_empty() {
            return Err(TokenError::Empty);
        }
        if !text.bytes().all(|byte| byte.is_ascii_graphic()) {
            return Err(TokenError::Characters);
        }
        let Some(rest) = text.strip_prefix(PREFIX) else {
            let password = || Secret::Password { user: None, password: text.to_owned() };
            return Ok(Token { ca: None, secret: bootstrap(text).unwrap_or_else(password) });
        };
        let (hash, secret) = rest.split_once(SEPARATOR).ok_or(TokenError::Hash)?;
        let ca = Some(CaHash::parse(hash).ok_or(TokenError::Hash)?);
        if let Some(secret) = bootstrap(secret) {
            return Ok(Token { ca, secret });
        }
        match secret.split_once(':') {
            Some((user, password)) if !user.is_empty() && !password.is_empty() => {
                let (user, password) = (Some(user.to_owned()), password.to_owned());
                Ok(Token { ca, secret: Secret::Password { user, password } })
            }
            Some(_) | None => Err(TokenError::Secret),
        }
    }

    /// The authority that it names.
    #[must_use]
    pub const fn ca(&self) -> Option<CaHash> {
        self.ca
    }

    /// Whether it is that of a server: whoever has it owns the cluster.
    #[must_use]
    pub fn is_of_server(&self) -> bool {
        matches!(&self.secret, Secret::Password { user: Some(user), .. } if user == SERVER_USER)
    }

    /// It in full, with this authority in place of whichever it names. A bare password gets the user that k3s presents anyway.
    #[must_use]
    pub fn full(&self, ca: CaHash) -> String {
        let secret = match &self.secret {
            Secret::Password { user, password } => {
                format!("{}:{password}", user.as_deref().unwrap_or(AGENT_USER))
            }
            Secret::Bootstrap(secret) => secret.clone(),
        };
        format!("{PREFIX}{ca}{SEPARATOR}{secret}")
    }

    /// Value of the header `Authorization` by which a joining agent presents it.
    #[must_use]
    pub fn authorization(&self) -> String {
        match &self.secret {
            Secret::Password { password, .. } => {
                format!("Basic {}", STANDARD.encode(format!("{AGENT_USER}:{password}")))
            }
            Secret::Bootstrap(secret) => format!("Bearer {secret}"),
        }
    }
}

fn bootstrap(text: &str) -> Option<Secret> {
    let (id, secret) = text.split_once('.')?;
    let fits = [id.len(), secret.len()] == BOOTSTRAP;
    let letters = |part: &str| part.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    (fits && letters(id) && letters(secret)).then(|| Secret::Bootstrap(text.to_owned()))
}

#[cfg(test)]
mod tests {
    use super::*;

    const HASH: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

    #[test]
    fn every_form_is_read() {
        let server = Token::parse(&format!("K10{HASH}::server:pass:word\n")).unwrap();
        assert_eq!(server.ca().unwrap().to_string(), HASH);
        assert!(server.is_of_server());
        // RFC 7617 section 2: the user id has no colon, the password may.
        assert_eq!(server.authorization(), "Basic bm9kZTpwYXNzOndvcmQ=");

        let node = Token::parse(&format!("K10{HASH}::node:pass")).unwrap();
        assert!(!node.is_of_server());

        let created = Token::parse(&format!("K10{HASH}::abc123.0123456789abcdef")).unwrap();
        assert_eq!(created.authorization(), "Bearer abc123.0123456789abcdef");

        let short = Token::parse("abc123.0123456789abcdef").unwrap();
        assert_eq!((short.ca(), short.authorization()), (None, created.authorization()));
        let bare = Token::parse("pass").unwrap();
        assert_eq!((bare.ca(), bare.authorization()), (None, node.authorization()));
        // Looks like a bootstrap token and is none: letters are small.
        let bare = Token::parse("ABC123.0123456789abcdef").unwrap();
        assert!(bare.authorization().starts_with("Basic "));
    }

    #[test]
    fn a_token_in_full_is_the_same_token_with_its_authority() {
        let ca = CaHash::parse(HASH).unwrap();
        for secret in ["server:pass:word", "node:pass", "abc123.0123456789abcdef"] {
            let full = format!("K10{HASH}::{secret}");
            assert_eq!(Token::parse(&full).unwrap().full(ca), full);
        }
        for short in ["abc123.0123456789abcdef", "pass"] {
            let short = Token::parse(short).unwrap();
            let full = Token::parse(&short.full(ca)).unwrap();
            assert_eq!((full.ca(), full.authorization()), (Some(ca), short.authorization()));
        }
    }

    #[test]
    fn what_is_no_token_is_refused() {
        let cases = [
            ("", TokenError::Empty),
            (" \n", TokenError::Empty),
            ("two words", TokenError::Characters),
            ("two\nlines", TokenError::Characters),
            ("p\u{e4}ss", TokenError::Characters),
            ("K10", TokenError::Hash),
            ("K1000::server:pass", TokenError::Hash),
            (&format!("K10{HASH}"), TokenError::Hash),
            (&format!("K10{HASH}00::server:pass"), TokenError::Hash),
            (&format!("K10{}::server:pass", "g".repeat(64)), TokenError::Hash),
            (&format!("K10{HASH}::"), TokenError::Secret),
            (&format!("K10{HASH}::pass"), TokenError::Secret),
            (&format!("K10{HASH}::server:"), TokenError::Secret),
            (&format!("K10{HASH}:::pass"), TokenError::Secret),
        ];
        for (text, expected) in cases {
            assert_eq!(Token::parse(text), Err(expected), "{text:?}");
        }
    }

    #[test]
    fn nothing_of_a_secret_is_printed() {
        let token = Token::parse(&format!("K10{HASH}::server:hush")).unwrap();
        assert_eq!(format!("{token:?}"), format!("Token(Some({HASH}))"));
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_panic(text: String) {
            let _ = Token::parse(&text);
            let _ = Token::parse(&format!("K10{text}"));
            let _ = Token::parse(&format!("K10{HASH}::{text}"));
        }
    }
}
