//! One connection from its acceptance to its end: packets in, packets out, and the clock between them.

use std::collections::VecDeque;
use std::future::poll_fn;
use std::io;
use std::pin::Pin;
use std::task::Poll;
use std::time::Duration;

use bytes::{Buf, Bytes, BytesMut};
use tokio::io::{AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until, timeout};

use super::greeting::Accepted;
use super::reach::{Stream, seconds};
use super::wire::{self, Incoming, NextPacket, Protocol, Terms, Unwritable};
use super::{
    ACKNOWLEDGE_MIN, Arrival, Duty, End, Event, GOODBYE_MAX, IN_FLIGHT_MAX, KEEP_ALIVE_MIN, Link,
    Message, Notice, Receipt, Settings, asked_to_stop,
};
use crate::core::delivery::{DropCause, RecordId};
use crate::core::outbox::Record;
use crate::core::pacing::RoundTrip;
use crate::core::presence::OfflineCause;
use crate::shell::tls;

/// Room made for each read; acknowledgements have four bytes.
const READ_BYTES: usize = 4096;

/// Encoded bytes that may wait before another record is encoded: keeps a TLS record full without holding a second copy of
/// everything in flight.
const OUTPUT_BYTES_SOFT: usize = 16 * 1024;

/// What the other side of a [`Link`] wants done.
struct Orders {
    commands: mpsc::Receiver<(RecordId, Record)>,
    /// Unbounded, but there are no more than there are publications that the broker may send without one.
    acknowledgements: mpsc::UnboundedReceiver<Receipt>,
}

/// A publication that is passed over because it is too large.
struct PassedOver {
    arrival: Arrival,
    bytes_left: usize,
}

/// A publication without acknowledgement.
struct Pending {
    packet: u16,
    /// `None` for our own status document.
    id: Option<RecordId>,
    sent_at: Instant,
    /// When the broker first acknowledged something that was sent later.
    overtaken_at: Option<Instant>,
}

/// What waits to be written, and how well that goes.
struct Output {
    buffer: BytesMut,
    /// TLS may still hold something.
    unflushed: bool,
    /// The last write had to wait for the socket.
    blocked: bool,
    /// When a write last went through that had had to wait.
    unblocked_at: Instant,
    sent_at: Instant,
}

impl Output {
    fn busy(&self) -> bool {
        self.unflushed || !self.buffer.is_empty()
    }

    /// Writes everything. May be dropped at any time and called again.
    async fn drain(&mut self, to: &mut WriteHalf<Box<dyn Stream>>) -> io::Result<()> {
        while !self.buffer.is_empty() {
            let written = self.write_some(to).await?;
            if written == 0 {
                return Err(io::ErrorKind::WriteZero.into());
            }
            self.buffer.advance(written);
            self.unflushed = true;
            self.sent_at = Instant::now();
        }
        // One large record must not keep its memory for the life of the connection.
        if self.buffer.capacity() > 4 * OUTPUT_BYTES_SOFT {
            self.buffer = BytesMut::new();
        }
        to.flush().await?;
        self.unflushed = false;
        Ok(())
    }

    async fn write_some(&mut self, to: &mut WriteHalf<Box<dyn Stream>>) -> io::Result<usize> {
        let written = poll_fn(|context| {
            let written = Pin::new(&mut *to).poll_write(context, &self.buffer);
            self.blocked |= written.is_pending();
            match written {
                Poll::Ready(written) => Poll::Ready(written),
                Poll::Pending => Poll::Pending,
            }
        })
        .await?;
        if std::mem::take(&mut self.blocked) {
            self.unblocked_at = Instant::now();
        }
        Ok(written)
    }
}

/// An open connection.
pub struct Session {
    reader: ReadHalf<Box<dyn Stream>>,
    writer: WriteHalf<Box<dyn Stream>>,
    protocol: Protocol,
    terms: Terms,
    settings: Settings,
    packet_bytes_max: u32,
    number: u64,
    input: BytesMut,
    output: Output,
    keep_alive: Duration,
    in_flight_max: usize,
    pending: VecDeque<Pending>,
    last_packet: u16,
    received_at: Instant,
    acknowledged_at: Instant,
    /// Times from publication to acknowledgement.
    trips: RoundTrip,
    pinged: bool,
    /// The broker has sent something after its first answer.
    spoken_to: bool,
    passed_over: Option<PassedOver>,
}

impl Session {
    /// On a connection that was just accepted as number `number`.
    pub fn new(
        accepted: Accepted,
        settings: &Settings,
        duty: &Duty,
        protocol: Protocol,
        number: u64,
    ) -> Session {
        let Accepted { stream, terms, input } = accepted;
        let now = Instant::now();
        let (reader, writer) = tokio::io::split(stream);
        let wanted = terms.keep_alive_s.filter(|s| *s > 0).map(|s| Duration::from_secs(s.into()));
        let in_flight_max = settings.in_flight.clamp(1, IN_FLIGHT_MAX);
        Session {
            reader,
            writer,
            protocol,
            terms,
            settings: settings.clone(),
            packet_bytes_max: duty.packet_bytes_max(),
            number,
            input,
            output: Output {
                buffer: BytesMut::new(),
                unflushed: false,
                blocked: false,
                unblocked_at: now,
                sent_at: now,
            },
            keep_alive: wanted.unwrap_or(settings.keep_alive).max(KEEP_ALIVE_MIN),
            in_flight_max: in_flight_max.min(usize::from(terms.receive_maximum.max(1))),
            pending: VecDeque::new(),
            last_packet: 0,
            received_at: now,
            acknowledged_at: now,
            trips: RoundTrip::new(),
            pinged: false,
            spoken_to: false,
            passed_over: None,
        }
    }

    /// Publishes, acknowledges and pings until the connection ends.
    pub async fn live(
        mut self,
        duty: &Duty,
        stopped: &mut watch::Receiver<bool>,
    ) -> Result<std::convert::Infallible, End> {
        let mut orders = self.enter(duty).await?;
        // What came together with the first answer.
        self.take_input(duty).await?;
        loop {
            let room = self.pending.len() < self.in_flight_max
                && self.output.buffer.len() < OUTPUT_BYTES_SOFT;
            let deadline = self.deadline();
            // A subscriber that cannot get rid of its acknowledgements takes no more messages.
            let listens = matches!(duty, Duty::Publish { .. })
                || self.output.buffer.len() < OUTPUT_BYTES_SOFT;
            self.input.reserve(READ_BYTES);
            tokio::select! {
                read = self.reader.read_buf(&mut self.input), if listens => {
                    match read {
                        Ok(0) => return Err(self.closed(&io::ErrorKind::UnexpectedEof.into())),
                        Ok(_) => self.take_input(duty).await?,
                        Err(error) => return Err(self.closed(&error)),
                    }
                }
                drained = self.output.drain(&mut self.writer), if self.output.busy() => {
                    if let Err(error) = drained {
                        return Err(self.closed(&error));
                    }
                }
                Some((id, record)) = orders.commands.recv(), if room => self.send(duty, id, &record).await?,
                Some(receipt) = orders.acknowledgements.recv(), if listens => {
                    let to = &mut self.output.buffer;
                    wire::write_acknowledgement(to, self.protocol, receipt.0);
                    while let Ok(Receipt(packet)) = orders.acknowledgements.try_recv() {
                        wire::write_acknowledgement(to, self.protocol, packet);
                    }
                }
                () = sleep_until(deadline) => self.check_time()?,
                () = asked_to_stop(stopped) => {
                    self.say_goodbye(duty).await;
                    return Err(End::Stopped);
                }
            }
        }
    }

    /// Tells the other side of `duty` that the connection stands, and the broker what to know first. Returns where records
    /// come from.
    async fn enter(&mut self, duty: &Duty) -> Result<Orders, End> {
        let (commands, received) = mpsc::channel(self.in_flight_max);
        let (acknowledgements, receipts) = mpsc::unbounded_channel();
        let link = Link { commands, acknowledgements };
        match duty {
            Duty::Publish { events, speaker, status_topic } => {
                let online = Bytes::from(speaker.status(self.number, None));
                // The broker took the same topic and about the same size as last will.
                let _ = self.write_publication(None, (status_topic, online, true));
                let event = Event::Connected {
                    link,
                    protocol: self.protocol,
                    in_flight_max: u16::try_from(self.in_flight_max).unwrap_or(u16::MAX),
                    packet_bytes_max: self.terms.packet_bytes_max,
                };
                events.send(event).await.map_err(|_| End::Stopped)?;
            }
            Duty::Subscribe { filter, .. } => self.write_subscription(filter)?,
            Duty::Collect { arrivals, filter, .. } => {
                let arrival = Arrival::Connected {
                    link,
                    protocol: self.protocol,
                    resumed: self.terms.resumed,
                    in_flight_max: u16::try_from(self.in_flight_max).unwrap_or(u16::MAX),
                };
                arrivals.send(arrival).await.map_err(|_| End::Stopped)?;
                self.write_subscription(filter)?;
            }
        }
        Ok(Orders { commands: received, acknowledgements: receipts })
    }

    fn write_subscription(&mut self, filter: &str) -> Result<(), End> {
        let packet = self.free_packet();
        wire::write_subscription(&mut self.output.buffer, self.protocol, packet, filter)
            .map_err(|e| End::Failed(format!("cannot subscribe to `{filter}`: {e:?}")))
    }

    async fn send(&mut self, duty: &Duty, id: RecordId, record: &Record) -> Result<(), End> {
        let publication = (&*record.topic, record.payload.clone(), record.retain);
        let Err(unwritable) = self.write_publication(Some(id), publication) else { return Ok(()) };
        let (cause, reason) = match unwritable {
            Unwritable::TooLarge => (
                DropCause::TooLarge,
                format!(
                    "a record of {} bytes for `{}` is larger than {} takes ({} bytes): raise the broker's limit",
                    record.payload.len(),
                    record.topic,
                    self.settings.broker(),
                    self.terms.packet_bytes_max.unwrap_or_default()
                ),
            ),
            Unwritable::Invalid(why) => (
                DropCause::Refused,
                format!("a record for `{}` cannot be sent by MQTT: {why}", record.topic),
            ),
        };
        refuse(duty, id, cause, reason).await
    }

    fn write_publication(
        &mut self,
        id: Option<RecordId>,
        publication: (&str, Bytes, bool),
    ) -> Result<(), Unwritable> {
        let packet = self.free_packet();
        let to = &mut self.output.buffer;
        wire::write_publication(to, self.protocol, &self.terms, Some(packet), publication)?;
        self.pending.push_back(Pending { packet, id, sent_at: Instant::now(), overtaken_at: None });
        Ok(())
    }

    /// The next packet number that is not in use; there are 65 times more than can be pending.
    fn free_packet(&mut self) -> u16 {
        loop {
            self.last_packet = self.last_packet.checked_add(1).unwrap_or(1);
            if !self.pending.iter().any(|pending| pending.packet == self.last_packet) {
                return self.last_packet;
            }
        }
    }

    async fn take_input(&mut self, duty: &Duty) -> Result<(), End> {
        self.received_at = Instant::now();
        self.pinged = false;
        loop {
            if matches!(duty, Duty::Collect { .. }) && self.pass_over(duty).await? {
                return Ok(());
            }
            let incoming = wire::read(&mut self.input, self.protocol, self.packet_bytes_max)
                .map_err(|why| {
                    End::Failed(format!(
                        "{} sent something that is not MQTT: {why}",
                        self.settings.broker()
                    ))
                })?;
            let Some(incoming) = incoming else { return Ok(()) };
            self.spoken_to = true;
            self.take(duty, incoming).await?;
        }
    }

    /// Drops publications that are too large, however often one is sent again: ending the connection would bring it back for
    /// ever. True when more has to be read first.
    async fn pass_over(&mut self, duty: &Duty) -> Result<bool, End> {
        let Duty::Collect { arrivals, .. } = duty else { return Ok(false) };
        loop {
            if let Some(PassedOver { arrival, bytes_left }) = self.passed_over.take() {
                let here = bytes_left.min(self.input.len());
                self.input.advance(here);
                if here < bytes_left {
                    let bytes_left = bytes_left - here;
                    self.passed_over = Some(PassedOver { arrival, bytes_left });
                    return Ok(true);
                }
                arrivals.send(arrival).await.map_err(|_| End::Stopped)?;
            }
            match wire::next_packet(&self.input, self.packet_bytes_max) {
                NextPacket::Fits => return Ok(false),
                NextPacket::Beginning => return Ok(true),
                NextPacket::Oversized { bytes, topic, packet } => {
                    let receipt = packet.map(Receipt);
                    let arrival = Arrival::TooLarge { topic, bytes, receipt };
                    self.passed_over = Some(PassedOver { arrival, bytes_left: bytes });
                }
            }
        }
    }

    async fn take(&mut self, duty: &Duty, incoming: Incoming) -> Result<(), End> {
        match (incoming, duty) {
            (
                Incoming::Acknowledged { packet, refusal },
                Duty::Publish { .. } | Duty::Collect { .. },
            ) => {
                let position = self.pending.iter().position(|pending| pending.packet == packet);
                let Some(pending) = position.and_then(|position| self.pending.remove(position))
                else {
                    return acknowledged(duty, RecordId::UNKNOWN).await;
                };
                let before = self.pending.iter_mut().take(position.unwrap_or(0));
                before.for_each(|overtaken| {
                    overtaken.overtaken_at.get_or_insert(self.received_at);
                });
                self.acknowledged_at = self.received_at;
                self.trips.measure(self.received_at.saturating_duration_since(pending.sent_at));
                let Some(id) = pending.id else { return Ok(()) };
                let Some(why) = refusal else { return acknowledged(duty, id).await };
                let reason = format!("{} will not take a record: {why}", self.settings.broker());
                refuse(duty, id, DropCause::Refused, reason).await
            }
            (Incoming::Subscribed { refusal: None }, Duty::Subscribe { notices, .. }) => {
                notices.send(Notice::Subscribed).await.map_err(|_| End::Stopped)
            }
            (Incoming::Subscribed { refusal: None }, Duty::Collect { arrivals, .. }) => {
                arrivals.send(Arrival::Subscribed).await.map_err(|_| End::Stopped)
            }
            (
                Incoming::Message { topic, payload, retained, packet },
                Duty::Collect { arrivals, .. },
            ) => {
                let message = Message { topic, payload, retained };
                let arrival = Arrival::Message { message, receipt: packet.map(Receipt) };
                arrivals.send(arrival).await.map_err(|_| End::Stopped)
            }
            (
                Incoming::Subscribed { refusal: Some(why) },
                Duty::Subscribe { filter, .. } | Duty::Collect { filter, .. },
            ) => Err(End::Failed(format!(
                "{} refuses the subscription to `{filter}` ({why}): check what this user may read",
                self.settings.broker()
            ))),
            (
                Incoming::Message { topic, payload, retained, packet },
                Duty::Subscribe { notices, .. },
            ) => {
                let notice = Notice::Message(Message { topic, payload, retained });
                notices.send(notice).await.map_err(|_| End::Stopped)?;
                if let Some(packet) = packet {
                    let to = &mut self.output.buffer;
                    wire::write_acknowledgement(to, self.protocol, packet);
                }
                Ok(())
            }
            (Incoming::Closing { taken_over: true, .. }, _) => Err(End::Failed(format!(
                "{} closed the connection because another client came with the identifier `{}`: give every vehicle its own \
                 name, or set `mqtt.client_id`",
                self.settings.broker(),
                self.settings.client_id
            ))),
            (Incoming::Closing { taken_over: false, why }, _) => {
                Err(End::Failed(format!("{} closed the connection: {why}", self.settings.broker())))
            }
            (Incoming::Pong, _) => Ok(()),
            (
                Incoming::Accepted(_)
                | Incoming::Refused(_)
                | Incoming::Acknowledged { .. }
                | Incoming::Subscribed { .. }
                | Incoming::Message { .. }
                | Incoming::Unexpected,
                _,
            ) => Err(End::Failed(format!(
                "{} sent a packet that has no place here: it may be broken",
                self.settings.broker()
            ))),
        }
    }

    /// When there is something to do although nothing happened.
    fn deadline(&self) -> Instant {
        let silence = self.silence_deadline();
        let ping = self.ping_due().unwrap_or(silence);
        let due = [self.acknowledgement_deadline(), self.forgotten_deadline()];
        due.into_iter().flatten().fold(silence, Instant::min).min(ping)
    }

    /// A ping keeps the connection alive for the broker (nothing was sent) and asks it for a sign of life (nothing was
    /// received). None is due while one is unanswered or something else is on its way out.
    fn ping_due(&self) -> Option<Instant> {
        let idle_since = self.output.sent_at.min(self.received_at);
        (!self.pinged && !self.output.busy()).then_some(idle_since + self.keep_alive)
    }

    /// When the broker counts as gone. What a full socket still takes is a sign of life as well: its acknowledgements queue
    /// behind our own data on a slow link.
    fn silence_deadline(&self) -> Instant {
        self.received_at.max(self.output.unblocked_at) + self.keep_alive * 3 / 2
    }

    fn acknowledgement_deadline(&self) -> Option<Instant> {
        let oldest = self.pending.front()?;
        let waiting_since = oldest.sent_at.max(self.acknowledged_at).max(self.output.unblocked_at);
        Some(waiting_since + self.acknowledgement_limit())
    }

    /// A broker acknowledges in the order in which it was sent to (MQTT 5 section 4.6). When this has passed since it
    /// acknowledged something that was sent later, it has forgotten the oldest, which would take up a place for ever.
    fn forgotten_deadline(&self) -> Option<Instant> {
        Some(self.pending.front()?.overtaken_at? + self.settings.timing.acknowledge)
    }

    /// How long the broker may acknowledge nothing.
    fn acknowledgement_limit(&self) -> Duration {
        self.trips.timeout(ACKNOWLEDGE_MIN, self.settings.timing.acknowledge)
    }

    fn check_time(&mut self) -> Result<(), End> {
        let now = Instant::now();
        if now >= self.silence_deadline() {
            return Err(End::Failed(format!(
                "{} has not sent anything for {}: the link is dead or the broker hangs",
                self.settings.broker(),
                seconds(self.keep_alive * 3 / 2)
            )));
        }
        if self.acknowledgement_deadline().is_some_and(|due| now >= due) {
            return Err(End::Failed(format!(
                "{} answers pings but has not acknowledged anything for {}: it is overloaded or its storage is full",
                self.settings.broker(),
                seconds(self.acknowledgement_limit())
            )));
        }
        if self.forgotten_deadline().is_some_and(|due| now >= due) {
            return Err(End::Failed(format!(
                "{} acknowledges what is sent later, but not what it was sent {} ago: it has forgotten that, and gets it again",
                self.settings.broker(),
                seconds(self.settings.timing.acknowledge)
            )));
        }
        if self.ping_due().is_some_and(|due| now >= due) {
            wire::write_ping(&mut self.output.buffer, self.protocol);
            self.pinged = true;
        }
        Ok(())
    }

    /// The broker went without a word.
    fn closed(&self, error: &io::Error) -> End {
        let broker = self.settings.broker();
        if let Some(text) = tls::explain(error, &self.settings.host) {
            return End::Failed(format!("{broker}: {text}"));
        }
        // Some brokers close without a word when another client takes the identifier (mosquitto 2.0 does).
        let rival = format!("another client took the identifier `{}`", self.settings.client_id);
        End::Failed(if self.spoken_to {
            format!(
                "{broker} closed the connection ({error}): it was stopped, the link broke, or {rival}"
            )
        } else {
            format!(
                "{broker} closed the connection right after accepting it ({error}): {rival}, or this user may not publish; \
                 see the broker's log"
            )
        })
    }

    /// Offline status and last packet, as far as the broker takes them in time. Neither waits for an acknowledgement: the
    /// broker reads them in order.
    async fn say_goodbye(mut self, duty: &Duty) {
        let to = &mut self.output.buffer;
        if let Duty::Publish { speaker, status_topic, .. } = duty {
            let offline = Bytes::from(speaker.status(self.number, Some(OfflineCause::Stopped)));
            let publication = (status_topic.as_str(), offline, true);
            // As for the online status, it fits.
            let _ = wire::write_publication(to, self.protocol, &self.terms, None, publication);
        }
        wire::write_goodbye(to, self.protocol);
        let _ = timeout(GOODBYE_MAX, async {
            self.output.drain(&mut self.writer).await?;
            self.writer.shutdown().await
        })
        .await;
    }
}

/// Tells that the broker has a record.
async fn acknowledged(duty: &Duty, id: RecordId) -> Result<(), End> {
    match duty {
        Duty::Publish { events, .. } => {
            events.send(Event::Acknowledged(id)).await.map_err(|_| End::Stopped)
        }
        Duty::Collect { arrivals, .. } => {
            arrivals.send(Arrival::Acknowledged(id)).await.map_err(|_| End::Stopped)
        }
        Duty::Subscribe { .. } => Ok(()),
    }
}

/// Tells that the broker will never have a record.
async fn refuse(duty: &Duty, id: RecordId, cause: DropCause, reason: String) -> Result<(), End> {
    match duty {
        Duty::Publish { events, .. } => {
            events.send(Event::Refused { id, cause, reason }).await.map_err(|_| End::Stopped)
        }
        Duty::Collect { arrivals, .. } => {
            arrivals.send(Arrival::Refused { id, reason }).await.map_err(|_| End::Stopped)
        }
        Duty::Subscribe { .. } => Ok(()),
    }
}
