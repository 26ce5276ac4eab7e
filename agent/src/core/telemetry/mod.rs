//! What leaves the vehicle as telemetry: series numbered by a dictionary, ticks of samples gathered into batches, batches
//! written as compact frames or as JSON. Decides neither when nor where anything is sent; `core::delivery` does.
//!
//! All forms are described for receivers in `agent/PAYLOADS.md`.

pub mod batch;
mod bits;
pub mod decoder;
pub mod dictionary;
pub mod document;
pub mod frame;

pub use self::batch::{Batch, Batcher, BootId, Column, Losses, Wall};
pub use self::dictionary::{Dictionary, Series, Version};
pub use self::document::{Birth, EventDocument, Format, Sending, Telemetry};
