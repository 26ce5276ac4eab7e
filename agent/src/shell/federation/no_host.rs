//! Stands where a program with the feature `kubernetes` looks after the members of a cluster: one without it does not.

use super::Beside;
use crate::config::Config;
use crate::shell::http;

/// Does nothing.
#[must_use]
pub fn start(_config: &Config, _http: &http::Server) -> Option<Beside> {
    None
}
