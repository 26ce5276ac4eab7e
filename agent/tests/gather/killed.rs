//! The agent is killed without warning while ten writers post: whatever it answered for is in the spool afterwards.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::SPOOL;
use crate::kept::{self, Name};
use crate::program::{Start, until};
use crate::request::try_post;

/// Kills in one run. Set `OUTRIDER_KILLS` for more.
const KILLS: u64 = 8;

/// Times between start and kill are spread over this.
const LIFE_MS: u64 = 700;

/// Posts until it is told to stop; notes what was answered as durable.
fn write(writer: u8, socket: &Path, stop: &AtomicBool, durable: &Mutex<BTreeMap<Name, Vec<u8>>>) {
    let stream = format!("s{}", writer % 3);
    let mut round = 0u64;
    while !stop.load(Ordering::Relaxed) {
        round += 1;
        let records: Vec<String> = (0..1 + round % 4)
            .map(|n| format!("{{\"w\":{writer},\"r\":{round},\"n\":{n}}}"))
            .collect();
        let many = records.len() > 1;
        let content_type = if many { "application/x-ndjson" } else { "application/json" };
        let body = records.join("\n");
        let path = format!("/v1/streams/{stream}");
        match try_post(socket, &path, content_type, body.as_bytes()) {
            Some(reply) if reply.code == 200 => {
                // Of several records only the first and the last name are told.
                let epoch = u32::try_from(reply.number("epoch")).unwrap();
                let ends = [
                    (reply.number("first"), &records[0]),
                    (reply.number("last"), records.last().unwrap()),
                ];
                let mut durable = durable.lock().unwrap();
                for (sequence, record) in ends {
                    let name = Name { stream: stream.clone(), epoch, sequence };
                    durable.insert(name, record.clone().into_bytes());
                }
            }
            // Not there, or gone, or just starting.
            Some(_) | None => thread::sleep(Duration::from_millis(5)),
        }
    }
}

#[test]
fn whatever_was_answered_as_durable_is_there_after_kills() {
    let kills = std::env::var("OUTRIDER_KILLS").map_or(KILLS, |text| text.parse().unwrap());
    let mut folder = tempfile::tempdir().unwrap();
    let socket = folder.path().join("control.sock");
    let stop = Arc::new(AtomicBool::new(false));
    let durable = Arc::new(Mutex::new(BTreeMap::new()));
    let writers: Vec<_> = (0..10)
        .map(|writer| {
            let (socket, stop, durable) = (socket.clone(), Arc::clone(&stop), Arc::clone(&durable));
            thread::spawn(move || write(writer, &socket, &stop, &durable))
        })
        .collect();
    let mut life_ms = 0;
    for kill in 0..kills {
        let mut agent = Start { folder, ..Start::plain() }.run(SPOOL);
        let before = durable.lock().unwrap().len();
        // It has answered for something, and then lives on for a while that is different each time.
        until("records are answered", || durable.lock().unwrap().len() > before);
        life_ms = (life_ms + 337) % LIFE_MS;
        thread::sleep(Duration::from_millis(life_ms));
        agent.signal(Signal::SIGKILL);
        agent.wait();
        folder = std::mem::replace(&mut agent.folder, tempfile::tempdir().unwrap());
        eprintln!("kill {}: {} answered", kill + 1, durable.lock().unwrap().len());
    }
    stop.store(true, Ordering::Relaxed);
    for writer in writers {
        writer.join().unwrap();
    }
    let durable = durable.lock().unwrap();
    let kept = kept::all(&folder.path().join("spool"));
    let missing: Vec<&Name> = durable
        .iter()
        .filter(|(name, payload)| kept.get(name).is_none_or(|stored| stored.payload != payload[..]))
        .map(|(name, _)| name)
        .collect();
    assert!(missing.is_empty(), "{} of {}: {missing:?}", missing.len(), durable.len());
}
