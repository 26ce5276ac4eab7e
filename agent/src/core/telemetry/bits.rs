//! A stream of bits, most significant first, and the integer codes the compact frame is made of. Reading never allocates
//! and never reads past the end.

/// Quotient at which the Rice code gives up and writes the number as it is; bounds the cost of one outlier.
const RICE_QUOTIENT_MAX: u64 = 24;

/// Largest Rice parameter that is tried or accepted: beyond it the plain form is shorter.
pub(super) const RICE_PARAMETER_MAX: u32 = 47;

/// Bits of the field that holds a Rice parameter.
pub(super) const RICE_PARAMETER_BITS: u32 = 6;

/// Bits of the length in front of a sized number (0..=64).
const SIZED_LENGTH_BITS: u32 = 7;

/// Signed to unsigned so that small magnitudes stay small: 0, -1, 1, -2 become 0, 1, 2, 3.
pub(super) fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

/// The inverse of [`zigzag`].
pub(super) fn unzigzag(code: u64) -> i64 {
    ((code >> 1) as i64) ^ -((code & 1) as i64)
}

/// Writes bits.
#[derive(Debug, Default)]
pub(super) struct Writer {
    bytes: Vec<u8>,
    /// Bits of the last byte that are in use; 0 when it is full or there is none.
    used: u32,
}

impl Writer {
    /// The lowest `count` bits of `value`, `count` at most 64.
    pub(super) fn bits(&mut self, value: u64, count: u32) {
        for position in (0..count).rev() {
            if self.used == 0 {
                self.bytes.push(0);
            }
            let bit = ((value >> position) & 1) as u8;
            if let Some(last) = self.bytes.last_mut() {
                *last |= bit << (7 - self.used);
            }
            self.used = (self.used + 1) % 8;
        }
    }

    /// A number by its length in bits and its bits.
    pub(super) fn sized(&mut self, value: u64) {
        let length = u64::BITS - value.leading_zeros();
        self.bits(u64::from(length), SIZED_LENGTH_BITS);
        self.bits(value, length);
    }

    /// Elias gamma code of a number of at least 1: the shortest for ones.
    pub(super) fn gamma(&mut self, value: u64) {
        let length = u64::BITS - value.max(1).leading_zeros();
        self.bits(0, length - 1);
        self.bits(value.max(1), length);
    }

    /// Rice code: quotient by 2^`parameter` in unary, remainder in binary.
    pub(super) fn rice(&mut self, code: u64, parameter: u32) {
        let quotient = code >> parameter;
        if quotient >= RICE_QUOTIENT_MAX {
            (0..RICE_QUOTIENT_MAX).for_each(|_| self.bits(1, 1));
            self.sized(code);
            return;
        }
        (0..quotient).for_each(|_| self.bits(1, 1));
        self.bits(0, 1);
        self.bits(code, parameter);
    }

    /// The stream, filled up with zero bits.
    pub(super) fn into_bytes(self) -> Vec<u8> {
        self.bytes
    }
}

/// Bits [`Writer::rice`] needs for `code`.
pub(super) fn rice_length(code: u64, parameter: u32) -> u64 {
    let quotient = code >> parameter;
    if quotient >= RICE_QUOTIENT_MAX {
        let length = u64::BITS - code.leading_zeros();
        return RICE_QUOTIENT_MAX + u64::from(SIZED_LENGTH_BITS + length);
    }
    quotient + 1 + u64::from(parameter)
}

/// Reads bits. `None` everywhere means that the stream has ended, or that it holds what no writer writes.
#[derive(Debug)]
pub(super) struct Reader<'b> {
    bytes: &'b [u8],
    position: usize,
}

impl<'b> Reader<'b> {
    pub(super) fn new(bytes: &'b [u8]) -> Reader<'b> {
        Reader { bytes, position: 0 }
    }

    pub(super) fn bit(&mut self) -> Option<u64> {
        let byte = self.bytes.get(self.position / 8)?;
        let bit = (byte >> (7 - self.position % 8)) & 1;
        self.position += 1;
        Some(u64::from(bit))
    }

    pub(super) fn bits(&mut self, count: u32) -> Option<u64> {
        (0..count).try_fold(0_u64, |value, _| Some((value << 1) | self.bit()?))
    }

    pub(super) fn sized(&mut self) -> Option<u64> {
        let length = u32::try_from(self.bits(SIZED_LENGTH_BITS)?).ok()?;
        if length > u64::BITS {
            return None;
        }
        self.bits(length)
    }

    pub(super) fn gamma(&mut self) -> Option<u64> {
        let mut zeros = 0;
        while self.bit()? == 0 {
            zeros += 1;
            if zeros == u64::BITS {
                return None;
            }
        }
        Some((1 << zeros) | self.bits(zeros)?)
    }

    pub(super) fn rice(&mut self, parameter: u32) -> Option<u64> {
        let mut quotient = 0;
        while self.bit()? == 1 {
            quotient += 1;
            if quotient == RICE_QUOTIENT_MAX {
                return self.sized();
            }
        }
        Some((quotient << parameter) | self.bits(parameter)?)
    }

    /// Whether only the fill of the last byte is left.
    pub(super) fn at_end(&mut self) -> bool {
        let rest = self.bytes.len().saturating_mul(8) - self.position;
        rest < 8 && (0..rest).all(|_| self.bit() == Some(0))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn every_code_reads_back_what_was_written(
            numbers in proptest::collection::vec((any::<u64>(), 0_u32..64, 0..=RICE_PARAMETER_MAX), 0..40),
        ) {
            let mut writer = Writer::default();
            for (number, shift, parameter) in &numbers {
                let number = number >> shift;
                writer.sized(number);
                writer.gamma(number);
                writer.rice(number, *parameter);
            }
            let bytes = writer.into_bytes();
            let mut reader = Reader::new(&bytes);
            for (number, shift, parameter) in &numbers {
                let number = number >> shift;
                prop_assert_eq!(reader.sized(), Some(number));
                prop_assert_eq!(reader.gamma(), Some(number.max(1)));
                prop_assert_eq!(reader.rice(*parameter), Some(number));
            }
            prop_assert!(reader.at_end());
        }

        #[test]
        fn the_length_of_a_code_is_known_beforehand(code in any::<u64>(), shift in 0_u32..64, parameter in 0..=RICE_PARAMETER_MAX) {
            let code = code >> shift;
            let mut writer = Writer::default();
            writer.rice(code, parameter);
            prop_assert_eq!(rice_length(code, parameter).div_ceil(8), writer.into_bytes().len() as u64);
        }

        #[test]
        fn zigzag_is_reversible(value in any::<i64>()) {
            prop_assert_eq!(unzigzag(zigzag(value)), value);
        }
    }

    #[test]
    fn the_bit_patterns_are_fixed() {
        let mut writer = Writer::default();
        writer.gamma(1);
        writer.gamma(5);
        writer.rice(9, 2);
        writer.sized(3);
        // 1 | 00101 | 11001 | 0000010 11 | fill
        assert_eq!(writer.into_bytes(), [0b1001_0111, 0b0010_0000, 0b1011_0000]);
    }
}
