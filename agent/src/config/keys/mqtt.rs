//! Keys of the broker connection.

use std::time::Duration;

use super::place;
use crate::config::key::{Field, Key, Place, Preset, Section, TakesEffect, Word};
use crate::config::{MqttProtocol, TelemetryFormat, rules};

const PROTOCOLS: &[(Word, MqttProtocol)] = &[
    (("auto", "5, and 3.1.1 when the broker refuses it"), MqttProtocol::Auto),
    (("5", "5 only"), MqttProtocol::V5),
    (("3.1.1", "3.1.1 only"), MqttProtocol::V311),
];

const FORMATS: &[(Word, TelemetryFormat)] = &[
    (
        ("compact", "batches of delta-coded columns, about a byte a sample"),
        TelemetryFormat::Compact,
    ),
    (("json", "one readable document per batch"), TelemetryFormat::Json),
];

pub(super) const MQTT: Section = Section {
    name: "mqtt",
    doc: "The MQTT broker that receives birth, telemetry and events.",
    keys: &[
        Key {
            name: "host",
            doc: "Host name or address of the broker.",
            preset: Preset::Unset("nothing is sent over MQTT"),
            example: "\"broker.convoy\"",
            field: Field::OptionalText(place!(mqtt.host), rules::host),
            takes_effect: TakesEffect::OnRestart,
        },
        Key {
            name: "port",
            doc: "Port of the broker.",
            preset: Preset::Found("1883, with TLS 8883"),
            example: "8883",
            field: Field::Integer(place!(mqtt.port as u16), [1, 65_535], ""),
            takes_effect: TakesEffect::OnRestart,
        },
        Key {
            name: "protocol",
            doc: "Protocol version.",
            preset: Preset::Is("\"auto\""),
            example: "\"3.1.1\"",
            field: Field::Word(
                place!(mqtt.protocol among PROTOCOLS),
                &[PROTOCOLS[0].0, PROTOCOLS[1].0, PROTOCOLS[2].0],
            ),
            takes_effect: TakesEffect::OnRestart,
        },
        Key {
            name: "client_id",
            doc: "Client identifier. Two clients with the same one disconnect each other for ever.",
            preset: Preset::Found("`outrider-` and the vehicle's name"),
            example: "\"outrider-alpha\"",
            field: Field::Text(place!(mqtt.client_id), rules::not_empty),
            takes_effect: TakesEffect::OnRestart,
        },
        Key {
            name: "topic",
            doc: "First part of every topic, in front of `/` and the vehicle's name.",
            preset: Preset::Is("\"outrider\""),
            example: "\"convoy/red\"",
            field: Field::Text(place!(mqtt.topic), rules::topic),
            takes_effect: TakesEffect::OnRestart,
        },
        Key {
            name: "username",
            doc: "User name for the broker.",
            preset: Preset::Unset("no user name is sent"),
            example: "\"alpha\"",
            field: Field::OptionalText(place!(mqtt.username), rules::not_empty),
            takes_effect: TakesEffect::OnRestart,
        },
        Key {
            name: "password_file",
            doc: "File that holds the password in its first line. Nobody but the agent's user \
                  should be able to read it.",
            preset: Preset::Unset("no password is sent"),
            example: "\"/etc/outrider/mqtt.password\"",
            field: Field::OptionalPath(place!(mqtt.password_file)),
            takes_effect: TakesEffect::OnRestart,
        },
        Key {
            name: "tls",
            doc: "Encrypt, and check the broker's certificate.",
            preset: Preset::Is("false"),
            example: "true",
            field: Field::Bool(place!(mqtt.tls)),
            takes_effect: TakesEffect::OnRestart,
        },
        Key {
            name: "ca_file",
            doc: "PEM file of the authority that signed the broker's certificate.",
            preset: Preset::Unset("with TLS a connection is not possible"),
            example: "\"/etc/outrider/ca.pem\"",
            field: Field::OptionalPath(place!(mqtt.ca_file)),
            takes_effect: TakesEffect::OnRestart,
        },
        Key {
            name: "certificate_file",
            doc: "PEM file of this vehicle's certificate, with the chain to its authority.",
            preset: Preset::Unset("no client certificate is shown"),
            example: "\"/etc/outrider/alpha.pem\"",
            field: Field::OptionalPath(place!(mqtt.certificate_file)),
            takes_effect: TakesEffect::OnRestart,
        },
        Key {
            name: "key_file",
            doc: "PEM file of the private key of that certificate. Nobody but the agent's user \
                  should be able to read it.",
            preset: Preset::Unset("no client certificate is shown"),
            example: "\"/etc/outrider/alpha.key\"",
            field: Field::OptionalPath(place!(mqtt.key_file)),
            takes_effect: TakesEffect::OnRestart,
        },
        Key {
            name: "keep_alive",
            doc: "Time without traffic after which the connection is probed.",
            preset: Preset::Is("\"30s\""),
            example: "\"2m\"",
            field: Field::Duration(
                place!(mqtt.keep_alive),
                [Duration::from_secs(5), Duration::from_secs(3_600)],
            ),
            takes_effect: TakesEffect::OnRestart,
        },
        Key {
            name: "format",
            doc: "Form of telemetry. `outrider decode` reads both.",
            preset: Preset::Is("\"compact\""),
            example: "\"json\"",
            field: Field::Word(place!(mqtt.format among FORMATS), &[FORMATS[0].0, FORMATS[1].0]),
            takes_effect: TakesEffect::OnRestart,
        },
        Key {
            name: "sample",
            doc: "How often telemetry takes a sample of every series.",
            preset: Preset::Is("\"1s\""),
            example: "\"10s\"",
            field: Field::Duration(
                place!(mqtt.sample),
                [Duration::from_secs(1), Duration::from_secs(3_600)],
            ),
            takes_effect: TakesEffect::OnRestart,
        },
        Key {
            name: "batch",
            doc: "Time one telemetry message covers. Longer batches need fewer bytes and lose more \
                  when power fails.",
            preset: Preset::Is("\"60s\""),
            example: "\"10s\"",
            field: Field::Duration(
                place!(mqtt.batch),
                [Duration::from_secs(1), Duration::from_secs(3_600)],
            ),
            takes_effect: TakesEffect::OnRestart,
        },
        Key {
            name: "queue_bytes",
            doc: "Memory for records that wait for the broker. When it is full the oldest \
                  telemetry is dropped and counted.",
            preset: Preset::Is("\"1MiB\""),
            example: "\"256KiB\"",
            field: Field::Size(place!(mqtt.queue_bytes as usize), [64 << 10, 256 << 20]),
            takes_effect: TakesEffect::OnRestart,
        },
        Key {
            name: "in_flight",
            doc: "Records sent without acknowledgement so far. More fill a link with long delay \
                  better.",
            preset: Preset::Is("16"),
            example: "64",
            field: Field::Integer(place!(mqtt.in_flight as usize), [1, 1_000], "records"),
            takes_effect: TakesEffect::OnRestart,
        },
    ],
};
