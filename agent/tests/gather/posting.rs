//! `POST /v1/streams/<name>`: what is taken, in which form, and what is not.

use crate::program::{Agent, Start, start_on_tcp};
use crate::request::{Reply, post};
use crate::{SPOOL, kept};

/// Waits until the spool is open.
pub fn ready(config: &str) -> Agent {
    let mut agent = Agent::start(config);
    agent.until("the spool is open", |status| status.spool.open);
    agent
}

#[test]
fn one_record_or_many_are_kept_as_they_came() {
    let agent = ready(SPOOL);
    let socket = agent.path("control.sock");
    let one = post(&socket, "/v1/streams/photos", "image/jpeg", b"\xff\xd8 not a photo");
    assert_eq!((one.code, one.number("first"), one.number("records")), (200, 1, 1), "{one:?}");
    assert_eq!(one.document["durable"], true);
    let lines = b"{\"a\":1}\n\n{\"b\":2}\r\n{\"c\":3}";
    let many = post(&socket, "/v1/streams/log", "application/x-ndjson", lines);
    assert_eq!((many.code, many.number("first"), many.number("last")), (200, 1, 3), "{many:?}");
    let text = post(&socket, "/v1/streams/text?split=lines", "text/plain", b"one\n\nthree\n");
    assert_eq!(text.number("records"), 3, "{text:?}");
    let framed = [&3u32.to_le_bytes()[..], b"a\nb", &0u32.to_le_bytes(), &1u32.to_le_bytes(), b"z"];
    let framed = post(&socket, "/v1/streams/framed?split=lengths", "", &framed.concat());
    assert_eq!(framed.number("records"), 3, "{framed:?}");
    let soon = post(&socket, "/v1/streams/log?ack=accepted", "", b"later");
    assert_eq!((soon.code, soon.number("first")), (202, 4), "{soon:?}");
    assert_eq!(soon.document["durable"], false);

    let status: serde_json::Value = serde_json::from_str(&agent.get("/v1/streams").body).unwrap();
    let names: Vec<&str> =
        status["streams"].as_array().unwrap().iter().map(|s| s["name"].as_str().unwrap()).collect();
    assert!(names.contains(&"events") && names.contains(&"telemetry"), "{names:?}");
    let folder = agent.stop_and_keep();
    let kept = kept::all(&folder.path().join("spool"));
    assert_eq!(kept::payloads(&kept, "photos"), [b"\xff\xd8 not a photo"]);
    let expected: [&[u8]; 4] = [b"{\"a\":1}", b"{\"b\":2}\r", b"{\"c\":3}", b"later"];
    assert_eq!(kept::payloads(&kept, "log"), expected);
    assert_eq!(kept::payloads(&kept, "text"), [&b"one"[..], b"", b"three"]);
    assert_eq!(kept::payloads(&kept, "framed"), [&b"a\nb"[..], b"", b"z"]);
    for (name, stored) in &kept {
        let expected = match name.stream.as_str() {
            "photos" => Some("image/jpeg"),
            "log" if name.sequence < 4 => Some("application/json"),
            "text" => Some("text/plain"),
            _ => None,
        };
        assert_eq!(stored.content_type.as_deref(), expected, "{name:?}");
        assert!(stored.stamp.boot.0 != [0; 16] && stored.stamp.boot_ms > 0, "{stored:?}");
        assert_eq!(u64::from(name.epoch), one.number("epoch"));
    }
}

fn refused(reply: &Reply, code: u16, reason: &str) {
    assert_eq!((reply.code, reply.reason()), (code, reason), "{reply:?}");
    assert!(reply.document["error"].as_str().is_some_and(|text| text.len() > 10), "{reply:?}");
}

#[test]
fn sizes_from_nothing_to_the_limit_are_taken_and_more_is_refused() {
    let agent = ready(SPOOL);
    let socket = agent.path("control.sock");
    let mebibyte = vec![7; 1 << 20];
    for body in [&b""[..], b"x", &mebibyte] {
        let reply = post(&socket, "/v1/streams/sizes", "", body);
        assert_eq!((reply.code, reply.number("records")), (200, 1), "{reply:?}");
    }
    let more = vec![7; (1 << 20) + 1];
    refused(&post(&socket, "/v1/streams/sizes", "", &more), 413, "too-large");
    let line = [b"short\n", &more[..], b"\nnever\n"].concat();
    let cut = post(&socket, "/v1/streams/sizes?split=lines", "", &line);
    refused(&cut, 413, "too-large");
    assert_eq!(cut.number("records"), 1, "the line in front of it");
    let lengths = [&u32::MAX.to_le_bytes()[..], b"x"].concat();
    refused(&post(&socket, "/v1/streams/sizes?split=lengths", "", &lengths), 413, "too-large");
    let torn = [&9u32.to_le_bytes()[..], b"x"].concat();
    refused(&post(&socket, "/v1/streams/sizes?split=lengths", "", &torn), 400, "bad-request");

    let folder = agent.stop_and_keep();
    let kept = kept::all(&folder.path().join("spool"));
    let sizes: Vec<usize> = kept::payloads(&kept, "sizes").iter().map(Vec::len).collect();
    assert_eq!(sizes, [0, 1, 1 << 20, 5]);
}

#[test]
fn hostile_names_and_wishes_are_refused() {
    let agent = ready(SPOOL);
    let socket = agent.path("control.sock");
    let long = "a".repeat(65);
    for name in [
        "",
        ".",
        "..",
        "../etc",
        "a/b",
        "a%2fb",
        "%2e%2e",
        "A",
        "-rf",
        "_a",
        "a+",
        "a%23",
        "+",
        "$sys",
        "a%00",
        "a%20b",
        long.as_str(),
    ] {
        let reply = post(&socket, &format!("/v1/streams/{name}"), "", b"x");
        refused(&reply, 400, "bad-name");
    }
    for query in ["ack=maybe", "sync=now", "split=words", "ack", "=", "ack=durable&x"] {
        refused(&post(&socket, &format!("/v1/streams/a?{query}"), "", b"x"), 400, "bad-request");
    }
    let long = "x".repeat(128);
    refused(&post(&socket, "/v1/streams/a", &long, b"x"), 400, "bad-request");
    agent.stop();
}

#[test]
fn nothing_gets_in_over_tcp() {
    let config = SPOOL.replace("\"off\"", "\"{http}\"");
    let (mut agent, address) = start_on_tcp(Start::plain, &config);
    agent.until("the spool is open", |status| status.spool.open);
    for method in ["POST", "PUT", "GET", "DELETE"] {
        let mut stream = std::net::TcpStream::connect(address).unwrap();
        use std::io::{Read as _, Write as _};
        write!(
            stream,
            "{method} /v1/streams/a HTTP/1.0\r\nhost: localhost\r\ncontent-length: 1\r\n\r\nx"
        )
        .unwrap();
        let mut answer = String::new();
        let _ = stream.read_to_string(&mut answer);
        assert!(answer.starts_with("HTTP/1.0 403 "), "{method}: {answer}");
    }
    let status = agent.until("it is looked at again", |status| status.spool.open);
    assert!(status.spool.streams.iter().all(|stream| stream.accepted_records == 0));
    agent.stop();
}

#[test]
fn without_a_spool_the_agent_runs_and_says_so() {
    let agent = Agent::start("[mesh]\ndaemon = \"none\"\n[http]\nlisten = \"off\"\n");
    let mut agent = agent;
    let status = agent.until("it runs", |_| true);
    assert!(!status.spool.configured && !status.spool.open);
    let reply = post(&agent.path("control.sock"), "/v1/streams/a", "", b"x");
    refused(&reply, 503, "no-spool");
    assert!(reply.document["error"].as_str().unwrap().contains("[spool]"));
    agent.stop();
}
