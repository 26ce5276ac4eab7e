//! A real file system that is really full: a loop-mounted ext4 of a few MiB, and a tmpfs without inodes. FAT and F2FS, on which
//! cards often come, are not here because kernels for tests do not have them. Needs root and loop devices, and fails without.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use spool::{BootMs, Fate, Files, OpenError, Options, Session, Spool, StreamPolicy};
use tempfile::TempDir;

const MIB: u64 = 1024 * 1024;

/// A mounted file system, unmounted at the end.
struct Mounted {
    folder: TempDir,
}

fn run(program: &str, arguments: &[&str]) {
    let output = Command::new(program)
        .args(arguments)
        .output()
        .unwrap_or_else(|error| panic!("cannot run {program}: {error}; install it"));
    assert!(
        output.status.success(),
        "`{program} {}` failed; this test needs root and loop devices: {}",
        arguments.join(" "),
        String::from_utf8_lossy(&output.stderr)
    );
}

impl Mounted {
    fn ext4(bytes: u64) -> Mounted {
        let folder = tempfile::tempdir().unwrap();
        let image = folder.path().join("image");
        fs::File::create(&image).unwrap().set_len(bytes).unwrap();
        fs::create_dir(folder.path().join("mount")).unwrap();
        run("mkfs.ext4", &["-q", "-F", image.to_str().unwrap()]);
        let mounted = Mounted { folder };
        mounted.mount_image();
        mounted
    }

    fn tmpfs(options: &str) -> Mounted {
        let folder = tempfile::tempdir().unwrap();
        fs::create_dir(folder.path().join("mount")).unwrap();
        let mounted = Mounted { folder };
        run("mount", &["-t", "tmpfs", "-o", options, "tmpfs", mounted.path().to_str().unwrap()]);
        mounted
    }

    fn mount_image(&self) {
        let image = self.folder.path().join("image");
        run("mount", &["-o", "loop", image.to_str().unwrap(), self.path().to_str().unwrap()]);
    }

    /// Nothing in the page cache outlasts it.
    fn mount_anew(&self) {
        let end = Instant::now() + Duration::from_secs(30);
        // A child that another test starts has a copy of every file until it has become another program.
        while !Command::new("umount").arg(self.path()).status().unwrap().success() {
            assert!(Instant::now() < end, "{} is in use", self.path().display());
            std::thread::sleep(Duration::from_millis(10));
        }
        self.mount_image();
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("mount")
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg(self.path()).status();
    }
}

fn open(folder: &Path, epoch: u32) -> Spool<Files> {
    let session = Session { boot_id: [1; 16], epoch, spool_id: 7 };
    let options = Options { budget_bytes: 64 * MIB, ..Options::default() };
    let end = Instant::now() + Duration::from_secs(30);
    loop {
        match Spool::open(Files::new(folder.join("spool")), options, session, BootMs(0)) {
            // A child that another test starts has a copy of every lock until it has become another program.
            Err(OpenError::Locked) if Instant::now() < end => {
                std::thread::sleep(Duration::from_millis(10));
            }
            opened => return opened.unwrap(),
        }
    }
}

fn count(spool: &mut Spool<Files>) -> u64 {
    let mut found = 0;
    while let Some(delivery) = spool.next(BootMs(0)) {
        assert!(delivery.payload.iter().all(|&byte| byte == delivery.id.sequence as u8));
        spool.acknowledge(delivery.id, BootMs(0));
        found += 1;
    }
    found
}

/// The budget is eight times what the file system can hold.
#[test]
fn a_full_file_system_keeps_the_newest_and_counts_the_rest() {
    let disk = Mounted::ext4(8 * MIB);
    let mut spool = open(&disk.path(), 1);
    let stream = spool.define("log", StreamPolicy::default()).unwrap();
    const RECORDS: u64 = 6000;
    for n in 1..=RECORDS {
        let _ = spool.append(stream, vec![n as u8; 4000], BootMs(n)).unwrap();
        if n % 20 == 0 {
            spool.commit(BootMs(n * 1000));
        }
    }
    spool.commit(BootMs(RECORDS * 2000));
    let report = spool.report(BootMs(RECORDS * 2000));
    assert_eq!(report.degraded, None);
    let log = &report.streams[0];
    let dropped: u64 = log.counts.iter().map(|(_, count)| count.records).sum();
    assert_eq!(dropped + log.held.records, RECORDS, "{log:?}");
    assert_eq!(log.counts.get(Fate::Lost).records, 0);
    assert!(log.held.records * 4000 > 3 * MIB, "{} records held on 8 MiB", log.held.records);
    drop(spool);
    disk.mount_anew();
    assert_eq!(count(&mut open(&disk.path(), 2)), log.held.records);
}

/// Somebody else fills the file system to the last block. What is on it stays, what comes waits in memory and is written
/// when there is room again.
#[test]
fn a_file_system_filled_by_others_degrades_the_spool_until_there_is_room() {
    let disk = Mounted::ext4(8 * MIB);
    let mut spool = open(&disk.path(), 1);
    let rule = StreamPolicy { at_bound: spool::AtBound::Refuse, ..StreamPolicy::default() };
    let stream = spool.define("log", rule).unwrap();
    let _ = spool.append(stream, vec![1; 1000], BootMs(0)).unwrap();
    spool.commit(BootMs(0));
    let ballast = disk.path().join("ballast");
    let mut size = MIB as usize;
    let mut all = fs::File::create(&ballast).unwrap();
    while size >= 1 {
        match std::io::Write::write_all(&mut all, &vec![0; size]) {
            Ok(()) => {}
            Err(_) => size /= 2,
        }
    }
    let _ = all.sync_all();
    for n in 2..=100_u64 {
        let _ = spool.append(stream, vec![n as u8; 1000], BootMs(0)).unwrap();
    }
    spool.commit(BootMs(1));
    let reason = spool.report(BootMs(1)).degraded.expect("nothing can be written").reason;
    assert!(reason.contains("space"), "{reason}");
    drop(all);
    fs::remove_file(ballast).unwrap();
    spool.commit(BootMs(1_000_000));
    assert_eq!(spool.report(BootMs(1_000_000)).degraded, None);
    drop(spool);
    disk.mount_anew();
    assert_eq!(count(&mut open(&disk.path(), 2)), 100);
}

/// There is room, but no further file can be made.
#[test]
fn a_file_system_without_inodes_drops_by_the_rules() {
    let disk = Mounted::tmpfs("size=32m,nr_inodes=12");
    let mut spool = open(&disk.path(), 1);
    let stream = spool.define("log", StreamPolicy::default()).unwrap();
    for n in 1..=5000_u64 {
        let _ = spool.append(stream, vec![n as u8; 4000], BootMs(n)).unwrap();
        if n % 20 == 0 {
            spool.commit(BootMs(n * 1000));
        }
    }
    spool.commit(BootMs(10_000_000));
    let report = spool.report(BootMs(10_000_000));
    assert_eq!(report.degraded, None);
    let log = &report.streams[0];
    assert!(log.counts.get(Fate::Full).records > 0);
    world_law(log);
    let held = log.held.records;
    drop(spool);
    assert_eq!(count(&mut open(&disk.path(), 2)), held);
}

fn world_law(log: &spool::StreamReport) {
    let counted: u64 = log.counts.iter().map(|(_, count)| count.records).sum();
    assert_eq!(counted + log.held.records, log.next_sequence - 1, "{log:?}");
}

/// The folder is removed under the process: a sync of a file without a name helps nobody, so it must not count.
#[test]
fn a_removed_folder_is_noticed() {
    let folder = tempfile::tempdir().unwrap();
    let mut spool = open(folder.path(), 1);
    let stream = spool.define("log", StreamPolicy::default()).unwrap();
    let _ = spool.append(stream, vec![1; 100], BootMs(0)).unwrap();
    spool.commit(BootMs(0));
    fs::remove_dir_all(folder.path().join("spool")).unwrap();
    let _ = spool.append(stream, vec![2; 100], BootMs(0)).unwrap();
    spool.commit(BootMs(1));
    let report = spool.report(BootMs(1));
    assert!(report.degraded.is_some(), "{report:?}");
    assert_eq!(report.streams[0].pending.records, 1, "it is still in memory");
}
