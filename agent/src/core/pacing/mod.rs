//! How much may leave, and how fast: as much as the link carries, no more than the mesh and the tariff can bear, and never so
//! much at once that an event waits behind minutes of backlog.
//!
//! - [`RoundTrip`]: how long an acknowledgement takes, and how long to wait for one.
//! - [`Flow`]: how many bytes may be without acknowledgement.
//! - [`Budget`]: what the cost of the link, membership and caps allow at all.
//!
//! Decides about numbers only. Which record goes next is `core::courier`'s business.

mod budget;
mod flow;
mod round_trip;

pub use self::budget::{Budget, DAY, DayCount, Limits, LinkState, Urgency};
pub use self::flow::{
    Departure, Flow, MESSAGE_BYTES_MAX, MESSAGE_BYTES_MIN, WINDOW_BYTES_FIRST, WINDOW_BYTES_MIN,
};
pub use self::round_trip::RoundTrip;
