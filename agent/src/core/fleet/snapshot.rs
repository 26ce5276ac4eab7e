//! Everything that a fleet knows as bytes, and back. Names are written once; the receiver of records brings its own form. What
//! was added later stands at the end ([`Added`]), so that a snapshot without it reads as before.

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::sync::Arc;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::files::Files;
use super::moment::{Moment, Reckoning};
use super::names::{Name, Names, Numbering};
use super::vehicle::{Contact, Counts, Happened, Identity, Latest, Vehicle};
use super::{Fleet, INCOMPLETE_BYTES_MAX, Prefix, Stream};
use crate::core::record::assemble::Receiver;
use crate::core::record::dedup;
use crate::core::telemetry::BootId;
use crate::core::time::ClockQuality;

/// Why bytes are no snapshot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SnapshotError {
    /// They do not read as one.
    Malformed,
    /// What was received cannot be read.
    Received(dedup::SnapshotError),
}

impl fmt::Display for SnapshotError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            SnapshotError::Malformed => {
                write!(f, "it is damaged or of another version of this program")
            }
            SnapshotError::Received(error) => error.fmt(f),
        }
    }
}

impl std::error::Error for SnapshotError {}

#[derive(Serialize, Deserialize)]
struct SavedLatest {
    boot: BootId,
    boot_ms: u64,
    wall: Option<(i64, ClockQuality)>,
    arrived: Moment,
    /// Places in the list of names.
    values: Vec<(u32, f64)>,
}

/// Places in the list of names by number, and the hashes of the versions.
type SavedNumbering = (Vec<Option<u32>>, Vec<u32>);

#[derive(Serialize, Deserialize)]
struct SavedVehicle {
    identity: Identity,
    numberings: Vec<SavedNumbering>,
    latest: Option<SavedLatest>,
    contact: Option<Contact>,
    last_event: Option<Happened>,
    last_federation: Option<Happened>,
    last_mesh: Option<(BootId, u64)>,
    reckoning: Reckoning,
    heard: Moment,
    counts: Counts,
    recent_batches: VecDeque<(BootId, u64)>,
    recent_events: VecDeque<(BootId, u64, u64)>,
}

#[derive(Serialize, Deserialize)]
pub(super) struct Saved {
    names: Vec<Name>,
    vehicles: BTreeMap<String, SavedVehicle>,
    receiver: Vec<u8>,
    streams: BTreeMap<(String, String), Stream>,
    events: VecDeque<(String, Happened)>,
    forgotten_vehicles: u64,
    published: u64,
}

/// What follows [`Saved`], if anything does.
#[derive(Default, Serialize, Deserialize)]
struct Added {
    /// Dictionaries of births in streams, by vehicle.
    learned: BTreeMap<String, Vec<SavedNumbering>>,
    files: Files,
}

/// Places of names in the list that is written.
#[derive(Default)]
struct Index {
    names: Vec<Name>,
    /// By address of the one copy, which lives as long as the fleet.
    places: BTreeMap<*const Name, u32>,
}

impl Index {
    fn place(&mut self, name: &Arc<Name>) -> u32 {
        let next = u32::try_from(self.names.len()).expect("memory for names is bounded");
        *self.places.entry(Arc::as_ptr(name)).or_insert_with(|| {
            self.names.push(Name::clone(name));
            next
        })
    }
}

impl Fleet {
    /// Everything as bytes. What the configuration says is not in it, nor what counts from the start of the process.
    #[must_use]
    pub fn snapshot(&self) -> Vec<u8> {
        let mut index = Index::default();
        let vehicles = self.vehicles.iter();
        let vehicles = vehicles.map(|(name, vehicle)| (name.clone(), save(vehicle, &mut index)));
        let vehicles = vehicles.collect();
        let learned = self.vehicles.iter().filter(|(_, vehicle)| !vehicle.learned.is_empty());
        let learned = learned
            .map(|(name, vehicle)| (name.clone(), save_all(&vehicle.learned, &mut index)))
            .collect();
        let saved = Saved {
            names: index.names,
            vehicles,
            receiver: self.receiver.snapshot(),
            streams: self.streams.clone(),
            events: self.events.clone(),
            forgotten_vehicles: self.forgotten_vehicles,
            published: self.published,
        };
        postcard::to_allocvec(&(saved, Added { learned, files: self.files.clone() }))
            .expect("strings, numbers and lists serialise")
    }

    /// Reads a snapshot.
    ///
    /// # Errors
    /// When it is damaged or of another version.
    pub fn restore(
        snapshot: &[u8],
        prefix: Prefix,
        forward: Option<Prefix>,
    ) -> Result<Fleet, SnapshotError> {
        let malformed = |_| SnapshotError::Malformed;
        let (saved, rest) = postcard::take_from_bytes::<Saved>(snapshot).map_err(malformed)?;
        let added: Added = match rest {
            [] => Added::default(),
            rest => postcard::from_bytes(rest).map_err(malformed)?,
        };
        let mut names = Names::default();
        let shared: Vec<Option<Arc<Name>>> =
            saved.names.into_iter().map(|name| names.share(name)).collect();
        let mut learned = added.learned;
        let vehicles = saved.vehicles.into_iter().map(|(name, saved)| {
            let learned = learned.remove(&name).unwrap_or_default();
            let learned = load_all(learned, &shared);
            (name, Vehicle { learned, ..load(saved, &shared) })
        });
        let receiver = Receiver::restore(&Bytes::from(saved.receiver), INCOMPLETE_BYTES_MAX)
            .map_err(SnapshotError::Received)?;
        Ok(Fleet {
            vehicles: vehicles.collect(),
            names,
            receiver,
            streams: saved.streams,
            files: added.files,
            events: saved.events,
            forgotten_vehicles: saved.forgotten_vehicles,
            published: saved.published,
            ..Fleet::new(prefix, forward)
        })
    }
}

fn save_all(numberings: &VecDeque<Arc<Numbering>>, index: &mut Index) -> Vec<SavedNumbering> {
    let saved = numberings.iter().map(|numbering| {
        let (names, hashes) = numbering.parts();
        let places = names.iter().map(|name| name.as_ref().map(|name| index.place(name)));
        (places.collect(), hashes.to_vec())
    });
    saved.collect()
}

fn load_all(saved: Vec<SavedNumbering>, names: &[Option<Arc<Name>>]) -> VecDeque<Arc<Numbering>> {
    let numberings = saved.into_iter().map(|(places, hashes)| {
        let names = places.into_iter().map(|place| place.and_then(|place| named(place, names)));
        Arc::new(Numbering::from_parts(names.collect(), hashes))
    });
    numberings.collect()
}

/// The name at a place of the list.
fn named(place: u32, names: &[Option<Arc<Name>>]) -> Option<Arc<Name>> {
    names.get(usize::try_from(place).ok()?).cloned().flatten()
}

fn save(vehicle: &Vehicle, index: &mut Index) -> SavedVehicle {
    let numberings = save_all(&vehicle.numberings, index);
    let latest = vehicle.latest.as_ref().map(|latest| SavedLatest {
        boot: latest.boot,
        boot_ms: latest.boot_ms,
        wall: latest.wall,
        arrived: latest.arrived,
        values: latest.values.iter().map(|(name, value)| (index.place(name), *value)).collect(),
    });
    SavedVehicle {
        identity: vehicle.identity.clone(),
        numberings,
        latest,
        contact: vehicle.contact.clone(),
        last_event: vehicle.last_event.clone(),
        last_federation: vehicle.last_federation.clone(),
        last_mesh: vehicle.last_mesh,
        reckoning: vehicle.reckoning,
        heard: vehicle.heard,
        counts: vehicle.counts,
        recent_batches: vehicle.recent_batches.clone(),
        recent_events: vehicle.recent_events.clone(),
    }
}

fn load(saved: SavedVehicle, names: &[Option<Arc<Name>>]) -> Vehicle {
    let latest = saved.latest.map(|latest| Latest {
        boot: latest.boot,
        boot_ms: latest.boot_ms,
        wall: latest.wall,
        arrived: latest.arrived,
        values: latest
            .values
            .into_iter()
            .filter_map(|(place, value)| Some((named(place, names)?, value)))
            .collect(),
    });
    Vehicle {
        identity: saved.identity,
        numberings: load_all(saved.numberings, names),
        learned: VecDeque::new(),
        latest,
        contact: saved.contact,
        last_event: saved.last_event,
        last_federation: saved.last_federation,
        last_mesh: saved.last_mesh,
        reckoning: saved.reckoning,
        heard: saved.heard,
        counts: saved.counts,
        recent_batches: saved.recent_batches,
        recent_events: saved.recent_events,
    }
}
