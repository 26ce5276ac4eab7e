//! Spools that cannot be used as they should: another agent has it, it is read-only, it vanishes, it is full of strange
//! things. The agent runs in every case.

use std::fs;
use std::path::Path;

use crate::broker::Broker;
use crate::posting::ready;
use crate::program::{Agent, Start};
use crate::request::post;
use crate::{SPOOL, kept};

#[test]
fn the_second_agent_on_a_spool_runs_without_and_takes_over_when_the_first_ends() {
    let first = ready(SPOOL);
    let folder = first.path("spool");
    let config = SPOOL.replace("{folder}/spool", folder.to_str().unwrap());
    let mut second = Agent::start(&config);
    let status = second.until("the second says why", |status| status.spool.error.is_some());
    assert!(!status.spool.open && !status.health.healthy);
    let reason = status.spool.error.unwrap();
    assert!(reason.contains("another process") && reason.contains("spool"), "{reason}");
    let refused = post(&second.path("control.sock"), "/v1/streams/a", "", b"x");
    assert_eq!((refused.code, refused.reason()), (503, "no-spool"), "{refused:?}");
    assert!(refused.head.contains("retry-after: "), "{refused:?}");

    let socket = first.path("control.sock");
    assert_eq!(post(&socket, "/v1/streams/a", "", b"of the first").code, 200);
    let kept_folder = first.stop_and_keep();
    second.until("the second has the spool", |status| status.spool.open);
    let taken = post(&second.path("control.sock"), "/v1/streams/a", "", b"of the second");
    assert_eq!((taken.code, taken.number("first")), (200, 2), "{taken:?}");
    second.stop();
    let kept = kept::all(&kept_folder.path().join("spool"));
    assert_eq!(kept::payloads(&kept, "a"), [&b"of the first"[..], b"of the second"]);
}

#[test]
fn rubbish_in_the_folder_is_left_alone_and_damage_is_told() {
    let agent = ready(SPOOL);
    let socket = agent.path("control.sock");
    for n in 0..50 {
        let body = format!("record {n} {}", "x".repeat(1_000));
        assert_eq!(post(&socket, "/v1/streams/a?ack=accepted", "", body.as_bytes()).code, 202);
    }
    let folder = agent.stop_and_keep();
    let spool = folder.path().join("spool");
    fs::write(spool.join("holiday.jpg"), b"not ours").unwrap();
    fs::create_dir(spool.join("folder")).unwrap();
    let segment = segments(&spool).pop().unwrap();
    let mut bytes = fs::read(&segment).unwrap();
    let middle = bytes.windows(10).position(|window| window == b"record 25 ").unwrap();
    bytes[middle + 100] ^= 0xff;
    fs::write(&segment, bytes).unwrap();

    let mut agent = Start { folder, ..Start::plain() }.run(SPOOL);
    let status = agent.until("the damage is seen", |status| status.spool.bad_bytes > 0);
    assert!(status.spool.open && !status.spool.degraded);
    assert_eq!(post(&agent.path("control.sock"), "/v1/streams/a", "", b"on").code, 200);
    let folder = agent.stop_and_keep();
    assert!(folder.path().join("spool/holiday.jpg").exists());
    let kept = kept::all(&folder.path().join("spool"));
    let payloads = kept::payloads(&kept, "a");
    assert!((40..51).contains(&payloads.len()), "{}", payloads.len());
    assert_eq!(payloads.last().unwrap(), b"on");
}

fn segments(spool: &Path) -> Vec<std::path::PathBuf> {
    let mut found: Vec<_> = fs::read_dir(spool)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "seg"))
        .collect();
    found.sort();
    found
}

#[test]
fn a_spool_that_is_removed_under_the_agent_gives_no_receipts_until_it_is_back() {
    let mut agent = ready(SPOOL);
    let socket = agent.path("control.sock");
    assert_eq!(post(&socket, "/v1/streams/a", "", b"before").code, 200);
    fs::remove_dir_all(agent.path("spool")).unwrap();
    let refused = post(&socket, "/v1/streams/a", "", b"meanwhile");
    assert_eq!((refused.code, refused.reason()), (507, "storage"), "{refused:?}");
    assert_eq!(refused.number("records"), 0);
    let status = agent.until("it says so", |status| status.spool.degraded);
    assert!(status.health.reasons.iter().any(|reason| reason.code == "spool-degraded"));

    fs::create_dir(agent.path("spool")).unwrap();
    agent.until("the disk takes data again", |status| !status.spool.degraded);
    assert_eq!(post(&socket, "/v1/streams/a", "", b"after").code, 200);
    let folder = agent.stop_and_keep();
    let kept = kept::all(&folder.path().join("spool"));
    // What waited in memory became durable, too; what was on the lost disk is gone with it.
    assert_eq!(kept::payloads(&kept, "a"), [&b"meanwhile"[..], b"after"]);
}

/// The medium is away for longer than any number of hasty attempts would take, while the broker waits for what is held.
#[test]
fn a_spool_that_is_away_for_seconds_while_it_is_delivered_loses_nothing() {
    const RECORDS: u64 = 30;
    let mut broker = Broker::open();
    broker.kill();
    let mqtt = format!("[mqtt]\nhost = \"127.0.0.1\"\nport = {}\n", broker.port);
    let mut agent = ready(&format!("{SPOOL}{mqtt}"));
    let socket = agent.path("control.sock");
    for n in 0..RECORDS {
        let record: Vec<u8> = (0..20_000u64).map(|at| ((at * at * (n + 3)) >> 7) as u8).collect();
        assert_eq!(post(&socket, "/v1/streams/a", "", &record).code, 200);
    }
    let (spool, away) = (agent.path("spool"), agent.path("away"));
    assert!(segments(&spool).len() > 2);
    fs::rename(&spool, &away).unwrap();
    broker.start();
    let status = agent.until("it says so", |status| status.spool.error.is_some());
    assert!(status.health.reasons.iter().any(|reason| reason.code.starts_with("spool-")));
    std::thread::sleep(std::time::Duration::from_secs(6));
    fs::rename(&away, &spool).unwrap();
    let status = agent.until("all has left or is lost", |status| {
        status.spool.streams.iter().any(|stream| stream.name == "a" && stream.held_records == 0)
    });
    for stream in status.spool.streams {
        assert!(stream.dropped.is_empty(), "{stream:?}");
        assert!(stream.name != "a" || stream.acknowledged_records == RECORDS, "{stream:?}");
    }
    agent.until("it says that all is well", |status| status.spool.error.is_none());
    agent.stop();
}

/// Says why these tests cannot run.
const NO_MOUNTS: &str = "echo 'neither root nor users may have a mount namespace here' >&2\nexit 1";

/// Starts the program with its spool on a file system of 2 MiB in the test's own folder, `$DISK`, after `then` was done to it.
fn on_small_disk(then: &str) -> Agent {
    let inside = format!(
        "mkdir \"$DISK\" && mount -t tmpfs -o size=2m tmpfs \"$DISK\" && {then} && exec \"$@\""
    );
    let mut start = Start::in_own_mounts(NO_MOUNTS, &inside);
    let disk = start.folder.path().join("disk");
    start.environment.push(("DISK", disk.to_str().unwrap().to_owned()));
    start.run(&SPOOL.replace("{folder}/spool", "{folder}/disk/spool"))
}

#[test]
fn a_disk_that_is_smaller_than_the_spool_may_be_is_used_as_far_as_it_goes() {
    let mut agent = on_small_disk("true");
    agent.until("the spool is open", |status| status.spool.open);
    let socket = agent.path("control.sock");
    let record = vec![3; 100_000];
    let codes: Vec<u16> =
        (0..40).map(|_| post(&socket, "/v1/streams/a", "", &record).code).collect();
    // The rule of the stream is to drop the oldest, so what is new is taken, or the disk is told to be the reason.
    assert!(codes.iter().all(|code| [200, 507].contains(code)), "{codes:?}");
    assert!(codes.iter().filter(|code| **code == 200).count() >= 10, "{codes:?}");
    let status = agent.until("losses are counted", |status| {
        let stream = status.spool.streams.iter().find(|stream| stream.name == "a");
        stream.is_some_and(|stream| {
            let lost: u64 = stream.dropped.values().map(|loss| loss.records).sum();
            stream.held_records + lost >= 40
        })
    });
    assert!(status.spool.disk_bytes <= 2 << 20, "{}", status.spool.disk_bytes);
    agent.stop();
}

#[test]
fn a_disk_that_is_read_only_does_not_keep_the_agent_from_running() {
    let mut agent = on_small_disk("mount -o remount,ro \"$DISK\"");
    let socket = agent.path("control.sock");
    agent.until("the spool is open or says why not", |status| {
        status.spool.open || status.spool.error.is_some()
    });
    let refused = post(&socket, "/v1/streams/a", "", b"x");
    assert!([503, 507].contains(&refused.code), "{refused:?}");
    let status = agent.until("it says so", |status| status.spool.error.is_some());
    assert!(!status.health.healthy);
    agent.stop();
}
