//! The thread of an agent's queue: one job after the other on the spool's own [`spool::Worker`], as long as its disk takes for
//! it, and what happened told to the loop, as `outrider::shell::spool` and `orders` do it.

use std::collections::BTreeMap;
use std::time::Duration;

use outrider::config::{DeliveryOrder, EVENTS_STREAM, TELEMETRY_STREAM};
use outrider::core::agent::{Input, Order, carry_out};
use outrider::core::telemetry::BootId;
use outrider::shell::spool::policy;
use spool::limits::NEWEST_MS;
use spool::{
    Count, Event, Fate, OpenError, Options, Report, Session, Spool, StreamName, StreamTag, Worker,
};

use crate::agenda::{MS, Moment, SECOND, SPINS_MAX, micros};
use crate::bug::Bug;
use crate::failure::{Broken, Kept};
use crate::vehicle::Job;
use crate::world::{Happening, World};

/// Pause between attempts to open a queue that another process has, or whose disk would not read.
const OPEN_AGAIN: Moment = 5 * SECOND;

/// Bytes on disk beyond the budget of which the queue may not know at a moment: what a failed write left behind.
const DISK_SLACK_BYTES: u64 = 64 * 1024;

/// Milliseconds of a day.
const DAY_MS: u64 = 24 * 3600 * 1000;

/// Bytes written in a day beyond the allowance: what a write that failed, or that a power cut ended, had brought to the disk
/// before it was counted. One batch is at most one segment.
const WRITTEN_SLACK_BYTES: u64 = 256 * 1024;

/// What happened in a turn of the thread.
#[derive(Debug, Default)]
struct Turn {
    inputs: Vec<Input>,
    report: Option<Box<Report>>,
    events: Vec<Event>,
}

impl World {
    /// Opens the queue of an agent.
    pub(crate) fn open(&mut self, index: usize, number: u32) -> Kept {
        if !self.runs(index, number) {
            return Ok(());
        }
        let now = self.now;
        let vehicle = &mut self.vehicles[index];
        let boot_ms = vehicle.boot_ms(now);
        let session = Session {
            boot_id: BootId::from_text(&vehicle.boot_id()).0,
            epoch: vehicle.dice.roll() as u32,
            spool_id: vehicle.dice.roll(),
        };
        let unread_since = vehicle.process.as_ref().and_then(|process| process.unread_since);
        let patience = Moment::from(NEWEST_MS) * MS;
        let without_newest = unread_since.is_some_and(|since| now - since >= patience);
        let options = Options { without_newest, ..vehicle.options() };
        let opened = Spool::open(vehicle.disk.clone(), options, session, boot_ms);
        if vehicle.disk.is_off() {
            self.power_lost(index);
            return Ok(());
        }
        let mut spool = match opened {
            Ok(spool) => spool,
            Err(OpenError::Locked) => {
                self.agenda.put(now + OPEN_AGAIN, Happening::Open(index, number));
                return self.feed(index, Input::SpoolFailed("locked".to_owned()));
            }
            Err(OpenError::Unreadable(error)) if vehicle.disk_fails => {
                vehicle.disk.release_lock();
                if let Some(process) = &mut vehicle.process {
                    process.unread_since.get_or_insert(now);
                }
                self.note(index, || format!("the queue is not opened: {error}"));
                self.agenda.put(now + OPEN_AGAIN, Happening::Open(index, number));
                return self.feed(index, Input::SpoolFailed(error.to_string()));
            }
            Err(error) => {
                let how = format!("the queue was not opened: {error}");
                return Err((index, Broken::new("damage never prevents a start", how)));
            }
        };
        vehicle.ledger.opened(session.epoch);
        let live_first = vehicle.config.delivery.order == DeliveryOrder::LiveFirst;
        for (stream, policy) in vehicle.streams() {
            if let Ok(tag) = spool.define(&stream.name, policy) {
                let in_order = !(live_first && stream.name == TELEMETRY_STREAM);
                vehicle.ledger.declare(&stream.name, tag, in_order);
            }
        }
        spool.commit(boot_ms);
        let report = Box::new(spool.report(boot_ms));
        // A budget that was made smaller than what is held is kept to only once something has left.
        let at_most = report.disk_bytes + DISK_SLACK_BYTES;
        vehicle.disk_bound = vehicle.config.spool.size.max(at_most);
        let mut worker = Worker::new(spool, vehicle.config.spool.sync_delay);
        let mut turn = Turn { report: Some(report), ..Turn::default() };
        worker.turn(boot_ms, &mut |event| turn.events.push(event));
        if let Some(process) = &mut vehicle.process {
            process.worker = Some(worker);
        }
        if vehicle.disk.is_off() {
            self.power_lost(index);
            return Ok(());
        }
        self.note(index, || format!("the queue is open, epoch {:08x}", session.epoch));
        let every = self.vehicles[index].plan.report_every;
        self.agenda.put(now + every, Happening::Report(index, number));
        self.tell(index, turn, MS)?;
        self.pass_orders(index);
        Ok(())
    }

    /// The loop asks for a report, as it does regularly.
    pub(crate) fn ask_for_report(&mut self, index: usize, number: u32) {
        if !self.runs(index, number) {
            return;
        }
        let every = self.vehicles[index].plan.report_every;
        self.agenda.put(self.now + every, Happening::Report(index, number));
        if let Some(process) = &mut self.vehicles[index].process {
            process.ask_for_report();
        }
        self.plan_step(index);
    }

    /// Puts down when the thread does something next.
    pub(crate) fn plan_step(&mut self, index: usize) {
        let now = self.now;
        let vehicle = &mut self.vehicles[index];
        let due = match &vehicle.process {
            Some(process) if !process.jobs.is_empty() => now,
            Some(process) => match &process.worker {
                Some(worker) => vehicle.moment_of(worker.due()),
                None => return,
            },
            None => return,
        };
        let Some(process) = &mut vehicle.process else { return };
        if process.worker.is_none() {
            return;
        }
        let due = due.max(process.busy_until).max(now);
        if process.step_at.is_none_or(|at| due < at) {
            process.step_at = Some(due);
            let number = process.number;
            self.agenda.put(due, Happening::Step(index, number));
        }
    }

    /// The thread does one job, and what is due.
    pub(crate) fn step(&mut self, index: usize, number: u32) -> Kept {
        let now = self.now;
        if !self.runs(index, number) {
            return Ok(());
        }
        let Some(process) = &mut self.vehicles[index].process else { return Ok(()) };
        if process.step_at != Some(now) {
            return Ok(());
        }
        process.step_at = None;
        process.idle_steps = match (process.jobs.is_empty(), process.stepped_at == now) {
            (true, true) => process.idle_steps + 1,
            (true, false) | (false, _) => 0,
        };
        process.stepped_at = now;
        if process.idle_steps > SPINS_MAX {
            let how = format!("woken {SPINS_MAX} times at one moment");
            return Err((index, Broken::new("the queue's thread does not spin", how)));
        }
        self.work(index)?;
        self.plan_step(index);
        Ok(())
    }

    /// One turn of the thread.
    pub(crate) fn work(&mut self, index: usize) -> Kept {
        let now = self.now;
        let vehicle = &mut self.vehicles[index];
        let boot_ms = vehicle.boot_ms(now);
        let before = vehicle.disk.usage();
        let Some(process) = &mut vehicle.process else { return Ok(()) };
        let job = process.jobs.pop_front();
        let Some(worker) = &mut process.worker else { return Ok(()) };
        let mut turn = Turn::default();
        match job {
            None => {}
            Some(Job::Report) => turn.report = Some(Box::new(worker.spool().report(boot_ms))),
            Some(Job::Define(stream)) => {
                if let Ok(tag) = worker.spool().define(&stream.name, policy(&stream)) {
                    vehicle.ledger.declare(&stream.name, tag, true);
                }
            }
            Some(Job::Append { stream, stored, answer }) => {
                process.job_bytes -= stored.len();
                let payload = World::payload_of(&stored.clone().into());
                let answered = process.answered.clone();
                let reply = Box::new(move |answer| _ = answered.send(answer));
                match worker.append(stream, stored, answer, reply, boot_ms) {
                    Some(id) => {
                        vehicle.ledger.taken(id, &payload).map_err(|broken| (index, broken))?;
                    }
                    None => vehicle.ledger.not_taken(stream),
                }
            }
            Some(Job::Order(Order::SaveDay(day))) => vehicle.day = Some(day),
            Some(Job::Order(order)) => {
                if let Order::Acknowledge { stream, records } = &order {
                    for name in records {
                        vehicle.ledger.freed(*stream, *name).map_err(|broken| (index, broken))?;
                    }
                }
                let done = carry_out(worker.spool(), order, boot_ms);
                if let Some(Input::Kept { stream, stored, name }) = &done {
                    match name {
                        Some(name) => {
                            let id = spool::RecordId {
                                stream: *stream,
                                sequence: name.sequence,
                                epoch: name.epoch,
                            };
                            let payload = World::payload_of(stored);
                            let taken = vehicle.ledger.taken(id, &payload);
                            taken.map_err(|broken| (index, broken))?;
                        }
                        None => vehicle.ledger.not_taken(*stream),
                    }
                }
                turn.inputs.extend(done);
            }
        }
        worker.turn(boot_ms, &mut |event| turn.events.push(event));
        // What is said in a turn in which the power went is nobody's promise.
        if vehicle.disk.is_off() {
            self.power_lost(index);
            return Ok(());
        }
        while let Ok(answer) = process.answers.try_recv() {
            if let Ok(accepted) = answer
                && accepted.durable
            {
                vehicle.ledger.durable_one(accepted.id);
            }
        }
        let syncs = vehicle.disk.usage().syncs - before.syncs;
        let takes = syncs * vehicle.plan.sync_takes;
        process.busy_until = now + takes;
        self.tell(index, turn, takes)?;
        let vehicle = &mut self.vehicles[index];
        vehicle.ledger.turned(syncs > 0 && !vehicle.disk_fails);
        Ok(())
    }

    /// Tells oracle and loop what happened.
    fn tell(&mut self, index: usize, turn: Turn, after: Moment) -> Kept {
        let Turn { inputs, report, events } = turn;
        let now = self.now;
        let at = now + after;
        let vehicle = &mut self.vehicles[index];
        let number = vehicle.process.as_ref().map_or(0, |process| process.number);
        let mut told = Vec::new();
        let mut dropped: BTreeMap<(StreamTag, Fate), Count> = BTreeMap::new();
        let mut durable = Vec::new();
        let mut ask = false;
        for event in events {
            match event {
                Event::Durable { stream, up_to } => {
                    vehicle.ledger.durable(stream, up_to);
                    durable.push(stream);
                }
                Event::Dropped { stream, fate, count } => {
                    vehicle.ledger.dropped(stream, fate, count.records);
                    dropped.insert((stream, fate), count);
                }
                Event::Degraded { .. } | Event::Recovered => ask = true,
                Event::Damaged { bytes } => {
                    if !vehicle.disk_fails && !vehicle.ledger.excuses().damaged {
                        let how = format!("{bytes} bytes");
                        return Err((index, Broken::new("a sound disk shows no damage", how)));
                    }
                    let text = format!("{bytes} bytes are damaged");
                    let stream = String::new();
                    told.push(Input::GatherTrouble { kind: "spool-damaged", stream, text });
                }
            }
        }
        if let Some(report) = report {
            self.check_report(index, &report)?;
            told.insert(0, Input::Spool(report));
        }
        let vehicle = &mut self.vehicles[index];
        let own = [EVENTS_STREAM, TELEMETRY_STREAM].map(StreamName::new);
        let is_own = |tag| own.iter().flatten().any(|name| name.tag() == tag);
        dropped.retain(|(stream, fate), _| *fate != Fate::Refused || !is_own(*stream));
        for ((stream, fate), count) in dropped {
            let text = format!("{stream} lost {} records: {}", count.records, fate.word());
            let stream = stream.to_string();
            told.push(Input::GatherTrouble { kind: "records-dropped", stream, text });
        }
        if !durable.is_empty() {
            told.push(Input::Durable(durable));
        }
        if ask && let Some(process) = &mut vehicle.process {
            process.ask_for_report();
        }
        for input in told.into_iter().chain(inputs) {
            self.agenda.put(at, Happening::Feed(index, number, Box::new(input)));
        }
        Ok(())
    }

    fn check_report(&mut self, index: usize, report: &Report) -> Kept {
        let vehicle = &mut self.vehicles[index];
        vehicle.ledger.audit(report).map_err(|broken| (index, broken))?;
        let used = vehicle.disk.used_bytes();
        let most = vehicle.disk_bound;
        // What could not be read when the queue was opened is left where it is.
        let damaged = vehicle.ledger.excuses().damaged;
        if !damaged && (report.disk_bytes > most || used > most + DISK_SLACK_BYTES) {
            let how = format!("{used} bytes, {} as it thinks, of {most}", report.disk_bytes);
            return Err((index, Broken::new("the budget on disk holds", how)));
        }
        if report.disk_bytes.max(used) <= vehicle.config.spool.size {
            vehicle.disk_bound = vehicle.config.spool.size;
        }
        let memory = vehicle.config.spool.memory as u64;
        if report.memory_bytes > memory {
            let how = format!("{} bytes of {memory}", report.memory_bytes);
            return Err((index, Broken::new("the memory of the queue is bounded", how)));
        }
        self.check_days(index, report)
    }

    /// What is written and sent in a day.
    fn check_days(&mut self, index: usize, report: &Report) -> Kept {
        let vehicle = &mut self.vehicles[index];
        if let Some(per_day) = vehicle.config.spool.writes_per_day {
            let written = vehicle.disk.usage().written_bytes;
            let today = (report.spool_ms, written);
            vehicle.written.push_back(today);
            while vehicle.written.front().is_some_and(|then| then.0 + DAY_MS < today.0) {
                vehicle.written.pop_front();
            }
            let since = vehicle.written.front().map_or(0, |then| written - then.1);
            let slack = WRITTEN_SLACK_BYTES * (1 + vehicle.crashes);
            if since > per_day + slack && !vehicle.ledger.excuses().disk_refused {
                let how = format!("{since} bytes written in a day of {per_day}");
                return Err((index, Broken::new("the writes of a day are bounded", how)));
            }
        }
        if let Some(cap) = vehicle.config.delivery.bytes_per_day {
            // Not by the queue's clock, which begins again at its last write when the power goes; the day has its own.
            let days = self.now / MS / DAY_MS + 1;
            let most = (cap + 256 * 1024) * days + vehicle.crashes * (cap / 50 + 256 * 1024);
            if vehicle.sent_bytes > most {
                let how = format!("{} bytes sent, {most} could be", vehicle.sent_bytes);
                return Err((index, Broken::new("what is sent in a day is bounded", how)));
            }
        }
        Ok(())
    }

    /// A mistake: what has just been handed to the connection is forgotten.
    pub(crate) fn free_at_once(&mut self, index: usize, names: Vec<(StreamTag, u32, u64)>) {
        if self.settings.bug != Some(Bug::FreeOnPublish) {
            return;
        }
        let vehicle = &mut self.vehicles[index];
        let boot_ms = vehicle.boot_ms(self.now);
        let worker = vehicle.process.as_mut().and_then(|process| process.worker.as_mut());
        let Some(worker) = worker else { return };
        for (stream, epoch, sequence) in names {
            let _ =
                worker.spool().acknowledge(spool::RecordId { stream, sequence, epoch }, boot_ms);
        }
    }

    /// Ends an agent's queue as it should be.
    pub(crate) fn close_queue(&mut self, index: usize) -> Kept {
        let now = self.now;
        while self.vehicles[index].process.as_ref().is_some_and(|process| !process.jobs.is_empty())
        {
            self.work(index)?;
        }
        let vehicle = &mut self.vehicles[index];
        let boot_ms = vehicle.boot_ms(now);
        let worker = vehicle.process.as_mut().and_then(|process| process.worker.take());
        let Some(worker) = worker else { return Ok(()) };
        let mut events = Vec::new();
        let (_, left) = worker.close(boot_ms, &mut |event| events.push(event));
        if vehicle.disk.is_off() {
            self.power_lost(index);
            return Ok(());
        }
        for event in events {
            if let Event::Durable { stream, up_to } = event {
                vehicle.ledger.durable(stream, up_to);
            }
        }
        if left == 0 {
            vehicle.ledger.closed();
        } else {
            vehicle.ledger.crashed();
        }
        Ok(())
    }

    /// How long it takes to open a queue.
    pub(crate) fn opening_takes(&mut self) -> Moment {
        let takes = Duration::from_millis(self.dice.between(5, 2_000));
        micros(takes)
    }
}
