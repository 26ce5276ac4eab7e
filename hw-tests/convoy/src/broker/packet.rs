//! The MQTT packets a broker for QoS 0 and 1 reads and writes, in 3.1.1 and 5.
//!
//! Pure: bytes in, packets out, and back. Lengths are checked before anything is believed; what breaks the standard's rules is a
//! [`Fault`] with the reason code that MQTT 5 has for it.

/// Largest packet that is accepted, in bytes behind the fixed header. Far more than an agent's batch.
pub const PACKET_BYTES_MAX: usize = 1024 * 1024;

/// Protocol version of a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// MQTT 3.1.1.
    V311,
    /// MQTT 5.
    V5,
}

/// Why a connection cannot go on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The packet's bytes make no sense.
    Malformed,
    /// A packet at the wrong time or with forbidden contents.
    Protocol,
    /// A protocol version that this broker does not speak.
    Version,
    /// A packet beyond [`PACKET_BYTES_MAX`].
    TooLarge,
    /// Delivery exactly once.
    Quality,
    /// A topic with wildcards or without characters.
    Topic,
}

impl Fault {
    /// Reason code of MQTT 5.
    #[must_use]
    pub fn code(self) -> u8 {
        match self {
            Fault::Malformed => 0x81,
            Fault::Protocol => 0x82,
            Fault::Version => 0x84,
            Fault::TooLarge => 0x95,
            Fault::Quality => 0x9b,
            Fault::Topic => 0x90,
        }
    }
}

/// A message as it is published and passed on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Message {
    /// Topic.
    pub topic: String,
    /// Contents.
    pub payload: Vec<u8>,
    /// Delivered at least once (QoS 1).
    pub at_least_once: bool,
    /// Kept for later subscribers.
    pub retain: bool,
    /// Properties of MQTT 5 in their encoded form; empty for 3.1.1.
    pub properties: Vec<u8>,
}

/// What a client asks for when it connects.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Connect {
    /// Version.
    pub version: Version,
    /// Client identifier, may be empty.
    pub client_id: String,
    /// Nothing of an earlier connection shall matter.
    pub clean: bool,
    /// Longest silence in seconds; 0 for none.
    pub keep_alive_s: u16,
    /// Published when the connection ends without goodbye.
    pub will: Option<Message>,
    /// QoS 1 messages the client takes before it acknowledges.
    pub receive_max: u16,
}

/// One topic filter of a subscription.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    /// The filter.
    pub filter: String,
    /// QoS 1 is wanted.
    pub at_least_once: bool,
    /// Do not send the subscriber's own messages.
    pub no_local: bool,
    /// Pass the retain flag on as published.
    pub retain_as_published: bool,
    /// Send what is retained now.
    pub send_retained: bool,
}

/// A packet from a client after CONNECT.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Packet {
    /// A message with its packet number when QoS 1.
    Publish(Message, Option<u16>),
    /// A message arrived.
    PubAck(u16),
    /// Subscribe.
    Subscribe(u16, Vec<Filter>),
    /// Unsubscribe.
    Unsubscribe(u16, Vec<String>),
    /// Are you there?
    PingReq,
    /// Goodbye; with `true` the will is to be published all the same.
    Disconnect(bool),
}

/// Splits the first packet off `buffer`: its first byte and what follows the length. Nothing while it is not complete.
///
/// # Errors
/// When the length is malformed or beyond [`PACKET_BYTES_MAX`].
pub fn split(buffer: &mut Vec<u8>) -> Result<Option<(u8, Vec<u8>)>, Fault> {
    let mut length = 0_usize;
    for (index, byte) in buffer.iter().skip(1).take(4).enumerate() {
        length |= usize::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 != 0 {
            continue;
        }
        if length > PACKET_BYTES_MAX {
            return Err(Fault::TooLarge);
        }
        let begin = 2 + index;
        if buffer.len() < begin + length {
            return Ok(None);
        }
        let first = buffer[0];
        let body = buffer[begin..begin + length].to_vec();
        buffer.drain(..begin + length);
        return Ok(Some((first, body)));
    }
    if buffer.len() >= 5 { Err(Fault::Malformed) } else { Ok(None) }
}

/// Reads fields from a packet's body.
struct Reader<'a> {
    rest: &'a [u8],
}

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Result<&'a [u8], Fault> {
        let (taken, rest) = self.rest.split_at_checked(length).ok_or(Fault::Malformed)?;
        self.rest = rest;
        Ok(taken)
    }

    fn byte(&mut self) -> Result<u8, Fault> {
        Ok(self.take(1)?[0])
    }

    fn short(&mut self) -> Result<u16, Fault> {
        let bytes = self.take(2)?;
        Ok(u16::from_be_bytes([bytes[0], bytes[1]]))
    }

    fn bytes(&mut self) -> Result<&'a [u8], Fault> {
        let length = self.short()?;
        self.take(length.into())
    }

    fn text(&mut self) -> Result<String, Fault> {
        let text = std::str::from_utf8(self.bytes()?).map_err(|_| Fault::Malformed)?;
        if text.contains('\0') { Err(Fault::Malformed) } else { Ok(text.to_owned()) }
    }

    fn length(&mut self) -> Result<usize, Fault> {
        let mut length = 0;
        for index in 0..4 {
            let byte = self.byte()?;
            length |= usize::from(byte & 0x7f) << (7 * index);
            if byte & 0x80 == 0 {
                return Ok(length);
            }
        }
        Err(Fault::Malformed)
    }

    /// The properties of MQTT 5 as (identifier, encoded property); none in 3.1.1.
    fn properties(&mut self, version: Version) -> Result<Vec<(u8, &'a [u8])>, Fault> {
        if version == Version::V311 {
            return Ok(Vec::new());
        }
        let length = self.length()?;
        let mut reader = Reader { rest: self.take(length)? };
        let mut properties = Vec::new();
        while !reader.rest.is_empty() {
            let begin = reader.rest;
            let identifier = reader.byte()?;
            match identifier {
                0x01 | 0x17 | 0x19 | 0x24 | 0x25 | 0x28..=0x2a => reader.take(1)?,
                0x13 | 0x21..=0x23 => reader.take(2)?,
                0x02 | 0x11 | 0x18 | 0x27 => reader.take(4)?,
                0x0b => {
                    reader.length()?;
                    &[]
                }
                0x03 | 0x08 | 0x09 | 0x12 | 0x15 | 0x16 | 0x1a | 0x1c | 0x1f => reader.bytes()?,
                0x26 => {
                    reader.bytes()?;
                    reader.bytes()?
                }
                _ => return Err(Fault::Malformed),
            };
            properties.push((identifier, &begin[..begin.len() - reader.rest.len()]));
        }
        Ok(properties)
    }
}

/// Properties of a message that travel with it: format, expiry, content type, response topic, correlation data, user's own.
fn travelling(properties: &[(u8, &[u8])]) -> Vec<u8> {
    let travels = |identifier: &u8| matches!(identifier, 0x01..=0x03 | 0x08 | 0x09 | 0x26);
    let kept = properties.iter().filter(|(identifier, _)| travels(identifier));
    kept.flat_map(|(_, encoded)| encoded.iter().copied()).collect()
}

/// A topic that messages may have.
fn plain_topic(topic: &str) -> Result<(), Fault> {
    if topic.is_empty() || topic.contains(['+', '#']) { Err(Fault::Topic) } else { Ok(()) }
}

/// Reads the packet that must begin a connection.
///
/// # Errors
/// When it is something else or breaks the rules.
pub fn connect(first: u8, body: &[u8]) -> Result<Connect, Fault> {
    if first != 0x10 {
        return Err(Fault::Protocol);
    }
    let mut reader = Reader { rest: body };
    let name = reader.bytes()?;
    let version = match (name, reader.byte()?) {
        (b"MQTT", 4) => Version::V311,
        (b"MQTT", 5) => Version::V5,
        _ => return Err(Fault::Version),
    };
    let flags = reader.byte()?;
    let keep_alive_s = reader.short()?;
    let properties = reader.properties(version)?;
    let receive_max = properties.iter().find(|(identifier, _)| *identifier == 0x21);
    let receive_max =
        receive_max.map_or(u16::MAX, |(_, encoded)| u16::from_be_bytes([encoded[1], encoded[2]]));
    if flags & 0x01 != 0 || receive_max == 0 {
        return Err(Fault::Protocol);
    }
    let client_id = reader.text()?;
    let will = match flags & 0x04 {
        0 => None,
        _ => {
            let properties = travelling(&reader.properties(version)?);
            let topic = reader.text()?;
            plain_topic(&topic)?;
            let payload = reader.bytes()?.to_vec();
            let at_least_once = match flags >> 3 & 3 {
                0 => false,
                1 => true,
                _ => return Err(Fault::Quality),
            };
            Some(Message { topic, payload, at_least_once, retain: flags & 0x20 != 0, properties })
        }
    };
    // Names and passwords are read and believed: the broker serves loopback only.
    if flags & 0x80 != 0 {
        reader.text()?;
    }
    if flags & 0x40 != 0 {
        reader.bytes()?;
    }
    Ok(Connect { version, client_id, clean: flags & 0x02 != 0, keep_alive_s, will, receive_max })
}

/// Reads any later packet.
///
/// # Errors
/// When it is unknown, not for brokers, or breaks the rules.
pub fn read(version: Version, first: u8, body: &[u8]) -> Result<Packet, Fault> {
    let mut reader = Reader { rest: body };
    match (first >> 4, first & 0x0f) {
        (3, flags) => {
            let topic = reader.text()?;
            plain_topic(&topic)?;
            let number = match flags >> 1 & 3 {
                0 => None,
                1 => Some(nonzero(reader.short()?)?),
                2 => return Err(Fault::Quality),
                _ => return Err(Fault::Malformed),
            };
            let properties = reader.properties(version)?;
            if properties.iter().any(|(identifier, _)| matches!(identifier, 0x0b | 0x23)) {
                return Err(Fault::Protocol);
            }
            let message = Message {
                topic,
                payload: reader.rest.to_vec(),
                at_least_once: number.is_some(),
                retain: flags & 1 != 0,
                properties: travelling(&properties),
            };
            Ok(Packet::Publish(message, number))
        }
        (4, 0) => Ok(Packet::PubAck(reader.short()?)),
        (8, 2) => {
            let number = nonzero(reader.short()?)?;
            reader.properties(version)?;
            let mut filters = Vec::new();
            while !reader.rest.is_empty() {
                let filter = reader.text()?;
                let options = reader.byte()?;
                filters.push(subscription(version, filter, options)?);
            }
            if filters.is_empty() {
                Err(Fault::Protocol)
            } else {
                Ok(Packet::Subscribe(number, filters))
            }
        }
        (10, 2) => {
            let number = nonzero(reader.short()?)?;
            reader.properties(version)?;
            let mut filters = Vec::new();
            while !reader.rest.is_empty() {
                filters.push(reader.text()?);
            }
            Ok(Packet::Unsubscribe(number, filters))
        }
        (12, 0) => Ok(Packet::PingReq),
        (14, 0) => Ok(Packet::Disconnect(body.first() == Some(&0x04))),
        _ => Err(Fault::Protocol),
    }
}

fn nonzero(number: u16) -> Result<u16, Fault> {
    if number == 0 { Err(Fault::Protocol) } else { Ok(number) }
}

fn subscription(version: Version, filter: String, options: u8) -> Result<Filter, Fault> {
    let v5 = version == Version::V5;
    Ok(Filter {
        filter,
        at_least_once: match options & 3 {
            0 => false,
            // QoS 2 is granted as QoS 1, which the standard allows.
            1 | 2 => true,
            _ => return Err(Fault::Malformed),
        },
        no_local: v5 && options & 0x04 != 0,
        retain_as_published: v5 && options & 0x08 != 0,
        send_retained: !v5 || options & 0x30 != 0x20,
    })
}

/// A packet: first byte, length, body.
fn packet(first: u8, body: &[u8]) -> Vec<u8> {
    let mut out = vec![first];
    push_length(&mut out, body.len());
    out.extend_from_slice(body);
    out
}

fn push_length(out: &mut Vec<u8>, mut length: usize) {
    loop {
        let byte = (length & 0x7f) as u8;
        length >>= 7;
        if length == 0 {
            out.push(byte);
            return;
        }
        out.push(byte | 0x80);
    }
}

/// CONNACK: welcome. With MQTT 5 it says what this broker does not do: sessions that outlive their connection, QoS 2, larger
/// packets, shared subscriptions and subscription identifiers; and gives a name to a client without one.
#[must_use]
pub fn welcome(version: Version, assigned: Option<&str>) -> Vec<u8> {
    let mut body = vec![0, 0];
    if version == Version::V5 {
        let mut properties = vec![0x11, 0, 0, 0, 0, 0x24, 1, 0x27];
        properties.extend_from_slice(&(PACKET_BYTES_MAX as u32).to_be_bytes());
        properties.extend_from_slice(&[0x29, 0, 0x2a, 0]);
        if let Some(name) = assigned {
            properties.push(0x12);
            properties.extend_from_slice(&(name.len() as u16).to_be_bytes());
            properties.extend_from_slice(name.as_bytes());
        }
        push_length(&mut body, properties.len());
        body.extend_from_slice(&properties);
    }
    packet(0x20, &body)
}

/// CONNACK for a version that is not spoken, in the form of 3.1.1, which every client understands.
#[must_use]
pub fn wrong_version() -> Vec<u8> {
    packet(0x20, &[0, 1])
}

/// DISCONNECT with a reason; 3.1.1 has none, the connection is just closed.
#[must_use]
pub fn disconnect(version: Version, code: u8) -> Vec<u8> {
    match version {
        Version::V311 => Vec::new(),
        Version::V5 => packet(0xe0, &[code, 0]),
    }
}

/// PUBLISH to a subscriber; with a packet number it is QoS 1.
#[must_use]
pub fn publish(version: Version, message: &Message, retain: bool, number: Option<u16>) -> Vec<u8> {
    let mut body = Vec::with_capacity(message.topic.len() + message.payload.len() + 8);
    body.extend_from_slice(&(message.topic.len() as u16).to_be_bytes());
    body.extend_from_slice(message.topic.as_bytes());
    if let Some(number) = number {
        body.extend_from_slice(&number.to_be_bytes());
    }
    if version == Version::V5 {
        push_length(&mut body, message.properties.len());
        body.extend_from_slice(&message.properties);
    }
    body.extend_from_slice(&message.payload);
    packet(0x30 | u8::from(number.is_some()) << 1 | u8::from(retain), &body)
}

/// PUBACK.
#[must_use]
pub fn acknowledge(number: u16) -> Vec<u8> {
    packet(0x40, &number.to_be_bytes())
}

/// SUBACK with one code for each filter.
#[must_use]
pub fn subscribed(version: Version, number: u16, codes: &[u8]) -> Vec<u8> {
    numbered(0x90, version, number, codes)
}

/// UNSUBACK; 3.1.1 has no codes.
#[must_use]
pub fn unsubscribed(version: Version, number: u16, codes: &[u8]) -> Vec<u8> {
    numbered(0xb0, version, number, if version == Version::V5 { codes } else { &[] })
}

fn numbered(first: u8, version: Version, number: u16, codes: &[u8]) -> Vec<u8> {
    let mut body = number.to_be_bytes().to_vec();
    if version == Version::V5 {
        body.push(0);
    }
    body.extend_from_slice(codes);
    packet(first, &body)
}

/// PINGRESP.
#[must_use]
pub fn pong() -> Vec<u8> {
    packet(0xd0, &[])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packets_are_split_at_any_cut_and_absurd_lengths_refused() {
        let whole = [packet(0x30, &[7; 200]), packet(0xc0, &[])].concat();
        for cut in 0..whole.len() {
            let mut buffer = whole[..cut].to_vec();
            let mut found = Vec::new();
            while let Some(packet) = split(&mut buffer).unwrap() {
                found.push(packet);
            }
            buffer.extend_from_slice(&whole[cut..]);
            while let Some(packet) = split(&mut buffer).unwrap() {
                found.push(packet);
            }
            assert_eq!(found, [(0x30, vec![7; 200]), (0xc0, vec![])], "cut at {cut}");
        }
        assert_eq!(split(&mut vec![0x30, 0xff, 0xff, 0xff, 0xff, 1]), Err(Fault::Malformed));
        assert_eq!(split(&mut vec![0x30, 0xff, 0xff, 0xff, 0x7f]), Err(Fault::TooLarge));
    }

    #[test]
    fn every_truncation_of_a_packet_is_a_fault_and_no_panic() {
        let will = [
            b"\0\x04MQTT\x05\x2e\0\x3c\x03\x21\0\x05\0\x01a\x05\x18\0\0\0\x01\0\x01w\0\x02hi"
                .as_slice(),
            &[],
        ]
        .concat();
        let whole = connect(0x10, &will).unwrap();
        assert_eq!((whole.receive_max, whole.keep_alive_s), (5, 60));
        assert_eq!(whole.will.unwrap().payload, b"hi");
        for length in 0..will.len() {
            assert!(connect(0x10, &will[..length]).is_err(), "{length} bytes");
        }
        let subscribe = b"\0\x01\0\0\x03a/#\x01";
        assert!(read(Version::V5, 0x82, subscribe).is_ok());
        for length in 0..subscribe.len() {
            assert!(read(Version::V5, 0x82, &subscribe[..length]).is_err(), "{length} bytes");
        }
    }

    #[test]
    fn forbidden_things_are_named() {
        assert_eq!(connect(0x10, b"\0\x06MQIsdp\x03\x02\0\0\0\0"), Err(Fault::Version));
        assert_eq!(connect(0x30, b""), Err(Fault::Protocol));
        assert_eq!(read(Version::V311, 0x34, b"\0\x01a\0\x01"), Err(Fault::Quality));
        assert_eq!(read(Version::V311, 0x30, b"\0\x03a/+x"), Err(Fault::Topic));
        assert_eq!(read(Version::V311, 0x10, b""), Err(Fault::Protocol));
    }

    #[test]
    fn a_published_message_reads_back_with_its_properties() {
        let message = Message {
            topic: "a/b".into(),
            payload: vec![0, 1, 2],
            at_least_once: true,
            retain: false,
            properties: b"\x03\0\x04json\x26\0\x01k\0\x01v".to_vec(),
        };
        for version in [Version::V311, Version::V5] {
            let mut bytes = publish(version, &message, false, Some(9));
            let (first, body) = split(&mut bytes).unwrap().unwrap();
            let expected = match version {
                Version::V311 => Message { properties: Vec::new(), ..message.clone() },
                Version::V5 => message.clone(),
            };
            assert_eq!(read(version, first, &body), Ok(Packet::Publish(expected, Some(9))));
        }
    }
}
