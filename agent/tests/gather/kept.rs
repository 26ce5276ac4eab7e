//! What lies in a spool, read with its library after the agent has gone.

use std::collections::BTreeMap;
use std::path::Path;

use outrider::core::record::stored::{self, Stored};
use spool::{BootMs, Files, Options, Session, Spool};

/// A record under its name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Name {
    pub stream: String,
    pub epoch: u32,
    pub sequence: u64,
}

/// Everything that is kept, which is taken out by reading it.
pub fn all(folder: &Path) -> BTreeMap<Name, Stored> {
    let options = Options { budget_bytes: 8 << 20, ..Options::default() };
    let session = Session { boot_id: [1; 16], epoch: 0, spool_id: 0 };
    let mut spool = Spool::open(Files::new(folder), options, session, BootMs(0)).unwrap();
    let names: BTreeMap<_, _> = spool
        .report(BootMs(0))
        .streams
        .into_iter()
        .map(|stream| (stream.tag, stream.name.unwrap().to_string()))
        .collect();
    let mut kept = BTreeMap::new();
    while let Some(delivery) = spool.next(BootMs(0)) {
        let name = Name {
            stream: names[&delivery.id.stream].clone(),
            epoch: delivery.id.epoch,
            sequence: delivery.id.sequence,
        };
        let before = kept.insert(name, stored::load(delivery.payload.into()));
        assert!(before.is_none(), "a name was given twice");
        let _ = spool.acknowledge(delivery.id, BootMs(0));
    }
    kept
}

/// The payloads of one stream in their order.
pub fn payloads(kept: &BTreeMap<Name, Stored>, stream: &str) -> Vec<Vec<u8>> {
    let of_stream = kept.iter().filter(|(name, _)| name.stream == stream);
    let mut found: Vec<(u64, Vec<u8>)> =
        of_stream.map(|(name, stored)| (name.sequence, stored.payload.to_vec())).collect();
    found.sort();
    found.into_iter().map(|(_, payload)| payload).collect()
}
