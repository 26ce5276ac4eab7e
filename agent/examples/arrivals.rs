//! Reads gathered records from publications as a receiver does: `arrivals FILE` prints `arrived NUMBER` for each record in each
//! message, and `kept MILLISECONDS NUMBER` for each that [`Receiver`] does not take for a repeat, where a record's payload
//! begins with its number and a space.
//!
//! FILE holds one publication after the other: milliseconds since some moment (8 bytes, little-endian), then topic and
//! payload, each with its length in front (4 bytes, little-endian). `cargo xtask delivery` writes such files.

use std::error::Error;
use std::io::Write;

use bytes::{Buf, Bytes};
use outrider::core::presence::stream_of_topic;
use outrider::core::record::{self, assemble::Receiver};

/// Memory for records that come in parts.
const PARTS_BYTES_MAX: u64 = 16 << 20;

fn main() -> Result<(), Box<dyn Error>> {
    let path = std::env::args().nth(1).ok_or("usage: arrivals FILE")?;
    let mut file = Bytes::from(std::fs::read(&path).map_err(|e| format!("reading {path}: {e}"))?);
    let mut receiver = Receiver::new(PARTS_BYTES_MAX);
    let mut out = std::io::BufWriter::new(std::io::stdout().lock());
    while !file.is_empty() {
        let ms = file.try_get_u64_le()?;
        let topic = String::from_utf8(text(&mut file)?.to_vec())?;
        let payload = text(&mut file)?;
        let (vehicle, stream) =
            stream_of_topic(&topic).ok_or(format!("`{topic}` is not the topic of a stream"))?;
        let message = record::decode(&payload).map_err(|e| format!("at {ms} ms: {e}"))?;
        for entry in &message.entries {
            writeln!(out, "arrived {}", number(&entry.payload)?)?;
        }
        for received in receiver.take(vehicle, stream, message) {
            writeln!(out, "kept {ms} {}", number(&received.payload)?)?;
        }
    }
    Ok(out.flush()?)
}

fn text(file: &mut Bytes) -> Result<Bytes, Box<dyn Error>> {
    let length = usize::try_from(file.try_get_u32_le()?)?;
    if length > file.len() {
        return Err("the last publication is cut off".into());
    }
    Ok(file.split_to(length))
}

fn number(payload: &[u8]) -> Result<u64, Box<dyn Error>> {
    let first = payload.split(|byte| *byte == b' ').next().unwrap_or_default();
    Ok(std::str::from_utf8(first)?.parse()?)
}
