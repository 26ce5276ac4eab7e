//! Runs `olsr-bridge` past 2038: on a saved answer, and polling a stand-in for a daemon while 32-bit time ends.
//!
//! It does not link the agent's remedy, so it must never ask the standard library for the wall clock.

use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::process::{Child, Command, Stdio};
use std::thread;

use serde_json::Value;

use crate::clock::{LAST_OF_32_BITS, set, wall};
use crate::output;

/// The program's place in the image.
pub const PROGRAM: &str = "/olsr-bridge";

/// Where its complaints go.
const COMPLAINTS: &str = "/tmp/olsr-bridge.log";

/// A saved answer of a routing daemon, with every table in it.
const SAVED_ANSWER: &[u8] =
    include_bytes!("../../../olsr-bridge/fixtures/olsrd/diamond5/a/jsoninfo-all.http");

/// Views that have to come after the end of 32-bit time.
const VIEWS_AFTER: usize = 2;

/// Seconds that one answer may take: emulation is slow, and nothing here is judged by its speed.
const ANSWER_SECONDS: &str = "300";

/// Reads the saved answer at `seconds` since 1970.
pub fn reads_a_file(seconds: i64) -> Result<String, String> {
    const SAVED: &str = "/tmp/saved";
    set(seconds)?;
    fs::write(SAVED, SAVED_ANSWER).map_err(|e| format!("writing {SAVED}: {e}"))?;
    let mut command = Command::new(PROGRAM);
    links(&output(command.args(["--once", "--json", "--file", SAVED]))?)
}

/// Polls once a second, from before the end of 32-bit time until after it.
pub fn polls_across_the_end() -> Result<String, String> {
    set(LAST_OF_32_BITS - 3600)?;
    let address = daemon()?;
    let complaints = File::create(COMPLAINTS).map_err(|e| format!("writing {COMPLAINTS}: {e}"))?;
    let mut command = Command::new(PROGRAM);
    command.args(["--watch", "--json", "--daemon", "jsoninfo", "--timeout", ANSWER_SECONDS]);
    command.args(["--connect", &address]);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(complaints);
    let mut bridge = Bridge(command.spawn().map_err(|e| format!("starting {PROGRAM}: {e}"))?);
    let stdout = bridge.0.stdout.take().ok_or("olsr-bridge has no output")?;
    let mut views = BufReader::new(stdout).lines();
    let mut view = || match views.next() {
        Some(Ok(line)) => links(&line),
        Some(Err(e)) => Err(format!("reading its views: {e}")),
        None => {
            let said = fs::read_to_string(COMPLAINTS).unwrap_or_default();
            Err(format!("it ended at {} s: {}", wall(), said.replace('\n', " ")))
        }
    };
    view()?;
    set(LAST_OF_32_BITS - 3)?;
    let mut after = 0;
    let mut seen = String::new();
    while after < VIEWS_AFTER {
        seen = view()?;
        after += usize::from(wall() > LAST_OF_32_BITS);
    }
    Ok(format!("{seen} in each of {after} views after it"))
}

/// The running program, killed when dropped.
struct Bridge(Child);

impl Drop for Bridge {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Answers whatever it is asked with the saved answer, as long as the machine runs. Returns its address.
fn daemon() -> Result<String, String> {
    let failed = |e: std::io::Error| format!("listening as a daemon: {e}");
    let listener = TcpListener::bind("127.0.0.1:0").map_err(failed)?;
    let address = listener.local_addr().map_err(failed)?;
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            // A client that goes away is its own affair: the program then says what it lacks.
            let _ = stream.read(&mut [0; 1024]);
            let _ = stream.write_all(SAVED_ANSWER);
        }
    });
    Ok(address.to_string())
}

/// The links of a view, which has to have some.
fn links(text: &str) -> Result<String, String> {
    let view: Value =
        serde_json::from_str(text).map_err(|e| format!("its output is no JSON: {e}: {text}"))?;
    match view["links"].as_array() {
        Some(links) if !links.is_empty() => Ok(format!("{} links", links.len())),
        _ => Err(format!("it sees no links: {text}")),
    }
}
