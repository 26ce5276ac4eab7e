//! `[[gather.folder]]` with real files: small and large, already there and dropped in, with hostile names, in the wrong form,
//! changing, and across a kill.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::symlink;
use std::path::Path;

use nix::sys::signal::Signal;
use nix::sys::stat::Mode;
use outrider::core::record::stored::Stored;

use crate::SPOOL;
use crate::kept::{self, Name};
use crate::noise::noise;
use crate::posting::ready;
use crate::program::{Agent, Start, until};

/// A folder `in` whose files go to the stream `files`.
const GATHER: &str = "[[gather.folder]]\npath = \"{folder}/in\"\nstream = \"files\"\ncontent_type = \"image/jpeg\"\n";

fn start(config: &str, files: &[(&str, &[u8])]) -> Agent {
    let start = Start::plain();
    let folder = start.folder.path().join("in");
    fs::create_dir(&folder).unwrap();
    for (name, content) in files {
        fs::write(folder.join(name), content).unwrap();
    }
    let mut agent = start.run(config);
    agent.until("the spool is open", |status| status.spool.open);
    agent
}

fn config() -> String {
    format!("{SPOOL}{GATHER}")
}

/// Files that are not hidden.
fn left(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().to_string_lossy().into_owned())
        .filter(|name| !name.starts_with('.'))
        .collect();
    names.sort();
    names
}

/// Puts the records of the stream together as a receiver does: content by name, repeats dropped.
fn assemble(kept: &BTreeMap<Name, Stored>) -> BTreeMap<String, Vec<u8>> {
    let mut whole = BTreeMap::new();
    let mut chunks: BTreeMap<(String, u64), Vec<u8>> = BTreeMap::new();
    let records = kept.iter().filter(|(name, _)| name.stream == "files");
    let mut records: Vec<_> = records.collect();
    records.sort_by_key(|(name, _)| name.sequence);
    for (_, stored) in records {
        let kind = stored.content_type.clone().unwrap();
        let field = |name: &str| {
            let begin = kind.find(&format!("; {name}="))? + name.len() + 3;
            Some(kind[begin..].split(';').next().unwrap().trim_matches('"').to_owned())
        };
        if kind.starts_with("application/vnd.outrider.chunk") {
            let place = (field("file").unwrap(), field("offset").unwrap().parse().unwrap());
            chunks.insert(place, stored.payload.to_vec());
        } else if &*kind == "application/vnd.outrider.file+json" {
            let told: serde_json::Value = serde_json::from_slice(&stored.payload).unwrap();
            let id = told["file"].as_str().unwrap();
            let of_file = chunks.iter().filter(|((file, _), _)| file == id);
            let content: Vec<u8> = of_file.flat_map(|(_, bytes)| bytes.clone()).collect();
            assert_eq!(content.len() as u64, told["size"].as_u64().unwrap(), "{told}");
            let count = chunks.keys().filter(|(file, _)| file == id).count() as u64;
            assert_eq!(count, told["chunks"].as_u64().unwrap());
            assert!(told["sha256"].as_str().unwrap().starts_with(id));
            whole.insert(told["name"].as_str().unwrap().to_owned(), content);
        } else {
            assert!(kind.starts_with("image/jpeg; name=\""), "{kind}");
            whole.insert(field("name").unwrap(), stored.payload.to_vec());
        }
    }
    whole
}

#[test]
fn files_large_and_small_dropped_in_or_there_before_are_gathered_and_removed() {
    let large = noise(0, 1_500_000);
    let agent = start(&config(), &[("before.jpg", b"was there"), ("empty", b"")]);
    let folder = agent.path("in");
    fs::write(folder.join("closed.jpg"), b"closed after writing").unwrap();
    fs::write(folder.join(".draft"), &large).unwrap();
    fs::rename(folder.join(".draft"), folder.join("large.bin")).unwrap();
    let hostile = std::ffi::OsStr::from_bytes(b"a b\n\"%\xff;x=1");
    fs::write(folder.join(hostile), b"hostile").unwrap();
    let long = "l".repeat(200);
    fs::write(folder.join(&long), b"long name").unwrap();
    until("all files are gone", || left(&folder).is_empty());
    let kept_folder = agent.stop_and_keep();
    let files = assemble(&kept::all(&kept_folder.path().join("spool")));
    let expected: BTreeMap<String, Vec<u8>> = [
        ("before.jpg", &b"was there"[..]),
        ("empty", b""),
        ("closed.jpg", b"closed after writing"),
        ("large.bin", &large),
        ("a%20b%0A%22%25%FF%3Bx=1", b"hostile"),
        (&long, b"long name"),
    ]
    .map(|(name, content)| (name.to_owned(), content.to_vec()))
    .into();
    let names = |files: &BTreeMap<String, Vec<u8>>| files.keys().cloned().collect::<Vec<_>>();
    assert_eq!(names(&files), names(&expected));
    assert_eq!(files, expected);
}

#[test]
fn what_is_no_file_or_hidden_or_still_written_is_left_alone() {
    let agent = start(&config(), &[]);
    let folder = agent.path("in");
    fs::write(agent.path("secret"), b"not to be gathered").unwrap();
    symlink(agent.path("secret"), folder.join("link")).unwrap();
    nix::unistd::mkfifo(&folder.join("pipe"), Mode::S_IRWXU).unwrap();
    fs::create_dir(folder.join("directory")).unwrap();
    fs::write(folder.join(".hidden"), b"hidden").unwrap();
    let mut open = fs::File::create(folder.join("open")).unwrap();
    use std::io::Write as _;
    open.write_all(b"first half, ").unwrap();
    fs::write(folder.join("proof"), b"looked at after all of these").unwrap();
    until("the proof is gone", || !folder.join("proof").exists());
    assert_eq!(left(&folder), ["directory", "link", "open", "pipe"]);
    open.write_all(b"second half").unwrap();
    drop(open);
    until("the file is gone that was closed", || !folder.join("open").exists());
    assert!(agent.path("secret").exists());
    let kept_folder = agent.stop_and_keep();
    let files = assemble(&kept::all(&kept_folder.path().join("spool")));
    assert_eq!(files.len(), 2, "{:?}", files.keys());
    assert_eq!(files["open"], b"first half, second half");
}

#[test]
fn a_file_that_a_kill_interrupts_is_whole_in_the_end() {
    // Several times this, repeats included, fits the spool.
    let large = noise(0, 1_200_000);
    let mut agent = start(&config(), &[]);
    for round in 0..3 {
        let folder = agent.path("in");
        fs::write(folder.join(".draft"), &large).unwrap();
        fs::rename(folder.join(".draft"), folder.join("large.bin")).unwrap();
        std::thread::sleep(std::time::Duration::from_millis(30 + 60 * round));
        agent.signal(Signal::SIGKILL);
        agent.wait();
        let kept = std::mem::replace(&mut agent.folder, tempfile::tempdir().unwrap());
        agent = Start { folder: kept, ..Start::plain() }.run(&config());
        agent.until("the spool is open", |status| status.spool.open);
        let folder = agent.path("in");
        until("the file is gone", || left(&folder).is_empty());
    }
    let kept_folder = agent.stop_and_keep();
    let files = assemble(&kept::all(&kept_folder.path().join("spool")));
    assert_eq!(files["large.bin"], large);
}

/// The note of a file is left behind by a power cut. Its chunks may have left for a receiver that has put them together and
/// forgotten them.
#[test]
fn a_file_with_the_content_of_another_one_has_chunks_of_its_own() {
    let large = noise(0, 1_200_000);
    let agent = start(&config(), &[("first.bin", &large)]);
    let folder = agent.path("in");
    until("the file is gone", || left(&folder).is_empty());
    let kept_folder = agent.stop_and_keep();
    let spool = kept_folder.path().join("spool");
    let chunks = |kept: &BTreeMap<Name, Stored>| -> Vec<String> {
        let kinds = kept.values().filter_map(|stored| stored.content_type.as_deref());
        kinds.filter(|kind| kind.contains("outrider.chunk")).map(str::to_owned).collect()
    };
    let of_first = chunks(&kept::all(&spool));
    let id = of_first[0].split("file=").nth(1).unwrap().split(';').next().unwrap();
    let names = fs::read_dir(&spool).unwrap().map(|entry| entry.unwrap().file_name());
    let segment = names.map(|name| name.into_string().unwrap()).find(|name| name.ends_with(".seg"));
    let spool_id = u64::from_str_radix(&segment.unwrap()[11..27], 16).unwrap();
    let note = serde_json::json!({
        "file": id, "name": "first.bin", "spool": spool_id, "durable_bytes": large.len(),
    });
    let folder = kept_folder.path().join("in");
    fs::write(folder.join(".outrider-progress"), note.to_string()).unwrap();
    fs::write(folder.join("second.bin"), &large).unwrap();
    let mut agent = Start { folder: kept_folder, ..Start::plain() }.run(&config());
    agent.until("the spool is open", |status| status.spool.open);
    let folder = agent.path("in");
    until("the second file is gone", || left(&folder).is_empty());
    let kept = kept::all(&agent.stop_and_keep().path().join("spool"));
    assert_eq!(chunks(&kept).len(), 2 * of_first.len());
    assert_eq!(assemble(&kept)["second.bin"], large);
}

#[test]
fn a_stream_that_refuses_leaves_files_where_they_are() {
    let stream = "[[stream]]\nname = \"files\"\nshare = 10\nwhen_full = \"refuse\"\n";
    let mut agent = start(&format!("{}{stream}", config()), &[]);
    let folder = agent.path("in");
    for n in 0..10 {
        fs::write(folder.join(format!("{n}.jpg")), noise(0, 200_000)).unwrap();
    }
    agent.until("it says that files wait", |status| {
        status.events.iter().any(|event| event.event.kind == "gather-waits")
    });
    let waiting = left(&folder).len();
    assert!((1..10).contains(&waiting), "{waiting} of 10 wait");
    let kept_folder = agent.stop_and_keep();
    let files = assemble(&kept::all(&kept_folder.path().join("spool")));
    let both = left(&kept_folder.path().join("in")).len() + files.len();
    assert!((10..=11).contains(&both), "none is lost: {both}");
}

#[test]
fn a_folder_that_is_missing_is_waited_for() {
    let mut agent = ready(&config());
    agent.until("it says so", |status| {
        status.events.iter().any(|event| event.event.kind == "gather-folder")
    });
    let folder = agent.path("in");
    fs::create_dir(&folder).unwrap();
    fs::write(folder.join("a.jpg"), b"a").unwrap();
    until("the file is gone", || left(&folder).is_empty());
    agent.stop();
}
