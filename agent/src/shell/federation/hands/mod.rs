//! What is done to k3s on this vehicle itself: its service is started and stopped, its files are put into place and away, and
//! what it leaves is removed. When to do which is decided in [`crate::core::membership`].
//!
//! Everything here may be done again after a power cut at any point, ends in bounded time, and answers with an [`Outcome`]. It
//! touches one file of k3s's configuration, [`DROP_IN`]; it never runs `k3s-killall.sh` or the uninstall script, which stop every
//! k3s of the machine; it never touches images, `server/`, or anything of another k3s.
//!
//! All of it takes root, and a unit that sees the machine's own mounts: `images/systemd/outrider-federation.conf` is the drop-in
//! for that.
//!
//! # What is kept
//!
//! Below [`Settings::keep`], for root alone, one folder for each federation:
//!
//! | file | |
//! |---|---|
//! | `token` | the full token, which the drop-in names; only while equipped |
//! | `node-password`, `node-password.earlier` | by which the federation knows the vehicle; the one before, if it was ever replaced |
//! | `agent/` | certificates, keys and kubeconfigs that k3s had last |
//!
//! `.operator/` has the same of what was there before any federation; it comes back when the vehicle is in none.

mod clean_up;
mod firewall;
mod link;
mod observe;
mod places;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Mutex;
use tokio::task::spawn_blocking;
use tokio::time::{Instant, sleep, timeout};

use self::observe::World;
use self::places::Places;
use super::program::order;
pub use super::service::DROP_IN;
use super::service::{OPENRC, SYSTEMD, find};
pub use crate::core::membership::cleanup::NeverTouch;
pub use crate::core::membership::drop_in::Equipment;
use crate::core::membership::kept::{self, Wanted, is_folder_name};
use crate::core::membership::manager::Verb;
pub use crate::core::membership::manager::{Commands, ManagerChoice};
use crate::core::membership::unit::{NAMES, Service};
use crate::core::membership::{Outcome, Unit, drop_in};

/// Where k3s reads the password of its Node.
pub const NODE_PASSWORD: &str = "/etc/rancher/node/password";

/// Time for a manager to take an order. Those without a queue answer when a start script has ended.
const ORDER_PATIENCE: Duration = Duration::from_secs(60);

/// How long a stop is watched before the answer is that it is under way.
const STOP_WATCH: Duration = Duration::from_secs(3);

/// Between two looks at a service that stops.
const STOP_LOOK: Duration = Duration::from_millis(100);

/// When to look again at a service that takes longer.
const STOP_AGAIN: Duration = Duration::from_secs(5);

/// One clean-up takes seconds. What takes longer waits for a disk or a dead file server, and is looked at again later.
const CLEAN_UP_PATIENCE: Duration = Duration::from_secs(180);

/// When to look again at a clean-up that takes longer.
const CLEAN_UP_AGAIN: Duration = Duration::from_secs(60);

/// What a person does when a right is missing.
const PRIVILEGES: &str = "let it run as root and without a sandbox: outrider-federation.conf is a drop-in of systemd for that";

/// What has to be known of this vehicle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Which manager runs k3s; found out when not said.
    pub manager: Option<ManagerChoice>,
    /// Name of its service, if it is none of the usual ones.
    pub unit: Option<String>,
    /// Folder of k3s's data.
    pub data_folder: PathBuf,
    /// Folder of this agent for what belongs to federations.
    pub keep: PathBuf,
}

/// The hands.
#[derive(Clone, Debug)]
pub struct Hands {
    settings: Settings,
    places: Places,
    /// Held while something is cleaned up, also when nobody waits for that any more.
    cleaning: Arc<Mutex<()>>,
}

/// What came of cleaning up.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CleanedUp {
    /// As of every step.
    pub outcome: Outcome,
    /// What was left on purpose, and why, for people.
    pub left: Vec<String>,
}

impl Hands {
    /// With these settings. Looks at nothing yet.
    #[must_use]
    pub fn new(settings: Settings) -> Hands {
        let places = Places {
            drop_in: DROP_IN.into(),
            password: NODE_PASSWORD.into(),
            agent: settings.data_folder.join("agent"),
            keep: settings.keep.clone(),
        };
        Hands { settings, places, cleaning: Arc::default() }
    }

    /// The manager of services.
    fn manager(&self) -> Result<ManagerChoice, String> {
        if let Some(choice) = &self.settings.manager {
            return Ok(choice.clone());
        }
        if Path::new(SYSTEMD).exists() {
            return Ok(ManagerChoice::Systemd);
        }
        if Path::new(OPENRC).exists() {
            return Ok(ManagerChoice::OpenRc);
        }
        Err("neither systemd nor OpenRC manages this machine; configure the commands that start, restart, stop and ask \
             for k3s"
            .to_owned())
    }

    /// What the manager says of the service. A service that runs something else than an agent counts as none.
    ///
    /// # Errors
    /// The manager gives no answer; nothing is known then.
    pub async fn unit(&self) -> Result<Unit, String> {
        let service = find(self.manager()?.manager(), self.settings.unit.as_deref()).await?;
        let agent = service.filter(|service| service.stranger().is_none());
        Ok(agent.map_or(Unit::Absent, |service| service.state))
    }

    /// Starts the service. Done when it runs, or is on its way up: that may last for days, while no server is in reach.
    pub async fn start(&self) -> Outcome {
        self.service_told(Verb::Start).await.unwrap_or_else(|outcome| outcome)
    }

    /// Restarts the service. Done when the manager has taken the order.
    pub async fn restart(&self) -> Outcome {
        self.service_told(Verb::Restart).await.unwrap_or_else(|outcome| outcome)
    }

    async fn service_told(&self, verb: Verb) -> Result<Outcome, Outcome> {
        let choice = self.manager().map_err(Outcome::Refused)?;
        let Some(service) = self.service(&choice).await? else {
            return Err(Outcome::Refused(format!(
                "there is no service {}",
                self.settings.unit.as_deref().unwrap_or(&NAMES.join(" or "))
            )));
        };
        let runs = matches!(service.state, Unit::Active | Unit::Starting);
        if verb == Verb::Start && runs {
            return Ok(Outcome::Done);
        }
        self.order(&choice, verb, &service.name).await?;
        Ok(Outcome::Done)
    }

    /// Stops the service; containers live on. Done when it does not run.
    pub async fn stop(&self) -> Outcome {
        self.stopped().await.err().unwrap_or(Outcome::Done)
    }

    async fn stopped(&self) -> Result<(), Outcome> {
        let choice = self.manager().map_err(Outcome::Refused)?;
        let begin = Instant::now();
        let mut told = false;
        loop {
            let state = self.service(&choice).await?.map(|service| (service.state, service.name));
            let Some((state, name)) = state else { return Ok(()) };
            match state {
                Unit::Absent | Unit::Stopped | Unit::Failed => return Ok(()),
                // Also one that is said to stop: OpenRC says so for ever of one whose stopping was cut short.
                Unit::Starting | Unit::Active | Unit::Stopping if !told => {
                    self.order(&choice, Verb::Stop, &name).await?;
                    told = true;
                }
                Unit::Starting | Unit::Active | Unit::Stopping => {}
            }
            if begin.elapsed() >= STOP_WATCH {
                let text = format!("the service {name} is still on its way down");
                return Err(Outcome::NotYet { after: STOP_AGAIN, text });
            }
            sleep(STOP_LOOK).await;
        }
    }

    /// The service, which is this agent's to start and stop.
    async fn service(&self, choice: &ManagerChoice) -> Result<Option<Service>, Outcome> {
        let found = find(choice.manager(), self.settings.unit.as_deref()).await;
        let service = found.map_err(|text| Outcome::NotYet { after: STOP_AGAIN, text })?;
        match service.as_ref().and_then(Service::stranger) {
            Some(command) => Err(Outcome::Refused(format!(
                "the service {} runs `{command}`, which is no agent and is left alone",
                service.map_or(String::new(), |service| service.name)
            ))),
            None => Ok(service),
        }
    }

    async fn order(&self, choice: &ManagerChoice, verb: Verb, name: &str) -> Result<(), Outcome> {
        let words = choice.manager().order(verb, name);
        let said = order(&words, ORDER_PATIENCE)
            .await
            .map_err(|text| Outcome::NotYet { after: STOP_AGAIN, text })?;
        if said.code == Some(0) {
            return Ok(());
        }
        let [command, error] = [words.join(" "), said.error];
        Err(Outcome::Refused(format!("`{command}` failed: {error}")))
    }

    /// The drop-in, if there is one.
    #[must_use]
    pub fn drop_in(&self) -> Option<String> {
        fs::read_to_string(&self.places.drop_in).ok()
    }

    /// The federation that the drop-in names. `None` when there is no drop-in of this agent.
    #[must_use]
    pub fn equipped(&self) -> Option<String> {
        drop_in::equipped(&self.drop_in()?)
    }

    /// Whether k3s, which has this drop-in, would read exactly what the equipment is.
    #[must_use]
    pub fn is_equipped_with(&self, equipment: &Equipment, drop_in: &str) -> bool {
        let token = self.places.token(&equipment.federation);
        equipment.drop_in(&token).is_ok_and(|text| text == drop_in)
            && equipment.token_text() == fs::read_to_string(&token).unwrap_or_default()
    }

    /// Whether this vehicle has a password that the federation may know it by.
    #[must_use]
    pub fn has_password(&self, federation: &str) -> bool {
        let kept = self.kept(federation).map(|folder| folder.join(places::PASSWORD));
        kept.is_some_and(|kept| kept.exists()) || self.places.password.exists()
    }

    /// Folder of what is kept for a federation; its credentials are below `agent`.
    #[must_use]
    pub fn kept(&self, federation: &str) -> Option<PathBuf> {
        is_folder_name(federation).then(|| self.places.keep.join(federation))
    }

    /// Puts into place what k3s needs for a federation. It takes effect when the service starts.
    pub async fn equip(&self, equipment: Equipment) -> Outcome {
        if let Err(outcome) = self.is_free().await {
            return outcome;
        }
        let places = self.places.clone();
        blocking(move || equip(&places, &equipment)).await
    }

    /// Nothing is put into place under a k3s that runs without this agent's drop-in: it is in a cluster that somebody else chose. One
    /// that was told of no server ends by itself.
    async fn is_free(&self) -> Result<(), Outcome> {
        if self.equipped().is_some() {
            return Ok(());
        }
        // Without a manager nothing was started by one; that it is missing is told when something is to be started.
        let Ok(choice) = self.manager() else { return Ok(()) };
        let service = self.service(&choice).await?;
        match service.filter(|service| !service.waits) {
            Some(Service {
                name, state: Unit::Active | Unit::Starting | Unit::Stopping, ..
            }) => Err(Outcome::Unreachable(format!(
                "the service {name} runs already, in a cluster that somebody else chose; stop it if this agent is to choose"
            ))),
            Some(_) | None => Ok(()),
        }
    }

    /// Puts away what k3s had for a federation. The service must not run: k3s would write some of it again.
    pub async fn strip(&self, federation: &str) -> Outcome {
        if let Err(outcome) = self.stopped().await {
            return outcome;
        }
        let (places, federation) = (self.places.clone(), federation.to_owned());
        blocking(move || places.perform(kept::strip(&places.look()?, &federation)?)).await
    }

    /// Stops the service if need be, and removes what it left on this machine: containers, mounts, networks, interfaces, rules
    /// and state; see [`crate::core::membership::cleanup`] for what is whose. Images stay.
    pub async fn clean_up(&self, never: &NeverTouch) -> CleanedUp {
        let mut left = Vec::new();
        let work = self.clean(never, &mut left);
        let outcome = match timeout(CLEAN_UP_PATIENCE, work).await {
            Ok(Ok(())) => Outcome::Done,
            Ok(Err(outcome)) => outcome,
            Err(_) => Outcome::NotYet {
                after: CLEAN_UP_AGAIN,
                text: format!("cleaning up takes longer than {} s", CLEAN_UP_PATIENCE.as_secs()),
            },
        };
        CleanedUp { outcome, left }
    }

    async fn clean(&self, never: &NeverTouch, left: &mut Vec<String>) -> Result<(), Outcome> {
        let busy = |_| Outcome::NotYet {
            after: CLEAN_UP_AGAIN,
            text: "an earlier clean-up still waits for a disk or a file server".to_owned(),
        };
        let guard = Arc::clone(&self.cleaning).try_lock_owned().map_err(busy)?;
        self.stopped().await?;
        if !observe::sees_the_machine() {
            return Err(Outcome::Refused(format!(
                "this agent does not see the machine's own mounts, network and processes; {PRIVILEGES}"
            )));
        }
        let (data, never) = (self.settings.data_folder.clone(), never.clone());
        let swept = spawn_blocking(move || {
            let places = observe::places(&data);
            let left = clean_up::sweep(&places, &never)?;
            let world = World::look(&places).map_err(clean_up::unseen)?;
            Ok((places, world, left, guard))
        });
        let (places, world, found, guard) = swept.await.map_err(|error| ended(&error))??;
        left.extend(found);
        firewall::sweep(&places, &world, left).await?;
        let removed = spawn_blocking(move || {
            let _guard = guard;
            let mut left = Vec::new();
            clean_up::remove_files(&places, &mut left).map(|()| left)
        });
        left.extend(removed.await.map_err(|error| ended(&error))??);
        Ok(())
    }
}

fn ended(error: &tokio::task::JoinError) -> Outcome {
    Outcome::Refused(format!("a task of this agent ended: {error}"))
}

fn equip(places: &Places, equipment: &Equipment) -> Result<(), String> {
    let federation = equipment.federation.as_str();
    if !is_folder_name(federation) {
        return Err(format!(
            "`{}` cannot be the name of a folder; name the federation otherwise",
            federation.escape_debug()
        ));
    }
    let drop_in = equipment.drop_in(&places.token(federation))?;
    let token = equipment.token_text();
    let fresh_password =
        &fresh_password().map_err(|error| format!("making a node password: {error}"))?;
    let wanted = Wanted { federation, drop_in: &drop_in, token: &token, fresh_password };
    places.perform(kept::equip(&places.look()?, wanted)?)
}

/// As k3s makes one: 16 random bytes, in hexadecimal.
fn fresh_password() -> std::io::Result<String> {
    use std::io::Read as _;
    let mut bytes = [0_u8; 16];
    fs::File::open("/dev/urandom")?.read_exact(&mut bytes)?;
    Ok(bytes.iter().map(|byte| format!("{byte:02x}")).collect())
}

/// Does a job that may wait for a disk.
async fn blocking(job: impl FnOnce() -> Result<(), String> + Send + 'static) -> Outcome {
    match spawn_blocking(job).await {
        Ok(Ok(())) => Outcome::Done,
        Ok(Err(text)) => Outcome::Refused(text),
        Err(error) => ended(&error),
    }
}

#[cfg(test)]
mod tests;
