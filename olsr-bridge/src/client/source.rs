//! One daemon interface over many samples: what to ask this time, what is still known from before,
//! and whether the daemon restarted in between.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::Read;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::time::Duration;

use tokio::time::{Instant, sleep};

use super::answer;
use super::request::{self, Ask, LARGE_MESH_NODES, LARGE_MESH_PERIOD};
use super::wire::{self, Target};
use super::{BUSY_RETRY_AFTER, Options};
use crate::build::Builder;
use crate::failure::{Failure, FailureClass};
use crate::names;
use crate::v1::{self, Findings};
use crate::v2;
use crate::view::{DaemonKind, MeshView, Part, Protocol};

/// Uptime below which a smaller one than before may be olsrd's 32-bit milliseconds wrapping around
/// after 49.7 days.
const WRAP_MS: u64 = 600_000;

/// One interface of one daemon.
#[derive(Debug)]
pub(super) struct Source {
    protocol: Protocol,
    address: SocketAddr,
    /// Version and configuration of this run of the daemon.
    startup: Option<Kept>,
    /// The last whole view was of a large mesh.
    large: bool,
    /// Everything of a large mesh, from when it was last read.
    whole: Option<Kept>,
    /// olsrd2 lacks a command of the full request.
    basic: bool,
    last: Option<Run>,
    restarted: bool,
}

/// Parts that were read at some time.
#[derive(Debug)]
struct Kept {
    parts: Builder,
    at: Instant,
}

impl Kept {
    fn new(parts: Builder) -> Kept {
        Kept { parts, at: Instant::now() }
    }

    fn complete(&self, builder: &mut Builder) {
        let age_ms = u64::try_from(self.at.elapsed().as_millis()).unwrap_or(u64::MAX);
        builder.merge(self.parts.clone(), age_ms);
    }
}

/// What tells one run of a daemon from the next.
#[derive(Clone, Copy, Debug)]
struct Run {
    pid: Option<u32>,
    uptime_ms: Option<u64>,
}

impl Run {
    fn of(builder: &Builder) -> Run {
        Run { pid: builder.known_pid(), uptime_ms: builder.known_uptime_ms() }
    }

    /// Whether `next`, read later, is another run.
    fn ended_before(self, next: Run) -> bool {
        if let (Some(before), Some(after)) = (self.pid, next.pid)
            && before != after
        {
            return true;
        }
        let (Some(before), Some(after)) = (self.uptime_ms, next.uptime_ms) else { return false };
        let wrapped = before > u64::from(u32::MAX) - WRAP_MS && after < WRAP_MS;
        after < before && !wrapped
    }
}

impl Source {
    pub(super) fn new(protocol: Protocol, address: SocketAddr) -> Source {
        Source {
            protocol,
            address,
            startup: None,
            large: false,
            whole: None,
            basic: false,
            last: None,
            restarted: false,
        }
    }

    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Whether a restart was seen since the last call.
    pub(super) fn take_restarted(&mut self) -> bool {
        std::mem::take(&mut self.restarted)
    }

    /// Reads the daemon once; each request may take `timeout`.
    pub(super) async fn sample(
        &mut self,
        options: &Options,
        timeout: Duration,
        buffer: &mut Vec<u8>,
    ) -> Result<MeshView, Failure> {
        let reading = Reading { options, timeout };
        let mut builder = self.runtime(&reading, buffer).await?;
        if self.startup.is_none() {
            self.read_startup(&reading, buffer).await;
        }
        if let Some(path) = &options.names_file {
            read_names(path, &mut builder);
        }
        // Only a reading of everything carries the routes. A small mesh is read whole each time, so
        // nothing is kept.
        let is_whole = builder.has(Part::Routes);
        if is_whole {
            self.whole = self.large.then(|| Kept::new(builder.clone()));
        } else if let Some(whole) = &self.whole {
            whole.complete(&mut builder);
        }
        if let Some(startup) = &self.startup {
            startup.complete(&mut builder);
        }
        let view = builder.finish(&options.cost);
        if is_whole {
            self.large = is_large(&view);
        }
        Ok(view)
    }

    /// Reads what changes: everything, or of a large mesh between its periods only what is near.
    async fn runtime(
        &mut self,
        reading: &Reading<'_>,
        buffer: &mut Vec<u8>,
    ) -> Result<Builder, Failure> {
        let recent = |whole: &Kept| whole.at.elapsed() < LARGE_MESH_PERIOD;
        if self.whole.as_ref().is_some_and(recent) {
            let builder = self.ask(Ask::Near, reading, buffer).await?;
            if !self.note_run(&builder) {
                return Ok(builder);
            }
        }
        let builder = self.everything(reading, buffer).await?;
        self.note_run(&builder);
        Ok(builder)
    }

    /// Remembers which run answered; when it is another one than before, forgets what was known of
    /// that.
    fn note_run(&mut self, builder: &Builder) -> bool {
        let run = Run::of(builder);
        let restarted = self.last.is_some_and(|last| last.ended_before(run));
        self.last = Some(run);
        if restarted {
            self.restarted = true;
            self.startup = None;
            self.whole = None;
        }
        restarted
    }

    async fn everything(
        &mut self,
        reading: &Reading<'_>,
        buffer: &mut Vec<u8>,
    ) -> Result<Builder, Failure> {
        let olsrd2 = kind(self.protocol) == DaemonKind::Olsrd2;
        if !self.basic {
            match self.ask(Ask::Everything, reading, buffer).await {
                Ok(builder) => {
                    // Over telnet a missing command costs only its own answer; without the graph
                    // the edge table serves.
                    self.basic = olsrd2 && !builder.has(Part::Topology);
                    return Ok(builder);
                }
                Err(failure) if olsrd2 && failure.class == FailureClass::NotFound => {}
                Err(failure) => return Err(failure),
            }
        }
        let builder = self.ask(Ask::Basic, reading, buffer).await?;
        self.basic = true;
        Ok(builder)
    }

    /// Reads version and configuration. Without them the view is poorer but stands; what the daemon
    /// does not have is not asked for again in this run.
    async fn read_startup(&mut self, reading: &Reading<'_>, buffer: &mut Vec<u8>) {
        match self.ask(Ask::Startup, reading, buffer).await {
            Ok(parts) => self.startup = Some(Kept::new(parts)),
            Err(failure) => match failure.class {
                FailureClass::NotFound | FailureClass::NotUnderstood | FailureClass::TooLarge => {
                    let parts = Builder::new(kind(self.protocol), self.protocol);
                    self.startup = Some(Kept::new(parts));
                }
                FailureClass::Refused
                | FailureClass::Timeout
                | FailureClass::NotAllowed
                | FailureClass::Busy
                | FailureClass::Io => {}
            },
        }
    }

    /// One request and its answer, repeated once when the daemon is busy.
    async fn ask(
        &self,
        ask: Ask,
        reading: &Reading<'_>,
        buffer: &mut Vec<u8>,
    ) -> Result<Builder, Failure> {
        match self.ask_once(ask, reading, buffer).await {
            Err(failure) if failure.class == FailureClass::Busy => {
                sleep(BUSY_RETRY_AFTER).await;
                self.ask_once(ask, reading, buffer).await
            }
            result => result,
        }
    }

    async fn ask_once(
        &self,
        ask: Ask,
        reading: &Reading<'_>,
        buffer: &mut Vec<u8>,
    ) -> Result<Builder, Failure> {
        let target = Target {
            protocol: self.protocol,
            address: self.address,
            deadline: Instant::now() + reading.timeout,
            answer_bytes_max: reading.options.answer_bytes_max,
        };
        let request = request::bytes(self.protocol, ask);
        let body = wire::exchange(&target, &request, buffer).await?;
        let mut builder = Builder::new(kind(self.protocol), self.protocol);
        let findings = match self.protocol {
            Protocol::Jsoninfo => v1::jsoninfo::parse(body, &mut builder),
            Protocol::Txtinfo => v1::txtinfo::parse(body, &mut builder),
            Protocol::Olsrd2Http | Protocol::Olsrd2Telnet => {
                v2::parse(body, &mut builder);
                Findings::default()
            }
        };
        if let Some(class) = findings.refusal {
            return Err(target.failure(class, &answer::meaning(class, "without HTTP headers")));
        }
        let wanted: &[(Part, &str)] = match ask {
            Ask::Everything | Ask::Basic => &[(Part::Links, "links"), (Part::Routes, "routes")],
            Ask::Near => &[(Part::Links, "links")],
            Ask::Startup => &[],
        };
        for (part, table) in wanted {
            if !builder.has(*part) {
                let why = format!(
                    "its answer has no complete table of {table}; it was cut off, or the daemon was built without it"
                );
                return Err(target.failure(FailureClass::NotUnderstood, &why));
            }
        }
        Ok(builder)
    }
}

/// What holds for all requests of one sample.
struct Reading<'a> {
    options: &'a Options,
    timeout: Duration,
}

/// Largest hosts file believed: ten thousand names of the usual length.
const NAMES_BYTES_MAX: u64 = 1024 * 1024;

/// Reads the hosts file of the nameservice plugin. It lies in memory (`/var/run`), so reading it
/// does not wait for a disk; when it is missing the view has no names and a complaint.
fn read_names(path: &Path, builder: &mut Builder) {
    let mut file = Vec::new();
    // Opening a FIFO would wait for a writer, and with it everything that shares the event loop.
    let read = path.metadata().and_then(|metadata| match metadata.is_file() {
        true => File::open(path)?.take(NAMES_BYTES_MAX).read_to_end(&mut file),
        false => {
            Err(std::io::Error::new(std::io::ErrorKind::InvalidInput, "it is no regular file"))
        }
    });
    match read {
        Ok(bytes) => {
            names::parse(&file, builder);
            if bytes as u64 == NAMES_BYTES_MAX {
                builder.complain(
                    Part::Names,
                    "the hosts file of the nameservice plugin is too large: its end was not read",
                    path.display().to_string().as_bytes(),
                );
            }
        }
        Err(error) => builder.complain(
            Part::Names,
            "the hosts file of the nameservice plugin could not be read",
            format!("{}: {error}", path.display()).as_bytes(),
        ),
    }
}

/// The daemon that speaks `protocol`.
fn kind(protocol: Protocol) -> DaemonKind {
    match protocol {
        Protocol::Jsoninfo | Protocol::Txtinfo => DaemonKind::Olsrd,
        Protocol::Olsrd2Http | Protocol::Olsrd2Telnet => DaemonKind::Olsrd2,
    }
}

/// Whether the mesh has more than [`LARGE_MESH_NODES`] nodes.
fn is_large(view: &MeshView) -> bool {
    // Each node has a route or an edge; few of both need no closer look.
    if view.routes.len() + view.edges.len() <= LARGE_MESH_NODES {
        return false;
    }
    let ends = view.edges.iter().flat_map(|edge| [edge.from, edge.to]);
    let nodes: BTreeSet<IpAddr> =
        view.routes.iter().filter_map(|route| route.node).chain(ends).collect();
    nodes.len() > LARGE_MESH_NODES
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(pid: u32, uptime_ms: u64) -> Run {
        Run { pid: Some(pid), uptime_ms: Some(uptime_ms) }
    }

    #[test]
    fn a_changed_pid_or_a_smaller_uptime_is_a_restart() {
        assert!(run(1, 1000).ended_before(run(2, 2000)));
        assert!(run(1, 1000).ended_before(run(1, 50)));
        assert!(!run(1, 1000).ended_before(run(1, 2000)));
        let no_uptime = Run { pid: Some(1), uptime_ms: None };
        assert!(!run(1, 1000).ended_before(no_uptime));
    }

    #[test]
    fn the_wrap_of_the_uptime_is_no_restart() {
        assert!(!run(1, u64::from(u32::MAX) - 10).ended_before(run(1, 990)));
    }
}
