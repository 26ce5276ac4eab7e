//! The whole agent in a simulated world. One seed gives vehicles that move, links that go silent, a broker with moods, clocks that
//! jump, disks that fail, and power that goes at any instruction; the agents are the product's own core and its own durable
//! queue. An oracle knows what was promised for each record and compares ([`ledger`]). There is no real time, network, disk
//! or thread in it, so a run is the same every time.
//!
//! [`membership`] is another world, in which vehicles join and leave federations.
//!
//! What is simulated and what is real, which promises are checked, and what this does not cover, is in the README beside.

mod agenda;
mod broker;
mod bug;
mod failure;
mod feed;
pub mod ledger;
mod link;
pub mod membership;
mod mesh;
mod net;
mod plan;
mod queue;
mod random;
mod trouble;
mod vehicle;
mod world;

pub use bug::Bug;
pub use failure::{Broken, Failure};
pub use world::{Settings, Summary, run};
