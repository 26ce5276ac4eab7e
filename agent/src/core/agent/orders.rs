//! What the core wants of the durable queue, and what carrying that out means, on whatever storage and thread it lies.

use bytes::Bytes;
use spool::{BootMs, RecordId, Spool, Storage, StreamTag};

use super::Input;
use crate::core::courier::{Fetched, Held, RecordName, StreamId};
use crate::core::pacing::DayCount;

/// Something that is wanted of the durable queue. Orders are carried out one after the other.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Order {
    /// Keep a record of the agent's own and report it as [`Input::Kept`].
    Keep {
        /// In this stream.
        stream: StreamTag,
        /// Its stored form.
        stored: Bytes,
    },
    /// Hand out the next records as [`Input::Fetched`]: at least one if there is one, beyond that no more than this.
    Fetch {
        /// Of this stream.
        stream: StreamTag,
        /// Which the courier knows by this.
        id: StreamId,
        /// To be given back.
        round: u64,
        /// Bytes at most.
        bytes: usize,
        /// Records at most.
        records: usize,
    },
    /// The broker has these: forget them.
    Acknowledge {
        /// Of this stream.
        stream: StreamTag,
        /// These.
        records: Vec<RecordName>,
    },
    /// Hand out everything of this stream again that was not acknowledged.
    Rewind(StreamTag),
    /// Remember what was sent in the current day over a restart. Nothing that a spool could do.
    SaveDay(DayCount),
}

/// Does what is ordered, and gives what the agent is to be told of it.
pub fn carry_out<S: Storage>(spool: &mut Spool<S>, order: Order, now: BootMs) -> Option<Input> {
    match order {
        Order::Keep { stream, stored } => {
            let accepted = spool.append(stream, stored.to_vec(), now).ok();
            Some(Input::Kept { stream, stored, name: accepted.map(|accepted| name(accepted.id)) })
        }
        Order::Fetch { stream, id, round, bytes, records } => {
            let records = hand_out(spool, stream, now, bytes, records);
            // What is not handed out at present counts, too.
            let more = spool.undelivered(stream) > 0;
            Some(Input::Fetched(Fetched { stream: id, round, records, more }))
        }
        Order::Acknowledge { stream, records } => {
            for RecordName { epoch, sequence } in records {
                // One that expired or made room meanwhile is gone, and counted as that.
                let _ = spool.acknowledge(RecordId { stream, sequence, epoch }, now);
            }
            None
        }
        Order::Rewind(stream) => {
            spool.rewind_of(stream);
            None
        }
        Order::SaveDay(_) => None,
    }
}

fn name(id: RecordId) -> RecordName {
    RecordName { epoch: id.epoch, sequence: id.sequence }
}

fn hand_out<S: Storage>(
    spool: &mut Spool<S>,
    stream: StreamTag,
    now: BootMs,
    bytes: usize,
    records: usize,
) -> Vec<Held> {
    let mut handed = Vec::new();
    let mut size = 0;
    while size < bytes && handed.len() < records {
        let Some(delivery) = spool.next_of(stream, now) else { break };
        size += delivery.payload.len();
        handed.push(Held { name: name(delivery.id), stored: Bytes::from(delivery.payload) });
    }
    handed
}
