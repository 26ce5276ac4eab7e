//! A federation seen from this vehicle, before it is joined: the stages of the pre-flight, with real sockets and files. What is
//! made of what is seen is decided in [`crate::core::membership::preflight`].
//!
//! The cheap stages ask for `/cacerts` and `/ping`, which need no credentials and cost the server little. The token is shown
//! only when [`Plan::credentials`] says so, and once a server has refused it to no other: checking one costs a server 32 MiB and a good part of a second.

#[cfg(feature = "kubernetes")]
mod account;
pub mod hands;
#[cfg_attr(not(feature = "kubernetes"), path = "no_host.rs")]
pub mod host;
#[cfg(feature = "kubernetes")]
pub mod kube;
#[cfg_attr(not(feature = "kubernetes"), path = "without.rs")]
pub mod member;
mod probe;
mod program;
mod service;
mod trust;

use std::convert::Infallible;
use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Frame, SizeHint};
use rustls::{CertificateError, ClientConfig};
use tokio::sync::{mpsc, watch};

use self::probe::{Answer, Part, Target, Trouble, ask, route};
use self::trust::Bundle;
use crate::config;
use crate::core::agent::Input;
use crate::core::membership::custom_metrics::Costs;
use crate::core::membership::preflight::{
    self, Cure, Finding, NO_K3S, REQUEST_MAX, REQUESTS, Stage, Verdict,
};
use crate::core::membership::{CaHash, Server, Token};
use crate::shell::disk::{existing, free_bytes, share, taken_bytes};
use crate::shell::{clock, tls};

/// Mode bits of everybody but the owner.
const OTHERS: u32 = 0o077;

/// What is done for the members of the cluster beside this machine, in a task of its own.
#[derive(Debug)]
pub struct Beside {
    /// What it saw and did, for the loop.
    pub news: mpsc::Receiver<Input>,
    /// What the Nodes cost that it told of last.
    pub costs: watch::Sender<Costs>,
}

/// What goes along with a request, if anything does.
struct Content(Option<Bytes>);

impl hyper::body::Body for Content {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.0.take().map(|content| Ok(Frame::data(content))))
    }

    fn is_end_stream(&self) -> bool {
        self.0.is_none()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.0.as_ref().map_or(0, |content| content.len() as u64))
    }
}

/// What is to be looked at.
#[derive(Clone, Copy, Debug)]
pub struct Plan<'a> {
    /// The federation.
    pub federation: &'a config::Federation,
    /// The service of k3s, if its name is not one of the usual ones.
    pub unit: Option<&'a str>,
    /// The operator has commands of his own for that service.
    pub has_commands: bool,
    /// Folder of k3s's data.
    pub data_folder: &'a Path,
    /// The spool, which may share a file system with it.
    pub spool: &'a config::Spool,
    /// Id of this vehicle.
    pub vehicle: &'a str,
    /// What its Node is called.
    pub node_name: &'a str,
    /// Whether the server gets to see credentials.
    pub credentials: Credentials,
}

/// Whether a server gets to see credentials: the token, and that of the vehicle's account.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Credentials {
    /// No.
    Kept,
    /// As the last thing before a join: not while something on this vehicle forbids one.
    ForJoin,
    /// Somebody wants to know what the server thinks of them.
    Shown,
}

/// Looks at a federation. Findings are in the order of [`Stage`]; the first that is bad is the last, except that what is wrong on
/// this vehicle does not hide what is wrong on the way.
pub async fn look(plan: Plan<'_>) -> Vec<Finding> {
    look_for(plan).await.0
}

/// The same, with the server that passed all stages.
pub(crate) async fn look_for(plan: Plan<'_>) -> (Vec<Finding>, Option<Server>) {
    let (mut findings, token) = credentials(plan.federation);
    findings.push(service::look(plan.unit, plan.data_folder, plan.has_commands).await);
    findings.push(space(plan.data_folder, plan.spool).await);
    let ca = token.as_ref().and_then(Token::ca).or(plan.federation.ca_hash());
    let mut best: Vec<Finding> = Vec::new();
    let mut passed = None;
    let is_shown = match plan.credentials {
        Credentials::Kept => false,
        Credentials::ForJoin => !findings.iter().any(Finding::is_bad),
        Credentials::Shown => true,
    };
    let shown = token.as_ref().filter(|_| is_shown);
    for server in plan.federation.servers() {
        let found = server_stages(&server, ca, shown).await;
        let (is_good, further) = (!found.iter().any(Finding::is_bad), found.len() > best.len());
        let is_last = is_good || is_of_all(&found);
        if is_last || further {
            best = found;
        }
        if is_last {
            passed = is_good.then_some(server);
            break;
        }
    }
    findings.extend(best);
    #[cfg(feature = "kubernetes")]
    if let Some(ca) = ca
        && is_shown
        && !findings.iter().any(Finding::is_bad)
    {
        findings.extend(account::look(&plan, passed.as_ref(), ca).await);
    }
    (findings, passed)
}

/// The token and the hash, as they are on this vehicle.
fn credentials(federation: &config::Federation) -> (Vec<Finding>, Option<Token>) {
    const STAGE: Stage = Stage::Credentials;
    let path = &federation.token_file;
    let shown = path.display();
    let bad = |text: String, remedy: &str| Finding::bad(STAGE, Cure::Person, text, remedy);
    let token = match read_token(path) {
        Ok(token) => token,
        Err((text, remedy)) => return (vec![bad(text, remedy)], None),
    };
    let mut findings = Vec::new();
    match (token.ca(), federation.ca_hash()) {
        (Some(own), Some(configured)) if own != configured => findings.push(bad(
            format!("the token in {shown} names another authority than `ca_hash`"),
            "find out which of the two belongs to this federation, and correct the other",
        )),
        (None, None) => findings.push(bad(
            format!("the token in {shown} does not name the server's authority"),
            "use the full token (it begins with `K10`), or set `ca_hash`: without it whoever answers would be trusted",
        )),
        (Some(_), _) | (None, Some(_)) => {}
    }
    if token.is_of_server() {
        findings.push(Finding::doubt(
            STAGE,
            format!("the token in {shown} is that of a server: whoever takes this vehicle owns the federation"),
            "use the token for agents (`agent-token`), or one of `k3s token create`",
        ));
    }
    let mode = fs::metadata(path).map(|metadata| metadata.permissions().mode());
    if mode.is_ok_and(|mode| mode & OTHERS != 0) {
        findings.push(Finding::doubt(
            STAGE,
            format!("others on this vehicle may read {shown}"),
            format!("chmod 600 {shown}"),
        ));
    }
    if findings.is_empty() {
        findings.push(Finding::good(STAGE, "a token that names the server's authority"));
    }
    (findings, Some(token))
}

/// The token in a file, or why there is none, and what to do.
fn read_token(path: &Path) -> Result<Token, (String, &'static str)> {
    let shown = path.display();
    let content = tls::read_small_file(path).map_err(|error| {
        let text = format!("the token cannot be read from {shown}: {error}");
        (text, "put the token there, readable by the agent's user alone")
    })?;
    Token::parse(&String::from_utf8_lossy(&content)).map_err(|error| {
        let text = format!("{shown} holds no token: {error}");
        (text, "make one at the server: `k3s token create --ttl 24h`")
    })
}

/// On a thread of its own: a card that is busy or worn answers late.
async fn space(folder: &Path, spool: &config::Spool) -> Finding {
    let (asked, beside, size) = (folder.to_owned(), spool.folder.clone(), spool.size);
    let measured = tokio::task::spawn_blocking(move || {
        let existing = existing(&asked);
        let beside = beside.filter(|spool| share(spool, existing));
        // What cannot be told is no reason to warn.
        let taken = beside.map_or(Ok(size), |beside| taken_bytes(&beside)).unwrap_or(size);
        free_bytes(existing).map(|free| (free, size.saturating_sub(taken)))
    });
    match measured.await.unwrap_or_else(|ended| Err(io::Error::other(ended))) {
        Ok((free, promised)) => preflight::space(&folder.display().to_string(), free, promised),
        Err(error) => Finding::skipped(
            Stage::Space,
            format!("the room at {} cannot be told: {error}", folder.display()),
        ),
    }
}

/// Whether all servers of the federation would say the same: each looks for the token in the one store that they share.
fn is_of_all(findings: &[Finding]) -> bool {
    let last = findings.last();
    last.is_some_and(|last| {
        last.stage == Stage::Token && last.verdict == Verdict::Bad(Cure::Person)
    })
}

/// From the way to the server up to the token.
async fn server_stages(server: &Server, ca: Option<CaHash>, token: Option<&Token>) -> Vec<Finding> {
    let targets = match probe::targets(server).await {
        Ok(targets) => targets,
        Err(text) => {
            let remedy =
                "write an address into `servers`: the mesh has no resolver that could be away";
            return vec![Finding::bad(Stage::Route, Cure::Time, text, remedy)];
        }
    };
    let mut best = Vec::new();
    for target in targets {
        let mut findings = Vec::new();
        // Ok when every stage was passed; otherwise the last finding says where it ended.
        let passed = target_stages(&target, server, ca, token, &mut findings).await.is_ok();
        if passed || is_of_all(&findings) {
            return findings;
        }
        if findings.len() > best.len() {
            best = findings;
        }
    }
    best
}

/// The stages that a server did not pass; said by the last finding.
struct Ended;

async fn target_stages(
    target: &Target,
    server: &Server,
    ca: Option<CaHash>,
    token: Option<&Token>,
    findings: &mut Vec<Finding>,
) -> Result<(), Ended> {
    let mut end = |finding: Finding| {
        let is_bad = finding.is_bad();
        findings.push(finding);
        if is_bad { Err(Ended) } else { Ok(()) }
    };
    end(match route(target.address).await {
        Ok(()) => {
            Finding::good(Stage::Route, format!("there is a route to {}", target.address.ip()))
        }
        Err(error) => Finding::bad(
            Stage::Route,
            Cure::Time,
            format!("there is no route to {}: {error}", target.address.ip()),
            "nothing if the vehicle is out of reach; otherwise see `outrider mesh` and the server's announced addresses",
        ),
    })?;

    let anybody = match trust::of_anybody() {
        Ok(anybody) => anybody,
        Err(error) => {
            let text = format!("TLS cannot be set up: {error}");
            return end(Finding::bad(Stage::Authority, Cure::Person, text, "report this"));
        }
    };
    let mut meter = Meter::default();
    let answer = match meter.ask_until(target, &anybody, "/cacerts").await {
        Ok(answer) => answer,
        Err(trouble) => {
            if !matches!(trouble, Trouble::Connect(_) | Trouble::Slow(Part::Connecting)) {
                end(connected(target))?;
            }
            return end(refused(trouble, server, target));
        }
    };
    end(connected(target))?;
    let date_ms = answer.date_ms;
    let (finding, trusted) = authority(answer, ca);
    end(finding)?;
    let Some(trusted) = trusted else { return Err(Ended) };
    end(preflight::clock(date_ms, &clock::now()))?;

    match meter.ask_until(target, &trusted, "/ping").await {
        Ok(answer) if answer.status == 200 => {
            let text = format!("the server's certificate is for {}", server.host);
            end(Finding::good(Stage::Name, text))?;
        }
        Ok(answer) => {
            return end(Finding::bad(
                Stage::Name,
                Cure::Person,
                format!("{server} answered {} to /ping, where k3s answers 200", answer.status),
                NO_K3S,
            ));
        }
        Err(trouble) => return end(refused(trouble, server, target)),
    }
    while meter.took.len() < REQUESTS {
        // What went wrong counts as a request that did not end.
        let _ = meter.ask(target, &trusted, "/ping").await;
    }
    end(preflight::speed(&meter.took))?;

    let Some(token) = token else { return Ok(()) };
    let authorization = token.authorization();
    let ask = async |path| ask(target, &trusted, path, Some(&authorization), REQUEST_MAX).await;
    let mut asked = ask("/v1-k3s/readyz").await;
    if matches!(&asked, Ok(answer) if answer.is_of_api && matches!(answer.status, 401 | 404)) {
        // Older servers (seen: 1.21) have no such path and let their API answer, which knows nothing of tokens.
        asked = ask("/v1-k3s/config").await;
    }
    match asked {
        Ok(answer) => end(preflight::token(answer.status)),
        Err(trouble) => end(Finding { stage: Stage::Token, ..refused(trouble, server, target) }),
    }
}

fn connected(target: &Target) -> Finding {
    Finding::good(Stage::Connect, format!("{} accepts connections", target.address))
}

/// The requests of one pre-flight.
#[derive(Debug, Default)]
struct Meter {
    /// How long each took that was to end in time; `None` when it did not.
    took: Vec<Option<Duration>>,
}

impl Meter {
    async fn ask(
        &mut self,
        target: &Target,
        tls: &Arc<ClientConfig>,
        path: &str,
    ) -> Result<Answer, Trouble> {
        let answer = ask(target, tls, path, None, REQUEST_MAX).await;
        self.took.push(answer.as_ref().ok().map(|answer| answer.took));
        answer
    }

    /// Again after what a bad link explains, as often as a link may fail.
    async fn ask_until(
        &mut self,
        target: &Target,
        tls: &Arc<ClientConfig>,
        path: &str,
    ) -> Result<Answer, Trouble> {
        loop {
            match self.ask(target, tls, path).await {
                Err(Trouble::Slow(_)) if self.failures() <= preflight::FAILURES_MAX => {}
                other => return other,
            }
        }
    }

    fn failures(&self) -> usize {
        self.took.iter().filter(|took| took.is_none()).count()
    }
}

/// Whose authority the server shows, and TLS that trusts it.
fn authority(answer: Answer, ca: Option<CaHash>) -> (Finding, Option<Arc<ClientConfig>>) {
    let trusted = expected(answer.status, answer.body, ca).and_then(|bundle| {
        bundle.trusted(None).map_err(|error| {
            Finding::bad(
                Stage::Authority,
                Cure::Person,
                format!("the server's authority cannot be used: {error}"),
                "an authority needs a certificate of version 3 that may sign others",
            )
        })
    });
    match trusted {
        Ok(trusted) => (
            Finding::good(Stage::Authority, "the server's authority is the expected one"),
            Some(trusted),
        ),
        Err(finding) => (finding, None),
    }
}

/// The authority in a server's answer to `/cacerts`, if it is the expected one.
fn expected(status: u16, body: Vec<u8>, ca: Option<CaHash>) -> Result<Bundle, Finding> {
    let stranger =
        |text: String, remedy: &str| Finding::bad(Stage::Authority, Cure::Person, text, remedy);
    if status != 200 {
        let text = format!("the server answered {status} to /cacerts, where k3s answers 200");
        return Err(stranger(text, NO_K3S));
    }
    let Some(expected) = ca else {
        return Err(stranger(
            "nobody said which authority to trust".to_owned(),
            "use the full token (it begins with `K10`), or set `ca_hash`",
        ));
    };
    let bundle = Bundle::read(body).map_err(|error| {
        let text = format!("what the server shows as its authority cannot be used: {error}");
        stranger(text, "look at `/cacerts` of the server")
    })?;
    let shown = bundle.hash();
    if shown != expected {
        return Err(stranger(
            format!(
                "foreign cluster or man in the middle: the server's authority has the hash {shown}, not {expected}"
            ),
            "if the federation was set up anew, get its new token; otherwise find out who answers at this address",
        ));
    }
    Ok(bundle)
}

/// A request that got no answer.
fn refused(trouble: Trouble, server: &Server, target: &Target) -> Finding {
    let address = target.address;
    match trouble {
        Trouble::Connect(error) => Finding::bad(
            Stage::Connect,
            Cure::Time,
            format!("{address} does not accept connections: {error}"),
            "see that k3s runs there, and that no firewall is in the way",
        ),
        Trouble::Slow(Part::Connecting) => Finding::bad(
            Stage::Connect,
            Cure::Time,
            format!("{address} did not answer within {} s", REQUEST_MAX.as_secs()),
            "nothing if the link is bad; otherwise a firewall may drop the packets",
        ),
        Trouble::Slow(part @ (Part::Handshake | Part::Answer)) => {
            let part = if part == Part::Answer { "the answer" } else { "the TLS handshake" };
            let seconds = REQUEST_MAX.as_secs();
            preflight::too_slow(&format!("{part} did not end within {seconds} s, again and again"))
        }
        Trouble::Tls(error) => certificate(&error, server),
        Trouble::Broken(text) => Finding::bad(
            Stage::Authority,
            Cure::Time,
            format!("{address} answered, and not as a k3s server: {text}"),
            "see that `servers` names a k3s server and not something else on that port",
        ),
    }
}

/// A TLS handshake that failed.
fn certificate(error: &io::Error, server: &Server) -> Finding {
    let cause = error.get_ref().and_then(|cause| cause.downcast_ref::<rustls::Error>());
    let person =
        |stage, text: String, remedy: String| Finding::bad(stage, Cure::Person, text, remedy);
    match cause {
        Some(rustls::Error::InvalidCertificate(
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. },
        )) => person(
            Stage::Name,
            format!("the server's certificate is not for {}", server.host),
            format!("add `tls-san: [\"{}\"]` to the server's k3s configuration and restart it", server.host),
        ),
        Some(rustls::Error::InvalidCertificate(
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. },
        )) => person(
            Stage::Clock,
            "by this machine's clock the server's certificate is not valid yet".to_owned(),
            "set this machine's clock: GPS, NTP over the mesh, or a battery for the clock chip".to_owned(),
        ),
        Some(rustls::Error::InvalidCertificate(
            CertificateError::Expired | CertificateError::ExpiredContext { .. },
        )) => person(
            Stage::Clock,
            "by this machine's clock the server's certificate has expired".to_owned(),
            "restart k3s at the server, which renews it, or set this machine's clock if that is wrong".to_owned(),
        ),
        Some(rustls::Error::InvalidCertificate(cause)) => person(
            Stage::Authority,
            format!("the server's certificate is not of the authority that it shows: {cause:?}"),
            "find out who answers at this address: its certificate and its authority do not belong together".to_owned(),
        ),
        Some(other) => Finding::bad(
            Stage::Authority,
            Cure::Time,
            format!("TLS with {server} failed: {other}"),
            "see that k3s listens on that port, and the server's log",
        ),
        None => Finding::bad(
            Stage::Connect,
            Cure::Time,
            format!("{server} closed the connection: {error}"),
            "see the server's log",
        ),
    }
}
