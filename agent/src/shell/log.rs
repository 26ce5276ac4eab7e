//! The log: one line per event on standard error, where service managers and people look. Times are
//! seconds since boot: the wall clock may be wrong for hours, and a service manager adds its own.
//!
//! Never waits for a reader. A pager that was left open or a journal on a dying disk stops reading
//! its end, and the one thread of the agent must not stop with it: such lines are left out, and
//! their number is told when somebody reads again.

use std::fmt;
use std::io::{self, Write as _};
use std::os::fd::AsFd as _;
use std::sync::Mutex;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use tracing::Level;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::reload;

use super::clock;
use crate::core::state::{Event, Severity};

/// Bytes after which standard error is asked again whether it takes more: `PIPE_BUF` of pipe(7). A
/// pipe that is ready takes as many without waiting, and sockets and terminals have larger buffers.
const PIECE_BYTES: usize = 4096;

/// Changes the level while the agent runs.
pub struct Control(Box<dyn Fn(LevelFilter) -> bool>);

impl fmt::Debug for Control {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Control")
    }
}

impl Control {
    /// Writes what is at least as severe as `level` from now on.
    pub fn set(&self, level: Level) {
        // False only when the log is gone, which nobody could be told.
        let _ = (self.0)(LevelFilter::from_level(level));
    }
}

struct SinceBoot;

impl FormatTime for SinceBoot {
    fn format_time(&self, writer: &mut Writer<'_>) -> fmt::Result {
        let ms = clock::now().mono.millis();
        write!(writer, "{:>6}.{:03}", ms / 1000, ms % 1000)
    }
}

/// Starts the log of this process. A second call leaves the first log in force.
#[must_use]
pub fn start(level: Level) -> Control {
    let (filter, handle) = reload::Layer::new(LevelFilter::from_level(level));
    let lines = tracing_subscriber::fmt::layer()
        .with_ansi(false)
        .with_target(false)
        .with_timer(SinceBoot)
        .with_writer(Mutex::new(StandardError::default()));
    let log = tracing_subscriber::registry().with(filter).with(lines);
    let _ = tracing::subscriber::set_global_default(log);
    Control(Box::new(move |filter| handle.reload(filter).is_ok()))
}

/// Standard error that takes what it can take at once.
#[derive(Debug, Default)]
struct StandardError {
    lost_lines: u64,
}

impl StandardError {
    fn note_losses(&mut self) {
        if self.lost_lines == 0 {
            return;
        }
        let lines = self.lost_lines;
        if put(format!("\n{lines} lines of the log were lost here: nobody read them\n").as_bytes())
        {
            self.lost_lines = 0;
        }
    }
}

impl io::Write for StandardError {
    /// Takes one line. Never an error: there is no better place to report it.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        self.note_losses();
        if !put(line) {
            self.lost_lines += 1;
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Writes all of `line` if that needs no waiting. A line that is given up halfway counts as lost.
fn put(line: &[u8]) -> bool {
    line.chunks(PIECE_BYTES).all(|piece| is_ready() && io::stderr().write_all(piece).is_ok())
}

fn is_ready() -> bool {
    let stderr = io::stderr();
    let mut watched = [PollFd::new(stderr.as_fd(), PollFlags::POLLOUT)];
    // An error of the call itself is a full kernel: the line is lost, as if nobody read.
    poll(&mut watched, PollTimeout::ZERO).is_ok()
        && watched[0].revents().is_some_and(|events| events.contains(PollFlags::POLLOUT))
}

/// Writes an event of the core.
pub fn event(event: &Event) {
    let (kind, subject) = (event.kind.as_str(), event.subject.as_str());
    match event.severity {
        Severity::Info => tracing::info!(kind, subject, "{}", event.text),
        Severity::Warning => tracing::warn!(kind, subject, "{}", event.text),
    }
}
