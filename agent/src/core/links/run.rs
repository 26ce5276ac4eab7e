//! One run of the routing daemon: notices restarts, knows until when its numbers are not to be believed, and remembers
//! its timers. Says nothing about vehicles.

use std::time::Duration;

use olsr_bridge::view::{Daemon, DaemonKind, MeshView};

use super::policy::Policy;
use crate::core::time::{Mono, millis};

/// HELLO interval when nobody tells one: RFC 3626 section 18.2 and the default of olsrd and olsrd2.
const HELLO_INTERVAL_DEFAULT: Duration = Duration::from_secs(2);

/// Longest HELLO interval that is believed. Neighbours announce theirs over the radio; a wrong one must not stretch our
/// waiting without end.
const HELLO_INTERVAL_MAX: Duration = Duration::from_secs(10);

/// HELLO validity when nobody tells one: the default of olsrd and olsrd2.
const HELLO_VALIDITY_DEFAULT: Duration = Duration::from_secs(20);

/// Longest HELLO validity that is believed, for the reason of [`HELLO_INTERVAL_MAX`].
const HELLO_VALIDITY_MAX: Duration = Duration::from_secs(60);

/// olsrd counts its uptime in 32 bits of milliseconds.
const UPTIME_WRAP_MS: u64 = 1 << 32;

/// How far a wrapped uptime may be from where it should be: rounding, and a poll's deadline of 3 s.
const UPTIME_TOLERANCE_MS: u64 = 5_000;

/// What is remembered about the running daemon.
#[derive(Debug, Default)]
pub(super) struct Run {
    seen: Option<Seen>,
    /// An answer of this run, and how old the daemon was then.
    anchor: (Mono, Duration),
    hello_interval: Option<Duration>,
    hello_validity: Option<Duration>,
    restarts: u64,
}

#[derive(Debug)]
struct Seen {
    at: Mono,
    kind: DaemonKind,
    pid: Option<u32>,
    /// Latest uptime the daemon told, and when.
    uptime: Option<(u64, Mono)>,
}

impl Run {
    /// Takes in one answer. Returns whether it comes from another run of the daemon than the one before; of a daemon
    /// that tells neither pid nor uptime, a silence longer than `silence_max` has to be taken for a restart.
    pub(super) fn observe(&mut self, view: &MeshView, at: Mono, silence_max: Duration) -> bool {
        let daemon = &view.daemon;
        let before = self.seen.take();
        let restarted = before.as_ref().is_some_and(|seen| seen.ended(daemon, at, silence_max));
        if restarted {
            self.restarts += 1;
        }
        let same_run = before.filter(|_| !restarted);
        if same_run.is_none() {
            self.anchor = (at, Duration::from_millis(daemon.uptime_ms.unwrap_or(0)));
            self.hello_interval = None;
            self.hello_validity = None;
        }
        self.learn_timers(view);
        let told = daemon.uptime_ms.map(|uptime_ms| (uptime_ms, at));
        self.seen = Some(Seen {
            at,
            kind: daemon.kind,
            pid: daemon.pid.or(same_run.as_ref().and_then(|seen| seen.pid)),
            uptime: told.or(same_run.and_then(|seen| seen.uptime)),
        });
        restarted
    }

    /// When the daemon's numbers can be believed.
    pub(super) fn warm_at(&self, policy: &Policy) -> Mono {
        let by_hellos = self
            .hello_interval()
            .saturating_mul(policy.warmup_hellos)
            .saturating_add(policy.warmup_window);
        let (at, uptime) = self.anchor;
        at + policy.warmup_min.max(by_hellos).saturating_sub(uptime)
    }

    /// How long a route must be missing before that means unreachable.
    pub(super) fn unreachable_hold(&self, policy: &Policy) -> Duration {
        match self.seen.as_ref().map(|seen| seen.kind) {
            Some(DaemonKind::Olsrd2) => self
                .hello_validity
                .unwrap_or(HELLO_VALIDITY_DEFAULT)
                .saturating_add(policy.unreachable_hold_olsrd2),
            Some(DaemonKind::Olsrd) | None => policy.unreachable_hold,
        }
    }

    /// The HELLO interval, own or else the neighbours' shortest.
    pub(super) fn hello_interval(&self) -> Duration {
        self.hello_interval.unwrap_or(HELLO_INTERVAL_DEFAULT)
    }

    /// Restarts since the agent started.
    pub(super) fn restarts(&self) -> u64 {
        self.restarts
    }

    /// Whether any daemon has answered yet.
    pub(super) fn answered(&self) -> bool {
        self.seen.is_some()
    }

    /// Own interval first; else the shortest a neighbour announces. A link that goes away takes nothing with it.
    fn learn_timers(&mut self, view: &MeshView) {
        let announced = view.links.iter().filter_map(|link| link.hello_interval_ms).min();
        if let Some(ms) = view.daemon.hello_interval_ms.or(announced).filter(|ms| *ms > 0) {
            let interval = Duration::from_millis(u64::from(ms));
            self.hello_interval = Some(interval.min(HELLO_INTERVAL_MAX));
        }
        let validity = view.links.iter().filter_map(|link| link.hello_validity_ms).max();
        if let Some(ms) = validity.filter(|ms| *ms > 0) {
            let validity = Duration::from_millis(u64::from(ms));
            self.hello_validity = Some(validity.min(HELLO_VALIDITY_MAX));
        }
    }
}

impl Seen {
    /// Whether `daemon`, answering at `at`, is another run than this one.
    fn ended(&self, daemon: &Daemon, at: Mono, silence_max: Duration) -> bool {
        if self.kind != daemon.kind {
            return true;
        }
        if let (Some(before), Some(now)) = (self.pid, daemon.pid)
            && before != now
        {
            return true;
        }
        match (self.uptime, daemon.uptime_ms) {
            (Some((before_ms, told_at)), Some(now_ms)) => {
                now_ms < before_ms && !wrapped(before_ms, now_ms, at.since(told_at))
            }
            (None, _) | (_, None) => daemon.pid.is_none() && at.since(self.at) > silence_max,
        }
    }
}

/// Whether a smaller uptime is the same run whose 32-bit counter began anew. The daemon's clock may stand still while the
/// machine is suspended, so only a counter that was due to wrap is believed to have wrapped.
fn wrapped(before_ms: u64, now_ms: u64, elapsed: Duration) -> bool {
    let Some(expected_ms) = before_ms.saturating_add(millis(elapsed)).checked_sub(UPTIME_WRAP_MS)
    else {
        return false;
    };
    expected_ms.abs_diff(now_ms) <= UPTIME_TOLERANCE_MS
}
