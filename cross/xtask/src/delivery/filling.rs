//! How much of a link a full spool fills, beside what plain TCP carries over the same link just before and just after.

use std::cell::Cell;
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::Path;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use super::Setting;
use super::figures::{Filled, Filling, load, noise};
use super::link::Profile;
use super::place::{Ground, POST, join};
use super::programs::{self, Agent};
use crate::bench::page::{series, value};
use crate::bench::{Figures, PATIENCE};

/// Bytes of a record.
const RECORD_BYTES: u64 = 1000;

/// Records that are brought in one request, of which the agent takes no more than 4 MiB.
const RECORDS_PER_REQUEST: u64 = 2000;

/// Port of the plain transfer.
const PLAIN_PORT: u16 = 5001;

/// Pause between two looks at how far the agent is. Near the end they come more often, since the last one is the end.
const LOOK_EVERY: [Duration; 2] = [Duration::from_millis(200), Duration::from_millis(10)];

/// Part of the payload after which that is so, in percent.
const NEAR_END_PERCENT: u64 = 95;

/// Measures one link. Each run of the agent stands between two plain transfers; what stands between two runs counts for both.
pub fn measure(setting: &Setting, profile: Profile) -> Result<Filling, String> {
    let mut plain = plain_transfer(setting, profile, 0)?;
    let mut runs = Vec::new();
    for number in 1..=setting.repetitions {
        let delivered = delivered(setting, profile, number)?;
        let before = plain;
        plain = plain_transfer(setting, profile, number)?;
        let filled = Filled { plain: [before, plain], ..delivered };
        println!("{}", filled.line());
        runs.push(filled);
    }
    Ok(Filling { profile, runs })
}

/// A ground whose losses follow the number of the run, the same for both ways to use it.
fn ground(setting: &Setting, profile: Profile, number: u64) -> Result<Ground, String> {
    Ground::new(profile, &setting.congestion, number)
}

/// Bytes a second of one plain transfer of as much payload, from the connection to the receiver's word that all is there.
fn plain_transfer(setting: &Setting, profile: Profile, number: u64) -> Result<f64, String> {
    let ground = ground(setting, profile, number)?;
    let bytes = profile.payload_bytes;
    let (ready, when_ready) = mpsc::channel();
    let failed = |e: std::io::Error| format!("plain transfer: {e}");
    let sink = ground.post.run(move || {
        let listener = TcpListener::bind((POST, PLAIN_PORT)).map_err(failed)?;
        let _ = ready.send(());
        let (mut stream, _) = listener.accept().map_err(failed)?;
        stream.set_read_timeout(Some(PATIENCE)).map_err(failed)?;
        let mut buffer = vec![0; 64 * 1024];
        while stream.read(&mut buffer).map_err(failed)? > 0 {}
        stream.write_all(b"!").map_err(failed)
    });
    if when_ready.recv().is_err() {
        return Err(join(sink).err().unwrap_or("the plain receiver did not start".to_owned()));
    }
    let source = ground.vehicle.run(move || {
        let mut stream = TcpStream::connect((POST, PLAIN_PORT)).map_err(failed)?;
        stream.set_read_timeout(Some(PATIENCE)).map_err(failed)?;
        stream.set_write_timeout(Some(PATIENCE)).map_err(failed)?;
        let began = Instant::now();
        let chunk = vec![0x55; 64 * 1024];
        let mut left = bytes;
        while left > 0 {
            let length = left.min(chunk.len() as u64);
            stream.write_all(&chunk[..usize::try_from(length).unwrap_or(0)]).map_err(failed)?;
            left -= length;
        }
        stream.shutdown(std::net::Shutdown::Write).map_err(failed)?;
        stream.read_exact(&mut [0]).map_err(failed)?;
        Ok(began.elapsed())
    });
    let took = join(source)?;
    join(sink)?;
    Ok(bytes as f64 / took.as_secs_f64())
}

/// One delivery of a full spool, from the connection to the last acknowledgement.
fn delivered(setting: &Setting, profile: Profile, number: u64) -> Result<Filled, String> {
    let folder = setting.fresh_folder(&format!("{}-{number}", profile.name))?;
    let ground = ground(setting, profile, number)?;
    let records = profile.payload_bytes / RECORD_BYTES;
    fill(setting, &ground, &folder, records)?;
    let broker = programs::broker(&ground, &folder)?;
    let load = load()?;
    let agent = Agent::start(&ground, &setting.binary, &folder, true)?;
    let began =
        when(&agent, LOOK_EVERY[1], |page| value(page, "outrider_mqtt_connected") == Some(1.0))?;
    let cpu = || -> Result<[u64; 2], String> {
        Ok([Figures::cpu_ticks(agent.child.pid())?, Figures::cpu_ticks(broker.pid())?])
    };
    let before = cpu()?;
    let sent = |page: &str| -> f64 {
        let all = series(page, "outrider_delivery_bytes_total");
        all.iter().filter(|(labels, _)| *labels == "{stream=\"x\"}").map(|(_, bytes)| bytes).sum()
    };
    let payload = (records * RECORD_BYTES) as f64;
    let near = payload * NEAR_END_PERCENT as f64 / 100.0;
    let in_flight = |page: &str| value(page, "outrider_delivery_in_flight_messages");
    let (looks, idle) = (Cell::new(0.0), Cell::new(0.0));
    when(&agent, LOOK_EVERY[0], |page| {
        let is_idle = in_flight(page) == Some(0.0);
        looks.set(looks.get() + 1.0);
        idle.set(idle.get() + if is_idle { 1.0 } else { 0.0 });
        sent(page) >= near
    })?;
    // Framing makes what was sent a little more than the payload, so the last bytes are known to be acknowledged only when
    // nothing is in flight either.
    let ended =
        when(&agent, LOOK_EVERY[1], |page| sent(page) >= payload && in_flight(page) == Some(0.0))?;
    let after = cpu()?;
    // The spool's own count follows with its next report.
    let page = agent.metrics()?;
    when(&agent, LOOK_EVERY[0], |page| {
        let held = series(page, "outrider_stream_held_records");
        held.iter().any(|(labels, held)| *labels == "{stream=\"x\"}" && *held == 0.0)
    })?;
    let megabytes = payload / 1e6;
    // A clock tick is 10 ms.
    let cpu_ms = [0, 1].map(|index| (after[index] - before[index]) as f64 * 10.0 / megabytes);
    Ok(Filled {
        bytes_per_s: payload / (ended - began).as_secs_f64(),
        plain: [0.0; 2],
        agent_cpu_ms_per_mb: cpu_ms[0],
        broker_cpu_ms_per_mb: cpu_ms[1],
        overhead_percent: (sent(&page) / payload - 1.0) * 100.0,
        idle_percent: 100.0 * idle.get() / looks.get(),
        connects: value(&page, "outrider_mqtt_connects_total").unwrap_or(0.0) as u64,
        worst_lateness_ms: ground.worst_lateness_ms(),
        load,
    })
}

/// Waits until the agent's metrics meet `condition`; the moment at which they do.
fn when(
    agent: &Agent,
    pause: Duration,
    condition: impl Fn(&str) -> bool,
) -> Result<Instant, String> {
    let started = Instant::now();
    while started.elapsed() < PATIENCE {
        let page = agent.metrics()?;
        let now = Instant::now();
        if condition(&page) {
            return Ok(now);
        }
        std::thread::sleep(pause);
    }
    Err(format!("the agent does not get further; see {}", agent.child.log().display()))
}

/// Lets an agent without a broker gather `records` records that cannot be compressed.
fn fill(setting: &Setting, ground: &Ground, folder: &Path, records: u64) -> Result<(), String> {
    let agent = Agent::start(ground, &setting.binary, folder, false)?;
    let mut bytes = noise(records);
    let length = usize::try_from(RECORD_BYTES).unwrap_or(0);
    let mut record = || -> Vec<u8> { bytes.by_ref().take(length).collect() };
    let mut left = records;
    while left > 0 {
        let count = left.min(RECORDS_PER_REQUEST);
        left -= count;
        let batch: Vec<Vec<u8>> = (0..count).map(|_| record()).collect();
        // The last one is answered when it is durable, and everything before it with it.
        match agent.post(&batch, left == 0)? {
            (200 | 202, _) => {}
            (code, text) => return Err(format!("filling the spool: status {code}: {text}")),
        }
    }
    agent.child.stop().map(drop)?;
    // What is to be measured is the link, not the writing of what was gathered before.
    let disk = fs::File::open(folder).map_err(|e| format!("opening {}: {e}", folder.display()))?;
    disk.sync_all().map_err(|e| format!("syncing {}: {e}", folder.display()))
}
