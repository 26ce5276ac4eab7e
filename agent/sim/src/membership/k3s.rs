//! The double of k3s: what it does on a vehicle and at its server.

use outrider::core::membership::Unit;

use super::vehicle::Vehicle;
use super::{Happening, World};
use crate::agenda::{Moment, SECOND};
use crate::failure::Kept;

/// How often k3s asks its server, or tells it that it is alive.
const EVERY: Moment = 10 * SECOND;

/// Answers of its server one after the other, beyond which it registers.
const ANSWERS: u32 = 2;

/// k3s's agent under its service manager.
#[derive(Debug)]
pub(super) struct K3s {
    pub(super) unit: Unit,
    /// Number of the start; what was going on before is void.
    run: u32,
    /// The federation that it was started for.
    pub(super) of: Option<String>,
    /// What it has registered as.
    uid: Option<String>,
    /// Answers of its server one after the other.
    answers: u32,
}

impl Default for K3s {
    fn default() -> K3s {
        K3s { unit: Unit::Stopped, run: 0, of: None, uid: None, answers: 0 }
    }
}

impl K3s {
    /// It begins anew for what the vehicle is equipped for.
    fn start(&mut self, equipped: Option<&str>) {
        self.stop();
        self.of = equipped.map(str::to_owned);
        self.uid = None;
        self.answers = 0;
        self.unit = if self.of.is_some() { Unit::Starting } else { Unit::Failed };
    }

    /// It ends.
    pub(super) fn stop(&mut self) {
        self.run += 1;
        self.unit = Unit::Stopped;
    }

    /// Whether it has or may have containers.
    pub(super) fn runs(&self) -> bool {
        matches!(self.unit, Unit::Active | Unit::Starting)
    }
}

impl Vehicle {
    fn restart_k3s(&mut self) {
        self.k3s.start(self.disk.equipped.as_deref());
    }

    /// The password for a federation; one is made if there is none.
    fn password(&mut self, federation: &str) -> u64 {
        let dice = &mut self.dice;
        *self.disk.passwords.entry(federation.to_owned()).or_insert_with(|| dice.roll())
    }
}

impl World {
    /// k3s begins anew with what the vehicle is equipped for.
    pub(super) fn start_k3s(&mut self, index: usize) {
        self.vehicles[index].restart_k3s();
        self.plan_k3s(index);
    }

    fn plan_k3s(&mut self, index: usize) {
        let run = self.vehicles[index].k3s.run;
        self.agenda.put(self.now + EVERY, Happening::K3s(index, run));
    }

    /// k3s asks its server, or tells it that it is alive.
    pub(super) fn k3s_lives(&mut self, index: usize, run: u32) -> Kept {
        let k3s = &self.vehicles[index].k3s;
        if k3s.run != run {
            return Ok(());
        }
        let Some(name) = k3s.of.clone() else { return Ok(()) };
        let answers = self.server(&name).filter(|server| self.api(index, *server));
        let vehicle = &mut self.vehicles[index];
        let clock_ms = vehicle.wall_ms(self.now);
        match (vehicle.k3s.unit, answers) {
            (Unit::Starting, None) => vehicle.k3s.answers = 0,
            (Unit::Starting, Some(server)) => {
                vehicle.k3s.answers += 1;
                if vehicle.k3s.answers > ANSWERS {
                    self.k3s_joins(index, server, clock_ms)?;
                }
            }
            (Unit::Active, Some(server)) => {
                let uid = vehicle.k3s.uid.as_deref().unwrap_or_default();
                self.servers[server].heartbeat(&vehicle.name, uid, clock_ms, self.now);
            }
            (Unit::Active | Unit::Absent | Unit::Stopped | Unit::Stopping | Unit::Failed, _) => {}
        }
        if !self.calm && self.dice.one_in(3_000) {
            self.note(index, |_| "k3s ends by itself and is started again".to_owned());
            self.vehicles[index].restart_k3s();
        }
        self.plan_k3s(index);
        Ok(())
    }

    fn k3s_joins(&mut self, index: usize, server: usize, clock_ms: i64) -> Kept {
        let federation = self.servers[server].name.clone();
        self.begins_beside(index, &federation)?;
        let vehicle = &mut self.vehicles[index];
        let password = vehicle.password(&federation);
        let server = &mut self.servers[server];
        let uid = server.register(&vehicle.name, password, clock_ms, self.now);
        if let Some(uid) = uid {
            vehicle.k3s.unit = Unit::Active;
            vehicle.k3s.uid = Some(uid.clone());
            vehicle.disk.residue = Some(federation.clone());
            vehicle.forgotten.remove(&federation);
            self.note(index, |_| format!("k3s is in {federation} as {uid}"));
        } else {
            self.note(index, |_| format!("k3s is refused in {federation}: another password"));
        }
        Ok(())
    }
}
