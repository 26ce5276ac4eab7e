//! The table of all keys: the one place that says what can be configured.

mod delivery;
mod federation;
mod gather;
mod hardware;
mod links;
mod mesh;
mod mqtt;
mod service;
mod spool;

pub(crate) use spool::STREAM;

use olsr_bridge::cost::{COST_MAX, HOP};

use super::key::{Key, Section};
use super::tables::TableList;

/// Network costs that a bound can be.
const COSTS: [u64; 2] = [HOP as u64, COST_MAX as u64];

/// All sections in the order of the reference page.
pub static SECTIONS: &[Section] = &[
    service::VEHICLE,
    mesh::MESH,
    links::LINKS,
    hardware::HARDWARE,
    service::HTTP,
    service::CONTROL,
    mqtt::MQTT,
    spool::SPOOL,
    delivery::DELIVERY,
    federation::K3S,
    federation::MEMBERSHIP,
    federation::HOST,
    service::LOG,
];

/// All tables that may be written several times, in the order of the reference page.
pub(crate) static LISTS: &[&'static dyn TableList] =
    &[&STREAM, &gather::FOLDER, &gather::MQTT, &federation::FEDERATION];

/// All keys with their sections.
pub(crate) fn all() -> impl Iterator<Item = (&'static Section, &'static Key)> {
    SECTIONS.iter().flat_map(|section| section.keys.iter().map(move |key| (section, key)))
}

/// A place in the configuration, by the path of the field.
macro_rules! place {
    ($section:ident . $key:ident) => {
        Place {
            get: |config| config.$section.$key.clone(),
            set: |config, value| config.$section.$key = value,
        }
    };
    // An integer of another width. The key's limits fit it, so saturation is never reached.
    ($section:ident . $key:ident as $width:ident) => {
        Place {
            get: |config| u64::try_from(config.$section.$key).unwrap_or(u64::MAX),
            set: |config, value| {
                config.$section.$key = $width::try_from(value).unwrap_or($width::MAX);
            },
        }
    };
    // One of the words of a list of `(word, meaning, value)`.
    ($section:ident . $key:ident among $choices:ident) => {
        Place {
            get: |config| {
                let found = $choices.iter().find(|(_, value)| *value == config.$section.$key);
                found.map_or("", |((word, _), _)| word)
            },
            set: |config, word| {
                if let Some((_, value)) = $choices.iter().find(|((known, _), _)| *known == word) {
                    config.$section.$key = *value;
                }
            },
        }
    };
}
use place;

/// A place in the struct of a table, by the name of the field; as [`place`].
macro_rules! item {
    ($($key:ident).+) => {
        Place { get: |item| item.$($key).+.clone(), set: |item, value| item.$($key).+ = value }
    };
    ($($key:ident).+ as $width:ident) => {
        Place {
            get: |item| u64::from(item.$($key).+),
            set: |item, value| item.$($key).+ = $width::try_from(value).unwrap_or($width::MAX),
        }
    };
    ($key:ident among $choices:ident) => {
        Place {
            get: |item| {
                let found = $choices.iter().find(|(_, value)| *value == item.$key);
                found.map_or("", |((word, _), _)| word)
            },
            set: |item, word| {
                if let Some((_, value)) = $choices.iter().find(|((known, _), _)| *known == word) {
                    item.$key = *value;
                }
            },
        }
    };
}
use item;
