//! One client's connection: reads its packets, sends what it subscribed to, and publishes its will when it vanishes.

use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::sync::Arc;
use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::packet::{self, Connect, Fault, Filter, Packet, Version};
use super::{Client, Delivery, FILTERS_MAX, QUEUE_MAX, Shared, topic};

/// A client must have said who it is by then.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// A client that takes nothing off its socket for this long is gone.
const WRITE_TIMEOUT: Duration = Duration::from_secs(10);
/// QoS 1 messages on their way to one client.
const IN_FLIGHT_MAX: usize = 64;
/// For a client without keep-alive the deadline is this far away.
const NO_KEEP_ALIVE: Duration = Duration::from_secs(365 * 86_400);

/// MQTT 5 reason codes.
pub(super) const QUOTA_EXCEEDED: u8 = 0x97;
const TAKEN_OVER: u8 = 0x8e;
const KEEP_ALIVE_TIMEOUT: u8 = 0x8d;
const FILTER_INVALID: u8 = 0x8f;
const SHARED_UNSUPPORTED: u8 = 0x9e;
const FAILURE_V311: u8 = 0x80;

/// How a connection ended.
enum End {
    /// The client said goodbye; with `true` its will is wanted all the same.
    Goodbye(bool),
    /// It broke the rules.
    Fault(Fault),
    /// The broker ends it for this reason.
    Reason(u8),
    /// The socket failed or was closed.
    Gone,
}

impl From<io::Error> for End {
    fn from(_: io::Error) -> End {
        End::Gone
    }
}

impl From<Fault> for End {
    fn from(fault: Fault) -> End {
        End::Fault(fault)
    }
}

struct Connection {
    stream: TcpStream,
    buffer: Vec<u8>,
    shared: Shared,
    version: Version,
    name: String,
    /// Retained messages for a new subscription, sent before anything newer.
    backlog: VecDeque<Delivery>,
    in_flight: BTreeSet<u16>,
    in_flight_max: usize,
    next_number: u16,
}

pub(super) async fn serve(stream: TcpStream, shared: Shared) {
    // Small packets must not wait for each other; when it fails they do.
    let _ = stream.set_nodelay(true);
    let mut connection = Connection {
        stream,
        buffer: Vec::new(),
        shared,
        version: Version::V311,
        name: String::new(),
        backlog: VecDeque::new(),
        in_flight: BTreeSet::new(),
        in_flight_max: IN_FLIGHT_MAX,
        next_number: 0,
    };
    let hello = tokio::time::timeout(CONNECT_TIMEOUT, connection.hello()).await;
    match hello {
        Ok(Ok(connect)) => connection.session(connect).await,
        Ok(Err(End::Fault(Fault::Version))) => {
            // The client is refused whether or not it hears so.
            let _ = connection.send(&packet::wrong_version()).await;
        }
        Ok(Err(_)) | Err(_) => {}
    }
}

impl Connection {
    async fn send(&mut self, bytes: &[u8]) -> Result<(), End> {
        match tokio::time::timeout(WRITE_TIMEOUT, self.stream.write_all(bytes)).await {
            Ok(written) => Ok(written?),
            Err(_) => Err(End::Gone),
        }
    }

    /// Reads until a packet is complete. Safe to be dropped at any await: bytes are kept in the buffer.
    async fn receive(&mut self) -> Result<(u8, Vec<u8>), End> {
        loop {
            if let Some(packet) = packet::split(&mut self.buffer)? {
                return Ok(packet);
            }
            if self.stream.read_buf(&mut self.buffer).await? == 0 {
                return Err(End::Gone);
            }
        }
    }

    async fn hello(&mut self) -> Result<Connect, End> {
        let (first, body) = self.receive().await?;
        let connect = packet::connect(first, &body)?;
        self.version = connect.version;
        Ok(connect)
    }

    async fn session(mut self, connect: Connect) {
        let (queue, waiting) = mpsc::channel(QUEUE_MAX);
        let (end, ends) = mpsc::channel(1);
        let anonymous = connect.client_id.is_empty();
        let serial = {
            let mut state = self.shared.lock();
            state.serial += 1;
            state.counts.connections += 1;
            let serial = state.serial;
            self.name = match anonymous {
                true => format!("anonymous-{serial}"),
                false => connect.client_id.clone(),
            };
            let client = Client { serial, queue, filters: Vec::new(), end };
            if let Some(older) = state.clients.insert(self.name.clone(), client) {
                // It may be ending already.
                let _ = older.end.try_send(TAKEN_OVER);
            }
            serial
        };
        self.in_flight_max = IN_FLIGHT_MAX.min(connect.receive_max.into());
        let end = match self.run(&connect, anonymous, waiting, ends).await {
            Ok(never) => match never {},
            Err(end) => end,
        };
        let farewell = match end {
            End::Goodbye(_) | End::Gone => Vec::new(),
            End::Fault(fault) => packet::disconnect(self.version, fault.code()),
            End::Reason(code) => packet::disconnect(self.version, code),
        };
        {
            let mut state = self.shared.lock();
            if state.clients.get(&self.name).is_some_and(|client| client.serial == serial) {
                state.clients.remove(&self.name);
            }
            let silent = matches!(end, End::Goodbye(false));
            if let (Some(will), false) = (connect.will, silent) {
                state.publish(&self.name, will);
            }
        }
        if !farewell.is_empty() {
            // The connection ends whether or not the client hears why.
            let _ = self.send(&farewell).await;
        }
    }

    async fn run(
        &mut self,
        connect: &Connect,
        anonymous: bool,
        mut waiting: mpsc::Receiver<Delivery>,
        mut ends: mpsc::Receiver<u8>,
    ) -> Result<std::convert::Infallible, End> {
        let assigned = anonymous.then(|| self.name.clone());
        self.send(&packet::welcome(self.version, assigned.as_deref())).await?;
        // One and a half keep-alives of silence (MQTT 5 section 3.1.2.10).
        let patience = match connect.keep_alive_s {
            0 => NO_KEEP_ALIVE,
            seconds => Duration::from_millis(u64::from(seconds) * 1500),
        };
        let mut deadline = Instant::now() + patience;
        loop {
            let room = self.in_flight.len() < self.in_flight_max;
            if let (true, Some(delivery)) = (room, self.backlog.pop_front()) {
                self.deliver(delivery).await?;
                continue;
            }
            tokio::select! {
                received = self.receive() => {
                    let (first, body) = received?;
                    deadline = Instant::now() + patience;
                    let packet = packet::read(self.version, first, &body)?;
                    self.handle(packet).await?;
                }
                Some(delivery) = waiting.recv(), if room => self.deliver(delivery).await?,
                code = ends.recv() => return Err(End::Reason(code.unwrap_or(TAKEN_OVER))),
                () = tokio::time::sleep_until(deadline) => {
                    return Err(End::Reason(KEEP_ALIVE_TIMEOUT));
                }
            }
        }
    }

    async fn handle(&mut self, packet: Packet) -> Result<(), End> {
        match packet {
            Packet::Publish(message, number) => {
                self.shared.lock().publish(&self.name, message);
                match number {
                    Some(number) => self.send(&packet::acknowledge(number)).await,
                    None => Ok(()),
                }
            }
            Packet::PubAck(number) => {
                self.in_flight.remove(&number);
                Ok(())
            }
            Packet::Subscribe(number, filters) => {
                let (codes, retained) = self.subscribe(filters);
                self.send(&packet::subscribed(self.version, number, &codes)).await?;
                self.backlog.extend(retained);
                Ok(())
            }
            Packet::Unsubscribe(number, filters) => {
                let codes = self.unsubscribe(&filters);
                self.send(&packet::unsubscribed(self.version, number, &codes)).await
            }
            Packet::PingReq => self.send(&packet::pong()).await,
            Packet::Disconnect(with_will) => Err(End::Goodbye(with_will)),
        }
    }

    /// Notes the filters; gives the code for each and the retained messages that match.
    fn subscribe(&mut self, filters: Vec<Filter>) -> (Vec<u8>, Vec<Delivery>) {
        let refused = |code| if self.version == Version::V5 { code } else { FAILURE_V311 };
        let mut state = self.shared.lock();
        let state = &mut *state;
        let mut codes = Vec::new();
        let mut retained = Vec::new();
        let Some(client) = state.clients.get_mut(&self.name) else {
            return (vec![refused(TAKEN_OVER); filters.len()], retained);
        };
        for filter in filters {
            if filter.filter.starts_with("$share/") {
                codes.push(refused(SHARED_UNSUPPORTED));
                continue;
            }
            if !topic::valid(&filter.filter) {
                codes.push(refused(FILTER_INVALID));
                continue;
            }
            client.filters.retain(|old| old.filter != filter.filter);
            if client.filters.len() >= FILTERS_MAX {
                codes.push(refused(QUOTA_EXCEEDED));
                continue;
            }
            codes.push(u8::from(filter.at_least_once));
            if filter.send_retained {
                let matching = state
                    .retained
                    .values()
                    .filter(|message| topic::matches(&filter.filter, &message.topic));
                retained.extend(matching.map(|message| Delivery {
                    message: Arc::clone(message),
                    retain: true,
                    at_least_once: message.at_least_once && filter.at_least_once,
                }));
            }
            client.filters.push(filter);
        }
        state.counts.sent += retained.len() as u64;
        (codes, retained)
    }

    fn unsubscribe(&self, filters: &[String]) -> Vec<u8> {
        const NO_SUBSCRIPTION: u8 = 0x11;
        let mut state = self.shared.lock();
        let Some(client) = state.clients.get_mut(&self.name) else {
            return vec![NO_SUBSCRIPTION; filters.len()];
        };
        let remove = |filter: &String| {
            let before = client.filters.len();
            client.filters.retain(|old| old.filter != *filter);
            if client.filters.len() < before { 0 } else { NO_SUBSCRIPTION }
        };
        filters.iter().map(remove).collect()
    }

    async fn deliver(&mut self, delivery: Delivery) -> Result<(), End> {
        let number = delivery.at_least_once.then(|| self.number());
        let bytes = packet::publish(self.version, &delivery.message, delivery.retain, number);
        self.send(&bytes).await
    }

    /// A packet number that is not in use; there are always some, for far fewer are in flight.
    fn number(&mut self) -> u16 {
        loop {
            self.next_number = self.next_number.checked_add(1).unwrap_or(1);
            if self.in_flight.insert(self.next_number) {
                return self.next_number;
            }
        }
    }
}
