//! Stand-ins for routing daemons on loopback: real sockets, one thread each, with a record of what
//! clients sent.

#![allow(dead_code, reason = "each test program uses its own part of this")]
#![allow(clippy::unwrap_used, reason = "a stand-in that fails shall fail its test")]

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// Longest that a stand-in waits for anything; far above what a slow machine needs, so that a hung
/// test ends.
const PATIENCE: Duration = Duration::from_secs(20);

/// What one connection brought.
#[derive(Clone, Debug, Default)]
pub struct Visit {
    /// What one single read found, as olsrd does it.
    pub request: Vec<u8>,
    /// What came after that: must stay empty.
    pub more: Vec<u8>,
    /// Another connection was waiting while this one was served.
    pub overlapped: bool,
}

/// A listening stand-in. Stops when dropped.
pub struct Daemon {
    pub address: SocketAddr,
    visits: Arc<Mutex<Vec<Visit>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Daemon {
    /// Serves one connection after the other: reads once, calls `answer` with the request and the
    /// number of the visit (from 0), and closes.
    pub fn start(answer: impl Fn(&[u8], usize, &mut TcpStream) + Send + 'static) -> Daemon {
        Daemon::start_on(IpAddr::V4(Ipv4Addr::LOCALHOST), answer)
    }

    /// As [`Daemon::start`], on another loopback address.
    pub fn start_on(
        ip: IpAddr,
        answer: impl Fn(&[u8], usize, &mut TcpStream) + Send + 'static,
    ) -> Daemon {
        Daemon::start_watching(ip, Duration::from_millis(5), answer)
    }

    /// As [`Daemon::start_on`]; `patience` is how long a second connection is waited for before an
    /// answer.
    pub fn start_watching(
        ip: IpAddr,
        patience: Duration,
        answer: impl Fn(&[u8], usize, &mut TcpStream) + Send + 'static,
    ) -> Daemon {
        let listener = TcpListener::bind(SocketAddr::new(ip, 0)).unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap();
        let visits = Arc::new(Mutex::new(Vec::new()));
        let stop = Arc::new(AtomicBool::new(false));
        let (record, stopping) = (Arc::clone(&visits), Arc::clone(&stop));
        let thread = thread::spawn(move || {
            let mut waiting = None;
            while !stopping.load(Ordering::SeqCst) {
                let Some(stream) = waiting.take().or_else(|| accept(&listener)) else { continue };
                let number = record.lock().unwrap().len();
                let (mut visit, mut stream) = read_once(stream);
                // Whoever connects before this answer is given opened a second connection beside
                // the first.
                thread::sleep(patience);
                waiting = accept_now(&listener);
                visit.overlapped = waiting.is_some();
                answer(&visit.request, number, &mut stream);
                let _ = stream.set_read_timeout(Some(Duration::from_millis(1)));
                let mut more = [0; 64];
                if let Ok(count) = stream.read(&mut more) {
                    visit.more = more[..count].to_vec();
                }
                record.lock().unwrap().push(visit);
            }
        });
        Daemon { address, visits, stop, thread: Some(thread) }
    }

    /// Serves the same bytes to everybody.
    pub fn serving(answer: Vec<u8>) -> Daemon {
        Daemon::start(move |_, _, stream| {
            let _ = stream.write_all(&answer);
        })
    }

    /// What came so far.
    pub fn visits(&self) -> Vec<Visit> {
        self.visits.lock().unwrap().clone()
    }

    /// What came so far, once there were `count` visits.
    pub fn visits_after(&self, count: usize) -> Vec<Visit> {
        let deadline = std::time::Instant::now() + PATIENCE;
        while self.visits.lock().unwrap().len() < count && std::time::Instant::now() < deadline {
            thread::sleep(Duration::from_millis(2));
        }
        self.visits()
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::SeqCst);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

fn accept(listener: &TcpListener) -> Option<TcpStream> {
    match accept_now(listener) {
        Some(stream) => Some(stream),
        None => {
            thread::sleep(Duration::from_millis(2));
            None
        }
    }
}

fn accept_now(listener: &TcpListener) -> Option<TcpStream> {
    match listener.accept() {
        Ok((stream, _)) => Some(stream),
        Err(error) if error.kind() == ErrorKind::WouldBlock => None,
        Err(error) => panic!("accept: {error}"),
    }
}

/// Reads like olsrd: the request is what one read brings within its patience. Ours is longer than
/// olsrd's 20 ms, because a loaded test machine may need that to schedule the client; that nothing
/// more follows is checked separately.
fn read_once(mut stream: TcpStream) -> (Visit, TcpStream) {
    stream.set_nonblocking(false).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.set_write_timeout(Some(PATIENCE)).unwrap();
    let mut bytes = vec![0; 65_536];
    let count = stream.read(&mut bytes).unwrap_or(0);
    bytes.truncate(count);
    (Visit { request: bytes, ..Visit::default() }, stream)
}

/// `body` as olsrd's jsoninfo sends it over HTTP.
pub fn http(body: &[u8]) -> Vec<u8> {
    let head = format!(
        "HTTP/1.1 200 OK\r\nServer: OLSRD JSONINFO\r\nConnection: close\r\nContent-Length: {:<12}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

/// `body` as olsrd2's http plugin sends it.
pub fn olsrd2_http(body: &[u8]) -> Vec<u8> {
    let head = format!(
        "HTTP/1.0 200 OK\r\nServer: 0.15.1\r\nConnection: closed\r\nContent-length: {}\r\n\r\n",
        body.len()
    );
    [head.as_bytes(), body].concat()
}

/// The two parts of a whole olsrd answer: a mesh with one neighbour, as pid `pid` up for
/// `uptime_ms` says it.
pub fn olsrd_json(pid: u32, uptime_ms: u64) -> String {
    format!(
        "{{\"pid\": {pid},\"systemTime\": 1795210139,\"timeSinceStartup\": {uptime_ms},\
         \"configurationChecksum\": \"0fa4e11f\",\
         \"neighbors\": [{{\"ipAddress\": \"10.1.2.2\",\"symmetric\": true,\"willingness\": 3,\
         \"isMultiPointRelay\": true,\"multiPointRelaySelector\": false,\"linkcount\": 1,\"twoHopNeighborCount\": 0}}],\
         \"links\": [{{\"localIP\": \"10.1.2.1\",\"remoteIP\": \"10.1.2.2\",\"ifName\": \"mab\",\
         \"symmetryTime\": 4800,\"vtime\": 5000,\"currentLinkStatus\": \"SYMMETRIC\",\"linkCost\": 1.250000,\
         \"linkQuality\": 0.900000,\"neighborLinkQuality\": 0.890000}}],\
         \"routes\": [{{\"destination\": \"10.1.2.2\",\"genmask\": 32,\"gateway\": \"10.1.2.2\",\"metric\": 1,\
         \"etx\": 1.250000,\"rtpMetricCost\": 1.250000,\"networkInterface\": \"mab\"}}],\
         \"hna\": [],\"mid\": [],\
         \"topology\": [{{\"lastHopIP\": \"10.1.2.1\",\"destinationIP\": \"10.1.2.2\",\"tcEdgeCost\": 1.250000,\
         \"linkQuality\": 0.900000,\"neighborLinkQuality\": 0.890000,\"validityTime\": 0}}],\
         \"gateways\": {{\"ipv4\": [],\"ipv6\": []}}}}\n"
    )
}

/// What olsrd says about itself.
pub fn olsrd_startup(pid: u32, uptime_ms: u64) -> String {
    format!(
        "{{\"pid\": {pid},\"systemTime\": 1795210139,\"timeSinceStartup\": {uptime_ms},\
         \"version\": {{\"version\": \"olsr.org - pre-0.9.9-git_3653c47b-hash_83ca\",\"gitDescriptor\": \"\",\
         \"gitSha\": \"3653c47b\",\"releaseVersion\": \"pre-0.9.9\",\"sourceHash\": \"83ca\"}},\
         \"config\": {{\"mainIp\": \"10.1.2.1\",\"ipVersion\": 4,\"linkQuality\": {{\"level\": 2,\
         \"algorithm\": \"etx_ff\",\"fishEye\": true,\"aging\": 0.05}}}}}}\n"
    )
}

/// Answers a jsoninfo request with the part it asks for.
pub fn jsoninfo(request: &[u8], pid: u32, uptime_ms: u64) -> Vec<u8> {
    let startup = request.starts_with(b"GET /version/config/");
    let body = if startup { olsrd_startup(pid, uptime_ms) } else { olsrd_json(pid, uptime_ms) };
    http(body.as_bytes())
}

/// What olsrd2 answers to everything we ask, over telnet.
pub fn olsrd2_text() -> String {
    let metric =
        "\"domain\":\"0\",\"domain_metric\":\"ff_dat_metric\",\"domain_metric_out_raw\":2105088";
    format!(
        "{{\"link\": [{{\n\"if\":\"mab\",\n\"link_bindto\":\"10.1.2.2\",\n\"link_status\":\"symmetric\",\n\
         \"neighbor_originator\":\"10.77.0.2\",\n\"domain_metric_in_raw\":2105088,\n{metric}}}]}}\
         {{\"neighbor\": []}}{{\"originator\": [{{\n\"originator\":\"10.77.0.1\"}}]}}\
         {{\"route\": [{{\n\"route_dst\":\"10.77.0.2\",\n\"route_gw\":\"10.1.2.2\",\n\
         \"route_lasthop\":\"10.77.0.1\",\n\"domain_path_hops\":1,\n{metric}}}]}}\
         {{\"attached_network\": []}}{{\"lan\": []}}{{\"time\": [{{\n\"time_internal\":\"70.183\"}}]}}\
         {{\"version\": [{{\n\"version_text\":\"0.15.1\"}}]}}"
    )
}
