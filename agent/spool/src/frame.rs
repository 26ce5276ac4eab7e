//! Frames and segment headers: how bytes are laid out and checked. Pure.

use crate::body::RECORD_HEAD_BYTES;
use crate::codec::Reader;
use crate::limits::{META_BYTES_MAX, RECORD_BYTES_MAX};

/// Bytes of a segment's header.
pub(crate) const SEGMENT_HEADER_BYTES: usize = 36;
/// Bytes of a frame's header.
pub(crate) const FRAME_HEADER_BYTES: usize = 12;
/// What a record takes in the log beside its payload.
pub(crate) const RECORD_OVERHEAD_BYTES: usize = FRAME_HEADER_BYTES + RECORD_HEAD_BYTES;
/// First bytes of a segment.
const SEGMENT_MAGIC: [u8; 8] = *b"OutSpool";
/// First bytes of a frame. Neither is ASCII, and together they are no UTF-8.
pub(crate) const FRAME_MAGIC: [u8; 2] = [0xA5, 0x5F];
/// Version of the format.
pub(crate) const VERSION: u16 = 1;

/// What a frame says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Checkpoint,
    Definition,
    Marks,
    Record,
    Commit,
    Index,
}

impl Kind {
    const ALL: [Kind; 6] =
        [Kind::Checkpoint, Kind::Definition, Kind::Marks, Kind::Record, Kind::Commit, Kind::Index];

    const fn code(self) -> u8 {
        match self {
            Kind::Checkpoint => 1,
            Kind::Definition => 2,
            Kind::Marks => 3,
            Kind::Record => 4,
            Kind::Commit => 5,
            Kind::Index => 6,
        }
    }

    pub(crate) fn from_code(code: u8) -> Option<Kind> {
        Kind::ALL.into_iter().find(|kind| kind.code() == code)
    }

    /// Longest body that is ever written.
    pub(crate) const fn body_bytes_max(self) -> usize {
        match self {
            Kind::Record => RECORD_HEAD_BYTES + RECORD_BYTES_MAX,
            Kind::Checkpoint | Kind::Definition | Kind::Marks | Kind::Commit | Kind::Index => {
                META_BYTES_MAX
            }
        }
    }
}

/// Where frames are valid: a segment of a spool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) spool: u64,
    pub(crate) segment: u64,
}

impl Place {
    /// Checksum of a place within the file; every frame's own goes on from it.
    pub(crate) fn seed(self, offset: u64) -> u32 {
        let mut bytes = [0; 24];
        bytes[0..8].copy_from_slice(&self.spool.to_le_bytes());
        bytes[8..16].copy_from_slice(&self.segment.to_le_bytes());
        bytes[16..24].copy_from_slice(&offset.to_le_bytes());
        crc32c::crc32c(&bytes)
    }
}

/// The header of a frame whose check byte is right; the body may still be wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FrameHeader {
    pub(crate) kind: Kind,
    pub(crate) body_bytes: usize,
    /// Checksum that the body must complete.
    pub(crate) crc: u32,
    /// Checksum so far.
    pub(crate) crc_so_far: u32,
}

/// First eight bytes of a frame's header at a place.
fn head(seed: u32, kind: Kind, body_bytes: usize) -> [u8; 8] {
    let length = (body_bytes as u32).to_le_bytes();
    let [l0, l1, l2, l3] = length;
    let check = crc32c::crc32c_append(seed, &[kind.code(), l0, l1, l2, l3]) as u8;
    [FRAME_MAGIC[0], FRAME_MAGIC[1], kind.code(), check, l0, l1, l2, l3]
}

/// Header of a frame with this body, which is given in parts.
pub(crate) fn header(
    place: Place,
    offset: u64,
    kind: Kind,
    body: &[&[u8]],
) -> [u8; FRAME_HEADER_BYTES] {
    let seed = place.seed(offset);
    let body_bytes = body.iter().map(|part| part.len()).sum();
    debug_assert!(body_bytes <= kind.body_bytes_max(), "{kind:?} of {body_bytes} bytes");
    let head = head(seed, kind, body_bytes);
    let crc = crc32c::crc32c_append(seed, &head);
    let crc = body.iter().fold(crc, |crc, part| crc32c::crc32c_append(crc, part));
    let mut out = [0; FRAME_HEADER_BYTES];
    out[..8].copy_from_slice(&head);
    out[8..].copy_from_slice(&crc.to_le_bytes());
    out
}

/// Appends a whole frame to `out`, whose first byte has the offset `base` in the file.
pub(crate) fn put(out: &mut Vec<u8>, place: Place, base: u64, kind: Kind, body: &[u8]) {
    let header = header(place, base + out.len() as u64, kind, &[body]);
    out.extend(header);
    out.extend(body);
}

/// Reads the header of a frame at `offset`.
pub(crate) fn parse_header(place: Place, offset: u64, bytes: &[u8]) -> Option<FrameHeader> {
    let bytes: &[u8; FRAME_HEADER_BYTES] = bytes.first_chunk()?;
    if bytes[..2] != FRAME_MAGIC {
        return None;
    }
    let kind = Kind::from_code(bytes[2])?;
    let mut reader = Reader(&bytes[4..]);
    let body_bytes = usize::try_from(reader.u32()?).ok()?;
    let crc = reader.u32()?;
    if body_bytes > kind.body_bytes_max() {
        return None;
    }
    let seed = place.seed(offset);
    let head = head(seed, kind, body_bytes);
    if bytes[..8] != head {
        return None;
    }
    Some(FrameHeader { kind, body_bytes, crc, crc_so_far: crc32c::crc32c_append(seed, &head) })
}

/// What the first bytes of a file say about it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SegmentHeader {
    /// It is the segment its name says.
    Good,
    /// It is a segment, but not the one its name says.
    Other,
    /// It has a format version that this program does not know.
    Newer(u16),
    /// It does not begin like a segment.
    Bad,
}

/// The header of a segment.
pub(crate) fn segment_header(place: Place) -> [u8; SEGMENT_HEADER_BYTES] {
    let mut out = [0; SEGMENT_HEADER_BYTES];
    out[0..8].copy_from_slice(&SEGMENT_MAGIC);
    out[8..10].copy_from_slice(&VERSION.to_le_bytes());
    out[10..12].copy_from_slice(&(SEGMENT_HEADER_BYTES as u16).to_le_bytes());
    out[16..24].copy_from_slice(&place.spool.to_le_bytes());
    out[24..32].copy_from_slice(&place.segment.to_le_bytes());
    let crc = crc32c::crc32c(&out[..32]);
    out[32..].copy_from_slice(&crc.to_le_bytes());
    out
}

/// Judges the first bytes of a file that is named as the segment `place`.
pub(crate) fn parse_segment_header(place: Place, bytes: &[u8]) -> SegmentHeader {
    let Some(bytes) = bytes.first_chunk::<SEGMENT_HEADER_BYTES>() else {
        return SegmentHeader::Bad;
    };
    let (body, crc) = bytes.split_at(32);
    if crc32c::crc32c(body).to_le_bytes() != crc || body[..8] != SEGMENT_MAGIC {
        return SegmentHeader::Bad;
    }
    let version = u16::from_le_bytes([body[8], body[9]]);
    if version > VERSION {
        return SegmentHeader::Newer(version);
    }
    if *bytes == segment_header(place) { SegmentHeader::Good } else { SegmentHeader::Other }
}

/// The name of a segment's file.
pub(crate) fn segment_name(place: Place) -> String {
    format!("{:010}-{:016x}.seg", place.segment, place.spool)
}

/// The name of a segment that is being rewritten.
pub(crate) fn temporary_name(place: Place) -> String {
    format!("{:010}-{:016x}.tmp", place.segment, place.spool)
}

/// The segment that a file's name says, and whether it is a temporary file.
pub(crate) fn parse_name(name: &str) -> Option<(Place, bool)> {
    let (stem, temporary) = match name.rsplit_once('.')? {
        (stem, "seg") => (stem, false),
        (stem, "tmp") => (stem, true),
        _ => return None,
    };
    let (number, id) = stem.split_once('-')?;
    let place = Place { spool: u64::from_str_radix(id, 16).ok()?, segment: number.parse().ok()? };
    let canonical = if temporary { temporary_name(place) } else { segment_name(place) };
    // The last numbers are never given, so that there is always one more.
    (canonical == name && place.segment < u64::MAX / 2).then_some((place, temporary))
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLACE: Place = Place { spool: 0x1122_3344_5566_7788, segment: 3 };

    /// The bytes on disk are a promise to every later version: they are spelled out, not computed.
    #[test]
    fn golden_bytes_of_header_and_frame() {
        let mut file = segment_header(PLACE).to_vec();
        put(&mut file, PLACE, 0, Kind::Record, b"a record");
        let hex: String = file.iter().map(|byte| format!("{byte:02x}")).collect();
        assert_eq!(
            hex,
            concat!(
                "4f757453706f6f6c",
                "0100",
                "2400",
                "00000000",
                "8877665544332211",
                "0300000000000000",
                "ce467c6b",
                "a55f",
                "04",
                "df",
                "08000000",
                "53e5982b",
                "61207265636f7264"
            )
        );
        assert_eq!(parse_segment_header(PLACE, &file), SegmentHeader::Good);
    }

    #[test]
    fn a_frame_is_valid_only_where_it_was_written() {
        let mut frame = Vec::new();
        put(&mut frame, PLACE, 100, Kind::Marks, b"body");
        let read = parse_header(PLACE, 100, &frame).unwrap();
        assert_eq!(crc32c::crc32c_append(read.crc_so_far, b"body"), read.crc);
        for (place, offset) in
            [(PLACE, 101), (Place { segment: 4, ..PLACE }, 100), (Place { spool: 1, ..PLACE }, 100)]
        {
            let read = parse_header(place, offset, &frame);
            let crc = |header: FrameHeader| crc32c::crc32c_append(header.crc_so_far, b"body");
            assert!(read.is_none_or(|header| crc(header) != header.crc), "{place:?} {offset}");
        }
    }

    #[test]
    fn headers_of_others_are_told_apart() {
        let header = segment_header(PLACE);
        let other = Place { segment: 4, ..PLACE };
        assert_eq!(parse_segment_header(other, &header), SegmentHeader::Other);
        let mut newer = header;
        newer[8] = 2;
        let crc = crc32c::crc32c(&newer[..32]).to_le_bytes();
        newer[32..].copy_from_slice(&crc);
        assert_eq!(parse_segment_header(PLACE, &newer), SegmentHeader::Newer(2));
        newer[20] ^= 1;
        assert_eq!(parse_segment_header(PLACE, &newer), SegmentHeader::Bad);
        assert_eq!(parse_segment_header(PLACE, &header[..35]), SegmentHeader::Bad);
    }

    #[test]
    fn names_are_canonical() {
        let name = segment_name(PLACE);
        assert_eq!(name, "0000000003-1122334455667788.seg");
        assert_eq!(parse_name(&name), Some((PLACE, false)));
        assert_eq!(parse_name(&temporary_name(PLACE)), Some((PLACE, true)));
        for bad in [
            "lock",
            "3-1122334455667788.seg",
            "0000000003-1122334455667788.bak",
            "-.seg",
            ".seg",
            "0000000003-112233445566778G.seg",
            "+000000003-1122334455667788.seg",
        ] {
            assert_eq!(parse_name(bad), None, "{bad}");
        }
    }
}
