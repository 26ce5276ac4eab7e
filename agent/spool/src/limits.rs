//! Every bound of the spool, with its reason. What the user may set is in [`crate::Options`]; these are the walls around it.

/// Largest record, in bytes. Larger things are cut by whoever brings them, so that one record never holds up a link
/// for long: 1 MiB takes 13 s at 650 kbit/s. The rest is for what the owner puts in front of the payload.
pub const RECORD_BYTES_MAX: usize = 1024 * 1024 + 512;

/// Smallest budget on disk, in bytes: sixteen segments of the smallest size.
pub const BUDGET_BYTES_MIN: u64 = 1024 * 1024;

/// Largest budget on disk, in bytes: keeps every segment below 4 GiB, and is more than any card has.
pub const BUDGET_BYTES_MAX: u64 = 1024 * 1024 * 1024 * 1024;

/// Smallest memory for records that wait for their sync, in bytes: one record of the largest size, and small ones beside it.
pub const MEMORY_BYTES_MIN: usize = RECORD_BYTES_MAX + 128 * 1024;

/// What a waiting record takes in memory beside its payload, in bytes: its place in the queue and what the allocator rounds up.
pub const PENDING_OVERHEAD_BYTES: usize = 64;

/// Bytes collected before they are handed to the storage in one write. A commit that has less takes less memory; with a quarter
/// of this, commits of a megabyte were measured to reach 70 % of the plain loop on a disk of 1 GB/s, with this four fifths.
pub const WRITE_BUFFER_BYTES: usize = 256 * 1024;

/// Bytes read at once when a whole segment is scanned.
pub const SCAN_BUFFER_BYTES: usize = 64 * 1024;

/// Bytes read at once when the next record of a stream is looked for.
pub const READ_BUFFER_BYTES: usize = 4 * 1024;

/// Largest number that counts as one: sequence numbers, times and sums that a spool could reach stay below, so that adding to them
/// cannot overflow.
pub const NUMBER_MAX: u64 = 1 << 62;

/// Longest body of a frame that is no record, in bytes. The largest checkpoint there can be has 48 KiB.
pub const META_BYTES_MAX: usize = 64 * 1024;

/// A record takes at most this part of the budget, so that one record cannot push out everything else.
pub const RECORD_BUDGET_DIVISOR: u64 = 4;

/// Smallest segment, in bytes. Its checkpoint and index together are about 1 % of that.
pub const SEGMENT_BYTES_MIN: u64 = 64 * 1024;

/// Segments grow to this size, in bytes; beyond, [`SEGMENTS_TARGET`] decides. Scanning as much takes a fraction of a second
/// on a small board.
pub const SEGMENT_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// Part of the budget that one segment takes while between the two sizes above: space comes back in steps of that.
pub const SEGMENTS_PER_BUDGET: u64 = 64;

/// Most segments a full spool consists of, whatever its budget. Memory is proportional to it: about 50 bytes for each
/// segment and stream.
pub const SEGMENTS_TARGET: u64 = 1024;

/// Most streams. Memory and checkpoints are proportional to it.
pub const STREAMS_MAX: usize = 32;

/// Longest stream name, in bytes: one level of an MQTT topic, one label value, one file name.
pub const STREAM_NAME_BYTES_MAX: usize = 64;

/// Most records of a stream that are handed out or gone out of order, counted from its oldest live record. At 3 s round
/// trip and 650 kbit/s a link carries 2400 records of 100 bytes; those who need more put several into one record.
pub const WINDOW_RECORDS_MAX: usize = 1024;

/// As [`WINDOW_RECORDS_MAX`], for all streams together: what a checkpoint has to hold in the worst case, 32 KiB.
pub const WINDOW_RECORDS_TOTAL_MAX: usize = 4096;

/// Most records of a stream, of those handed out or gone out of order, that went because nothing could be written. What is kept of
/// the window beyond them is for delivering: the records before them have to leave before these are forgotten.
pub const SHED_RECORDS_MAX: usize = WINDOW_RECORDS_MAX / 2;

/// As [`SHED_RECORDS_MAX`], for all streams together.
pub const SHED_RECORDS_TOTAL_MAX: usize = WINDOW_RECORDS_TOTAL_MAX / 2;

/// Least streams' share, in thousandths of the budget.
pub const SHARE_PERMILLE_MAX: u16 = 1000;

/// Coarsest thinning: one record in 2^10 is kept. What is older then goes.
pub const THIN_EXPONENT_MAX: u8 = 10;

/// A segment is rewritten when at least one part in this many of it is dead: every byte written gives back a third.
pub const REWRITE_DEAD_DIVISOR: u64 = 4;

/// Copies of damaged bytes: one file, in bytes.
pub const QUARANTINE_FILE_BYTES_MAX: u64 = 256 * 1024;

/// Copies of damaged bytes: all files together, as a part of the budget, and never more than
/// [`QUARANTINE_BYTES_MAX`].
pub const QUARANTINE_BUDGET_DIVISOR: u64 = 16;

/// Copies of damaged bytes: all files together, in bytes.
pub const QUARANTINE_BYTES_MAX: u64 = 4 * 1024 * 1024;

/// First pause after a failed write, in milliseconds.
pub const BACKOFF_MS_MIN: u64 = 1_000;

/// Longest pause after failed writes, in milliseconds: a card that was pushed back in is found within minutes.
pub const BACKOFF_MS_MAX: u64 = 300_000;

/// Time for which a segment must have been unreadable, while its folder could be listed, before its records are given up, in
/// milliseconds. A bus that is reset and a card that is pushed back in answer within minutes; the streams of the segment
/// stand still meanwhile, so it is not hours.
pub const UNREADABLE_MS: u64 = 600_000;

/// The same for a segment that its folder does not list any more although it lists others, in milliseconds. Files that
/// somebody removed do not come back; a card is mounted again within this.
pub const MISSING_MS: u64 = 60_000;

/// Time for which the newest segment must have been unreadable at each attempt to open a spool, while others were not, before it
/// is opened without, in milliseconds. A bus that is reset answers within seconds; nothing is gathered meanwhile.
pub const NEWEST_MS: u64 = 60_000;

/// Block of a file system, in bytes: what a file takes on disk is rounded up to it.
pub const BLOCK_BYTES: u64 = 4096;

/// Part of a day's write allowance that can be saved up: with the steady seven eighths no 24 hours ever exceed
/// the day's budget.
pub const WRITE_BURST_DIVISOR: u64 = 8;

/// Part of the saved-up allowance that only streams of priority 0 may use.
pub const WRITE_RESERVE_DIVISOR: u64 = 4;

/// Smallest allowance of bytes written each day: sixteen times its saved-up part holds one record of the largest size
/// with room to spare.
pub const WRITE_BYTES_PER_DAY_MIN: u64 = 16 * 1024 * 1024;

/// Size of a segment for a budget, both in bytes.
#[must_use]
pub const fn segment_bytes(budget: u64) -> u64 {
    let wanted = budget / SEGMENTS_PER_BUDGET;
    let bounded = if wanted < SEGMENT_BYTES_MIN {
        SEGMENT_BYTES_MIN
    } else if wanted > SEGMENT_BYTES_MAX {
        SEGMENT_BYTES_MAX
    } else {
        wanted
    };
    let least = budget / SEGMENTS_TARGET;
    if bounded < least { least } else { bounded }
}

/// Largest record for a budget, both in bytes.
#[must_use]
pub fn record_bytes_max(budget: u64) -> usize {
    usize::try_from(budget / RECORD_BUDGET_DIVISOR).map_or(RECORD_BYTES_MAX, |part| {
        // Room for the frame around it.
        part.saturating_sub(1024).min(RECORD_BYTES_MAX)
    })
}

/// Bytes a file of `length` bytes takes on disk.
#[must_use]
pub const fn on_disk(length: u64) -> u64 {
    length.div_ceil(BLOCK_BYTES) * BLOCK_BYTES
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_follow_the_budget() {
        const MIB: u64 = 1024 * 1024;
        for (budget, segment) in [
            (MIB, 64 * 1024),
            (64 * MIB, MIB),
            (1024 * MIB, 16 * MIB),
            (16 * 1024 * MIB, 16 * MIB),
            (64 * 1024 * MIB, 64 * MIB),
        ] {
            assert_eq!(segment_bytes(budget), segment, "{budget}");
        }
        assert_eq!(record_bytes_max(MIB), 256 * 1024 - 1024);
        assert_eq!(record_bytes_max(64 * MIB), RECORD_BYTES_MAX);
    }
}
