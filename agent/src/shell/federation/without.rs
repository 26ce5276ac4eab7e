//! Stands where a program with the feature `kubernetes` has the one that carries out what is wanted of federations: a vehicle
//! without it goes into none.

use tokio::sync::mpsc;

use crate::config::Config;
use crate::core::membership::Intent;
use crate::core::membership::steward::{Context, Report, Task};

/// Nobody.
#[derive(Debug)]
pub struct Member {
    /// Nothing.
    pub reports: mpsc::UnboundedReceiver<Report>,
}

impl Member {
    /// There is none.
    #[must_use]
    pub fn start(_config: &Config) -> Option<(Member, Intent, Option<String>)> {
        None
    }

    /// Does nothing.
    pub fn take(&self, _task: Task, _context: Context) {}
}
