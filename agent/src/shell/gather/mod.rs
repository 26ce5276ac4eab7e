//! How records get into the durable queue: over the control socket ([`super::http`]), from folders ([`folder`]) and from a
//! broker on this vehicle ([`mqtt`]). All of them hand their records to one [`Intake`] and give the source its receipt only
//! when the queue says that a record is safe.
//!
//! Nothing is queued here and nothing is retried for ever: a source that gets no room is told so, and keeps its record.

pub mod folder;
mod intake;
pub mod mqtt;

use tokio::sync::mpsc;
use tokio::task::JoinSet;

use crate::config::Config;

pub use intake::{Ack, Intake, Receipts, Refused, Tally, Target};

/// Troubles that wait to be told; what finds no room comes again when it happens again.
const TROUBLES_MAX: usize = 16;

/// Something people should know about a source.
#[derive(Debug)]
pub struct Trouble {
    /// Fixed word.
    pub kind: &'static str,
    /// The stream it concerns.
    pub stream: String,
    /// One sentence.
    pub text: String,
}

/// Tells the loop what does not work.
#[derive(Clone, Debug)]
pub struct Teller(mpsc::Sender<Trouble>);

impl Teller {
    fn trouble(&self, kind: &'static str, stream: &str, text: String) {
        let _ = self.0.try_send(Trouble { kind, stream: stream.to_owned(), text });
    }
}

/// The running sources. Dropping them ends them; what was not durable stays where it is.
#[derive(Debug)]
pub struct Sources {
    /// What does not work.
    pub troubles: mpsc::Receiver<Trouble>,
    _tasks: JoinSet<()>,
}

impl Sources {
    /// Starts what is configured.
    #[must_use]
    pub fn start(config: &Config, intake: &Intake) -> Sources {
        let (sender, troubles) = mpsc::channel(TROUBLES_MAX);
        let teller = Teller(sender);
        let mut tasks = JoinSet::new();
        for folder in &config.gather.folder {
            tasks.spawn(folder::watch(folder.clone(), intake.clone(), teller.clone()));
        }
        for local in &config.gather.mqtt {
            let client_id = mqtt::client_id(&config.vehicle.name, local);
            tasks.spawn(mqtt::watch(local.clone(), client_id, intake.clone(), teller.clone()));
        }
        Sources { troubles, _tasks: tasks }
    }
}
