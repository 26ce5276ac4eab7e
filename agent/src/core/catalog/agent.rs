//! Metrics of the agent itself: collectors, polls, MQTT, HTTP.
