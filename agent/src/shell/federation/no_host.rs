//! Stands where a program with the feature `kubernetes` looks after the members of a cluster: one without it does not.

use tokio::sync::mpsc;

use crate::config;
use crate::core::agent::Input;

/// Does nothing.
#[must_use]
pub fn start(_config: &config::Host) -> Option<mpsc::Receiver<Input>> {
    None
}
