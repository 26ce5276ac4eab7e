//! What is asked of a Kubernetes API, and what its answers mean: paths, bodies and judgement. Sends nothing; knows no Kubernetes
//! beyond what leaving, staying and telling need.
//!
//! - [`aggregation`]: what an API beside the server's has to know.
//! - [`answer`]: what a status means for the one who asked.
//! - [`node`]: the own Node and those of members: read, cordoned, labelled, tainted, deleted.
//! - [`drain`]: which pods are evicted, and what is made of the answers.
//! - [`names`]: what may be a name or a label, and the labels by which all members are named alike.
//! - [`publish`]: what is said at the own Node, and how seldom.
//!
//! # Names
//!
//! Everything of ours at a Node is called `outrider.internal/…`. A prefix has to be a DNS name (Kubernetes,
//! "Labels and Selectors"), and one that nobody can register: ICANN keeps `internal` out of the public DNS for private use
//! (board resolution of 2024-07-29), whereas `outrider.dev` and the like are somebody's. `local` would do as well, but stands for
//! multicast DNS (RFC 6762). Kubelets may write such labels and annotations at their own Node; those of `kubernetes.io` and
//! `k8s.io` they may not, but for a few.

pub mod aggregation;
pub mod answer;
pub mod drain;
mod json;
pub mod names;
pub mod node;
pub mod publish;
mod when;

pub use self::drain::{DrainPolicy, Loss, Progress};
pub use self::json::Page;
pub use self::names::{MemberName, label, node_name};
pub use self::node::{Node, Owner, Taint};
pub(in crate::core::membership) use self::publish::differs;
pub use self::publish::{Announcement, INTERVAL, Publisher, Word};
pub use self::when::{wall_ms, written};

/// Begin of every key of ours, see the module's documentation.
pub const PREFIX: &str = "outrider.internal/";

/// Annotation and label: id of the vehicle that the Node is of.
pub const VEHICLE: &str = "outrider.internal/vehicle";

/// Label: kind of the vehicle.
pub const KIND: &str = "outrider.internal/kind";

/// Annotation: since when, and why, the vehicle is leaving. A Node that has it has left, one that is silent without is lost.
pub const LEAVING: &str = "outrider.internal/leaving";

/// Annotation: when the host noticed that the vehicle is silent although it did not say that it leaves.
pub const LOST: &str = "outrider.internal/lost";

/// Annotation: network cost from the federation's server to the vehicle; 100 is a perfect hop, -1 is out of reach.
pub const NETWORK_COST: &str = "outrider.internal/network-cost";

/// Annotation: bytes gathered and not delivered yet, a JSON object by stream.
pub const GATHERED: &str = "outrider.internal/gathered-bytes";

/// Annotation: version of the agent.
pub const AGENT_VERSION: &str = "outrider.internal/agent-version";

/// Label of Kubernetes for what fails together (well-known labels).
pub const ZONE: &str = "topology.kubernetes.io/zone";

/// Label of Kubernetes for what zones are parts of.
pub const REGION: &str = "topology.kubernetes.io/region";

/// Media type of a merge patch (RFC 7396). It cannot make what does not exist, unlike an apply.
pub const MERGE_PATCH: &str = "application/merge-patch+json";

/// Media type of everything else.
pub const JSON: &str = "application/json";

/// Objects that are asked for at a time: a pod has some kilobytes, a Node 4 and more with the images that it lists.
pub const PAGE: usize = 50;
