//! What the operator decided about federations.

use std::collections::BTreeMap;
use std::time::Duration;

/// Numbers of one federation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Federation {
    /// The larger, the better.
    pub priority: u32,
    /// In contact while the network cost to a server is not above this.
    pub join_below: u32,
    /// Joined after so long in contact.
    pub join_after: Duration,
    /// Strained while the cost is above this, or nothing is heard.
    pub strain_above: u32,
    /// But only after so long; and back after so long.
    pub strain_after: Duration,
    /// Left after so long strained; `None` for never.
    pub leave_after: Option<Duration>,
}

/// Numbers of all.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Policy {
    /// Federations by name.
    pub federations: BTreeMap<String, Federation>,
    /// Join and change federations without the operator's word.
    pub automatic: bool,
    /// A member stays at least this long before it goes to a better federation.
    pub dwell: Duration,
    /// A better federation of the same priority costs at most this much of the present one, in percent.
    pub switch_percent: u32,
    /// Joins that may begin within [`Policy::changes_within`] by policy.
    pub changes_max: usize,
    /// See there.
    pub changes_within: Duration,
    /// A join that is not complete after so long in contact is given up. k3s itself gives up after 15 minutes and begins anew.
    pub join_patience: Duration,
    /// A server-side step of leaving that gets no answer for so long is deferred.
    pub leave_patience: Duration,
    /// A vehicle that leaves by policy waits for its pods to be evicted, or for the disruption budgets that hold them, for so long; one that an
    /// operator sent waits until the operator says otherwise.
    pub drain_within: Duration,
    /// First and longest pause after a step or a pre-flight that did not work.
    pub pause: [Duration; 2],
}

impl Default for Policy {
    fn default() -> Policy {
        const MINUTE: Duration = Duration::from_secs(60);
        Policy {
            federations: BTreeMap::new(),
            automatic: true,
            dwell: MINUTE * 10,
            switch_percent: 70,
            changes_max: 4,
            changes_within: MINUTE * 60,
            join_patience: MINUTE * 45,
            leave_patience: MINUTE * 5,
            drain_within: MINUTE * 30,
            pause: [Duration::from_secs(10), MINUTE * 30],
        }
    }
}
