//! SHA-256 of a content that comes in pieces, by the implementation that TLS brings along.

use rustls::crypto::hash::Context;
use rustls::crypto::ring::cipher_suite::TLS13_AES_128_GCM_SHA256;

/// A digest in the making.
pub struct Digest(Box<dyn Context>);

impl Digest {
    /// Of nothing so far.
    pub fn new() -> Digest {
        let suite = TLS13_AES_128_GCM_SHA256.tls13().expect("it is a suite of TLS 1.3");
        Digest(suite.common.hash_provider.start())
    }

    /// Of one piece.
    pub fn of(content: &[u8]) -> [u8; 32] {
        let mut digest = Digest::new();
        digest.update(content);
        digest.bytes()
    }

    /// Takes in the next piece.
    pub fn update(&mut self, piece: &[u8]) {
        self.0.update(piece);
    }

    /// The digest in hexadecimal.
    pub fn finish(self) -> String {
        self.bytes().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    fn bytes(self) -> [u8; 32] {
        self.0.finish().as_ref().try_into().expect("SHA-256 has 32 bytes")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// FIPS 180-2, appendix B.1.
    #[test]
    fn it_is_sha_256() {
        let mut digest = Digest::new();
        digest.update(b"a");
        digest.update(b"bc");
        let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        assert_eq!(digest.finish(), expected);
        assert_eq!(Digest::of(b"abc")[..2], [0xba, 0x78]);
    }
}
