//! The log: one line per event on standard error, where service managers and people look. Times are seconds since boot:
//! the wall clock may be wrong for hours, and a service manager adds its own.

use std::fmt;
use std::io;

use tracing::Level;
use tracing_subscriber::filter::LevelFilter;
use tracing_subscriber::fmt::format::Writer;
use tracing_subscriber::fmt::time::FormatTime;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::reload;

use super::clock;
use crate::core::state::{Event, Severity};

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
        .with_writer(io::stderr);
    let log = tracing_subscriber::registry().with(filter).with(lines);
    let _ = tracing::subscriber::set_global_default(log);
    Control(Box::new(move |filter| handle.reload(filter).is_ok()))
}

/// Writes an event of the core.
pub fn event(event: &Event) {
    let (kind, subject) = (event.kind.as_str(), event.subject.as_str());
    match event.severity {
        Severity::Info => tracing::info!(kind, subject, "{}", event.text),
        Severity::Warning => tracing::warn!(kind, subject, "{}", event.text),
    }
}
