//! As much of MQTT 3.1.1 as it takes to bring records to a broker and to watch what arrives at one, over its Unix socket.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

/// First bytes of packets (MQTT 3.1.1, section 2.2.1), with the flags that are sent here.
const CONNECT: u8 = 0x10;
const CONNACK: u8 = 0x20;
const PUBLISH: u8 = 0x30;
const QOS_1: u8 = 0x02;
const PUBACK: u8 = 0x40;
const SUBSCRIBE: u8 = 0x82;
const SUBACK: u8 = 0x90;

/// Longest wait for the first answer of a broker.
const GREETING_WITHIN: Duration = Duration::from_secs(10);

/// A publication that was received.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Publication {
    /// Where to.
    pub topic: String,
    /// What.
    pub payload: Vec<u8>,
}

/// A connection.
pub struct Client {
    stream: UnixStream,
    /// What was read and is not a whole packet yet.
    input: Vec<u8>,
    /// Publications without acknowledgement: packet number, then the number of the record.
    pending: BTreeMap<u16, u64>,
    last_packet: u16,
}

impl Client {
    /// Connects without a session that is kept, and without keep-alive.
    pub fn connect(socket: &Path, id: &str) -> Result<Client, String> {
        let failed = |e: std::io::Error| format!("connecting to {}: {e}", socket.display());
        let stream = UnixStream::connect(socket).map_err(failed)?;
        stream.set_read_timeout(Some(GREETING_WITHIN)).map_err(failed)?;
        let input = Vec::new();
        let mut client = Client { stream, input, pending: BTreeMap::new(), last_packet: 0 };
        // Protocol name and level 4, flag for a clean session, no keep-alive.
        let mut body = b"\x00\x04MQTT\x04\x02\x00\x00".to_vec();
        put_text(&mut body, id);
        client.write(CONNECT, &body)?;
        client.expect(CONNACK)?;
        Ok(client)
    }

    /// Asks for everything, to be sent once.
    pub fn subscribe(&mut self) -> Result<(), String> {
        let mut body = vec![0, 1];
        put_text(&mut body, "#");
        body.push(0);
        self.write(SUBSCRIBE, &body)?;
        self.expect(SUBACK)
    }

    /// Publishes a record with QoS 1; [`Client::acknowledged`] names it.
    pub fn publish(&mut self, topic: &str, number: u64, payload: &[u8]) -> Result<(), String> {
        self.last_packet = self.last_packet.checked_add(1).unwrap_or(1);
        self.pending.insert(self.last_packet, number);
        let mut body = Vec::new();
        put_text(&mut body, topic);
        body.extend_from_slice(&self.last_packet.to_be_bytes());
        body.extend_from_slice(payload);
        self.write(PUBLISH | QOS_1, &body)
    }

    /// Publications without acknowledgement.
    pub fn pending(&self) -> usize {
        self.pending.len()
    }

    /// Numbers of the records that the broker has acknowledged, waiting for the first no longer than `patience`.
    pub fn acknowledged(&mut self, patience: Duration) -> Result<Vec<u64>, String> {
        let mut numbers = Vec::new();
        for (kind, body) in self.packets(patience)? {
            if let (PUBACK, [high, low]) = (kind & 0xf0, body.as_slice()) {
                numbers.extend(self.pending.remove(&u16::from_be_bytes([*high, *low])));
            }
        }
        Ok(numbers)
    }

    /// What was published, waiting for the first no longer than `patience`.
    pub fn arrived(&mut self, patience: Duration) -> Result<Vec<Publication>, String> {
        let packets = self.packets(patience)?.into_iter();
        packets
            .filter(|(kind, _)| kind & 0xf0 == PUBLISH)
            .map(|(_, body)| publication(&body))
            .collect()
    }

    fn expect(&mut self, wanted: u8) -> Result<(), String> {
        let packets = self.packets(GREETING_WITHIN)?;
        match packets.first() {
            Some((kind, _)) if *kind == wanted => Ok(()),
            other => Err(format!("the broker answered {other:?} instead of {wanted:#x}")),
        }
    }

    fn write(&mut self, kind: u8, body: &[u8]) -> Result<(), String> {
        let mut packet = vec![kind];
        put_length(&mut packet, body.len());
        packet.extend_from_slice(body);
        self.stream.write_all(&packet).map_err(|e| format!("writing to the broker: {e}"))
    }

    /// Whole packets, first byte and body, after one read.
    fn packets(&mut self, patience: Duration) -> Result<Vec<(u8, Vec<u8>)>, String> {
        let failed = |e: std::io::Error| format!("reading from the broker: {e}");
        // A time of zero would mean to wait for ever.
        let patience = patience.max(Duration::from_millis(1));
        self.stream.set_read_timeout(Some(patience)).map_err(failed)?;
        let mut buffer = [0; 64 * 1024];
        match self.stream.read(&mut buffer) {
            Ok(0) => return Err("the broker has closed the connection".to_owned()),
            Ok(length) => self.input.extend_from_slice(&buffer[..length]),
            Err(e) if matches!(e.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {}
            Err(e) => return Err(failed(e)),
        }
        let mut packets = Vec::new();
        while let Some((kind, body, length)) = first_packet(&self.input) {
            packets.push((kind, body.to_vec()));
            self.input.drain(..length);
        }
        Ok(packets)
    }
}

fn put_text(to: &mut Vec<u8>, text: &str) {
    let length =
        u16::try_from(text.len()).expect("topics and identifiers of the measurement are short");
    to.extend_from_slice(&length.to_be_bytes());
    to.extend_from_slice(text.as_bytes());
}

/// The remaining length, seven bits in each byte (section 2.2.3).
fn put_length(to: &mut Vec<u8>, mut length: usize) {
    loop {
        let low = (length % 128) as u8;
        length /= 128;
        to.push(if length > 0 { low | 0x80 } else { low });
        if length == 0 {
            return;
        }
    }
}

/// First byte, body and whole length of the first packet, once it is all there.
fn first_packet(input: &[u8]) -> Option<(u8, &[u8], usize)> {
    let (kind, rest) = input.split_first()?;
    let mut length = 0;
    for (index, byte) in rest.iter().take(4).enumerate() {
        length |= usize::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            let start = index + 1;
            let body = rest.get(start..start + length)?;
            return Some((*kind, body, 1 + start + length));
        }
    }
    None
}

/// A publication that was sent once, and so has no packet number.
fn publication(body: &[u8]) -> Result<Publication, String> {
    let odd = || "the broker sent an odd publication".to_owned();
    let (length, rest) = body.split_first_chunk::<2>().ok_or_else(odd)?;
    let (topic, payload) =
        rest.split_at_checked(usize::from(u16::from_be_bytes(*length))).ok_or_else(odd)?;
    let topic = String::from_utf8(topic.to_vec()).map_err(|_| odd())?;
    Ok(Publication { topic, payload: payload.to_vec() })
}

#[cfg(test)]
mod tests {
    use super::{PUBLISH, Publication, first_packet, publication, put_length, put_text};

    fn packet(topic: &str, payload: &[u8]) -> Vec<u8> {
        let mut body = Vec::new();
        put_text(&mut body, topic);
        body.extend_from_slice(payload);
        let mut packet = vec![PUBLISH];
        put_length(&mut packet, body.len());
        packet.extend(body);
        packet
    }

    #[test]
    fn packets_are_read_once_they_are_whole() {
        for length in [0, 1, 120, 121, 200, 16_380, 16_381, 100_000] {
            let payload = vec![7; length];
            let packet = packet("a/b", &payload);
            let more = [&packet[..], b"\x30"].concat();
            let (kind, body, whole) = first_packet(&more).expect("it is whole");
            assert_eq!((kind, whole), (PUBLISH, packet.len()), "{length}");
            assert_eq!(publication(body), Ok(Publication { topic: "a/b".to_owned(), payload }));
            assert_eq!(first_packet(&packet[..packet.len() - 1]), None, "{length}");
        }
        assert_eq!(first_packet(b""), None);
        assert!(publication(b"\x00\x09short").is_err());
    }
}
