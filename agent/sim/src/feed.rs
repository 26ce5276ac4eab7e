//! An agent's loop: inputs in, effects out, as `outrider::shell::run` does it, without a runtime.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use olsr_bridge::failure::{Failure, FailureClass};
use outrider::core::agent::{Effect, Input, Order};
use outrider::core::catalog::hardware::LOAD1;
use outrider::core::record::{Stamp, stored};
use outrider::core::sample::Sample;
use outrider::core::telemetry::BootId;
use spool::{Answer, StreamName};

use crate::agenda::{MINUTE, MS, Moment, SPINS_MAX, moment_of};
use crate::bug::Bug;
use crate::failure::{Broken, Kept};
use crate::plan::UNDECLARED;
use crate::random::Dice;
use crate::world::{Happening, World};

/// Pause before a busy queue is asked again, as in `outrider::shell::orders`.
const BUSY_AGAIN: Moment = 5 * MS;

/// What is in flight beyond the configured memory, in bytes: the window of events and a message that was begun within.
const FLIGHT_SLACK_BYTES: u64 = (64 + 64 + 1) * 1024;

impl World {
    /// Whether a tick that has come is the one that was last asked for.
    pub(crate) fn woken(&mut self, index: usize) -> bool {
        let now = self.now;
        let Some(process) = &mut self.vehicles[index].process else { return false };
        process.tick_at.take_if(|at| *at == now).is_some()
    }

    /// Feeds an agent and does what it wants done.
    pub(crate) fn feed(&mut self, index: usize, input: Input) -> Kept {
        let now = self.now;
        let vehicle = &mut self.vehicles[index];
        let clocks = vehicle.clocks(now);
        let Some(process) = &mut vehicle.process else { return Ok(()) };
        let number = process.number;
        let effects = process.agent.handle(input, clocks);
        self.summary.inputs += 1;
        for effect in effects {
            match effect {
                Effect::Poll => {
                    let at = now + self.dice.between(1, 200) * MS;
                    self.agenda.put(at, Happening::Polled(index, number));
                }
                Effect::Collect(collector) => {
                    let took = Duration::from_millis(1);
                    let result = match self.dice.below(50) {
                        0 => Err("it cannot be read".to_owned()),
                        load => Ok(vec![Sample::new(&LOAD1, &[], load as f64 / 10.0)]),
                    };
                    // One that hangs does not come back for minutes.
                    let hangs = self.dice.one_in(200);
                    let at = now + if hangs { self.dice.about(5 * MINUTE) } else { MS };
                    let input = Input::Hardware { collector, took, result };
                    self.agenda.put(at, Happening::Feed(index, number, Box::new(input)));
                }
                Effect::Submit(id, record) => self.submit(index, id, record)?,
                Effect::Order(order) => self.order(index, order),
                // These vehicles know no federation.
                Effect::Membership(_) => {}
                Effect::Log(event) => {
                    self.note(index, || format!("says {}: {}", event.kind, event.text))
                }
            }
        }
        self.pass_orders(index);
        self.watch_bounds(index)?;
        self.plan_tick(index)
    }

    fn order(&mut self, index: usize, order: Order) {
        if self.settings.bug == Some(Bug::RewindLost) && matches!(order, Order::Rewind(_)) {
            return;
        }
        let now = self.now;
        let Some(process) = &mut self.vehicles[index].process else { return };
        if let Some(Order::Keep { stream, stored }) = process.order(order) {
            let input = Input::Kept { stream, stored, name: None };
            let number = process.number;
            self.agenda.put(now, Happening::Feed(index, number, Box::new(input)));
        }
    }

    /// Passes on what was ordered of the queue.
    pub(crate) fn pass_orders(&mut self, index: usize) {
        let now = self.now;
        let Some(process) = &mut self.vehicles[index].process else { return };
        let number = process.number;
        if !process.pass_orders() {
            self.agenda.put(now + BUSY_AGAIN, Happening::PassOrders(index, number));
        }
        self.plan_step(index);
    }

    fn watch_bounds(&self, index: usize) -> Kept {
        let vehicle = &self.vehicles[index];
        let Some(process) = &vehicle.process else { return Ok(()) };
        let delivery = &process.agent.state().delivery;
        let most = vehicle.config.delivery.memory + FLIGHT_SLACK_BYTES;
        if delivery.way.in_flight_bytes > most {
            let how = format!("{} bytes in flight, {most} allowed", delivery.way.in_flight_bytes);
            return Err((index, Broken::new("what is in flight is bounded", how)));
        }
        let queued = process.agent.state().mqtt.queued_bytes;
        if queued > vehicle.config.mqtt.queue_bytes as u64 {
            let how = format!("{queued} bytes of {}", vehicle.config.mqtt.queue_bytes);
            return Err((index, Broken::new("the outbox is bounded", how)));
        }
        Ok(())
    }

    fn plan_tick(&mut self, index: usize) -> Kept {
        let now = self.now;
        let vehicle = &mut self.vehicles[index];
        let boot_at = vehicle.boot_at;
        let Some(process) = &mut vehicle.process else { return Ok(()) };
        let due = moment_of(boot_at, process.agent.deadline()).max(now);
        if due == now {
            process.spins += 1;
            if process.spins > SPINS_MAX {
                let how = format!("woken {SPINS_MAX} times at one moment");
                return Err((index, Broken::new("the loop does not spin", how)));
            }
        } else {
            process.spins = 0;
        }
        if process.tick_at.is_none_or(|at| due < at) {
            process.tick_at = Some(due);
            let number = process.number;
            self.agenda.put(due, Happening::Tick(index, number));
        }
        Ok(())
    }

    /// The routing daemon answers, or does not.
    pub(crate) fn polled(&mut self, index: usize, number: u32) -> Kept {
        if !self.runs(index, number) {
            return Ok(());
        }
        let vehicle = &self.vehicles[index];
        let result = if self.now < vehicle.daemon_silent_until {
            let text = "no answer".to_owned();
            Err(Failure { class: FailureClass::Timeout, text })
        } else {
            let uptime_ms = self.now.saturating_sub(vehicle.daemon_at) / MS + 1;
            let cut_off = self.now < vehicle.silent_until;
            Ok(Arc::new(self.convoy.view(index + 1, uptime_ms, cut_off)))
        };
        self.feed(index, Input::Mesh { took: Duration::from_millis(5), result })
    }

    /// A source makes records.
    pub(crate) fn gather(&mut self, index: usize, source: usize) {
        if self.calm {
            return;
        }
        let now = self.now;
        let vehicle = &mut self.vehicles[index];
        let plan = vehicle.plan.sources[source].clone();
        let pause = vehicle.dice.about(plan.every);
        self.agenda.put(now + pause, Happening::Source(index, source));
        let clocks = vehicle.clocks(now);
        let boot = BootId::from_text(&vehicle.boot_id());
        let largest = spool::limits::record_bytes_max(vehicle.config.spool.size) as u64 + 64;
        let memory = vehicle.config.spool.memory;
        let dice = &mut vehicle.dice;
        let Some(process) = &mut vehicle.process else { return };
        if process.worker.is_none() || process.stop_by.is_some() {
            return;
        }
        let Ok(name) = StreamName::new(&plan.stream) else { return };
        if plan.stream == UNDECLARED {
            process.define(UNDECLARED);
        }
        let count = if dice.one_in(20) { plan.burst } else { 1 };
        for _ in 0..count {
            vehicle.made += 1;
            let bytes = match dice.one_in(plan.large_one_in) {
                true => dice.below(largest),
                false if dice.one_in(10) => 0,
                false => dice.about(plan.bytes).saturating_sub(1),
            };
            let payload = payload(vehicle.made, bytes as usize, plan.compressible);
            let stored = stored::store(&Stamp::of(boot, clocks), None, &payload);
            let answer = if plan.durable { Answer::Durable } else { Answer::Accepted };
            if !process.append(name.tag(), stored, answer, memory) {
                break;
            }
        }
        self.plan_step(index);
    }

    /// What an own record of the agent says.
    pub(crate) fn payload_of(stored: &Bytes) -> Bytes {
        stored::load(stored.clone()).payload
    }
}

/// Bytes that say whose they are, as far as they are enough.
fn payload(number: u64, bytes: usize, compressible: bool) -> Vec<u8> {
    let mut dice = Dice::new(number);
    let mut payload = Vec::with_capacity(bytes + 8);
    payload.extend(number.to_le_bytes());
    let word = dice.roll();
    while payload.len() < bytes {
        let word = if compressible { word } else { dice.roll() };
        payload.extend(word.to_le_bytes());
    }
    payload.truncate(bytes);
    payload
}
