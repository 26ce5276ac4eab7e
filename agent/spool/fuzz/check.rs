//! What recovery promises for any input; used by the fuzz target and by the test that replays its corpus.
//!
//! An input is a list of frames, each: kind 1 byte, length of the body 2 bytes little-endian, body. They become a segment with good
//! checksums, because random bytes never get past one. The raw input is a second segment, as it is.

use spool::simulated::{Left, Simulated, forge};
use spool::{BootMs, Options, Session, Spool, StreamPolicy};

const ID: u64 = 0xF022;

/// The input for some frames.
#[allow(dead_code, reason = "the fuzz target reads inputs only")]
pub fn input(frames: &[(u8, Vec<u8>)]) -> Vec<u8> {
    let mut out = Vec::new();
    for (kind, body) in frames {
        out.push(*kind);
        out.extend((body.len() as u16).to_le_bytes());
        out.extend(body);
    }
    out
}

fn frames(mut input: &[u8]) -> Vec<(u8, &[u8])> {
    let mut frames = Vec::new();
    while let Some((&[kind, low, high], rest)) = input.split_first_chunk::<3>() {
        let length = usize::from(u16::from_le_bytes([low, high])).min(rest.len());
        let (body, rest) = rest.split_at(length);
        frames.push((kind, body));
        input = rest;
    }
    frames
}

fn open(disk: &Simulated, epoch: u32) -> Spool<Simulated> {
    let session = Session { boot_id: [0; 16], epoch, spool_id: ID };
    let options = Options { budget_bytes: 1024 * 1024, ..Options::default() };
    Spool::open(disk.clone(), options, session, BootMs(5)).expect("nothing prevents opening")
}

/// Opens, reads, appends, commits and opens again, whatever the input is.
pub fn survives(input: &[u8]) {
    let disk = Simulated::new();
    disk.set_contents("0000000001-000000000000f022.seg", forge(ID, 1, &frames(input)));
    disk.set_contents("0000000002-000000000000f022.seg", input.to_vec());
    let mut spool = open(&disk, 1);
    let mut found = 0;
    while let Some(delivery) = spool.next(BootMs(6)) {
        found += 1;
        if found % 2 == 0 {
            spool.acknowledge(delivery.id, BootMs(6));
        }
    }
    spool.expire(BootMs(7));
    let Ok(stream) = spool.define("fuzz", StreamPolicy::default()) else { return };
    let appended = spool.append(stream, b"after".to_vec(), BootMs(8));
    spool.commit(BootMs(8));
    let report = spool.report(BootMs(8));
    assert!(report.degraded.is_none(), "{report:?}");
    drop(spool);
    disk.restart(Left::Nothing);

    let mut spool = open(&disk, 2);
    if let Ok(appended) = appended {
        let found = std::iter::from_fn(|| spool.next_of(stream, BootMs(9)));
        let mut found = found.filter(|delivery| delivery.id == appended.id);
        let there = found.next().map(|delivery| delivery.payload);
        // A forged stream of that name may let records expire or fill its window.
        assert!(there.is_none_or(|payload| payload == b"after"));
    }
    let again = spool.report(BootMs(9));
    assert!(again.streams.len() >= report.streams.len());
}
