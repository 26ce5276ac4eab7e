//! Metrics of the vehicle hardware and operating system.
