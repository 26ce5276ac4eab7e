//! How records get into the durable queue: over the control socket ([`super::http`]), from folders ([`folder`]) and from a
//! broker on this vehicle ([`mqtt`]). All of them hand their records to one [`Intake`] and give the source its receipt only
//! when the queue says that a record is safe.
//!
//! Nothing is queued here and nothing is retried for ever: a source that gets no room is told so, and keeps its record.

mod intake;

pub use intake::{Ack, Intake, Receipts, Refused, Tally, Target};
