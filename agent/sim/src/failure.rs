//! How a run of either world ends before its time: the promise that was broken, on which vehicle, and what happened last there.

use std::collections::VecDeque;
use std::fmt;

use crate::agenda::{HOUR, MINUTE, MS, Moment, SECOND};

/// Lines of the trace that are kept of each vehicle.
const TRACE_LINES: usize = 80;

/// A promise that was not kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Broken {
    /// Which, in a few words.
    pub promise: &'static str,
    /// What happened instead.
    pub how: String,
}

impl Broken {
    pub(crate) fn new(promise: &'static str, how: String) -> Broken {
        Broken { promise, how }
    }
}

/// What comes of something, or a promise that was broken, and on which vehicle.
pub(crate) type Kept<T = ()> = Result<T, (usize, Broken)>;

/// A run that broke a promise.
#[derive(Clone, Debug)]
pub struct Failure {
    /// Of this seed.
    pub seed: u64,
    /// On this vehicle.
    pub vehicle: String,
    /// When, in microseconds since the beginning.
    pub at: Moment,
    /// Which promise and how.
    pub broken: Broken,
    /// What happened last there.
    pub trace: Vec<String>,
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Failure { seed, vehicle, at, broken, trace } = self;
        writeln!(f, "last steps of {vehicle}:")?;
        for line in trace {
            writeln!(f, "  {line}")?;
        }
        let (at, Broken { promise, how }) = (stamped(*at), broken);
        write!(f, "seed {seed}, vehicle {vehicle}, at {at}: broken promise: {promise}\n  {how}")
    }
}

/// Lets a seed live to its end, with a trace or without. After a broken promise it lives again, to the same end, with the last
/// steps written down.
pub(crate) fn run<S>(
    traced: bool,
    live: impl Fn(bool) -> Result<S, Box<Failure>>,
) -> Result<S, Box<Failure>> {
    match live(traced) {
        Err(failure) if !traced => live(true).map_or_else(Err, |_| Err(failure)),
        done => done,
    }
}

/// The last steps of each vehicle.
#[derive(Debug)]
pub(crate) struct Trace {
    vehicles: Vec<Steps>,
    is_kept: bool,
    is_printed: bool,
}

#[derive(Debug)]
struct Steps {
    of: String,
    last: VecDeque<String>,
}

impl Trace {
    /// None yet of these vehicles.
    pub(crate) fn new(
        vehicles: impl Iterator<Item = String>,
        is_kept: bool,
        is_printed: bool,
    ) -> Trace {
        let vehicles = vehicles.map(|of| Steps { of, last: VecDeque::new() }).collect();
        Trace { vehicles, is_kept, is_printed }
    }

    /// Writes a line.
    pub(crate) fn note(&mut self, index: usize, now: Moment, line: impl FnOnce() -> String) {
        if !self.is_kept {
            return;
        }
        let Steps { of, last } = &mut self.vehicles[index];
        let line = format!("{} {of} {}", stamped(now), line());
        if self.is_printed {
            println!("{line}");
        }
        if last.len() == TRACE_LINES {
            last.pop_front();
        }
        last.push_back(line);
    }

    /// The run ends with this.
    pub(crate) fn failure(
        &mut self,
        seed: u64,
        at: Moment,
        (index, broken): (usize, Broken),
    ) -> Box<Failure> {
        let Steps { of, last } = &mut self.vehicles[index];
        let trace = last.drain(..).collect();
        Box::new(Failure { seed, vehicle: of.clone(), at, broken, trace })
    }
}

/// A moment for people.
fn stamped(at: Moment) -> String {
    let (h, m, s) = (at / HOUR, at / MINUTE % 60, at / SECOND % 60);
    format!("{h:02}:{m:02}:{s:02}.{:03}", at % SECOND / MS)
}
