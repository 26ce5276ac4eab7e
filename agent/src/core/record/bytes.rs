//! Variable-length numbers: written into a vector, read from a slice without panic or allocation.

/// Bytes of the longest varint: 64 bits, 7 in each.
pub(super) const VARINT_BYTES_MAX: usize = 10;

/// Appends `number` as LEB128.
pub(super) fn put_varint(to: &mut Vec<u8>, mut number: u64) {
    while number >= 0x80 {
        to.push((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    to.push(number as u8);
}

/// Appends `number` in zigzag form.
pub(super) fn put_signed(to: &mut Vec<u8>, number: i64) {
    put_varint(to, ((number << 1) ^ (number >> 63)) as u64);
}

/// Reads from the front of a slice. `None` everywhere means that it ends too early or holds what no writer writes.
#[derive(Clone, Debug)]
pub(super) struct Reader<'b> {
    bytes: &'b [u8],
    position: usize,
}

impl<'b> Reader<'b> {
    pub(super) fn new(bytes: &'b [u8]) -> Reader<'b> {
        Reader { bytes, position: 0 }
    }

    /// Where the next byte is.
    pub(super) fn position(&self) -> usize {
        self.position
    }

    pub(super) fn at_end(&self) -> bool {
        self.position == self.bytes.len()
    }

    pub(super) fn byte(&mut self) -> Option<u8> {
        let byte = *self.bytes.get(self.position)?;
        self.position += 1;
        Some(byte)
    }

    pub(super) fn take(&mut self, count: usize) -> Option<&'b [u8]> {
        let end = self.position.checked_add(count)?;
        let taken = self.bytes.get(self.position..end)?;
        self.position = end;
        Some(taken)
    }

    pub(super) fn rest(&mut self) -> &'b [u8] {
        let rest = &self.bytes[self.position..];
        self.position = self.bytes.len();
        rest
    }

    pub(super) fn varint(&mut self) -> Option<u64> {
        let mut number = 0_u64;
        for index in 0..VARINT_BYTES_MAX {
            let byte = self.byte()?;
            let low = u64::from(byte & 0x7f);
            let shift = 7 * index as u32;
            if (low << shift) >> shift != low {
                return None;
            }
            number |= low << shift;
            if byte & 0x80 == 0 {
                return Some(number);
            }
        }
        None
    }

    pub(super) fn signed(&mut self) -> Option<i64> {
        let code = self.varint()?;
        Some(((code >> 1) as i64) ^ -((code & 1) as i64))
    }

    /// A length and that many bytes.
    pub(super) fn sized(&mut self) -> Option<&'b [u8]> {
        let length = usize::try_from(self.varint()?).ok()?;
        self.take(length)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn the_bytes_are_fixed() {
        let mut to = Vec::new();
        for number in [0, 0x7f, 0x80, 300] {
            put_varint(&mut to, number);
        }
        for number in [0, -1, 1, -65] {
            put_signed(&mut to, number);
        }
        assert_eq!(to, [0x00, 0x7f, 0x80, 0x01, 0xac, 0x02, 0x00, 0x01, 0x02, 0x81, 0x01]);
    }

    #[test]
    fn more_than_64_bits_are_refused() {
        let mut most = vec![0xff; 9];
        most.push(0x01);
        assert_eq!(Reader::new(&most).varint(), Some(u64::MAX));
        most[9] = 0x02;
        assert_eq!(Reader::new(&most).varint(), None);
        assert_eq!(Reader::new(&[0x80; 11]).varint(), None);
    }

    proptest! {
        #[test]
        fn numbers_read_back(number in any::<u64>(), shift in 0_u32..64, signed in any::<i64>()) {
            let mut to = Vec::new();
            put_varint(&mut to, number >> shift);
            put_signed(&mut to, signed >> shift);
            let mut reader = Reader::new(&to);
            prop_assert_eq!(reader.varint(), Some(number >> shift));
            prop_assert_eq!(reader.signed(), Some(signed >> shift));
            prop_assert!(reader.at_end());
        }
    }
}
