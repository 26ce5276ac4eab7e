//! Every metric the agent knows, in one place: name, meaning, unit, labels, resolution.

pub mod agent;
pub mod hardware;
pub mod mesh;
