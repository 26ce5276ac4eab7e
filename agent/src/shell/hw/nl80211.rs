//! The part of generic netlink and nl80211 that tells how well stations are heard (include/uapi/linux/netlink.h,
//! genetlink.h, nl80211.h): encoding of three requests, decoding of their answers. Pure byte work without a socket;
//! bytes from the kernel are checked like any other input. Numbers are in the machine's byte order.

const NLMSG_HEADER_BYTES: usize = 16;
const GENL_HEADER_BYTES: usize = 4;
const NLA_HEADER_BYTES: usize = 4;
/// Messages and attributes start at multiples of this.
const ALIGN: usize = 4;

const NLMSG_ERROR: u16 = 2;
const NLMSG_DONE: u16 = 3;
const NLM_F_REQUEST: u16 = 0x1;
const NLM_F_ACK: u16 = 0x4;
const NLM_F_DUMP: u16 = 0x300;
/// Bits of an attribute's type that are flags.
const NLA_TYPE_MASK: u16 = 0x3fff;

const GENL_ID_CTRL: u16 = 16;
const CTRL_CMD_GETFAMILY: u8 = 3;
const CTRL_ATTR_FAMILY_ID: u16 = 1;
const CTRL_ATTR_FAMILY_NAME: u16 = 2;

const NL80211_CMD_GET_INTERFACE: u8 = 5;
const NL80211_CMD_GET_STATION: u8 = 17;
const NL80211_ATTR_IFINDEX: u16 = 3;
const NL80211_ATTR_MAC: u16 = 6;
const NL80211_ATTR_STA_INFO: u16 = 21;
const NL80211_ATTR_WIPHY_FREQ: u16 = 38;
const NL80211_STA_INFO_SIGNAL: u16 = 7;
const NL80211_STA_INFO_TX_BITRATE: u16 = 8;
const NL80211_STA_INFO_TX_RETRIES: u16 = 11;
const NL80211_STA_INFO_TX_FAILED: u16 = 12;
const NL80211_STA_INFO_SIGNAL_AVG: u16 = 13;
const NL80211_STA_INFO_RX_BITRATE: u16 = 14;
const NL80211_RATE_INFO_BITRATE: u16 = 1;
const NL80211_RATE_INFO_BITRATE32: u16 = 5;

/// Asks for the number of a generic netlink family; [`family_id`] reads the answer.
pub(super) fn family_request(sequence: u32, name: &str) -> Vec<u8> {
    let mut name = name.as_bytes().to_vec();
    name.push(0);
    let attribute = (CTRL_ATTR_FAMILY_NAME, name.as_slice());
    request(GENL_ID_CTRL, NLM_F_ACK, sequence, CTRL_CMD_GETFAMILY, attribute)
}

/// Asks for the state of an interface; [`frequency_mhz`] reads the answer.
pub(super) fn interface_request(sequence: u32, family: u16, interface: u32) -> Vec<u8> {
    let attribute = (NL80211_ATTR_IFINDEX, interface.to_ne_bytes());
    let attribute = (attribute.0, attribute.1.as_slice());
    request(family, NLM_F_ACK, sequence, NL80211_CMD_GET_INTERFACE, attribute)
}

/// Asks for all stations of an interface; [`station`] reads each answer.
pub(super) fn stations_request(sequence: u32, family: u16, interface: u32) -> Vec<u8> {
    let interface = interface.to_ne_bytes();
    let attribute = (NL80211_ATTR_IFINDEX, interface.as_slice());
    request(family, NLM_F_DUMP, sequence, NL80211_CMD_GET_STATION, attribute)
}

fn request(
    family: u16,
    flags: u16,
    sequence: u32,
    command: u8,
    (attribute, payload): (u16, &[u8]),
) -> Vec<u8> {
    let attribute_bytes = NLA_HEADER_BYTES + payload.len();
    let bytes = NLMSG_HEADER_BYTES + GENL_HEADER_BYTES + attribute_bytes.next_multiple_of(ALIGN);
    let mut message = Vec::with_capacity(bytes);
    message.extend_from_slice(&(bytes as u32).to_ne_bytes());
    message.extend_from_slice(&family.to_ne_bytes());
    message.extend_from_slice(&(NLM_F_REQUEST | flags).to_ne_bytes());
    message.extend_from_slice(&sequence.to_ne_bytes());
    // The kernel fills in the sender's port.
    message.extend_from_slice(&[0; 4]);
    // Version 1 of both families' headers; the kernel ignores it for these commands.
    message.extend_from_slice(&[command, 1, 0, 0]);
    message.extend_from_slice(&(attribute_bytes as u16).to_ne_bytes());
    message.extend_from_slice(&attribute.to_ne_bytes());
    message.extend_from_slice(payload);
    message.resize(bytes, 0);
    message
}

/// One message of an answer.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Message<'a> {
    /// An answer: its attributes.
    Data(&'a [u8]),
    /// The end of the answer: 0, or the error as a negative number.
    End(i32),
    /// Not a message; what follows cannot be read.
    Malformed,
}

/// The messages of a datagram that answer the request `sequence`. Others are left-overs of a request that was given up.
pub(super) fn messages(datagram: &[u8], sequence: u32) -> impl Iterator<Item = Message<'_>> {
    let mut rest = datagram;
    std::iter::from_fn(move || {
        while !rest.is_empty() {
            let Some((kind, of, body, tail)) = split_message(rest) else {
                rest = &[];
                return Some(Message::Malformed);
            };
            rest = tail;
            if of != sequence {
                continue;
            }
            return Some(match kind {
                NLMSG_ERROR => read_i32(body).map_or(Message::Malformed, Message::End),
                // The error of a dump, where the kernel tells one.
                NLMSG_DONE => Message::End(read_i32(body).unwrap_or(0)),
                _ => body.get(GENL_HEADER_BYTES..).map_or(Message::Malformed, Message::Data),
            });
        }
        None
    })
}

/// Type, sequence and body of the first message, and what follows it.
fn split_message(bytes: &[u8]) -> Option<(u16, u32, &[u8], &[u8])> {
    let length = read_u32(bytes)? as usize;
    let body = bytes.get(NLMSG_HEADER_BYTES..length)?;
    let tail = bytes.get(length.next_multiple_of(ALIGN)..).unwrap_or(&[]);
    Some((read_u16(&bytes[4..])?, read_u32(&bytes[8..])?, body, tail))
}

/// The attributes of a message or of a nested attribute, up to the first that is cut off.
fn attributes(bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    let mut rest = bytes;
    std::iter::from_fn(move || {
        let length = usize::from(read_u16(rest)?);
        let kind = read_u16(rest.get(2..)?)? & NLA_TYPE_MASK;
        let payload = rest.get(NLA_HEADER_BYTES..length)?;
        rest = rest.get(length.next_multiple_of(ALIGN)..).unwrap_or(&[]);
        Some((kind, payload))
    })
}

fn attribute(bytes: &[u8], wanted: u16) -> Option<&[u8]> {
    attributes(bytes).find(|&(kind, _)| kind == wanted).map(|(_, payload)| payload)
}

/// The family's number in the answer to [`family_request`].
pub(super) fn family_id(data: &[u8]) -> Option<u16> {
    read_u16(attribute(data, CTRL_ATTR_FAMILY_ID)?)
}

/// Centre of the primary channel in MHz in the answer to [`interface_request`]; `None` for an interface without
/// channel.
pub(super) fn frequency_mhz(data: &[u8]) -> Option<u32> {
    read_u32(attribute(data, NL80211_ATTR_WIPHY_FREQ)?)
}

/// How well one station is heard. Drivers leave out what they do not know.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Station {
    /// MAC address.
    pub address: [u8; 6],
    /// Signal in dBm: the driver's average, else that of the latest frame.
    pub signal_dbm: Option<i8>,
    /// Bit rate to the station, in units of 100 kbit/s.
    pub send_rate: Option<u32>,
    /// Bit rate from the station, in units of 100 kbit/s.
    pub receive_rate: Option<u32>,
    /// Frames repeated.
    pub retries: Option<u32>,
    /// Frames given up.
    pub failures: Option<u32>,
}

/// The station in one answer to [`stations_request`]; `None` when it is not one.
pub(super) fn station(data: &[u8]) -> Option<Station> {
    let address = attribute(data, NL80211_ATTR_MAC)?.try_into().ok()?;
    let mut station = Station { address, ..Station::default() };
    let mut latest = None;
    for (kind, payload) in attributes(attribute(data, NL80211_ATTR_STA_INFO)?) {
        let signal = payload.first().map(|&byte| byte.cast_signed());
        match kind {
            NL80211_STA_INFO_SIGNAL => latest = signal,
            NL80211_STA_INFO_SIGNAL_AVG => station.signal_dbm = signal,
            NL80211_STA_INFO_TX_BITRATE => station.send_rate = rate(payload),
            NL80211_STA_INFO_RX_BITRATE => station.receive_rate = rate(payload),
            NL80211_STA_INFO_TX_RETRIES => station.retries = read_u32(payload),
            NL80211_STA_INFO_TX_FAILED => station.failures = read_u32(payload),
            _ => {}
        }
    }
    station.signal_dbm = station.signal_dbm.or(latest);
    Some(station)
}

/// Rates above 6.5 Gbit/s only fit the 32-bit attribute; old kernels only have the 16-bit one.
fn rate(nested: &[u8]) -> Option<u32> {
    let wide = attribute(nested, NL80211_RATE_INFO_BITRATE32).and_then(read_u32);
    wide.or_else(|| attribute(nested, NL80211_RATE_INFO_BITRATE).and_then(read_u16).map(u32::from))
}

fn read_u16(bytes: &[u8]) -> Option<u16> {
    Some(u16::from_ne_bytes(*bytes.first_chunk()?))
}

fn read_u32(bytes: &[u8]) -> Option<u32> {
    Some(u32::from_ne_bytes(*bytes.first_chunk()?))
}

fn read_i32(bytes: &[u8]) -> Option<i32> {
    Some(i32::from_ne_bytes(*bytes.first_chunk()?))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn nla(kind: u16, payload: &[u8]) -> Vec<u8> {
        let mut bytes = ((NLA_HEADER_BYTES + payload.len()) as u16).to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend(payload);
        bytes.resize(bytes.len().next_multiple_of(ALIGN), 0);
        bytes
    }

    fn message(kind: u16, sequence: u32, body: &[u8]) -> Vec<u8> {
        let mut bytes = ((NLMSG_HEADER_BYTES + body.len()) as u32).to_ne_bytes().to_vec();
        bytes.extend(kind.to_ne_bytes());
        bytes.extend([2, 0]);
        bytes.extend(sequence.to_ne_bytes());
        bytes.extend([0; 4]);
        bytes.extend(body);
        bytes.resize(bytes.len().next_multiple_of(ALIGN), 0);
        bytes
    }

    /// A station as mac80211 describes it, in its order: counters first, then signal and rates.
    fn station_body() -> Vec<u8> {
        const FAMILY_VERSION: [u8; 4] = [19, 1, 0, 0];
        let tx = [nla(5, &8667u32.to_ne_bytes()), nla(1, &8667u16.to_ne_bytes()), nla(8, &[])];
        let info = [
            nla(1, &40u32.to_ne_bytes()),
            nla(7, &[(-58i8) as u8]),
            nla(13, &[(-61i8) as u8]),
            nla(25, &nla(0, &[(-60i8) as u8])),
            nla(8 | 0x8000, &tx.concat()),
            nla(14 | 0x8000, &nla(1, &540u16.to_ne_bytes())),
            nla(11, &77u32.to_ne_bytes()),
            nla(12, &3u32.to_ne_bytes()),
        ];
        let attributes = [
            nla(3, &4u32.to_ne_bytes()),
            nla(6, &[2, 0, 0, 0, 7, 1]),
            nla(46, &9u32.to_ne_bytes()),
            nla(21 | 0x8000, &info.concat()),
        ];
        [FAMILY_VERSION.to_vec(), attributes.concat()].concat()
    }

    fn expected_station() -> Station {
        Station {
            address: [2, 0, 0, 0, 7, 1],
            signal_dbm: Some(-61),
            send_rate: Some(8667),
            receive_rate: Some(540),
            retries: Some(77),
            failures: Some(3),
        }
    }

    #[test]
    #[cfg(target_endian = "little")]
    fn requests_have_the_bytes_that_iw_sends() {
        let family = [
            32, 0, 0, 0, 16, 0, 5, 0, 1, 0, 0, 0, 0, 0, 0, 0, // netlink
            3, 1, 0, 0, // generic
            12, 0, 2, 0, b'n', b'l', b'8', b'0', b'2', b'1', b'1', 0,
        ];
        assert_eq!(family_request(1, "nl80211"), family);
        let stations = [
            28, 0, 0, 0, 28, 0, 1, 3, 2, 0, 0, 0, 0, 0, 0, 0, //
            17, 1, 0, 0, //
            8, 0, 3, 0, 4, 0, 0, 0,
        ];
        assert_eq!(stations_request(2, 28, 4), stations);
    }

    #[test]
    fn a_dump_of_two_stations_is_read() {
        let body = station_body();
        let datagram = [
            message(28, 6, &body),
            message(28, 7, &body),
            message(28, 7, &body),
            message(NLMSG_DONE, 7, &0i32.to_ne_bytes()),
        ]
        .concat();
        let read: Vec<_> = messages(&datagram, 7).collect();
        assert_eq!(read.len(), 3, "the message of an older request is left out");
        for data in &read[..2] {
            let Message::Data(data) = data else { panic!("{data:?}") };
            assert_eq!(station(data), Some(expected_station()));
        }
        assert_eq!(read[2], Message::End(0));
    }

    #[test]
    fn a_station_without_average_has_the_latest_signal() {
        let info = nla(7, &[(-70i8) as u8]);
        let data = [nla(6, &[2, 0, 0, 0, 0, 9]), nla(21, &info)].concat();
        let station = station(&data).unwrap();
        assert_eq!((station.signal_dbm, station.send_rate), (Some(-70), None));
    }

    #[test]
    fn errors_and_other_answers_are_read() {
        let refusal = message(NLMSG_ERROR, 1, &(-95i32).to_ne_bytes());
        assert_eq!(messages(&refusal, 1).collect::<Vec<_>>(), [Message::End(-95)]);
        assert_eq!(family_id(&nla(1, &28u16.to_ne_bytes())), Some(28));
        assert_eq!(frequency_mhz(&nla(38, &5180u32.to_ne_bytes())), Some(5180));
        assert_eq!(frequency_mhz(&nla(5, &2u32.to_ne_bytes())), None);
    }

    #[test]
    fn truncated_and_endless_lengths_end_the_reading() {
        let whole = message(28, 7, &station_body());
        for end in 0..whole.len() {
            for read in messages(&whole[..end], 7) {
                assert_eq!(read, Message::Malformed, "cut at {end}");
            }
        }
        // A length of zero must not be read for ever.
        assert_eq!(messages(&[0; 64], 7).collect::<Vec<_>>(), [Message::Malformed]);
        assert_eq!(attributes(&[0; 64]).count(), 0);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            for read in messages(&bytes, 0) {
                if let Message::Data(data) = read {
                    let _ = (station(data), family_id(data), frequency_mhz(data));
                }
            }
            let _ = (station(&bytes), family_id(&bytes), frequency_mhz(&bytes));
        }
    }
}
