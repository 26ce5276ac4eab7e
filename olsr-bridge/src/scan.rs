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

/// Whether `input` begins with `wanted`, which is not empty. Short texts are compared in words of 8 bytes, which may
/// overlap; a call to the library's comparison would cost more than the comparison.
pub(crate) fn begins_with(input: &[u8], wanted: &[u8]) -> bool {
    let Some(input) = input.get(..wanted.len()) else { return false };
    let word = |bytes: &[u8]| bytes.first_chunk::<8>().map(|chunk| u64::from_le_bytes(*chunk));
    let last = |bytes: &[u8]| bytes.last_chunk::<8>().map(|chunk| u64::from_le_bytes(*chunk));
    match wanted.len() {
        0 => false,
        8..=16 => word(input) == word(wanted) && last(input) == last(wanted),
        17..=32 => {
            word(input) == word(wanted)
                && last(input) == last(wanted)
                && word(&input[8..]) == word(&wanted[8..])
                && last(&input[..input.len() - 8]) == last(&wanted[..wanted.len() - 8])
        }
        _ => input == wanted,
    }
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
