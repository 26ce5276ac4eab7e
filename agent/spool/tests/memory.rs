//! Memory of a spool of 64 GiB. Its segments are real files, almost all hole, made here byte by byte from the README: so this is
//! also a second reader of the format. The only test of its process, because it measures the process.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fs::{self, File};
use std::os::unix::fs::FileExt as _;
use std::path::Path;

use spool::{BootMs, Files, Options, Session, Spool, StreamPolicy};

const GIB: u64 = 1024 * 1024 * 1024;
const SEGMENT: u64 = GIB / 16;
const SEGMENTS: u64 = 1000;
const ID: u64 = 0x64;
const STREAMS: [&str; 6] = ["birth", "event", "telemetry", "camera", "lidar", "logs"];
/// Records of each stream in each segment: 100 bytes each would fill it.
const RECORDS: u64 = 80_000;
const LIMIT_KIB: u64 = 2 * 1024;

fn status_kib(field: &str) -> u64 {
    let status = fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with(field)).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

fn crc(parts: &[&[u8]]) -> u32 {
    parts.iter().fold(0, |crc, part| crc32c::crc32c_append(crc, part))
}

fn frame(segment: u64, offset: u64, kind: u8, body: &[u8]) -> Vec<u8> {
    let mut place = Vec::new();
    for number in [ID, segment, offset] {
        place.extend(number.to_le_bytes());
    }
    let length = (body.len() as u32).to_le_bytes();
    let check = crc(&[&place, &[kind], &length]) as u8;
    let mut out = vec![0xA5, 0x5F, kind, check];
    out.extend(length);
    out.extend(crc(&[&place, &out, body]).to_le_bytes());
    out.extend(body);
    out
}

fn header(segment: u64) -> Vec<u8> {
    let mut out = b"OutSpool\x01\x00\x24\x00\x00\x00\x00\x00".to_vec();
    out.extend(ID.to_le_bytes());
    out.extend(segment.to_le_bytes());
    out.extend(crc(&[&out]).to_le_bytes());
    out
}

fn tag(name: &str) -> u32 {
    crc(&[name.as_bytes()])
}

fn index(segment: u64) -> Vec<u8> {
    let bytes = 12 + 8 + 2 + 48 * STREAMS.len() + 4;
    let at = SEGMENT - bytes as u64;
    let mut body = at.to_le_bytes().to_vec();
    body.extend((STREAMS.len() as u16).to_le_bytes());
    let mut tags = STREAMS.map(tag);
    tags.sort_unstable();
    for tag in tags {
        body.extend(tag.to_le_bytes());
        body.extend((RECORDS as u32).to_le_bytes());
        body.extend(((RECORDS * 100) as u32).to_le_bytes());
        body.extend([0; 4]);
        let first = (segment - 1) * RECORDS + 1;
        for number in [first, first + RECORDS - 1, segment, segment] {
            body.extend(number.to_le_bytes());
        }
    }
    body.extend((bytes as u32).to_le_bytes());
    frame(segment, at, 6, &body)
}

fn checkpoint() -> Vec<u8> {
    let mut body = vec![0; 16];
    body.extend([0; 8]);
    body.extend(SEGMENTS.to_le_bytes());
    body.extend([0; 4]);
    body.extend(u64::MAX.to_le_bytes());
    body.extend(0_u64.to_le_bytes());
    body.extend((STREAMS.len() as u16).to_le_bytes());
    for name in STREAMS {
        let mut definition = tag(name).to_le_bytes().to_vec();
        definition.extend([1, 0, 0xE8, 3]);
        definition.extend([0; 9]);
        definition.extend(name.as_bytes());
        let mut marks = tag(name).to_le_bytes().to_vec();
        marks.extend((SEGMENTS * RECORDS + 1).to_le_bytes());
        marks.extend(1_u64.to_le_bytes());
        marks.push(9);
        marks.extend([0; 18 + 2]);
        for part in [definition, marks] {
            body.extend((part.len() as u32).to_le_bytes());
            body.extend(part);
        }
    }
    // All before this one are vouched for: one range, from 1, of that many more.
    body.extend([1, 1]);
    body.extend([(SEGMENTS - 1) as u8 | 0x80, ((SEGMENTS - 1) >> 7) as u8]);
    body
}

fn make(folder: &Path) {
    for segment in 1..=SEGMENTS {
        let file = File::create_new(folder.join(format!("{segment:010}-{ID:016x}.seg"))).unwrap();
        file.set_len(SEGMENT).unwrap();
        file.write_all_at(&header(segment), 0).unwrap();
        let index = index(segment);
        file.write_all_at(&index, SEGMENT - index.len() as u64).unwrap();
    }
    let mut newest = header(SEGMENTS + 1);
    newest.extend(frame(SEGMENTS + 1, 36, 1, &checkpoint()));
    fs::write(folder.join(format!("{:010}-{ID:016x}.seg", SEGMENTS + 1)), newest).unwrap();
}

#[test]
fn sixty_four_gib_take_less_than_two_mib_of_memory() {
    let folder = tempfile::tempdir().unwrap();
    make(folder.path());
    // From here on the peak is counted anew.
    fs::write("/proc/self/clear_refs", "5").unwrap();
    let before = status_kib("VmRSS:");
    let session = Session { boot_id: [1; 16], epoch: 1, spool_id: 1 };
    let options = Options { budget_bytes: 64 * GIB, ..Options::default() };
    let mut spool = Spool::open(Files::new(folder.path()), options, session, BootMs(0)).unwrap();
    let report = spool.report(BootMs(0));
    assert_eq!((report.segments, report.degraded), (SEGMENTS + 1, None));
    assert_eq!(report.streams.len(), STREAMS.len());
    for stream in &report.streams {
        assert_eq!(stream.held.records, SEGMENTS * RECORDS, "{stream:?}");
    }
    let opened = status_kib("VmHWM:").saturating_sub(before);
    let stream = spool.define("event", StreamPolicy::default()).unwrap();
    for n in 0..2000_u64 {
        let _ = spool.append(stream, vec![1; 1000], BootMs(n)).unwrap();
        if n % 100 == 0 {
            spool.commit(BootMs(n));
        }
    }
    spool.commit(BootMs(2000));
    let worked = status_kib("VmHWM:").saturating_sub(before);
    println!("opened with {opened} KiB, at work {worked} KiB");
    assert!(worked < LIMIT_KIB, "{worked} KiB for a spool of 64 GiB");
}
