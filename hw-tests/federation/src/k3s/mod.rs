//! A double of k3s: what it does on the wire and in which order when a node joins, and nothing of its inside.
//!
//! The [`supervisor`] half stands in front of a real kube-apiserver, as the k3s server does on its one port. The [`agent`]
//! half joins through it and then runs a real kubelet, or keeps a Node alive itself.

pub mod agent;
pub mod supervisor;
pub mod token;

/// Port of a k3s server, for joins and for the Kubernetes API.
pub const PORT: u16 = 6443;

/// Where the load balancer of an agent listens unless told otherwise.
pub const BALANCER_PORT: u16 = 6444;

/// Type of the Secret that keeps the hash of a node's password.
pub const PASSWORD_SECRET_TYPE: &str = "k3s.cattle.io/node-password";

/// What follows a node's name in the name of that Secret.
pub const PASSWORD_SECRET_SUFFIX: &str = ".node-password.k3s";

/// Header with the name of the node that joins.
pub const NODE_NAME: &str = "k3s-node-name";

/// Header with its password.
pub const NODE_PASSWORD: &str = "k3s-node-password";

/// Header with its addresses, separated by commas.
pub const NODE_IP: &str = "k3s-node-ip";

/// Group of bootstrap tokens that may join agents.
pub const BOOTSTRAP_GROUP: &str = "system:bootstrappers:k3s:default-node-token";
