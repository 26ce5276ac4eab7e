//! Reads the routing daemon over the network: one [`Client::sample`] is one attempt and gives one
//! [`MeshView`].
//!
//! Looks for a daemon on the loopback addresses, remembers which interface answered, and forgets it
//! when it has been silent for a while. Never has two connections at a time, writes once per
//! connection, and bounds every answer in size and time, because a routing daemon serves its
//! sockets between two packets and must not wait for us. When to call again (period, back-off) is
//! the caller's decision; once a second is the most a daemon's caches make sense of.
//!
//! **IPv4 and IPv6.** One olsrd routes one address family; both at once means two daemons on the
//! same port of 127.0.0.1 and ::1. When detection finds olsrd on one of them, the other is tried
//! too (once a minute), and if it shows the other family, its rows are added to the view. The
//! view's daemon facts are those of the daemon found first (IPv4 before IPv6), ages are those of
//! the older reading. When the second one falls silent its rows are held with growing age and given
//! up after [`SECOND_FORGET`]. One olsrd2 routes both families, so there the second address is
//! never merged.

mod answer;
mod both;
mod detect;
mod request;
mod source;
mod wire;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use tokio::time::Instant;

use crate::cost::CostOptions;
use crate::failure::{Failure, FailureClass};
use crate::view::{DaemonKind, MeshView, Protocol};
use both::Second;
use source::Source;
use wire::Target;

/// Time for one request including connecting. Connecting to a busy olsrd takes a second (its listen
/// backlog is 1 and a lost SYN is repeated after 1 s); a complete answer of the largest mesh
/// measured takes 50 ms.
pub const TIMEOUT_DEFAULT: Duration = Duration::from_secs(3);

/// Largest answer by default. A mesh of 1,000 nodes with four interfaces each and 6,000 directed
/// edges is about 5 MB of JSON.
pub const ANSWER_BYTES_MAX_DEFAULT: usize = 16 * 1024 * 1024;

/// Longest wait for one candidate during detection, so that one mute port does not use up the
/// patience for the rest.
const DETECT_TIMEOUT: Duration = Duration::from_secs(1);

/// A daemon that has not answered for this long may have been replaced by another one: detection
/// starts anew.
const FORGET_AFTER: Duration = Duration::from_secs(30);

/// Pause before the one repetition after a busy answer; olsrd looks at its sockets every 50 ms by
/// default.
const BUSY_RETRY_AFTER: Duration = Duration::from_millis(200);

/// How long rows of the second family's daemon are held after it fell silent.
pub const SECOND_FORGET: Duration = Duration::from_secs(30);

/// How often a daemon of the other address family is looked for.
const SECOND_PROBE_PERIOD: Duration = Duration::from_secs(60);

/// Which interface of which daemon to read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Choice {
    /// Whatever is there: jsoninfo, then olsrd2's http, txtinfo and olsrd2's telnet.
    #[default]
    Auto,
    /// olsrd's jsoninfo plugin (port 9090).
    Jsoninfo,
    /// olsrd's txtinfo plugin (port 2006).
    Txtinfo,
    /// olsrd2's http plugin (port 1980).
    Olsrd2Http,
    /// olsrd2's telnet plugin (port 2009).
    Olsrd2Telnet,
}

impl std::str::FromStr for Choice {
    type Err = String;

    fn from_str(text: &str) -> Result<Choice, String> {
        match text {
            "auto" => Ok(Choice::Auto),
            "jsoninfo" => Ok(Choice::Jsoninfo),
            "txtinfo" => Ok(Choice::Txtinfo),
            "olsrd2-http" => Ok(Choice::Olsrd2Http),
            "olsrd2-telnet" => Ok(Choice::Olsrd2Telnet),
            _ => Err(format!(
                "`{text}` is no daemon; choose auto, jsoninfo, txtinfo, olsrd2-http or olsrd2-telnet"
            )),
        }
    }
}

/// How to read the daemon.
#[derive(Clone, Debug)]
pub struct Options {
    /// Which interface.
    pub choice: Choice,
    /// Where; `None` for the default ports on 127.0.0.1 and ::1.
    pub connect: Option<SocketAddr>,
    /// Bound of one request including connecting. A sample makes one request, seldom two, and twice
    /// that after a busy answer; detection gives each of its at most eight candidates a second.
    pub timeout: Duration,
    /// Largest answer accepted, in bytes.
    pub answer_bytes_max: usize,
    /// Hosts file written by olsrd's nameservice plugin.
    pub names_file: Option<PathBuf>,
    /// How costs are computed.
    pub cost: CostOptions,
}

impl Default for Options {
    fn default() -> Options {
        Options {
            choice: Choice::Auto,
            connect: None,
            timeout: TIMEOUT_DEFAULT,
            answer_bytes_max: ANSWER_BYTES_MAX_DEFAULT,
            names_file: None,
            cost: CostOptions::default(),
        }
    }
}

/// Reads one vehicle's routing daemon.
#[derive(Debug)]
pub struct Client {
    options: Options,
    /// The interface that answered last.
    source: Option<Source>,
    /// Since when it has not answered.
    failing_since: Option<Instant>,
    /// The daemon of the other address family.
    second: Second,
    restarts: u64,
    buffer: Vec<u8>,
}

impl Client {
    /// Prepares; connects to nothing yet.
    #[must_use]
    pub fn new(options: Options) -> Client {
        Client {
            options,
            source: None,
            failing_since: None,
            second: Second::default(),
            restarts: 0,
            buffer: Vec::new(),
        }
    }

    /// How often a daemon was seen to have restarted between two samples.
    #[must_use]
    pub fn restarts(&self) -> u64 {
        self.restarts
    }

    /// Reads the daemon once.
    ///
    /// The future may be dropped at any point; the connection is closed then and the next call
    /// starts afresh.
    ///
    /// # Errors
    /// Why there is no view, for a person and as a [`FailureClass`]. During detection the most
    /// telling failure stands for all; its text lists what was tried.
    pub async fn sample(&mut self) -> Result<MeshView, Failure> {
        let result = self.read().await;
        wire::release(&mut self.buffer);
        result
    }

    async fn read(&mut self) -> Result<MeshView, Failure> {
        let result = match self.source.take() {
            Some(source) => self.sample_known(source).await,
            None => self.detect().await,
        };
        let mut view = match result {
            Ok(view) => view,
            Err(failure) => {
                self.note_failure();
                return Err(failure);
            }
        };
        self.failing_since = None;
        if self.options.connect.is_none() && view.daemon.kind == DaemonKind::Olsrd {
            let address =
                self.source.as_ref().and_then(|source| detect::other_family(source.address()));
            if let Some(address) = address {
                let protocol = view.daemon.protocol;
                self.second
                    .add(&mut view, protocol, address, &self.options, &mut self.buffer)
                    .await;
            }
        }
        Ok(view)
    }

    async fn sample_known(&mut self, mut source: Source) -> Result<MeshView, Failure> {
        let result = source.sample(&self.options, self.options.timeout, &mut self.buffer).await;
        self.restarts += u64::from(source.take_restarted());
        self.source = Some(source);
        result
    }

    fn note_failure(&mut self) {
        let now = Instant::now();
        let since = *self.failing_since.get_or_insert(now);
        if now.duration_since(since) >= FORGET_AFTER {
            self.source = None;
            self.second = Second::default();
            self.failing_since = None;
        }
    }

    /// Tries the candidates one after the other; the first that gives a view is remembered.
    async fn detect(&mut self) -> Result<MeshView, Failure> {
        let choice = self.options.choice;
        let mut tried = Vec::new();
        for (protocol, address) in detect::candidates(choice, self.options.connect) {
            match self.try_source(protocol, address).await {
                Ok(view) => return Ok(view),
                Err(failure) => tried.push(failure),
            }
        }
        let Some(address) = self.options.connect.filter(|_| choice == Choice::Auto) else {
            return Err(summary(tried, self.options.connect.is_some()));
        };
        // Nothing behind the port answers at all: who it would be does not matter.
        let unreachable = tried.iter().any(|failure| {
            matches!(
                failure.class,
                FailureClass::Refused | FailureClass::Timeout | FailureClass::Io
            )
        });
        if unreachable {
            return Err(summary(tried, true));
        }
        match detect::identify(&self.target(Protocol::Jsoninfo, address, self.options.timeout))
            .await
        {
            Ok(protocol) => match self.try_source(protocol, address).await {
                Ok(view) => return Ok(view),
                Err(failure) => tried.push(failure),
            },
            Err(failure) => tried.push(failure),
        }
        Err(summary(tried, true))
    }

    async fn try_source(
        &mut self,
        protocol: Protocol,
        address: SocketAddr,
    ) -> Result<MeshView, Failure> {
        let mut source = Source::new(protocol, address);
        let timeout = match self.options.connect {
            Some(_) => self.options.timeout,
            None => self.options.timeout.min(DETECT_TIMEOUT),
        };
        let view = source.sample(&self.options, timeout, &mut self.buffer).await?;
        self.source = Some(source);
        Ok(view)
    }

    fn target(&self, protocol: Protocol, address: SocketAddr, timeout: Duration) -> Target {
        Target {
            protocol,
            address,
            deadline: Instant::now() + timeout,
            answer_bytes_max: self.options.answer_bytes_max,
        }
    }
}

/// One failure for all that was tried: the one that says most about a daemon.
fn summary(tried: Vec<Failure>, explicit: bool) -> Failure {
    let best = tried.iter().max_by_key(|failure| telling(failure.class));
    let Some(best) = best else {
        let text = "no daemon to read: neither an address nor an interface was given".to_owned();
        return Failure { class: FailureClass::Refused, text };
    };
    if explicit || tried.len() == 1 {
        return best.clone();
    }
    // Empty ports are the normal case of detection: they are counted, what answered is told.
    let (refused, others): (Vec<&Failure>, Vec<&Failure>) =
        tried.iter().partition(|failure| failure.class == FailureClass::Refused);
    let mut each: Vec<String> = others.iter().map(|failure| failure.text.clone()).collect();
    if !refused.is_empty() {
        let count = if others.is_empty() { "any".to_owned() } else { refused.len().to_string() };
        each.push(format!(
            "nobody listens at {count} of the {} default ports on 127.0.0.1 and ::1; start the \
             daemon or load its plugin, or name its address",
            tried.len()
        ));
    }
    let text = format!("no OLSR daemon gave a view: {}", each.join("; "));
    Failure { class: best.class, text }
}

/// How much a failure says about an OLSR daemon being there.
fn telling(class: FailureClass) -> u8 {
    match class {
        FailureClass::Refused => 0,
        FailureClass::Io => 1,
        FailureClass::Timeout => 2,
        FailureClass::NotUnderstood => 3,
        FailureClass::NotFound => 4,
        FailureClass::TooLarge => 5,
        FailureClass::Busy => 6,
        FailureClass::NotAllowed => 7,
    }
}
