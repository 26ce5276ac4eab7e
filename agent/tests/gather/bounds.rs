//! What happens at the bounds: of a stream, of the number of streams, of patience, of writers at once.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::thread;

use spool::limits::STREAMS_MAX;
use spool::{BootMs, Files, Options, Session, Spool, StreamPolicy};

use crate::posting::ready;
use crate::program::{PATIENCE, Start};
use crate::request::post;
use crate::{SPOOL, kept};

#[test]
fn a_full_stream_that_refuses_says_when_to_come_again_and_keeps_what_it_has() {
    let stream = "[[stream]]\nname = \"black-box\"\nshare = 25\nwhen_full = \"refuse\"\n";
    let mut agent = ready(&format!("{SPOOL}{stream}"));
    let socket = agent.path("control.sock");
    let record = vec![1; 200_000];
    let mut taken = 0;
    let refusal = loop {
        let reply = post(&socket, "/v1/streams/black-box", "", &record);
        if reply.code != 200 {
            break reply;
        }
        taken += 1;
        assert!(taken < 100, "a quarter of 8 MiB is never full");
    };
    assert_eq!((refusal.code, refusal.reason()), (507, "full"), "{refusal:?}");
    assert!(refusal.head.contains("retry-after: 60"), "{refusal:?}");
    // Others are not concerned.
    assert_eq!(post(&socket, "/v1/streams/other", "", &record).code, 200);
    agent.until("the refusal is counted", |status| {
        let stream = status.spool.streams.iter().find(|stream| stream.name == "black-box").unwrap();
        stream.dropped.get("refused").is_some_and(|loss| loss.records == 1)
    });
    let folder = agent.stop_and_keep();
    let kept = kept::all(&folder.path().join("spool"));
    assert_eq!(kept::payloads(&kept, "black-box").len(), taken);
}

#[test]
fn streams_nobody_declared_are_bounded_or_refused() {
    let agent = ready(&SPOOL.replace("size", "undeclared_max = 2\nsize"));
    let socket = agent.path("control.sock");
    for name in ["a", "b", "a"] {
        assert_eq!(post(&socket, &format!("/v1/streams/{name}"), "", b"x").code, 200);
    }
    let third = post(&socket, "/v1/streams/c", "", b"x");
    assert_eq!((third.code, third.reason()), (404, "undeclared"), "{third:?}");
    agent.stop();

    let declared = "[[stream]]\nname = \"mine\"\n";
    let agent = ready(&format!("{}{declared}", SPOOL.replace("size", "undeclared_max = 0\nsize")));
    let socket = agent.path("control.sock");
    assert_eq!(post(&socket, "/v1/streams/mine", "", b"x").code, 200);
    let other = post(&socket, "/v1/streams/other", "", b"x");
    assert_eq!((other.code, other.reason()), (404, "undeclared"), "{other:?}");
    assert!(other.document["error"].as_str().unwrap().contains("[[stream]]"));
    agent.stop();
}

/// A spool with as many streams as can be, of an earlier configuration; with `records` each holds one.
fn with_old_streams(records: bool) -> Start {
    let start = Start::plain();
    let session = Session { boot_id: [1; 16], epoch: 1, spool_id: 1 };
    let options = Options { budget_bytes: 8 << 20, ..Options::default() };
    let files = Files::new(start.folder.path().join("spool"));
    let mut spool = Spool::open(files, options, session, BootMs(0)).unwrap();
    for n in 0..STREAMS_MAX {
        let stream = spool.define(&format!("old-{n}"), StreamPolicy::default()).unwrap();
        if records {
            let _ = spool.append(stream, b"old".to_vec(), BootMs(0)).unwrap();
        }
    }
    assert_eq!(spool.close(BootMs(0)).1, 0);
    start
}

#[test]
fn a_declared_stream_for_which_there_is_no_place_is_told_and_the_spool_is_open_for_others() {
    let config = format!("{SPOOL}[[stream]]\nname = \"mine\"\n");
    let mut agent = with_old_streams(true).run(&config);
    let status = agent.until("it is told", |status| {
        let told = |kind: &str| status.events.iter().any(|event| event.event.kind == kind);
        told("stream-refused") && status.spool.open
    });
    assert!(status.spool.error.is_none(), "{:?}", status.spool.error);
    let socket = agent.path("control.sock");
    let refused = post(&socket, "/v1/streams/mine", "", b"x");
    assert_eq!((refused.code, refused.reason()), (507, "stream-refused"), "{refused:?}");
    let text = refused.document["error"].as_str().unwrap();
    assert!(text.contains("32 streams") && text.contains("mine"), "{text}");
    assert_eq!(post(&socket, "/v1/streams/old-3", "", b"x").code, 200);
    agent.stop();
}

#[test]
fn streams_of_old_configurations_that_are_empty_give_up_their_places() {
    let config = format!("{SPOOL}[[stream]]\nname = \"mine\"\n");
    let mut agent = with_old_streams(false).run(&config);
    agent.until("the spool is open", |status| status.spool.open);
    let socket = agent.path("control.sock");
    for stream in ["mine", "events", "nobody-declared"] {
        let reply = post(&socket, &format!("/v1/streams/{stream}"), "", b"x");
        assert_eq!((reply.code, reply.number("records")), (200, 1), "{reply:?}");
    }
    agent.stop();
}

#[test]
fn ten_writers_at_once_all_get_their_receipts() {
    let agent = ready(SPOOL);
    let socket = agent.path("control.sock");
    let writers: Vec<_> = (0..10u8)
        .map(|writer| {
            let socket = socket.clone();
            thread::spawn(move || {
                for round in 0..20u8 {
                    let body = vec![writer; 1 + usize::from(round) * 1_000];
                    let path = format!("/v1/streams/w{}", writer % 4);
                    let reply = post(&socket, &path, "", &body);
                    assert_eq!(reply.code, 200, "{reply:?}");
                }
            })
        })
        .collect();
    for writer in writers {
        writer.join().unwrap();
    }
    let folder = agent.stop_and_keep();
    let kept = kept::all(&folder.path().join("spool"));
    assert_eq!(kept.len(), 200);
    for writer in 0..10u8 {
        let of_writer = kept::payloads(&kept, &format!("w{}", writer % 4))
            .into_iter()
            .filter(|payload| payload[0] == writer);
        let sizes: Vec<usize> = of_writer.map(|payload| payload.len()).collect();
        assert_eq!(sizes, (0..20).map(|round| 1 + round * 1_000).collect::<Vec<_>>(), "in order");
    }
}

#[test]
fn a_writer_that_stalls_loses_its_place_and_nobody_elses() {
    let agent = ready(SPOOL);
    let socket = agent.path("control.sock");
    let mut slow = UnixStream::connect(&socket).unwrap();
    slow.set_read_timeout(Some(PATIENCE)).unwrap();
    slow.write_all(
        b"POST /v1/streams/a?split=lines HTTP/1.1\r\nhost: l\r\ncontent-length: 99\r\n\r\none\ntw",
    )
    .unwrap();
    assert_eq!(post(&socket, "/v1/streams/a", "", b"quick").code, 200);
    let mut answer = String::new();
    slow.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 408 ") && answer.contains("\"records\":1"), "{answer}");
    let folder = agent.stop_and_keep();
    let kept = kept::all(&folder.path().join("spool"));
    let mut payloads = kept::payloads(&kept, "a");
    payloads.sort();
    assert_eq!(payloads, [&b"one"[..], b"quick"], "half a line is no record");
}
