//! `POST /v1/streams/<name>`: takes records into the durable queue, one or many in a request, and answers when they are safe.
//!
//! | | |
//! |---|---|
//! | body | one record, as it is; none is a record of 0 bytes |
//! | `Content-Type` | kept with each record, at most 127 bytes |
//! | `Content-Type: application/x-ndjson` | one record for each line that is not empty; they are kept as `application/json` |
//! | `?split=lines` | one record for each line of any content, empty ones too, without the line feed |
//! | `?split=lengths` | one record after the other, each with its length in front: 4 bytes, little-endian |
//! | `?ack=accepted` | answers when the records are in the queue; a power cut within the sync delay takes them |
//!
//! The answer is `{"stream", "epoch", "first", "last", "records", "durable"}`, with 200 when all records are durable and 202
//! with `?ack=accepted`. `first` and `last` are sequences within the epoch; records of others may lie between them.
//! Otherwise it is `{"error", "reason", "records"}`: of many records the first `records` were taken, in order, and are
//! durable if that was asked for; go on with the one after them. 400 `bad-name` or `bad-request`, 404 `undeclared`, 408
//! `slow`, 413 `too-large`, 429 `busy` or `write-budget`, 503 `no-spool`, 507 `full` or `storage`; with `Retry-After` where
//! trying again helps. When the disk takes nothing, records wait in memory and are not counted, though they may become durable
//! later; the same when an answer never came: after another try they may be there twice, with names of their own.
//!
//! Bounds: a record is at most 1 MiB, or a quarter of a small spool; all bodies together [`BODIES_BYTES_MAX`]; a body ends
//! within [`BODY_WITHIN`] and never pauses for longer than [`PAUSE_MAX`].

use std::future::poll_fn;
use std::pin::Pin;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use bytes::Bytes;
use hyper::body::{Body as _, Incoming};
use hyper::header;
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout, timeout_at};

use super::Answer;
use crate::core::record::CONTENT_TYPE_BYTES_MAX;
use crate::shell::gather::{Ack, Intake, Receipts, Refused, Tally, Target};

/// Bytes of bodies that are being received, all connections together. Four records of the largest size; others wait.
pub const BODIES_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Time for a whole body. It comes from a program on the same machine.
pub const BODY_WITHIN: Duration = Duration::from_secs(60);

/// Longest pause within a body.
pub const PAUSE_MAX: Duration = Duration::from_secs(10);

/// Time for records to become durable: the longest sync delay that can be configured and a disk that is busy with itself.
pub const RECEIPTS_WITHIN: Duration = Duration::from_secs(45);

/// Pause between two looks at whether the disk takes anything.
const DISK_LOOK_EVERY: Duration = Duration::from_secs(1);

/// How long a body waits for its share of [`BODIES_BYTES_MAX`].
const SHARE_WITHIN: Duration = Duration::from_secs(10);

/// Unit in which that share is counted, in bytes.
const SHARE_UNIT: usize = 1024;

/// Bytes of the length in front of each record with `?split=lengths`.
const LENGTH_BYTES: usize = 4;

/// Bodies that are being received and records whose receipt is awaited.
#[derive(Debug)]
pub(super) struct Bodies {
    room: Semaphore,
    open: AtomicUsize,
}

impl Bodies {
    pub(super) fn new() -> Bodies {
        Bodies { room: Semaphore::new(BODIES_BYTES_MAX / SHARE_UNIT), open: AtomicUsize::new(0) }
    }

    /// Waits until the last one is answered.
    pub(super) async fn idle(&self) {
        while self.open.load(Ordering::Relaxed) > 0 {
            tokio::time::sleep(LOOK_EVERY).await;
        }
        // The answer itself has to leave, too.
        tokio::time::sleep(LOOK_EVERY).await;
    }
}

/// Pause between two looks at whether all have their answer.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// One request under way; the connection lives for as long.
struct Open<'a> {
    bodies: &'a Bodies,
    busy: &'a AtomicBool,
}

impl<'a> Open<'a> {
    fn new(bodies: &'a Bodies, busy: &'a AtomicBool) -> Open<'a> {
        busy.store(true, Ordering::Relaxed);
        bodies.open.fetch_add(1, Ordering::Relaxed);
        Open { bodies, busy }
    }
}

impl Drop for Open<'_> {
    fn drop(&mut self) {
        self.busy.store(false, Ordering::Relaxed);
        self.bodies.open.fetch_sub(1, Ordering::Relaxed);
    }
}

/// How a body is cut into records.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Split {
    /// Not at all.
    Whole,
    /// At line feeds; empty lines are records only when `empty` is set.
    Lines { empty: bool },
    /// By lengths.
    Lengths,
}

/// What a request asks for, beside its body.
#[derive(Debug, PartialEq, Eq)]
struct Wish {
    split: Split,
    ack: Ack,
    content_type: Option<String>,
}

/// An answer, and when trying again makes sense, in seconds.
pub(super) type Told = (Answer, Option<u32>);

/// Takes the records of one request. `busy` is set for as long as they are awaited, so that the connection lives.
pub(super) async fn append(
    request: hyper::Request<Incoming>,
    name: &str,
    intake: Option<&Intake>,
    bodies: &Bodies,
    busy: &AtomicBool,
) -> Told {
    let _open = Open::new(bodies, busy);
    take(request, name, intake, bodies).await
}

async fn take(
    request: hyper::Request<Incoming>,
    name: &str,
    intake: Option<&Intake>,
    bodies: &Bodies,
) -> Told {
    let content_type = request.headers().get(header::CONTENT_TYPE);
    let content_type = content_type.map(|value| value.to_str().unwrap_or("\n"));
    let wish = match wish(request.uri().query().unwrap_or(""), content_type) {
        Ok(wish) => wish,
        Err(text) => return failed(&Trouble::BadRequest(text), &Tally::default()),
    };
    let Some(intake) = intake else {
        let reason = "this agent has no spool; set `folder` in section `[spool]`".to_owned();
        return failed(&Trouble::Refused(Refused::NoSpool(reason)), &Tally::default());
    };
    let target = match intake.target(name).await {
        Ok(target) => target,
        Err(refused) => return failed(&Trouble::Refused(refused), &Tally::default()),
    };
    let mut body = Incomer { body: request.into_body(), until: Instant::now() + BODY_WITHIN };
    let batch = Batch { intake, target, wish: &wish, receipts: Receipts::default() };
    let handed_in = batch.hand_in(&mut body, bodies).await;
    let (tally, refused) = settled(&batch.receipts, intake).await;
    // What was refused first names the record that is missing; what went wrong on the way came later.
    match refused.map(Trouble::Refused).or(handed_in.err()) {
        Some(trouble) => failed(&trouble, &tally),
        None => taken(name, &wish, &tally),
    }
}

/// Waits until all records are durable or gone, or the disk takes nothing: then they wait in memory for a disk that may come
/// back, and nobody can say more.
async fn settled(receipts: &Receipts, intake: &Intake) -> (Tally, Option<Refused>) {
    let until = Instant::now() + RECEIPTS_WITHIN;
    loop {
        if let Ok(settled) = timeout(DISK_LOOK_EVERY, receipts.wait()).await {
            return settled;
        }
        if intake.is_degraded() || Instant::now() >= until {
            return (receipts.so_far(), Some(Refused::Disk));
        }
    }
}

fn taken(name: &str, wish: &Wish, tally: &Tally) -> Told {
    let durable = wish.ack == Ack::Durable;
    let document = serde_json::json!({
        "stream": name,
        "epoch": tally.epoch,
        "first": tally.first,
        "last": tally.last,
        "records": tally.records,
        "durable": durable,
    });
    (Answer::json(if durable { 200 } else { 202 }, &document), None)
}

/// Why a request ended early.
#[derive(Debug)]
enum Trouble {
    Refused(Refused),
    /// The request makes no sense.
    BadRequest(String),
    /// The body did not come in time.
    Slow,
}

impl From<Refused> for Trouble {
    fn from(refused: Refused) -> Trouble {
        Trouble::Refused(refused)
    }
}

fn failed(trouble: &Trouble, tally: &Tally) -> Told {
    let (code, reason, text, retry) = match trouble {
        Trouble::BadRequest(text) => (400, "bad-request", text.clone(), None),
        Trouble::Slow => {
            let text = format!(
                "the body paused for more than {} s or took more than {} s; send what there is, and the rest \
                 later",
                PAUSE_MAX.as_secs(),
                BODY_WITHIN.as_secs()
            );
            (408, "slow", text, None)
        }
        Trouble::Refused(refused) => {
            (code(refused), refused.word(), refused.to_string(), refused.retry_after_s())
        }
    };
    let document = serde_json::json!({ "error": text, "reason": reason, "records": tally.records });
    (Answer::json(code, &document), retry)
}

fn code(refused: &Refused) -> u16 {
    match refused {
        Refused::BadName(_) => 400,
        Refused::Undeclared(_) => 404,
        Refused::TooLarge { .. } => 413,
        Refused::Busy | Refused::WriteBudget => 429,
        Refused::NoSpool(_) => 503,
        Refused::Full | Refused::Disk | Refused::Undefined(_) => 507,
    }
}

fn wish(query: &str, content_type: Option<&str>) -> Result<Wish, String> {
    let content_type = content_type.unwrap_or("");
    let plain = content_type.bytes().all(|byte| (0x20..0x7f).contains(&byte));
    if !plain || content_type.len() > CONTENT_TYPE_BYTES_MAX {
        return Err(format!(
            "the content type is kept with each record; give one of at most {CONTENT_TYPE_BYTES_MAX} plain \
             characters"
        ));
    }
    let media = content_type.split(';').next().unwrap_or("").trim();
    let ndjson = media.eq_ignore_ascii_case("application/x-ndjson");
    let mut wish = Wish {
        split: if ndjson { Split::Lines { empty: false } } else { Split::Whole },
        ack: Ack::Durable,
        content_type: match content_type {
            "" => None,
            _ if ndjson => Some("application/json".to_owned()),
            text => Some(text.to_owned()),
        },
    };
    for part in query.split('&').filter(|part| !part.is_empty()) {
        match part {
            "ack=durable" => wish.ack = Ack::Durable,
            "ack=accepted" => wish.ack = Ack::Accepted,
            "split=lines" => wish.split = Split::Lines { empty: !ndjson },
            "split=lengths" => wish.split = Split::Lengths,
            _ => {
                return Err(format!(
                    "`{}` is not understood; there are ack=durable, ack=accepted, split=lines and \
                     split=lengths",
                    part.escape_debug()
                ));
            }
        }
    }
    Ok(wish)
}

/// A body within its time.
struct Incomer {
    body: Incoming,
    until: Instant,
}

impl Incomer {
    /// The next piece; `None` at the end.
    async fn next(&mut self) -> Result<Option<Bytes>, Trouble> {
        loop {
            let until = self.until.min(Instant::now() + PAUSE_MAX);
            let frame = poll_fn(|context| Pin::new(&mut self.body).poll_frame(context));
            match timeout_at(until, frame).await {
                Err(_) => return Err(Trouble::Slow),
                Ok(None) => return Ok(None),
                Ok(Some(Err(error))) => {
                    return Err(Trouble::BadRequest(format!("the body was cut off: {error}")));
                }
                // Trailers are of no interest.
                Ok(Some(Ok(frame))) => {
                    if let Ok(bytes) = frame.into_data() {
                        return Ok(Some(bytes));
                    }
                }
            }
        }
    }
}

/// The records of one request.
struct Batch<'a> {
    intake: &'a Intake,
    target: Target,
    wish: &'a Wish,
    receipts: Receipts,
}

impl Batch<'_> {
    /// Cuts the body into records and hands them in.
    async fn hand_in(&self, body: &mut Incomer, bodies: &Bodies) -> Result<(), Trouble> {
        let bytes_max = self.intake.payload_bytes_max();
        let expected = body.body.size_hint().exact();
        if self.wish.split == Split::Whole && expected.is_some_and(|bytes| bytes > bytes_max as u64)
        {
            return Err(Refused::TooLarge { bytes_max }.into());
        }
        let buffer = usize::try_from(expected.unwrap_or(u64::MAX)).unwrap_or(usize::MAX);
        let units = buffer.min(bytes_max).div_ceil(SHARE_UNIT).min(BODIES_BYTES_MAX / SHARE_UNIT);
        let share = bodies.room.acquire_many(u32::try_from(units).unwrap_or(u32::MAX));
        let _share = match timeout(SHARE_WITHIN, share).await {
            Ok(Ok(share)) => share,
            Ok(Err(_)) | Err(_) => return Err(Refused::Busy.into()),
        };
        let mut begun = Vec::new();
        while let Some(piece) = body.next().await? {
            self.cut(&mut begun, &piece, bytes_max).await?;
            if self.receipts.refused() {
                return Ok(());
            }
        }
        self.end(begun).await
    }

    /// Takes in one piece; what is left of it begins the next record.
    async fn cut(
        &self,
        begun: &mut Vec<u8>,
        piece: &[u8],
        bytes_max: usize,
    ) -> Result<(), Trouble> {
        begun.extend_from_slice(piece);
        let mut at = 0;
        loop {
            let rest = &begun[at..];
            let (record, used) = match self.wish.split {
                Split::Whole => break,
                Split::Lines { empty } => {
                    // Searched again from its beginning with each piece of some KiB: a line has few of them.
                    let Some(end) = rest.iter().position(|byte| *byte == b'\n') else { break };
                    let line = &rest[..end];
                    let blank = line.is_empty() || line == b"\r";
                    (Some(line).filter(|_| empty || !blank), end + 1)
                }
                Split::Lengths => {
                    let Some((length, after)) = rest.split_first_chunk::<LENGTH_BYTES>() else {
                        break;
                    };
                    let length = u32::from_le_bytes(*length) as usize;
                    if length > bytes_max {
                        return Err(Refused::TooLarge { bytes_max }.into());
                    }
                    let Some(record) = after.get(..length) else { break };
                    (Some(record), LENGTH_BYTES + length)
                }
            };
            if let Some(record) = record {
                self.put(record).await?;
            }
            at += used;
        }
        begun.drain(..at);
        if begun.len() > bytes_max + LENGTH_BYTES
            || (self.wish.split != Split::Lengths && begun.len() > bytes_max)
        {
            return Err(Refused::TooLarge { bytes_max }.into());
        }
        Ok(())
    }

    /// The body has ended; `begun` is what is left of it.
    async fn end(&self, begun: Vec<u8>) -> Result<(), Trouble> {
        match self.wish.split {
            Split::Whole => self.put(&begun).await,
            Split::Lines { .. } if begun.is_empty() => Ok(()),
            Split::Lines { .. } => self.put(&begun).await,
            Split::Lengths if begun.is_empty() => Ok(()),
            Split::Lengths => Err(Trouble::BadRequest(
                "the body ends within a record; send each with its length in front: 4 bytes, \
                 little-endian"
                    .to_owned(),
            )),
        }
    }

    async fn put(&self, record: &[u8]) -> Result<(), Trouble> {
        let content_type = self.wish.content_type.as_deref();
        let reply = self.receipts.expect_one();
        let put = self.intake.put(&self.target, content_type, record, self.wish.ack, reply).await;
        if put.is_err() {
            self.receipts.expect_one_less();
        }
        Ok(put?)
    }
}

/// The stream that a path names.
pub(super) fn stream_of(path: &str) -> Option<&str> {
    path.strip_prefix("/v1/streams/")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wishes_are_read_and_what_is_not_understood_is_refused() {
        let plain = wish("", None).unwrap();
        assert_eq!(
            (plain.split, plain.ack, plain.content_type),
            (Split::Whole, Ack::Durable, None)
        );
        let lines = wish("ack=accepted", Some("application/x-ndjson; charset=utf-8")).unwrap();
        assert_eq!((lines.split, lines.ack), (Split::Lines { empty: false }, Ack::Accepted));
        assert_eq!(lines.content_type.as_deref(), Some("application/json"));
        let text = wish("split=lines&ack=durable", Some("text/plain")).unwrap();
        assert_eq!((text.split, text.ack), (Split::Lines { empty: true }, Ack::Durable));
        assert_eq!(text.content_type.as_deref(), Some("text/plain"));
        assert_eq!(wish("split=lengths", None).unwrap().split, Split::Lengths);
        for (query, content_type) in
            [("ack=no", None), ("x", None), ("", Some("a\nb")), ("", Some(&*"a".repeat(128)))]
        {
            assert!(wish(query, content_type).is_err(), "{query} {content_type:?}");
        }
    }
}
