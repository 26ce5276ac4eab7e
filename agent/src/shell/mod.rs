//! All side effects: one current-thread loop that merges every source into one event enum, feeds [`crate::core`] and
//! performs the effects it returns. Nothing is decided here.

pub mod adjtimex;
pub mod clock;
mod digest;
pub mod disk;
pub mod federation;
pub mod fleet;
pub mod gather;
pub mod http;
pub mod hw;
pub mod log;
pub mod mesh;
pub mod mqtt;
pub mod orders;
pub mod replace;
pub mod run;
pub mod sdnotify;
pub mod spool;
#[cfg(all(target_arch = "arm", target_env = "musl", target_endian = "little"))]
pub mod time32;
pub mod tls;

pub use run::run;
