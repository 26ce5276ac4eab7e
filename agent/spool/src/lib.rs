//! A durable, bounded queue on flash: crash-safe, freed on acknowledgement, small.
//!
//! Records go in by stream, are kept until the far side acknowledged exactly them, and leave once. The README has the format,
//! what recovery may assume, and who may delete what. The crate refuses to read a clock or a source of randomness, to run on
//! an async runtime, to map memory, and to fail because of old data.
//!
//! [`Spool`] is the queue itself and does everything in the caller's thread; [`SpoolThread`] runs one behind a bounded
//! channel and does the group commit, [`Worker`] does the same for those who bring their own time. [`tools`] look into a spool that nobody has open.

mod absence;
mod body;
mod clock;
mod codec;
mod error;
mod files;
mod frame;
pub mod limits;
mod marks;
mod meter;
mod options;
mod read;
mod recover;
mod report;
mod rewrite;
mod room;
mod scan;
#[cfg(feature = "simulated")]
pub mod simulated;
mod spool;
mod state;
mod storage;
mod survey;
mod thread;
pub mod tools;
mod worker;
mod write;

pub use error::{AppendError, DiskError, OpenError, OptionsError};
pub use files::Files;
pub use marks::{Count, Counts};
pub use options::{
    AtBound, BootMs, Fate, Options, RecordId, Session, StreamName, StreamPolicy, StreamTag,
};
pub use read::Delivery;
pub use report::{Damage, Degraded, Event, Report, StreamReport};
pub use rewrite::QUARANTINE;
pub use spool::{Accepted, Acknowledgement, Spool};
pub use storage::{Entry, Lock, Storage};
pub use thread::{Pace, SpoolHandle, SpoolThread, Unsubmitted};
pub use worker::{Answer, Reply, Worker};
