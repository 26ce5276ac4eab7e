//! Stands where a program with the feature `kubernetes` looks after the members of a cluster: one without it does not.

use tokio::sync::mpsc;

use crate::config::Config;
use crate::core::agent::Input;
use crate::shell::http;

/// Does nothing.
#[must_use]
pub fn start(_config: &Config, _http: &http::Server) -> Option<mpsc::Receiver<Input>> {
    None
}
