//! Mistakes made on purpose between the machine and the vehicle, to see them noticed.

crate::bug::mistakes! {
    /// An intent counts as durable before it is.
    UnsavedIntent = "unsaved-intent",
    /// What is owed to servers is not stored.
    ForgottenDebts = "forgotten-debts",
    /// When joins began is not stored.
    ForgottenJoins = "forgotten-joins",
    /// Cleaning up does nothing.
    SkippedCleanUp = "skipped-clean-up",
    /// Stopping the unit does nothing.
    UnstoppedUnit = "unstopped-unit",
    /// The agent beside a server deletes nothing.
    IdleHost = "idle-host",
    /// Servers that are silent count as answering.
    DeafToSilence = "deaf-to-silence",
}
