//! Which vehicle a topic belongs to and what lies on it. The vehicle's level of the topic is its name everywhere in the fleet:
//! a broker can check who publishes where, nobody can check what a document says about itself.

use crate::core::presence::{Topics, VEHICLE_BYTES_MAX};
use crate::core::record::check_stream_name;

/// What lies on a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject<'t> {
    /// A birth document.
    Birth,
    /// A status document.
    Status,
    /// A batch of samples.
    Telemetry,
    /// An event.
    Event,
    /// Records of this stream.
    Stream(&'t str),
}

/// Why a topic belongs to nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TopicError {
    /// It is none of a vehicle's topics.
    Unknown,
    /// The vehicle's name is empty, too long or has control characters: no agent writes such a one.
    Vehicle,
    /// The stream's name is none.
    Stream,
}

/// Topics below one prefix.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Prefix {
    /// With a slash at its end, or empty.
    base: String,
}

impl Prefix {
    /// The topics that vehicles with this `mqtt.topic` publish on.
    #[must_use]
    pub fn new(prefix: &str) -> Prefix {
        let birth = Topics::new(prefix, "v").birth;
        Prefix { base: birth.strip_suffix("v/birth").unwrap_or_default().to_owned() }
    }

    /// What to subscribe to.
    #[must_use]
    pub fn filter(&self) -> String {
        format!("{}#", self.base)
    }

    /// A topic of `vehicle`, which is a level of a topic already, such as `status`.
    #[must_use]
    pub fn topic(&self, vehicle: &str, rest: &str) -> String {
        format!("{}{vehicle}/{rest}", self.base)
    }

    /// Whether what is published below `other` comes back on our subscription.
    #[must_use]
    pub fn covers(&self, other: &Prefix) -> bool {
        other.base.starts_with(&self.base)
    }

    /// Vehicle and subject of a topic.
    ///
    /// # Errors
    /// When it is none that an agent publishes on.
    pub fn parse<'t>(&self, topic: &'t str) -> Result<(&'t str, Subject<'t>), TopicError> {
        let below = topic.strip_prefix(self.base.as_str()).ok_or(TopicError::Unknown)?;
        let (vehicle, rest) = below.split_once('/').ok_or(TopicError::Unknown)?;
        let subject = match rest {
            "birth" => Subject::Birth,
            "status" => Subject::Status,
            "telemetry" => Subject::Telemetry,
            "event" => Subject::Event,
            _ => Subject::Stream(rest.strip_prefix("stream/").ok_or(TopicError::Unknown)?),
        };
        let named = !vehicle.is_empty() && vehicle.len() <= VEHICLE_BYTES_MAX;
        if !named || vehicle.chars().any(char::is_control) {
            return Err(TopicError::Vehicle);
        }
        match subject {
            Subject::Stream(name) if check_stream_name(name).is_err() => Err(TopicError::Stream),
            _ => Ok((vehicle, subject)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn topics_of_agents_are_told_apart() {
        for prefix in ["", "outrider", "convoy/red"] {
            let topics = Topics::new(prefix, "hawk");
            let prefix = Prefix::new(prefix);
            for (topic, subject) in [
                (&topics.birth, Subject::Birth),
                (&topics.status, Subject::Status),
                (&topics.telemetry, Subject::Telemetry),
                (&topics.event, Subject::Event),
                (&topics.stream("gps"), Subject::Stream("gps")),
            ] {
                assert_eq!(prefix.parse(topic), Ok(("hawk", subject)));
            }
            assert_eq!(prefix.topic("hawk", "birth"), topics.birth);
        }
        assert_eq!(Prefix::new("").filter(), "#");
        assert_eq!(Prefix::new("a/b/").filter(), "a/b/#");
    }

    #[test]
    fn strange_topics_are_refused() {
        let prefix = Prefix::new("p");
        let long = format!("p/{}/birth", "x".repeat(256));
        for (topic, error) in [
            ("q/hawk/birth", TopicError::Unknown),
            ("p/hawk", TopicError::Unknown),
            ("p/hawk/else", TopicError::Unknown),
            ("p/hawk/stream", TopicError::Unknown),
            ("p//birth", TopicError::Vehicle),
            ("p/a\nb/birth", TopicError::Vehicle),
            (&long, TopicError::Vehicle),
            ("p/hawk/stream/..", TopicError::Stream),
            ("p/hawk/stream/", TopicError::Stream),
            ("p/hawk/stream/a/b", TopicError::Stream),
            ("p/hawk/stream/UPPER", TopicError::Stream),
        ] {
            assert_eq!(prefix.parse(topic), Err(error), "{topic}");
        }
    }

    #[test]
    fn a_prefix_that_would_come_back_is_known() {
        let prefix = Prefix::new("outrider");
        assert!(prefix.covers(&Prefix::new("outrider")));
        assert!(prefix.covers(&Prefix::new("outrider/json")));
        assert!(!prefix.covers(&Prefix::new("outrider-json")));
        assert!(Prefix::new("").covers(&Prefix::new("anything")));
    }
}
