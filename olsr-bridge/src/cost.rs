//! The network cost: one dimensionless, additive number for both daemons.
