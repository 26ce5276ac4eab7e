//! Outrider: the one program that rides on every vehicle of an ad-hoc convoy.
//!
//! [`core`] decides and is pure; [`shell`] owns every side effect and runs one loop; [`cli`] is one file per command;
//! [`config`] is one file of settings with every key optional.

pub mod cli;
pub mod config;
pub mod core;
pub mod shell;
