//! MQTT packets as this program uses them, for 5 and 3.1.1 alike. The only place that names rumqttc; reads and writes
//! buffers and knows nothing of connections.

use bytes::{Bytes, BytesMut};
use rumqttc_v4::mqttbytes::{self as codec4, v4};
use rumqttc_v5::mqttbytes::{self as codec5, v5};

/// Version of the protocol.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// MQTT 5.
    V5,
    /// MQTT 3.1.1.
    V311,
}

impl Protocol {
    /// As people write it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Protocol::V5 => "5",
            Protocol::V311 => "3.1.1",
        }
    }
}

/// User name and password.
pub struct Login {
    pub username: String,
    pub password: Option<Bytes>,
}

/// What the broker publishes, retained, when it loses us.
pub struct Will {
    pub topic: String,
    pub payload: Vec<u8>,
}

/// Everything the first packet says.
pub struct Hello {
    pub client_id: String,
    pub keep_alive_s: u16,
    pub login: Option<Login>,
    pub will: Option<Will>,
    /// Largest packet we take.
    pub packet_bytes_max: u32,
    /// What the broker is to keep for us between connections; `None` begins anew and keeps nothing.
    pub session: Option<Keeping>,
}

/// A session that outlives connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Keeping {
    /// For how long, in seconds.
    pub expiry_s: u32,
    /// Publications that we take without having acknowledged them.
    pub receive_max: u16,
}

/// What the broker grants.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Terms {
    /// Publications it takes without having acknowledged them.
    pub receive_maximum: u16,
    /// Largest packet it takes.
    pub packet_bytes_max: Option<u32>,
    /// Keep-alive it wants instead of ours, in seconds.
    pub keep_alive_s: Option<u16>,
    /// It keeps retained messages.
    pub retains: bool,
    /// It acknowledges publications at all (QoS 1).
    pub acknowledges: bool,
    /// It kept a session of ours from before.
    pub resumed: bool,
}

/// Why a broker does not let us in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It does not speak this version.
    Protocol,
    /// User name or password are wrong, or this user may not connect.
    Credentials,
    /// It does not like the client identifier.
    ClientId,
    /// It is overloaded or not ready.
    Busy,
    /// It keeps no retained messages, and the last will is one.
    NoRetained,
    /// Something else, in its words or by name.
    Other(String),
}

/// A packet from the broker.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Incoming {
    /// We are in.
    Accepted(Terms),
    /// We are not.
    Refused(Refusal),
    /// The publication with this packet number has arrived, or will not be taken for the reason given.
    Acknowledged { packet: u16, refusal: Option<String> },
    /// Answer to a ping.
    Pong,
    /// Answer to a subscription, with the reason when it was refused.
    Subscribed { refusal: Option<String> },
    /// A publication for us; with a packet number when it wants to be acknowledged.
    Message { topic: String, payload: Bytes, retained: bool, packet: Option<u16> },
    /// The broker ends the connection, and says why.
    Closing { taken_over: bool, why: String },
    /// Nothing that a broker sends to a client like us.
    Unexpected,
}

/// Why a packet could not be written; the buffer is as before.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Unwritable {
    /// Larger than the broker takes.
    TooLarge,
    /// Not expressible in MQTT, such as a topic with wildcards.
    Invalid(String),
}

/// Appends the first packet.
pub fn write_hello(to: &mut BytesMut, protocol: Protocol, hello: Hello) -> Result<(), Unwritable> {
    match protocol {
        Protocol::V5 => write5(to, &hello5(hello), None),
        Protocol::V311 => write4(to, &hello4(hello), None),
    }
}

/// Appends a publication. With a packet number it wants to be acknowledged (QoS 1).
pub fn write_publication(
    to: &mut BytesMut,
    protocol: Protocol,
    terms: &Terms,
    packet: Option<u16>,
    (topic, payload, retain): (&str, Bytes, bool),
) -> Result<(), Unwritable> {
    let retain = retain && terms.retains;
    let topic = Bytes::copy_from_slice(topic.as_bytes());
    let pkid = packet.unwrap_or_default();
    let (dup, properties) = (false, None);
    match protocol {
        Protocol::V5 => {
            let qos =
                if packet.is_some() { codec5::QoS::AtLeastOnce } else { codec5::QoS::AtMostOnce };
            let publish = v5::Publish { dup, qos, retain, topic, pkid, payload, properties };
            write5(to, &v5::Packet::Publish(publish), terms.packet_bytes_max)
        }
        Protocol::V311 => {
            let qos =
                if packet.is_some() { codec4::QoS::AtLeastOnce } else { codec4::QoS::AtMostOnce };
            let publish = v4::Publish { dup, qos, retain, topic, pkid, payload };
            write4(to, &v4::Packet::Publish(publish), terms.packet_bytes_max)
        }
    }
}

/// Appends a subscription with acknowledged delivery.
pub fn write_subscription(
    to: &mut BytesMut,
    protocol: Protocol,
    packet: u16,
    filter: &str,
) -> Result<(), Unwritable> {
    match protocol {
        Protocol::V5 => {
            let filter = v5::SubscribeFilter::new(filter, codec5::QoS::AtLeastOnce);
            let mut subscribe = v5::Subscribe::new(filter, None);
            subscribe.pkid = packet;
            write5(to, &v5::Packet::Subscribe(subscribe), None)
        }
        Protocol::V311 => {
            let mut subscribe = v4::Subscribe::new(filter, codec4::QoS::AtLeastOnce);
            subscribe.pkid = packet;
            write4(to, &v4::Packet::Subscribe(subscribe), None)
        }
    }
}

/// Appends the acknowledgement of a [`Incoming::Message`].
pub fn write_acknowledgement(to: &mut BytesMut, protocol: Protocol, packet: u16) {
    let v5 = || v5::Packet::PubAck(v5::PubAck::new(packet, None));
    let v4 = || v4::Packet::PubAck(v4::PubAck::new(packet));
    write_short(to, protocol, v5, v4);
}

/// Appends a ping.
pub fn write_ping(to: &mut BytesMut, protocol: Protocol) {
    write_short(to, protocol, || v5::Packet::PingReq, || v4::Packet::PingReq);
}

/// Appends the last packet of a connection that ends well: the broker forgets the last will.
pub fn write_goodbye(to: &mut BytesMut, protocol: Protocol) {
    let reason = v5::DisconnectReasonCode::NormalDisconnection;
    let v5 = || v5::Packet::Disconnect(v5::Disconnect::new(reason));
    write_short(to, protocol, v5, || v4::Packet::Disconnect);
}

/// Takes the next packet off the front of `from`; `None` when it is not complete yet.
///
/// # Errors
///
/// When what is there is not MQTT, or a packet is larger than `packet_bytes_max`. The connection is of no more use then.
pub fn read(
    from: &mut BytesMut,
    protocol: Protocol,
    packet_bytes_max: u32,
) -> Result<Option<Incoming>, String> {
    let before = from.len();
    match protocol {
        Protocol::V5 => match v5::Packet::read(from, Some(packet_bytes_max)) {
            Ok(packet) => Ok(Some(incoming5(packet))),
            // The codec uses one error for a packet that has not arrived and for one that ends too early.
            Err(codec5::Error::InsufficientBytes(_)) if from.len() == before => Ok(None),
            Err(error) => Err(error.to_string()),
        },
        Protocol::V311 => match v4::Packet::read(from, packet_bytes_max as usize) {
            Ok(packet) => Ok(Some(incoming4(packet))),
            Err(codec4::Error::InsufficientBytes(_)) if from.len() == before => Ok(None),
            Err(error) => Err(error.to_string()),
        },
    }
}

/// Whether the next packet is one that [`read`] would refuse for its size.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NextPacket {
    /// It fits, or is too short yet to tell.
    Fits,
    /// It is too large, and what names it has not arrived yet.
    Beginning,
    /// It is a publication that is too large.
    Oversized {
        /// Bytes of the whole packet.
        bytes: usize,
        /// Its topic.
        topic: String,
        /// Its packet number, when it wants to be acknowledged.
        packet: Option<u16>,
    },
}

/// Looks at the next packet of `from`. What is no publication fits: [`read`] judges it.
pub fn next_packet(from: &[u8], packet_bytes_max: u32) -> NextPacket {
    const PUBLISH: u8 = 3;
    let Some(first) = from.first().filter(|first| *first >> 4 == PUBLISH) else {
        return NextPacket::Fits;
    };
    // MQTT 5 section 1.5.5: at most four bytes of seven bits, the lowest first.
    let Some(length_bytes) = from.iter().skip(1).take(4).position(|byte| byte & 0x80 == 0) else {
        return NextPacket::Fits;
    };
    let head = 2 + length_bytes;
    let low_first = from[1..head].iter().enumerate();
    let length: usize = low_first.map(|(at, byte)| usize::from(byte & 0x7f) << (7 * at)).sum();
    let bytes = head + length;
    if bytes <= packet_bytes_max as usize {
        return NextPacket::Fits;
    }
    let number = |at: usize| Some(u16::from_be_bytes([*from.get(at)?, *from.get(at + 1)?]));
    let Some(topic_bytes) = number(head) else { return NextPacket::Beginning };
    let topic_end = head + 2 + usize::from(topic_bytes);
    let Some(topic) = from.get(head + 2..topic_end) else { return NextPacket::Beginning };
    let topic = String::from_utf8_lossy(topic).into_owned();
    if first >> 1 & 3 == 0 {
        return NextPacket::Oversized { bytes, topic, packet: None };
    }
    match number(topic_end) {
        Some(packet) => NextPacket::Oversized { bytes, topic, packet: Some(packet) },
        None => NextPacket::Beginning,
    }
}

/// Takes the answer to the first packet off the front of `from`, like [`read`]. A broker that only knows 3.1.1 answers in
/// 3.1.1, without the properties of version 5 (MQTT 3.1.1 section 3.2: four bytes in all).
///
/// # Errors
///
/// As for [`read`].
pub fn read_first(
    from: &mut BytesMut,
    protocol: Protocol,
    packet_bytes_max: u32,
) -> Result<Option<Incoming>, String> {
    const CONNACK_311: [u8; 2] = [0x20, 0x02];
    if protocol == Protocol::V5 && from.starts_with(&CONNACK_311) {
        return read(from, Protocol::V311, packet_bytes_max);
    }
    read(from, protocol, packet_bytes_max)
}

/// Whether what has arrived so far cannot become an answer to the first packet, whatever follows: a web server's words are
/// a valid beginning of some other packet.
pub fn is_no_answer(from: &[u8]) -> bool {
    const CONNACK: u8 = 0x20;
    from.first().is_some_and(|first| *first != CONNACK)
}

/// For packets of a few bytes, which always fit.
fn write_short(
    to: &mut BytesMut,
    protocol: Protocol,
    v5: impl FnOnce() -> v5::Packet,
    v4: impl FnOnce() -> v4::Packet,
) {
    match protocol {
        Protocol::V5 => write5(to, &v5(), None),
        Protocol::V311 => write4(to, &v4(), None),
    }
    .expect("a packet of a few bytes without strings is always valid");
}

fn write5(to: &mut BytesMut, packet: &v5::Packet, max: Option<u32>) -> Result<(), Unwritable> {
    let before = to.len();
    let unwritable = |error| match error {
        codec5::Error::OutgoingPacketTooLarge { .. } | codec5::Error::PayloadTooLong => {
            Unwritable::TooLarge
        }
        other => Unwritable::Invalid(other.to_string()),
    };
    // The codec leaves the beginning of a packet behind that it finds wrong half-way.
    packet.write(to, max).map(drop).map_err(unwritable).inspect_err(|_| to.truncate(before))
}

fn write4(to: &mut BytesMut, packet: &v4::Packet, max: Option<u32>) -> Result<(), Unwritable> {
    let before = to.len();
    let unwritable = |error| match error {
        codec4::Error::OutgoingPacketTooLarge { .. } | codec4::Error::PayloadTooLong => {
            Unwritable::TooLarge
        }
        other => Unwritable::Invalid(other.to_string()),
    };
    let max = max.map_or(usize::MAX, |max| max as usize);
    packet.write(to, max).map(drop).map_err(unwritable).inspect_err(|_| to.truncate(before))
}

fn hello5(hello: Hello) -> v5::Packet {
    let mut properties = v5::ConnectProperties::new();
    properties.max_packet_size = Some(hello.packet_bytes_max);
    if let Some(Keeping { expiry_s, receive_max }) = hello.session {
        properties.session_expiry_interval = Some(expiry_s);
        properties.receive_maximum = Some(receive_max);
    }
    let connect = v5::Connect {
        keep_alive: hello.keep_alive_s,
        client_id: hello.client_id,
        clean_start: hello.session.is_none(),
        properties: Some(properties),
    };
    let will = hello.will.map(|will| v5::LastWill {
        topic: Bytes::from(will.topic),
        message: Bytes::from(will.payload),
        qos: codec5::QoS::AtLeastOnce,
        retain: true,
        properties: None,
    });
    let auth = match hello.login {
        None => v5::ConnectAuth::None,
        Some(Login { username, password: None }) => v5::ConnectAuth::Username { username },
        Some(Login { username, password: Some(password) }) => {
            v5::ConnectAuth::UsernamePassword { username, password }
        }
    };
    v5::Packet::Connect(connect, will, auth)
}

fn hello4(hello: Hello) -> v4::Packet {
    let auth = match hello.login {
        None => v4::ConnectAuth::None,
        Some(Login { username, password: None }) => v4::ConnectAuth::Username { username },
        Some(Login { username, password: Some(password) }) => {
            v4::ConnectAuth::UsernamePassword { username, password }
        }
    };
    v4::Packet::Connect(v4::Connect {
        keep_alive: hello.keep_alive_s,
        client_id: hello.client_id,
        clean_session: hello.session.is_none(),
        last_will: hello.will.map(|will| v4::LastWill {
            topic: will.topic,
            message: Bytes::from(will.payload),
            qos: codec4::QoS::AtLeastOnce,
            retain: true,
        }),
        auth,
    })
}

fn incoming5(packet: v5::Packet) -> Incoming {
    match packet {
        v5::Packet::ConnAck(answer) => answer5(answer),
        v5::Packet::PubAck(ack) => {
            let taken = matches!(
                ack.reason,
                v5::PubAckReason::Success | v5::PubAckReason::NoMatchingSubscribers
            );
            let said = ack.properties.and_then(|properties| properties.reason_string);
            let refusal = (!taken).then(|| in_words(format!("{:?}", ack.reason), said));
            Incoming::Acknowledged { packet: ack.pkid, refusal }
        }
        v5::Packet::PingResp => Incoming::Pong,
        v5::Packet::SubAck(ack) => {
            let refused =
                ack.return_codes.iter().find(|c| !matches!(c, v5::SubscribeReasonCode::Success(_)));
            Incoming::Subscribed { refusal: refused.map(|code| format!("{code:?}")) }
        }
        v5::Packet::Publish(publish) => message(
            &publish.topic,
            publish.payload,
            publish.retain,
            (publish.qos == codec5::QoS::AtLeastOnce).then_some(publish.pkid),
        ),
        v5::Packet::Disconnect(disconnect) => Incoming::Closing {
            taken_over: disconnect.reason_code == v5::DisconnectReasonCode::SessionTakenOver,
            why: in_words(
                format!("{:?}", disconnect.reason_code),
                disconnect.properties.and_then(|properties| properties.reason_string),
            ),
        },
        _ => Incoming::Unexpected,
    }
}

fn incoming4(packet: v4::Packet) -> Incoming {
    match packet {
        v4::Packet::ConnAck(answer) => match answer4(answer.code) {
            Incoming::Accepted(terms) => {
                Incoming::Accepted(Terms { resumed: answer.session_present, ..terms })
            }
            refused => refused,
        },
        v4::Packet::PubAck(ack) => Incoming::Acknowledged { packet: ack.pkid, refusal: None },
        v4::Packet::PingResp => Incoming::Pong,
        v4::Packet::SubAck(ack) => {
            let refused = ack.return_codes.contains(&v4::SubscribeReasonCode::Failure);
            Incoming::Subscribed { refusal: refused.then(|| "refused".to_owned()) }
        }
        v4::Packet::Publish(publish) => message(
            &publish.topic,
            publish.payload,
            publish.retain,
            (publish.qos == codec4::QoS::AtLeastOnce).then_some(publish.pkid),
        ),
        _ => Incoming::Unexpected,
    }
}

fn message(topic: &[u8], payload: Bytes, retained: bool, packet: Option<u16>) -> Incoming {
    Incoming::Message {
        topic: String::from_utf8_lossy(topic).into_owned(),
        payload,
        retained,
        packet,
    }
}

fn answer5(answer: v5::ConnAck) -> Incoming {
    use v5::ConnectReturnCode as Code;
    let said = answer.properties.as_ref().and_then(|properties| properties.reason_string.clone());
    Incoming::Refused(match answer.code {
        Code::Success => {
            let resumed = answer.session_present;
            return Incoming::Accepted(Terms { resumed, ..terms5(answer.properties) });
        }
        Code::UnsupportedProtocolVersion | Code::RefusedProtocolVersion => Refusal::Protocol,
        Code::BadUserNamePassword
        | Code::NotAuthorized
        | Code::Banned
        | Code::BadAuthenticationMethod => Refusal::Credentials,
        Code::ClientIdentifierNotValid | Code::BadClientId => Refusal::ClientId,
        Code::ServerUnavailable
        | Code::ServiceUnavailable
        | Code::ServerBusy
        | Code::QuotaExceeded
        | Code::ConnectionRateExceeded => Refusal::Busy,
        Code::RetainNotSupported => Refusal::NoRetained,
        other => Refusal::Other(in_words(format!("{other:?}"), said)),
    })
}

fn terms5(properties: Option<v5::ConnAckProperties>) -> Terms {
    // Absent properties mean the values of MQTT 5 section 3.2.2.3.
    let Some(properties) = properties else { return answer_without_terms() };
    Terms {
        receive_maximum: properties.receive_max.unwrap_or(u16::MAX),
        packet_bytes_max: properties.max_packet_size,
        keep_alive_s: properties.server_keep_alive,
        retains: properties.retain_available != Some(0),
        acknowledges: properties.max_qos != Some(0),
        resumed: false,
    }
}

fn answer4(code: v4::ConnectReturnCode) -> Incoming {
    use v4::ConnectReturnCode as Code;
    Incoming::Refused(match code {
        Code::Success => return Incoming::Accepted(answer_without_terms()),
        Code::RefusedProtocolVersion => Refusal::Protocol,
        Code::BadClientId => Refusal::ClientId,
        Code::ServiceUnavailable => Refusal::Busy,
        Code::BadUserNamePassword | Code::NotAuthorized => Refusal::Credentials,
    })
}

fn answer_without_terms() -> Terms {
    Terms {
        receive_maximum: u16::MAX,
        packet_bytes_max: None,
        keep_alive_s: None,
        retains: true,
        acknowledges: true,
        resumed: false,
    }
}

fn in_words(code: String, said: Option<String>) -> String {
    match said {
        Some(said) => format!("{code}: {said}"),
        None => code,
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const LIMIT: u32 = 4096;

    fn bytes(content: &[u8]) -> BytesMut {
        BytesMut::from(content)
    }

    #[test]
    fn a_311_broker_that_refuses_version_5_is_understood() {
        let mut answer = bytes(&[0x20, 0x02, 0x00, 0x01]);
        assert_eq!(
            read_first(&mut answer, Protocol::V5, LIMIT),
            Ok(Some(Incoming::Refused(Refusal::Protocol)))
        );
        let mut answer = bytes(&[0x20, 0x03, 0x00, 0x84, 0x00]);
        assert_eq!(
            read_first(&mut answer, Protocol::V5, LIMIT),
            Ok(Some(Incoming::Refused(Refusal::Protocol)))
        );
    }

    #[test]
    fn the_terms_of_version_5_are_read() {
        // Receive maximum 7, maximum packet size 300, no retained messages, keep-alive 9 s, QoS 0 only.
        let mut answer = bytes(&[
            0x20, 0x12, 0x00, 0x00, 0x0f, 0x21, 0x00, 0x07, 0x27, 0x00, 0x00, 0x01, 0x2c, 0x25,
            0x00, 0x13, 0x00, 0x09, 0x24, 0x00,
        ]);
        let terms = Terms {
            resumed: false,
            receive_maximum: 7,
            packet_bytes_max: Some(300),
            keep_alive_s: Some(9),
            retains: false,
            acknowledges: false,
        };
        assert_eq!(
            read_first(&mut answer, Protocol::V5, LIMIT),
            Ok(Some(Incoming::Accepted(terms)))
        );
    }

    #[test]
    fn a_publication_that_is_too_large_is_known_by_its_beginning() {
        for protocol in [Protocol::V5, Protocol::V311] {
            let terms = answer_without_terms();
            for (qos, packet) in [(Some(7), Some(7)), (None, None)] {
                let mut whole = BytesMut::new();
                let publication = ("a/b", Bytes::from(vec![0; 300]), false);
                write_publication(&mut whole, protocol, &terms, qos, publication).unwrap();
                let bytes = whole.len();
                let oversized = NextPacket::Oversized { bytes, topic: "a/b".to_owned(), packet };
                assert_eq!(next_packet(&whole, 300), oversized);
                assert_eq!(next_packet(&whole, 400), NextPacket::Fits);
                // Type, two bytes of length, topic with its length, packet number.
                let named = 3 + 5 + if packet.is_some() { 2 } else { 0 };
                assert_eq!(next_packet(&whole[..named], 300), oversized);
                assert_eq!(next_packet(&whole[..named - 1], 300), NextPacket::Beginning);
                assert_eq!(next_packet(&whole[..2], 300), NextPacket::Fits, "not to be told yet");
            }
        }
        assert_eq!(next_packet(&[0xd0, 0xff, 0xff, 0x7f], 10), NextPacket::Fits, "no publication");
        assert_eq!(next_packet(&[], 10), NextPacket::Fits);
    }

    #[test]
    fn a_broker_that_ends_the_connection_says_why() {
        let mut taken_over = bytes(&[0xe0, 0x02, 0x8e, 0x00]);
        assert!(matches!(
            read(&mut taken_over, Protocol::V5, LIMIT),
            Ok(Some(Incoming::Closing { taken_over: true, .. }))
        ));
        let mut stopping = bytes(&[0xe0, 0x07, 0x8b, 0x05, 0x1f, 0x00, 0x02, b'b', b'y']);
        let why = "ServerShuttingDown: by".to_owned();
        assert_eq!(
            read(&mut stopping, Protocol::V5, LIMIT),
            Ok(Some(Incoming::Closing { taken_over: false, why }))
        );
    }

    #[test]
    fn a_web_server_is_no_broker() {
        assert!(is_no_answer(b"HTTP/1.1 400 Bad Request"));
        assert!(!is_no_answer(&[0x20]) && !is_no_answer(&[]));
    }

    #[test]
    fn a_packet_that_ends_too_early_is_an_error_and_not_a_wait() {
        // A complete frame with two bytes, whose content needs more.
        let mut broken = bytes(&[0x90, 0x02, 0x00, 0x01]);
        assert!(read(&mut broken, Protocol::V5, LIMIT).is_err());
        let mut half = bytes(&[0x40, 0x02, 0x00]);
        assert_eq!(read(&mut half, Protocol::V5, LIMIT), Ok(None));
        assert_eq!(half.len(), 3);
    }

    #[test]
    fn what_does_not_fit_or_is_not_mqtt_leaves_the_buffer_as_it_was() {
        let terms = Terms { packet_bytes_max: Some(30), ..answer_without_terms() };
        for protocol in [Protocol::V5, Protocol::V311] {
            let mut to = bytes(b"before");
            let large = Bytes::from(vec![0; 100]);
            let write = |to: &mut BytesMut, topic: &str, payload: &Bytes| {
                write_publication(to, protocol, &terms, Some(1), (topic, payload.clone(), false))
            };
            assert_eq!(write(&mut to, "t", &large), Err(Unwritable::TooLarge));
            assert!(matches!(write(&mut to, "a/#", &Bytes::new()), Err(Unwritable::Invalid(_))));
            assert_eq!(&to[..], b"before");
            assert_eq!(write(&mut to, "t", &Bytes::new()), Ok(()));
            assert!(to.len() > 6);
        }
    }

    proptest! {
        /// Whatever a broker sends: no panic, and reading goes on, waits or ends.
        #[test]
        fn no_bytes_can_hurt(
            content in prop::collection::vec(any::<u8>(), 0..80),
            kind in 0_u8..16,
            length in 0_u8..80,
        ) {
            let mut framed = vec![kind << 4, length];
            framed.extend(&content);
            for candidate in [content, framed] {
                for protocol in [Protocol::V5, Protocol::V311] {
                    let mut from = bytes(&candidate);
                    let _ = read_first(&mut from, protocol, LIMIT);
                    let mut from = bytes(&candidate);
                    while let Ok(Some(_)) = read(&mut from, protocol, LIMIT) {}
                    let _ = next_packet(&candidate, 20);
                }
            }
        }
    }
}
