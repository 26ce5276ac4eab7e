//! What happens between an agent and the broker: connecting, publishing, acknowledging, and the ends of connections. What the real
//! connection decides by itself (`outrider::shell::mqtt`) is decided here by the same numbers.

use std::sync::Arc;

use olsr_bridge::cost::HOP;
use outrider::core::agent::Input;
use outrider::core::courier::{Courier, RecordName};
use outrider::core::delivery::{DropCause, RecordId};
use outrider::core::fleet;
use outrider::core::outbox::Record;
use outrider::core::presence::stream_of_topic;
use outrider::core::record;
use outrider::core::telemetry::BootId;

use crate::agenda::{MS, Moment, SECOND, micros};
use crate::broker::{Mood, Trouble};
use crate::bug::Bug;
use crate::failure::{Broken, Kept};
use crate::link::{CONNECT_WITHIN, Connection, Publish, packet_bytes};
use crate::mesh;
use crate::vehicle::WALL_MS;
use crate::world::{Happening, World};

/// How often a connection is looked at for silence.
const WATCH_EVERY: Moment = 5 * SECOND;

/// Bytes of an acknowledgement and what carries it.
const ACKNOWLEDGEMENT_BYTES: usize = 44;

/// Cost of a path with which a link carries what it was drawn to.
const FULL_RATE_COST: u64 = HOP as u64;

impl World {
    /// What all links carry, now that vehicles have moved.
    pub(crate) fn look_at_ways(&mut self) {
        for index in 0..self.vehicles.len() {
            self.look_at_way(index);
        }
    }

    /// What a link carries now. What was stuck in it moves on when it carries again.
    pub(crate) fn look_at_way(&mut self, index: usize) {
        let now = self.now;
        let path = self.convoy.path(index + 1, 0);
        let vehicle = &mut self.vehicles[index];
        let was_up = vehicle.way.up;
        vehicle.way.up = path.is_some() && now >= vehicle.silent_until;
        if let Some((cost, hops)) = path {
            let cost = u64::from(cost).max(FULL_RATE_COST);
            vehicle.way.bytes_per_s = (vehicle.plan.bytes_per_s * FULL_RATE_COST / cost).max(2_000);
            vehicle.way.one_way = vehicle.plan.one_way * u64::from(hops.max(1));
        }
        let is_up = vehicle.way.up;
        if was_up != is_up {
            self.note(index, || {
                format!("the link {}", if is_up { "carries" } else { "is silent" })
            });
        }
        if !was_up && is_up {
            let vehicle = &mut self.vehicles[index];
            vehicle.way.free_at = now;
            for place in 0..std::mem::take(&mut vehicle.held_up) {
                let bytes = vehicle.air.get(place).map_or(0, |(_, publish)| publish.bytes());
                let at = vehicle.way.send(now, bytes);
                self.agenda.put(at, Happening::Arrive(index));
            }
            let at = now + vehicle.way.one_way;
            for (connection, packet, refused) in std::mem::take(&mut vehicle.held_up_back) {
                let what = Happening::Acknowledge(index, connection, packet, refused);
                self.agenda.put(at, what);
            }
        }
    }

    /// Vehicles move.
    pub(crate) fn drive(&mut self) {
        if self.calm {
            return;
        }
        self.convoy.drive(self.plan.drive_every as f64 / SECOND as f64);
        self.look_at_ways();
        self.agenda.put(self.now + self.plan.drive_every, Happening::Drive);
    }

    /// The client tries to connect.
    pub(crate) fn connect(&mut self, index: usize, number: u32) -> Kept {
        if !self.runs(index, number) {
            return Ok(());
        }
        let way = self.vehicles[index].way;
        let (trouble, up) = (self.broker.trouble, way.up);
        if up && trouble.is_none() {
            self.connections += 1;
            let at = self.now + 4 * way.one_way + 2 * MS;
            self.agenda.put(at, Happening::Greeted(index, number, self.connections));
            return Ok(());
        }
        // A host that is there refuses at once.
        if up && trouble == Some(Trouble::Away) {
            return self.hang_up(index, "refused");
        }
        self.agenda.put(self.now + CONNECT_WITHIN, Happening::Greeted(index, number, 0));
        Ok(())
    }

    /// The broker has answered, or has not in time.
    pub(crate) fn greeted(&mut self, index: usize, number: u32, connection: u64) -> Kept {
        if !self.runs(index, number) {
            return Ok(());
        }
        let now = self.now;
        let calm = self.calm;
        let vehicle = &mut self.vehicles[index];
        if connection == 0 || !vehicle.way.up || self.broker.trouble.is_some() {
            return self.hang_up(index, "no answer");
        }
        self.broker.connect(connection, index);
        let Mood { receive_max, packet_bytes_max, .. } = self.broker.mood;
        let slots = vehicle.config.mqtt.in_flight.min(usize::from(receive_max)).max(1);
        let told = if calm { None } else { packet_bytes_max };
        let in_flight_max = u16::try_from(slots).unwrap_or(u16::MAX);
        let mono = vehicle.mono(now);
        if let Some(process) = &mut vehicle.process {
            process.client.backoff.connected(mono);
            process.client.connection = Some(Connection::new(connection, slots, told, now));
        }
        self.note(index, || format!("connected as {connection}, {slots} slots, packets {told:?}"));
        self.agenda.put(now + WATCH_EVERY, Happening::Watch(index, number, connection));
        self.feed(index, Input::Connected { protocol: "5", in_flight_max, packet_bytes_max: told })
    }

    /// An agent hands a message to its connection.
    pub(crate) fn submit(&mut self, index: usize, id: RecordId, record: Record) -> Kept {
        let now = self.now;
        let stream = stream_of_topic(&record.topic).map(|(_, stream)| stream.to_owned());
        let records = match stream {
            None => None,
            Some(stream) => {
                let message = record::decode(&record.payload).map_err(|error| {
                    (index, Broken::new("messages can be read", error.to_string()))
                })?;
                Some(Arc::new((stream, message)))
            }
        };
        let vehicle = &mut self.vehicles[index];
        let Some(process) = &mut vehicle.process else { return Ok(()) };
        let number = process.number;
        // A connection that is gone reports itself.
        let Some(connection) = &mut process.client.connection else { return Ok(()) };
        if connection.pending.len() >= connection.slots {
            let how = format!("message {} of {}", connection.pending.len() + 1, connection.slots);
            return Err((index, Broken::new("no more is in flight than the broker takes", how)));
        }
        let bytes = packet_bytes(&record.topic, &record.payload);
        if connection.packet_bytes_max.is_some_and(|max| bytes > max as usize) {
            if let Some(records) = &records {
                for entry in &records.1.entries {
                    let name = RecordName { epoch: records.1.epoch, sequence: entry.sequence };
                    vehicle.ledger.refused(&records.0, name);
                }
            }
            let reason = "larger than the broker takes".to_owned();
            let input = Input::Refused { id, cause: DropCause::TooLarge, reason };
            self.agenda.put(now + MS, Happening::Feed(index, number, Box::new(input)));
            return Ok(());
        }
        if records.is_some() {
            vehicle.sent_bytes += bytes as u64;
        }
        let publish = connection.publish(id, record.topic, record.payload, records, now);
        vehicle.air.push_back((connection.number, publish.clone()));
        let names: Vec<_> = publish
            .pieces()
            .filter_map(|(stream, piece)| {
                let tag = spool::StreamName::new(stream).ok()?.tag();
                Some((tag, piece.name.epoch, piece.name.sequence))
            })
            .collect();
        let at = vehicle.way.send(now, bytes);
        self.note(index, || {
            let what: Vec<String> = publish
                .pieces()
                .map(|(_, piece)| match piece.part {
                    None => piece.name.sequence.to_string(),
                    Some((part, _)) => format!("{}@{}", piece.name.sequence, part.offset),
                })
                .collect();
            format!("publishes #{} {} {}", publish.packet, publish.topic, what.join(" "))
        });
        self.agenda.put(at, Happening::Arrive(index));
        self.free_at_once(index, names);
        Ok(())
    }

    /// The next message on its way comes to the broker.
    pub(crate) fn arrive(&mut self, index: usize) -> Kept {
        let vehicle = &mut self.vehicles[index];
        if !vehicle.way.up {
            vehicle.held_up += 1;
            return Ok(());
        }
        let Some((connection, publish)) = vehicle.air.pop_front() else { return Ok(()) };
        if self.broker.connections.get(&connection) != Some(&index) {
            return Ok(());
        }
        match self.broker.trouble {
            Some(Trouble::Away) => Ok(()),
            Some(Trouble::Stalled) => {
                self.broker.waiting.push_back((connection, publish));
                Ok(())
            }
            None => self.take(index, connection, publish),
        }
    }

    /// The broker takes a message, or does something else.
    pub(crate) fn take(&mut self, index: usize, connection: u64, publish: Publish) -> Kept {
        let mood = self.broker.mood;
        let now = self.now;
        if self.dice.permille(mood.kick) {
            self.note(index, || "the broker closes the connection".to_owned());
            return self.close(index, connection, "kicked");
        }
        let refused = self.dice.permille(mood.refuse);
        if refused {
            for (stream, piece) in publish.pieces() {
                self.vehicles[index].ledger.refused(stream, piece.name);
            }
        } else {
            self.broker.taken += 1;
            self.receive(index, &publish)?;
        }
        let way = &self.vehicles[index].way;
        let trip = way.one_way + ACKNOWLEDGEMENT_BYTES as u64 * SECOND / way.bytes_per_s.max(1);
        let answer = |world: &mut World, packet: u16| {
            let at = now + trip + world.dice.below(mood.spread.max(1));
            world.agenda.put(at, Happening::Acknowledge(index, connection, packet, refused));
        };
        if !self.dice.permille(mood.forget) {
            answer(self, publish.packet);
        }
        if self.dice.permille(mood.twice) {
            answer(self, publish.packet);
        }
        if self.dice.permille(mood.stray) {
            answer(self, publish.packet.wrapping_add(30_000));
        }
        Ok(())
    }

    /// The receiver gets a message.
    fn receive(&mut self, index: usize, publish: &Publish) -> Kept {
        let arrived = fleet::moment::Moment {
            boot: BootId([9; 16]),
            mono_ms: self.now / MS,
            wall_ms: Some(WALL_MS + (self.now / MS) as i64),
        };
        let message = fleet::Message { topic: &publish.topic, payload: &publish.payload, arrived };
        let lines = self.broker.fleet.as_mut().map(|fleet| fleet.take(&message).writes.len());
        if let Some(how) = self.broker.misunderstood() {
            return Err((index, Broken::new("the receiving end understands everything", how)));
        }
        let Some(records) = &publish.records else { return Ok(()) };
        let (stream, message) = &**records;
        let of = mesh::name(index + 1);
        let received = self.broker.receiver.take(&of, stream, message.clone());
        if lines.is_some_and(|lines| lines != received.len()) {
            let how = format!("{stream}: {lines:?} lines for {} records", received.len());
            return Err((index, Broken::new("each record becomes one line", how)));
        }
        for received in received {
            let name = RecordName { epoch: received.epoch, sequence: received.sequence };
            let ledger = &mut self.vehicles[index].ledger;
            ledger.arrived(stream, name, &received.payload).map_err(|broken| (index, broken))?;
        }
        Ok(())
    }

    /// An acknowledgement comes to the client.
    pub(crate) fn acknowledge(
        &mut self,
        index: usize,
        number: u64,
        packet: u16,
        refused: bool,
    ) -> Kept {
        let now = self.now;
        let vehicle = &mut self.vehicles[index];
        if !vehicle.way.up {
            vehicle.held_up_back.push_back((number, packet, refused));
            return Ok(());
        }
        let Some(process) = &mut vehicle.process else { return Ok(()) };
        let connection = process.client.connection.as_mut().filter(|known| known.number == number);
        let Some(connection) = connection else { return Ok(()) };
        let Some(pending) = connection.acknowledged(packet, now) else {
            let mut id = RecordId::UNKNOWN;
            if self.settings.bug == Some(Bug::WrongAcknowledgement)
                && let Some(oldest) = connection.pending.pop_front()
            {
                id = oldest.id;
            }
            return self.feed(index, Input::Acknowledged(id));
        };
        if refused {
            self.note(index, || format!("#{packet} is refused"));
            let (id, cause, reason) = (pending.id, DropCause::Refused, "no".to_owned());
            return self.feed(index, Input::Refused { id, cause, reason });
        }
        if Courier::owns(pending.id) {
            for (stream, piece) in pending.publish.pieces() {
                vehicle.ledger.covered(stream, piece.name, piece.part);
            }
        }
        self.feed(index, Input::Acknowledged(pending.id))
    }

    /// A connection is looked at.
    pub(crate) fn watch(&mut self, index: usize, number: u32, connection: u64) -> Kept {
        if !self.runs(index, number) {
            return Ok(());
        }
        let now = self.now;
        let vehicle = &mut self.vehicles[index];
        let keep_alive = vehicle.config.mqtt.keep_alive;
        let answers = vehicle.way.up && self.broker.trouble.is_none();
        let process = vehicle.process.as_mut();
        let known = process.and_then(|process| process.client.connection.as_mut());
        let Some(known) = known.filter(|known| known.number == connection) else { return Ok(()) };
        if answers {
            // The broker knows nothing of a connection that it closed while the link was silent.
            if self.broker.connections.get(&connection) != Some(&index) {
                return self.hang_up(index, "reset");
            }
            known.ponged(now);
        }
        if let Some(why) = known.is_over(now, keep_alive) {
            return self.hang_up(index, why);
        }
        self.agenda.put(now + WATCH_EVERY, Happening::Watch(index, number, connection));
        Ok(())
    }

    /// The broker ends a connection; the client learns of it when the link carries.
    pub(crate) fn close(&mut self, index: usize, connection: u64, why: &'static str) -> Kept {
        self.broker.connections.remove(&connection);
        let vehicle = &self.vehicles[index];
        let process = vehicle.process.as_ref();
        let current = process.and_then(|process| process.client.connection.as_ref());
        if vehicle.way.up && current.is_some_and(|current| current.number == connection) {
            return self.hang_up(index, why);
        }
        Ok(())
    }

    /// The client's attempt or connection ends.
    pub(crate) fn hang_up(&mut self, index: usize, why: &'static str) -> Kept {
        let now = self.now;
        self.drop_connection(index);
        let vehicle = &mut self.vehicles[index];
        let mono = vehicle.mono(now);
        let random = self.dice.roll() as u32;
        let Some(process) = &mut vehicle.process else { return Ok(()) };
        let retry_in = process.client.backoff.failed(mono, random);
        let number = process.number;
        self.agenda.put(now + micros(retry_in), Happening::Connect(index, number));
        self.note(index, || format!("disconnected: {why}"));
        self.feed(index, Input::Disconnected { reason: why.to_owned() })
    }

    /// The client has no connection any more.
    pub(crate) fn drop_connection(&mut self, index: usize) {
        let process = self.vehicles[index].process.as_mut();
        let connection = process.and_then(|process| process.client.connection.take());
        if let Some(connection) = connection {
            self.abandon(index, connection.number);
        }
    }

    /// What is on its way when its client ends: half of the times the kernel goes on sending it, else it stops somewhere.
    pub(crate) fn abandon(&mut self, index: usize, number: u64) {
        if self.dice.one_in(2) {
            self.broker.connections.remove(&number);
        }
        self.vehicles[index].held_up_back.retain(|(of, _, _)| *of != number);
    }
}
