//! Gathered files: what is to be done with chunks and manifests in whatever order they come, how often, and whoever sends them.

use super::*;
use crate::core::fleet::files::{FINISHED_MAX, Files, PARTS_BYTES_MAX, PARTS_MAX, Step};
use crate::core::record::file::{CHUNK_TYPE, MANIFEST_TYPE};

/// Content by temporary name, and the names that were given: what a shell does, in memory.
#[derive(Clone, Default, PartialEq, Eq, Debug)]
struct Disk {
    parts: BTreeMap<String, Vec<u8>>,
    named: Vec<(String, Vec<u8>)>,
}

impl Disk {
    fn step(&mut self, steps: &[Step]) {
        for step in steps {
            match step {
                Step::Store { part, offset, content, first } => {
                    let file = self.parts.entry(part.name.clone()).or_default();
                    if *first {
                        file.clear();
                    }
                    let offset = *offset as usize;
                    file.resize(file.len().max(offset + content.len()), 0);
                    file[offset..offset + content.len()].copy_from_slice(content);
                }
                Step::Finish { part, name, size, .. } => {
                    let content = self.parts.remove(&part.name).unwrap_or_default();
                    assert_eq!(content.len() as u64, *size);
                    self.named.push((format!("{}/{}/{name}", part.vehicle, part.stream), content));
                }
                Step::Drop { part } => _ = self.parts.remove(&part.name),
            }
        }
    }
}

/// An id, which nobody here checks against the content.
fn id(seed: u8) -> String {
    format!("{seed:02x}").repeat(16)
}

fn typed(sequence: u64, content_type: &str, payload: &[u8]) -> Entry {
    Entry { content_type: Some(content_type.into()), ..entry(sequence, None, payload) }
}

fn chunk(sequence: u64, seed: u8, offset: u64, payload: &[u8]) -> Entry {
    typed(sequence, &format!("{CHUNK_TYPE}; file={}; offset={offset}", id(seed)), payload)
}

fn manifest(sequence: u64, seed: u8, name: &str, size: u64) -> Entry {
    let text = serde_json::json!({"file": id(seed), "name": name, "size": size, "sha256": id(seed).repeat(2), "chunks": 1});
    typed(sequence, MANIFEST_TYPE, text.to_string().as_bytes())
}

fn say(fleet: &mut Fleet, disk: &mut Disk, vehicle: &str, entries: &[Entry]) -> Taken {
    let taken = take(fleet, &Voice::new(vehicle).records("camera", entries), 1_000);
    disk.step(&taken.steps);
    taken
}

fn names(disk: &Disk) -> Vec<&str> {
    disk.named.iter().map(|(name, _)| name.as_str()).collect()
}

#[test]
fn chunks_become_the_file_and_their_lines_say_what_they_are() {
    let (mut fleet, mut disk) = (forwarding(), Disk::default());
    let said = [chunk(0, 1, 0, b"abc"), chunk(1, 1, 3, b"de"), manifest(2, 1, "a%20b.tar.gz", 5)];
    let taken = say(&mut fleet, &mut disk, "alpha", &said);
    let whole = ("alpha/camera/a%20b.tar~0101010101010101.gz".to_owned(), b"abcde".to_vec());
    assert_eq!((&disk.named, disk.parts.len()), (&vec![whole], 0));
    let line = |at: usize| -> Value { serde_json::from_slice(&taken.writes[at].line).unwrap() };
    for payload in ["json", "text", "base64", "file"] {
        assert!(line(0).get(payload).is_none(), "the payload is in the file");
    }
    assert_eq!((&line(0)["bytes"], &line(2)["json"]["size"]), (&3.into(), &5.into()));
    assert!(taken.writes.iter().all(|write| write.file.is_none()));

    let name = format!("text/plain; name=\"notes.txt\"; file={}", id(2));
    let taken = say(&mut fleet, &mut disk, "alpha", &[typed(3, &name, b"small")]);
    let line: Value = serde_json::from_slice(&taken.writes[0].line).unwrap();
    assert_eq!(line["file"], "files/notes~0202020202020202.txt");
    assert_eq!(disk.named[1].1, b"small");
    assert_eq!((fleet.files.incomplete(), fleet.files.abandoned()), (0, 0));
}

#[test]
fn what_a_vehicle_sends_again_after_it_was_killed_is_dropped() {
    let (mut fleet, mut disk) = (fleet(), Disk::default());
    let whole = |sequence| typed(sequence, &format!("a/b; name=\"s\"; file={}", id(9)), b"s");
    let first = [chunk(0, 1, 0, b"abc"), chunk(1, 1, 3, b"de"), manifest(2, 1, "x", 5), whole(3)];
    say(&mut fleet, &mut disk, "alpha", &first);
    let before = disk.named.clone();
    // All of it, only the end of it, only the manifest.
    for (sequence, from) in [(10, 0), (20, 1), (30, 2)] {
        let again: Vec<Entry> = (sequence..)
            .zip(&first[from..])
            .map(|(sequence, entry)| Entry { sequence, ..entry.clone() })
            .collect();
        say(&mut fleet, &mut disk, "alpha", &again);
        assert_eq!((&disk.named, disk.parts.len(), fleet.files.incomplete()), (&before, 0, 0));
    }
    // The same content under another name is another file, and so is another vehicle's.
    say(&mut fleet, &mut disk, "alpha", &[chunk(40, 1, 0, b"abcde"), manifest(41, 1, "y", 5)]);
    say(&mut fleet, &mut disk, "bravo", &first);
    let expected = [
        "alpha/camera/x~0101010101010101",
        "alpha/camera/s~0909090909090909",
        "alpha/camera/y~0101010101010101",
        "bravo/camera/x~0101010101010101",
        "bravo/camera/s~0909090909090909",
    ];
    assert_eq!(names(&disk), expected);
    // The same name with another content is another file.
    say(&mut fleet, &mut disk, "alpha", &[chunk(50, 2, 0, b"f"), manifest(51, 2, "x", 1)]);
    assert_eq!(names(&disk)[5], "alpha/camera/x~0202020202020202");
}

#[test]
fn names_of_vehicles_are_harmless_here() {
    for (name, expected) in [
        ("../../etc/passwd", "%2E.%2F..%2Fetc%2Fpasswd~"),
        ("%2E%2E%2Fx", "%2E.%2Fx~"),
        ("/etc/shadow", "%2Fetc%2Fshadow~"),
        ("..", "%2E.~"),
        (".bashrc", "%2Ebashrc~"),
        ("-rf", "%2Drf~"),
        ("", "~"),
        ("a%00b.jpg", "a%00b~.jpg"),
        ("a\nb", "a%0Ab~"),
        ("x.part", "x~.part"),
        ("~root.txt", "%7Eroot~.txt"),
        ("a.b c", "a.b%20c~"),
        ("a.", "a.~"),
        ("%FF%C3%A4.JPG", "%FF%C3%A4~.JPG"),
    ] {
        let (mut fleet, mut disk) = (fleet(), Disk::default());
        say(&mut fleet, &mut disk, "alpha", &[chunk(0, 1, 0, b"a"), manifest(1, 1, name, 1)]);
        let expected = format!("alpha/camera/{}", expected.replace('~', "~0101010101010101"));
        assert_eq!(names(&disk), [expected], "{name}");
    }
    let (mut fleet, mut disk) = (fleet(), Disk::default());
    let long = "%FF".repeat(10_000) + ".jpg";
    say(&mut fleet, &mut disk, "alpha", &[chunk(0, 1, 0, b"a"), manifest(1, 1, &long, 1)]);
    assert!(names(&disk)[0].len() < 180 && names(&disk)[0].ends_with(".jpg"), "{:?}", names(&disk));
}

#[test]
fn what_no_gatherer_writes_is_any_record() {
    let (mut fleet, mut disk) = (fleet(), Disk::default());
    let large = vec![0xff; 100_000];
    let odd = [
        chunk(0, 1, u64::MAX, &large),
        chunk(1, 1, PARTS_BYTES_MAX - 1, &large),
        chunk(2, 1, 0, b""),
        manifest(3, 1, "x", PARTS_BYTES_MAX + 1),
        typed(4, MANIFEST_TYPE, b"{\"file\":\"../x\"}"),
        typed(5, &format!("{CHUNK_TYPE}; file=../../../../x; offset=0"), b"x"),
    ];
    let taken = say(&mut fleet, &mut disk, "mallory", &odd);
    assert_eq!((disk, fleet.files.incomplete()), (Disk::default(), 0));
    let kept = taken.writes.iter().filter(|write| write.file.is_some()).count();
    assert_eq!((taken.writes.len(), kept), (6, 2), "its bytes are beside its line");
}

#[test]
fn what_is_never_finished_is_bounded_and_hurts_only_its_vehicle() {
    let (mut fleet, mut disk) = (fleet(), Disk::default());
    say(&mut fleet, &mut disk, "alpha", &[chunk(0, 7, 0, b"abc")]);
    // As many files as may be, and more.
    let mallory = Voice::new("mallory");
    let begin = |number: u64| {
        let name = format!("{CHUNK_TYPE}; file={number:032x}; offset=0");
        typed(number, &name, b"x")
    };
    for numbers in (0..PARTS_MAX as u64 + 100).collect::<Vec<_>>().chunks(200) {
        let entries: Vec<Entry> = numbers.iter().map(|number| begin(*number)).collect();
        disk.step(&take(&mut fleet, &mallory.records("camera", &entries), 1_000).steps);
    }
    assert_eq!((fleet.files.incomplete(), disk.parts.len()), (PARTS_MAX, PARTS_MAX));
    assert_eq!(fleet.files.abandoned(), 101);

    // One file in a thousand places.
    let scattered: Vec<Entry> =
        (0..1000).map(|n| chunk(10_000 + n, 8, n * 1_000_000, b"x")).collect();
    let mut steps = 0;
    for entries in scattered.chunks(100) {
        steps += take(&mut fleet, &mallory.records("camera", entries), 1_000).steps.len();
    }
    assert!(steps > 1000 && fleet.files.abandoned() > 104, "{}", fleet.files.abandoned());

    // More bytes than there may be, said without sending them: stretches that reach each other across a hole that is filled.
    let mut files = Files::default();
    let mut given_up = 0;
    let step = 1_u64 << 20;
    let content = Bytes::from(vec![0; step as usize]);
    for place in 0..PARTS_BYTES_MAX / step + 10 {
        let content_type =
            format!("{CHUNK_TYPE}; file={:032x}; offset={}", place % 3, place / 3 * step);
        let record = Received {
            epoch: 1,
            sequence: place,
            stamp: Stamp::default(),
            content_type: Some(content_type.into()),
            payload: content.clone(),
        };
        let mut steps = Vec::new();
        files.take("mallory", "camera", &record, &mut steps);
        given_up += steps.iter().filter(|step| matches!(step, Step::Drop { .. })).count();
    }
    assert_eq!((given_up, files.incomplete()), (1, 3), "the one that was given up begins anew");

    // Through all of that, what alpha began can be finished.
    say(&mut fleet, &mut disk, "alpha", &[chunk(1, 7, 3, b"de"), manifest(2, 7, "x", 5)]);
    assert_eq!(disk.named, [("alpha/camera/x~0707070707070707".to_owned(), b"abcde".to_vec())]);
}

#[test]
fn only_the_last_names_are_remembered() {
    let (mut fleet, mut disk) = (fleet(), Disk::default());
    let file =
        |sequence, seed| typed(sequence, &format!("a/b; name=\"s\"; file={}", id(seed)), b"s");
    for seed in 0..=FINISHED_MAX as u8 {
        say(&mut fleet, &mut disk, "alpha", &[file(seed.into(), seed)]);
    }
    let count = disk.named.len();
    say(&mut fleet, &mut disk, "alpha", &[file(100, 1)]);
    assert_eq!(disk.named.len(), count);
    say(&mut fleet, &mut disk, "alpha", &[file(101, 0)]);
    assert_eq!(disk.named.len(), count + 1, "the shell finds that there is such a name");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Chunks of any sizes in any order, with repeats and restarts in between, give each file once and as it was.
    #[test]
    fn any_order_of_chunks_gives_every_file_once(
        lengths in prop::collection::vec(0_usize..200, 1..5),
        sizes in prop::collection::vec(1_usize..60, 1..4),
        order in prop::collection::vec(any::<prop::sample::Index>(), 0..80),
        restarts in prop::collection::vec(any::<bool>(), 100),
    ) {
        let content = |file: usize| -> Vec<u8> { (0..lengths[file]).map(|at| (at * 7 + file) as u8).collect() };
        let mut records = Vec::new();
        for (file, length) in lengths.iter().enumerate() {
            let (seed, size) = (file as u8, sizes[file % sizes.len()]);
            for offset in (0..*length).step_by(size) {
                let end = (offset + size).min(*length);
                records.push(chunk(records.len() as u64, seed, offset as u64, &content(file)[offset..end]));
            }
            records.push(manifest(records.len() as u64, seed, "x", *length as u64));
        }
        let mut sent: Vec<usize> = order.iter().map(|index| index.index(records.len())).collect();
        sent.extend(0..records.len());
        let (mut fleet, mut disk) = (fleet(), Disk::default());
        for (place, index) in sent.into_iter().enumerate() {
            say(&mut fleet, &mut disk, "alpha", &records[index..=index]);
            if restarts.get(place).copied().unwrap_or(false) {
                fleet = Fleet::restore(&fleet.snapshot(), Prefix::new("outrider"), None).unwrap();
            }
        }
        let mut named = disk.named.clone();
        named.sort();
        let mut expected: Vec<(String, Vec<u8>)> = (0..lengths.len())
            .map(|file| {
                let digits = format!("{file:02x}").repeat(8);
                (format!("alpha/camera/x~{digits}"), content(file))
            })
            .collect();
        expected.sort();
        prop_assert_eq!(named, expected);
        prop_assert_eq!((disk.parts.len(), fleet.files.incomplete(), fleet.files.abandoned()), (0, 0, 0));
    }
}
