//! Whether a join could succeed: the stages that are looked at, and what is made of what was seen. Each finding that is not good
//! names cause and remedy, and says whether time cures it or a person.
//!
//! Nothing is sent here, and no stage changes anything at the server or on the vehicle: the requests that give a joining agent
//! its certificates, and make the server remember its password, are not among them.

use std::time::Duration;

use serde::Serialize;

use crate::core::time::{ClockQuality, Now};

/// Longest a request may take here: k3s gives up after 10 s, which cannot be configured, and sends larger ones.
pub const REQUEST_MAX: Duration = Duration::from_secs(8);

/// Requests that measure the link, each on a connection of its own, as k3s makes them.
pub const REQUESTS: usize = 5;

/// Of those, how many may be lost or late. A join needs nine in a row, and begins anew after each that fails; a link on which
/// more than one in five fails is one on which that does not come to an end.
pub const FAILURES_MAX: usize = 1;

/// How far this machine's clock may be behind the server's: certificates that the server issues are valid from an hour in its
/// past, or from the start of its authority if that is younger.
pub const CLOCK_BEHIND_MAX: Duration = Duration::from_secs(55 * 60);

/// How far ahead: a day makes no certificate worthless, and every lease and log misleading.
pub const CLOCK_AHEAD_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// A difference that is worth a word: leases are renewed every 10 s and are good for 40 s.
const CLOCK_DOUBT: Duration = Duration::from_secs(30);

/// Least free room for k3s's data, in bytes: the kubelet begins to evict pods for the disk's sake when a tenth is free, or
/// a container does not start; this much holds unpacked binaries and the smallest images.
pub const SPACE_BYTES_MIN: u64 = 512 * 1024 * 1024;

/// Minor versions that a kubelet may be behind its server (Kubernetes version skew policy; three since 1.28).
const SKEW: [u32; 2] = [2, 3];

/// Server from which the larger of [`SKEW`] holds.
const SKEW_SINCE: u32 = 28;

/// What to do about an answer that k3s does not give.
pub const NO_K3S: &str = "see that `servers` names a k3s server and not something in front of it";

/// What is looked at, in order: the first that fails explains those after it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Stage {
    /// Token and hash of the authority, on this vehicle.
    Credentials,
    /// The service that runs k3s.
    Unit,
    /// Room for k3s's data.
    Space,
    /// A way to the server; no packet is sent.
    Route,
    /// TCP.
    Connect,
    /// TLS, and the authority by its hash.
    Authority,
    /// The server's certificate for the address that is dialled.
    Name,
    /// This machine's clock against the server's.
    Clock,
    /// Whether requests end in time.
    Speed,
    /// The token at the server.
    Token,
    /// The name of the vehicle's Node: whether another has it.
    Node,
    /// The version of Kubernetes here against the server's.
    Version,
}

impl Stage {
    /// Fixed word.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Stage::Credentials => "credentials",
            Stage::Unit => "unit",
            Stage::Space => "space",
            Stage::Route => "route",
            Stage::Connect => "connect",
            Stage::Authority => "authority",
            Stage::Name => "name",
            Stage::Clock => "clock",
            Stage::Speed => "speed",
            Stage::Token => "token",
            Stage::Node => "node",
            Stage::Version => "version",
        }
    }
}

/// What cures a fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Cure {
    /// Waiting: a better link, a server that is starting.
    Time,
    /// Somebody has to change something.
    Person,
}

/// How a stage was found.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    /// As it should be.
    Good,
    /// A join can succeed, and something is not as it should be.
    Doubt,
    /// A join cannot succeed.
    Bad(Cure),
    /// It could not be looked at.
    Skipped,
}

/// What was found at a stage.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// Where.
    pub stage: Stage,
    /// How.
    pub verdict: Verdict,
    /// What.
    pub text: String,
    /// What to do; empty when nothing is to be done.
    pub remedy: String,
}

impl Finding {
    /// All is well.
    #[must_use]
    pub fn good(stage: Stage, text: impl Into<String>) -> Finding {
        Finding { stage, verdict: Verdict::Good, text: text.into(), remedy: String::new() }
    }

    /// It was not looked at.
    #[must_use]
    pub fn skipped(stage: Stage, text: impl Into<String>) -> Finding {
        Finding { stage, verdict: Verdict::Skipped, text: text.into(), remedy: String::new() }
    }

    /// Not as it should be.
    #[must_use]
    pub fn doubt(stage: Stage, text: impl Into<String>, remedy: impl Into<String>) -> Finding {
        Finding { stage, verdict: Verdict::Doubt, text: text.into(), remedy: remedy.into() }
    }

    /// A join cannot succeed.
    #[must_use]
    pub fn bad(
        stage: Stage,
        cure: Cure,
        text: impl Into<String>,
        remedy: impl Into<String>,
    ) -> Finding {
        Finding { stage, verdict: Verdict::Bad(cure), text: text.into(), remedy: remedy.into() }
    }

    /// What it is and what to do, for whoever asked for something that it hinders.
    #[must_use]
    pub fn told(&self) -> String {
        match self.remedy.as_str() {
            "" => self.text.clone(),
            remedy => format!("{}; {remedy}", self.text),
        }
    }

    /// Whether a join cannot succeed because of it.
    #[must_use]
    pub const fn is_bad(&self) -> bool {
        matches!(self.verdict, Verdict::Bad(_))
    }
}

/// The clock, by a server's header `Date` of `server_ms` since 1970.
#[must_use]
pub fn clock(server_ms: Option<i64>, now: &Now) -> Finding {
    let stage = Stage::Clock;
    let Some(server_ms) = server_ms else {
        return Finding::skipped(stage, "the server did not tell its time");
    };
    let behind_ms = server_ms.saturating_sub(now.wall_ms);
    let difference = Duration::from_millis(behind_ms.unsigned_abs());
    let sense = if behind_ms > 0 { "behind" } else { "ahead of" };
    let text = format!("this clock is {} {sense} the server's", rounded(difference));
    let limit = if behind_ms > 0 { CLOCK_BEHIND_MAX } else { CLOCK_AHEAD_MAX };
    let remedy = match now.quality {
        ClockQuality::Unset => {
            "the clock was never set: GPS, NTP over the mesh, or a battery for the clock chip"
        }
        ClockQuality::Unsynchronised | ClockQuality::Synchronised => {
            "find out which of the two is wrong and set it; both are best set by GPS or NTP"
        }
    };
    if difference > limit {
        // GPS or NTP may set it any moment.
        return Finding::bad(
            stage,
            Cure::Time,
            format!("{text}: certificates that the server issues would not be accepted here"),
            remedy,
        );
    }
    if difference > CLOCK_DOUBT {
        return Finding::doubt(stage, text, remedy);
    }
    Finding::good(stage, "this clock and the server's agree")
}

/// The link, by how long requests took; `None` for those that did not end within [`REQUEST_MAX`].
#[must_use]
pub fn speed(took: &[Option<Duration>]) -> Finding {
    let stage = Stage::Speed;
    let mut ended: Vec<Duration> = took.iter().flatten().copied().collect();
    ended.sort_unstable();
    let (Some(first), Some(last)) = (ended.first(), ended.last()) else {
        return too_slow(&format!("no request ended within {}", rounded(REQUEST_MAX)));
    };
    let spread = format!("{} to {}", rounded(*first), rounded(*last));
    let failed = took.len() - ended.len();
    if failed > FAILURES_MAX {
        return too_slow(&format!(
            "{failed} of {} requests did not end within {}, the others took {spread}",
            took.len(),
            rounded(REQUEST_MAX)
        ));
    }
    if failed > 0 {
        return Finding::doubt(
            stage,
            format!(
                "{failed} of {} requests did not end in time, the others took {spread}",
                took.len()
            ),
            "nothing: k3s repeats what fails, so joining takes longer",
        );
    }
    Finding::good(stage, format!("{} requests took {spread}; k3s gives each 10 s", took.len()))
}

/// A link on which k3s would begin its join again and again; `seen` is what was seen of it.
#[must_use]
pub fn too_slow(seen: &str) -> Finding {
    Finding::bad(
        Stage::Speed,
        Cure::Time,
        format!("link too slow for k3s to join: {seen}"),
        "nothing: the agent waits for a better link and gathers data meanwhile",
    )
}

/// The token, by the status of the server's answer to it.
#[must_use]
pub fn token(status: u16) -> Finding {
    let stage = Stage::Token;
    match status {
        200 => Finding::good(stage, "the server accepts the token and is ready for joins"),
        401 => Finding::bad(
            stage,
            Cure::Person,
            "the server does not know the token (401): it is wrong, or has expired",
            "make one at the server (`k3s token create --ttl 24h`) and put it into `token_file`; `outrider \
             federation release` tries it at once, otherwise the agent does within half an hour",
        ),
        403 => Finding::bad(
            stage,
            Cure::Person,
            "the server knows the token and does not let it join nodes (403)",
            "use the token for agents (`agent-token`), or one of `k3s token create`",
        ),
        429 => Finding::bad(
            stage,
            Cure::Time,
            "the server is busy with other joins (429)",
            "nothing: the agent tries again",
        ),
        503 => Finding::bad(
            stage,
            Cure::Time,
            "the server is starting, or has lost its own control plane (503)",
            "nothing if it was just started; otherwise look at the server's log",
        ),
        other => Finding::bad(
            stage,
            Cure::Person,
            format!("the server answered {other} where k3s answers 200"),
            NO_K3S,
        ),
    }
}

/// Room for k3s's data: `free` bytes of the file system that holds `folder`, of which the spool may take `promised` yet.
#[must_use]
pub fn space(folder: &str, free: u64, promised: u64) -> Finding {
    let megabytes = |bytes: u64| bytes / (1024 * 1024);
    let text = format!("{} MiB are free for {folder}", megabytes(free));
    if free >= SPACE_BYTES_MIN.saturating_add(promised) {
        return Finding::good(Stage::Space, text);
    }
    if free >= SPACE_BYTES_MIN {
        // Data comes before pods: what is gathered is kept, and k3s evicts for it.
        return Finding::doubt(
            Stage::Space,
            format!(
                "{text}, and the spool beside it may take {} MiB yet: pods are evicted then",
                megabytes(promised)
            ),
            "give k3s a file system of its own, make room, or lower `spool.size`",
        );
    }
    Finding::bad(
        Stage::Space,
        Cure::Person,
        format!("only {text}; k3s needs {} MiB to begin with", megabytes(SPACE_BYTES_MIN)),
        "make room: images of earlier workloads (`k3s crictl rmi --prune`), logs, a smaller `spool.size`",
    )
}

/// Why two versions cannot work together, `server` at the server and `node` on the vehicle, each as `v1.33.4+k3s1`; `None` when
/// they can, or when one of them cannot be read.
#[must_use]
pub fn version_skew(server: &str, node: &str) -> Option<String> {
    let [server_minor, node_minor] = [minor(server)?, minor(node)?];
    if node_minor > server_minor {
        return Some(format!(
            "this vehicle's k3s is {node}, newer than the server's {server}; a kubelet must not be newer"
        ));
    }
    let most = SKEW[usize::from(server_minor >= SKEW_SINCE)];
    (server_minor - node_minor > most).then(|| {
        format!(
            "this vehicle's k3s is {node}, more than {most} minor versions behind the server's {server}"
        )
    })
}

fn minor(version: &str) -> Option<u32> {
    version.strip_prefix("v1.")?.split('.').next()?.parse().ok()
}

/// A duration in the largest unit that says enough.
fn rounded(duration: Duration) -> String {
    let seconds = duration.as_secs();
    match seconds {
        0 => format!("{} ms", duration.as_millis()),
        1..10 => format!("{:.1} s", duration.as_secs_f64()),
        10..120 => format!("{seconds} s"),
        120..7_200 => format!("{} min", seconds / 60),
        7_200..172_800 => format!("{} h", seconds / 3_600),
        _ => format!("{} days", seconds / 86_400),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::time::Mono;

    fn at(wall_ms: i64, quality: ClockQuality) -> Now {
        Now { mono: Mono::from_nanos(1), wall_ms, quality }
    }

    #[test]
    fn a_clock_is_good_within_the_life_of_fresh_certificates() {
        const HOUR: i64 = 3_600_000;
        let now = at(1_800_000_000_000, ClockQuality::Synchronised);
        let by = |difference: i64| clock(Some(now.wall_ms + difference), &now).verdict;
        assert_eq!(by(0), Verdict::Good);
        assert_eq!(by(30_000), Verdict::Good);
        assert_eq!(by(-30_000), Verdict::Good);
        assert_eq!(by(30_001), Verdict::Doubt);
        assert_eq!(by(HOUR - 300_000), Verdict::Doubt);
        assert_eq!(by(HOUR - 299_999), Verdict::Bad(Cure::Time));
        assert_eq!(by(-24 * HOUR), Verdict::Doubt);
        assert_eq!(by(-24 * HOUR - 1), Verdict::Bad(Cure::Time));
        assert_eq!(by(1 << 60), Verdict::Bad(Cure::Time));
        assert_eq!(clock(None, &now).verdict, Verdict::Skipped);

        let unset = clock(Some(now.wall_ms), &at(60_000, ClockQuality::Unset));
        assert!(unset.text.contains("20833 days behind"), "{unset:?}");
        assert!(unset.remedy.contains("never set"), "{unset:?}");
    }

    #[test]
    fn a_link_is_fast_enough_when_at_most_one_request_fails() {
        let ms = |ms: u64| Some(Duration::from_millis(ms));
        let good = speed(&[ms(420), ms(380), ms(1_900), ms(400), ms(399)]);
        assert_eq!(good.verdict, Verdict::Good);
        assert!(good.text.contains("380 ms to 1.9 s"), "{good:?}");
        assert_eq!(speed(&[ms(400), None, ms(400), ms(400), ms(400)]).verdict, Verdict::Doubt);
        let slow = speed(&[ms(7_000), None, ms(6_000), None, ms(7_900)]);
        assert_eq!(slow.verdict, Verdict::Bad(Cure::Time));
        assert!(slow.text.contains("2 of 5"), "{slow:?}");
        assert_eq!(speed(&[None; REQUESTS]).verdict, Verdict::Bad(Cure::Time));
        assert_eq!(speed(&[]).verdict, Verdict::Bad(Cure::Time));
    }

    #[test]
    fn answers_to_a_token_say_who_can_help() {
        let by = |status| token(status).verdict;
        assert_eq!(by(200), Verdict::Good);
        for status in [429, 503] {
            assert_eq!(by(status), Verdict::Bad(Cure::Time));
        }
        for status in [302, 401, 403, 404, 500] {
            assert_eq!(by(status), Verdict::Bad(Cure::Person), "{status}");
        }
    }

    #[test]
    fn a_kubelet_is_not_newer_than_its_server_and_not_much_older() {
        assert_eq!(version_skew("v1.33.4+k3s1", "v1.33.9+k3s2"), None);
        assert_eq!(version_skew("v1.33.4+k3s1", "v1.30.0+k3s1"), None);
        assert!(version_skew("v1.33.4+k3s1", "v1.29.0+k3s1").unwrap().contains("behind"));
        assert!(version_skew("v1.27.1+k3s1", "v1.24.0+k3s1").is_some());
        assert!(version_skew("v1.33.4+k3s1", "v1.34.0+k3s1").unwrap().contains("newer"));
        for unreadable in ["", "v2.0.0", "1.33.4", "v1.x"] {
            assert_eq!(version_skew("v1.33.4+k3s1", unreadable), None);
        }
    }

    #[test]
    fn room_is_needed() {
        const MIN: u64 = SPACE_BYTES_MIN;
        assert_eq!(space("/data", MIN, 0).verdict, Verdict::Good);
        assert!(space("/data", MIN - 1, 0).is_bad());
        assert_eq!(space("/data", MIN + 9, 9).verdict, Verdict::Good);
        assert_eq!(space("/data", MIN + 9, 10).verdict, Verdict::Doubt);
        assert_eq!(space("/data", MIN, u64::MAX).verdict, Verdict::Doubt);
        assert!(space("/data", MIN - 1, 10).is_bad());
    }
}
