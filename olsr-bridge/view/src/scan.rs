//! Looks for bytes, several at a step.

/// Bytes that end a bare token: separators, closing brackets, and what begins another value.
pub(crate) const IS_DELIMITER: [bool; 256] = {
    let mut table = [false; 256];
    let bytes = b",}] \n\t\r{[\"";
    let mut at = 0;
    while at < bytes.len() {
        table[bytes[at] as usize] = true;
        at += 1;
    }
    table
};

/// How many bytes at the beginning of `bytes` surely belong to a number (`-./0123456789`), seen eight at a time; the
/// next one must be looked at.
pub(crate) fn plain_number(bytes: &[u8]) -> usize {
    const ONES: u64 = u64::from_le_bytes([1; 8]);
    const HIGHS: u64 = ONES << 7;
    let Some(chunk) = bytes.first_chunk::<8>() else { return 0 };
    let word = u64::from_le_bytes(*chunk);
    // The highest bit of a byte is set when it lies above `9`, below `-`, or is no ASCII. Neither sum nor difference
    // carries into the next byte.
    let low = word & !HIGHS;
    let above = low + ONES * u64::from(0x7f - b'9');
    let below = !((low | HIGHS) - ONES * u64::from(b'-'));
    let others = (above | below | word) & HIGHS;
    (others.trailing_zeros() / 8) as usize
}

/// Whether `input` begins with `wanted`, which is not empty. Texts are compared in words and blocks that may overlap: a call
/// to the library's comparison costs more than comparing a short text, and that of musl goes byte by byte. The last
/// block comes first, since the end of a row tells it from others more often than its beginning.
#[inline(always)]
pub(crate) fn begins_with(input: &[u8], wanted: &[u8]) -> bool {
    let Some(input) = input.get(..wanted.len()) else { return false };
    match wanted.len() {
        0 => false,
        1..8 => input.iter().zip(wanted).all(|(one, other)| one == other),
        8..=16 => same_ends::<8>(input, wanted),
        17..=32 => same_ends::<16>(input, wanted),
        33..=64 => same_ends::<32>(input, wanted),
        65.. => {
            if input.last_chunk::<32>() != wanted.last_chunk::<32>() {
                return false;
            }
            let (inputs, _) = input.as_chunks::<32>();
            let (blocks, _) = wanted.as_chunks::<32>();
            for (input, block) in inputs.iter().zip(blocks) {
                if input != block {
                    return false;
                }
            }
            true
        }
    }
}

/// Whether both texts have the same first and the same last `N` bytes.
#[inline]
fn same_ends<const N: usize>(one: &[u8], other: &[u8]) -> bool {
    one.last_chunk::<N>() == other.last_chunk::<N>()
        && one.first_chunk::<N>() == other.first_chunk::<N>()
}

/// Position of the first `wanted` in `bytes`, eight bytes at a step.
pub(crate) fn find(wanted: u8, bytes: &[u8]) -> Option<usize> {
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_different_byte_is_seen_wherever_it_is() {
        let text: Vec<u8> = (0..=255).collect();
        for length in 1..text.len() {
            let wanted = &text[..length];
            assert!(begins_with(&text, wanted), "{length}");
            assert!(!begins_with(&text[..length - 1], wanted), "{length}");
            for at in 0..length {
                let mut other = text.clone();
                other[at] ^= 1;
                assert!(!begins_with(&other, wanted), "{length} {at}");
            }
        }
        assert!(!begins_with(&text, b""));
    }
}
