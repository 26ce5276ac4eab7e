//! Keys of the ways by which records come in beside the control socket.

use std::path::PathBuf;

use super::item;
use crate::config::key::{Field, Key, Place, Preset, TakesEffect};
use crate::config::tables::Tables;
use crate::config::{GatherFolder, GatherMqtt, rules};

/// Folders.
pub(crate) static FOLDER: Tables<GatherFolder> = Tables {
    name: "gather.folder",
    doc: "A folder whose files become records: a file is taken when it was closed after writing or \
          was moved in, and removed when its records are safe. May be written several times.",
    keys: &[
        Key {
            name: "path",
            doc: "The folder. The agent's user must be able to read and remove what is in it.",
            preset: Preset::Required,
            example: "\"/var/spool/camera\"",
            field: Field::Path(item!(path)),
            takes_effect: TakesEffect::OnRestart,
        },
        Key {
            name: "stream",
            doc: "Stream that gets the records.",
            preset: Preset::Required,
            example: "\"camera\"",
            field: Field::Text(item!(stream), rules::stream_name),
            takes_effect: TakesEffect::OnRestart,
        },
        Key {
            name: "content_type",
            doc: "What the files are, as a media type.",
            preset: Preset::Unset("nothing is said"),
            example: "\"image/jpeg\"",
            field: Field::OptionalText(item!(content_type), rules::content_type),
            takes_effect: TakesEffect::OnRestart,
        },
    ],
    list: |config| &config.gather.folder,
    list_mut: |config| &mut config.gather.folder,
    blank: || GatherFolder { path: PathBuf::new(), stream: String::new(), content_type: None },
    identity: ("path", |folder| folder.path.to_string_lossy().into_owned()),
    check: |_| None,
};

/// Brokers on this vehicle.
pub(crate) static MQTT: Tables<GatherMqtt> = Tables {
    name: "gather.mqtt",
    doc: "Topics of an MQTT broker on this vehicle: what is published there becomes records. The \
          broker gets its acknowledgement when a record is safe. May be written several times.",
    keys: &[
        Key {
            name: "filter",
            doc: "Topics, with `+` for any level and `#` at the end for all that follow.",
            preset: Preset::Required,
            example: "\"sensors/#\"",
            field: Field::Text(item!(filter), rules::topic_filter),
            takes_effect: TakesEffect::OnRestart,
        },
        Key {
            name: "stream",
            doc: "Stream that gets the records.",
            preset: Preset::Required,
            example: "\"sensors\"",
            field: Field::Text(item!(stream), rules::stream_name),
            takes_effect: TakesEffect::OnRestart,
        },
        Key {
            name: "host",
            doc: "Host name or address of the broker.",
            preset: Preset::Is("\"127.0.0.1\""),
            example: "\"broker.local\"",
            field: Field::Text(item!(host), rules::host),
            takes_effect: TakesEffect::OnRestart,
        },
        Key {
            name: "port",
            doc: "Port of the broker.",
            preset: Preset::Is("1883"),
            example: "1884",
            field: Field::Integer(item!(port as u16), [1, 65_535], ""),
            takes_effect: TakesEffect::OnRestart,
        },
        Key {
            name: "username",
            doc: "User name for the broker.",
            preset: Preset::Unset("no user name is sent"),
            example: "\"outrider\"",
            field: Field::OptionalText(item!(username), rules::not_empty),
            takes_effect: TakesEffect::OnRestart,
        },
        Key {
            name: "password_file",
            doc: "File that holds the password in its first line. Nobody but the agent's user should \
                  be able to read it.",
            preset: Preset::Unset("no password is sent"),
            example: "\"/etc/outrider/local.password\"",
            field: Field::OptionalPath(item!(password_file)),
            takes_effect: TakesEffect::OnRestart,
        },
    ],
    list: |config| &config.gather.mqtt,
    list_mut: |config| &mut config.gather.mqtt,
    blank: || GatherMqtt {
        filter: String::new(),
        stream: String::new(),
        host: String::new(),
        port: 0,
        username: None,
        password_file: None,
    },
    identity: ("filter", |mqtt| format!("{} at {}:{}", mqtt.filter, mqtt.host, mqtt.port)),
    check: |mqtt| {
        let text = "a password needs a user name; write `username` beside it";
        (mqtt.password_file.is_some() && mqtt.username.is_none())
            .then(|| ("password_file", text.to_owned()))
    },
};
