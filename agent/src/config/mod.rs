//! Settings: one TOML file, every key optional. [`Config`] is the validated form without options
//! left to decide.
//!
//! [`keys`] holds one definition per key. The parser, the default file, the reference page and the
//! answer of a reload are made from it and therefore agree. Nothing here reads a file except
//! [`ConfigSource::load`].

pub(crate) mod document;
pub mod key;
pub mod keys;
pub(crate) mod nearest;
mod parse;
mod problem;
mod reload;
pub(crate) mod rules;
mod source;
pub(crate) mod tables;
pub(crate) mod units;
pub mod wrap;

pub use parse::{default_config, parse};
pub use problem::Problem;
pub use reload::{Changes, reload};
pub use source::{ConfigSource, DEFAULT_FILE, FILE_VARIABLE, LoadError, Machine};

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use crate::core::membership::{CaHash, Server};

/// Which daemon interface to read (`mesh.daemon`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DaemonChoice {
    /// Find out.
    #[default]
    Auto,
    /// olsrd jsoninfo.
    Jsoninfo,
    /// olsrd txtinfo.
    Txtinfo,
    /// olsrd2 http plugin.
    Olsrd2Http,
    /// olsrd2 telnet plugin.
    Olsrd2Telnet,
    /// No mesh on this machine.
    None,
}

/// `[vehicle]`: who this is.
#[derive(Clone, Debug, PartialEq)]
pub struct Vehicle {
    /// Name in the cluster; default the host name.
    pub name: String,
    /// Kind of vehicle, free text.
    pub kind: String,
}

/// `[mesh]`: where the routing daemon is and how its numbers are read.
#[derive(Clone, Debug, PartialEq)]
pub struct Mesh {
    /// Which interface.
    pub daemon: DaemonChoice,
    /// Where; `None` tries the daemons' default ports on loopback.
    pub connect: Option<SocketAddr>,
    /// Poll period, 1 s or more.
    pub interval: Duration,
    /// Deadline of one poll.
    pub timeout: Duration,
    /// File of olsrd's nameservice plugin, if names are wanted.
    pub names_file: Option<PathBuf>,
    /// Count no hop below 100.
    pub cost_floor_per_hop: bool,
    /// Bit rate in bit/s that counts as 100 where olsrd2 knows rates.
    pub reference_rate: u64,
    /// Addresses of vehicles by name, where the mesh does not tell them (`[mesh.vehicles]`).
    pub vehicles: BTreeMap<String, Vec<IpAddr>>,
    /// Treat every mesh node without a name as a vehicle named by its address.
    pub unnamed_vehicles: bool,
}

/// `[hardware]`: what is read of this machine.
#[derive(Clone, Debug, PartialEq)]
pub struct Hardware {
    /// Read the hardware at all.
    pub enabled: bool,
    /// Period.
    pub interval: Duration,
    /// Deadline of one collector.
    pub deadline: Duration,
    /// Root of /proc and /sys, for containers and tests.
    pub root: PathBuf,
    /// Collectors that are not run.
    pub disable: BTreeSet<String>,
    /// Glob patterns of devices, mount points, interfaces and sensors to leave out, by collector.
    pub exclude: BTreeMap<String, Vec<String>>,
    /// If not empty, only these, by collector.
    pub include: BTreeMap<String, Vec<String>>,
}

/// `[http]`: what others may read.
#[derive(Clone, Debug, PartialEq)]
pub struct Http {
    /// Where to listen; `None` for not at all.
    pub listen: Option<SocketAddr>,
}

/// `[control]`: the Unix socket for commands on this machine.
#[derive(Clone, Debug, PartialEq)]
pub struct Control {
    /// Path; `None` for no socket.
    pub path: Option<PathBuf>,
}

/// MQTT protocol version (`mqtt.protocol`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MqttProtocol {
    /// 5, then 3.1.1 when the broker refuses it.
    #[default]
    Auto,
    /// 5 only.
    V5,
    /// 3.1.1 only.
    V311,
}

/// Form of telemetry payloads (`mqtt.format`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TelemetryFormat {
    /// Batches of delta-coded columns.
    #[default]
    Compact,
    /// One readable document per batch.
    Json,
}

/// `[mqtt]`: the broker.
#[derive(Clone, Debug, PartialEq)]
pub struct Mqtt {
    /// Host name or address; `None` for no MQTT.
    pub host: Option<String>,
    /// Port; default 1883, with TLS 8883.
    pub port: u16,
    /// Protocol version.
    pub protocol: MqttProtocol,
    /// Client identifier; default `outrider-` and the vehicle's name.
    pub client_id: String,
    /// First part of every topic, before `/` and the vehicle's name.
    pub topic: String,
    /// User name.
    pub username: Option<String>,
    /// File holding the password.
    pub password_file: Option<PathBuf>,
    /// Use TLS.
    pub tls: bool,
    /// PEM file of the authority that signed the broker's certificate.
    pub ca_file: Option<PathBuf>,
    /// PEM file of our certificate chain.
    pub certificate_file: Option<PathBuf>,
    /// PEM file of our private key.
    pub key_file: Option<PathBuf>,
    /// Keep-alive.
    pub keep_alive: Duration,
    /// Form of telemetry.
    pub format: TelemetryFormat,
    /// Period of telemetry samples.
    pub sample: Duration,
    /// Time one telemetry batch covers.
    pub batch: Duration,
    /// Memory for records that wait for the broker, in bytes.
    pub queue_bytes: usize,
    /// Records in flight without acknowledgement.
    pub in_flight: usize,
}

/// How much the records of a stream matter (`stream.priority`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Priority {
    /// Leaves before everything else, stays longest.
    Event,
    /// Neither.
    #[default]
    Normal,
    /// Leaves last, goes first when room is needed.
    Bulk,
}

/// What happens when a stream has no more room (`stream.when_full`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WhenFull {
    /// Its oldest records go.
    #[default]
    DropOldest,
    /// Whoever brings more is refused.
    Refuse,
    /// Every second of its oldest records goes.
    Thin,
}

/// `[spool]`: where gathered records are kept.
#[derive(Clone, Debug, PartialEq)]
pub struct Spool {
    /// Folder; `None` for no spool.
    pub folder: Option<PathBuf>,
    /// Bytes on disk, all files together.
    pub size: u64,
    /// Bytes of records in memory that wait for their sync.
    pub memory: usize,
    /// Bytes written in any 24 hours; `None` for no bound.
    pub writes_per_day: Option<u64>,
    /// Longest time from accepting a record to its sync.
    pub sync_delay: Duration,
    /// Streams beside the declared ones that may come into being.
    pub undeclared_max: usize,
}

/// `[[stream]]`: how one kind of gathered records is treated.
#[derive(Clone, Debug, PartialEq)]
pub struct Stream {
    /// Name.
    pub name: String,
    /// How much it matters.
    pub priority: Priority,
    /// Its part of what the link carries, against the others.
    pub weight: u8,
    /// Network cost above which it is held.
    pub hold_above: Option<u64>,
    /// Most of the spool that it takes, in percent.
    pub share: u8,
    /// Age at which records are worthless.
    pub expire: Option<Duration>,
    /// What happens when there is no more room.
    pub when_full: WhenFull,
    /// Each record is synced at once.
    pub sync: bool,
}

/// Which of the agent's own telemetry leaves first (`delivery.order`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DeliveryOrder {
    /// What has just come in.
    #[default]
    LiveFirst,
    /// The oldest.
    BacklogFirst,
}

/// `[delivery]`: how gathered records leave.
#[derive(Clone, Debug, PartialEq)]
pub struct Delivery {
    /// Vehicle that the broker is on.
    pub vehicle: Option<String>,
    /// Which of the agent's own telemetry leaves first.
    pub order: DeliveryOrder,
    /// Network cost above which bulk is held.
    pub hold_bulk_above: u32,
    /// Bytes/s over one perfect hop; `None` for no bound.
    pub rate: Option<u64>,
    /// Bytes in 24 hours; `None` for no bound.
    pub bytes_per_day: Option<u64>,
    /// Bytes without acknowledgement.
    pub memory: u64,
}

/// `[[gather.folder]]`: files that are dropped into a folder become records.
#[derive(Clone, Debug, PartialEq)]
pub struct GatherFolder {
    /// The folder.
    pub path: PathBuf,
    /// Stream that gets them.
    pub stream: String,
    /// What the files are, as a media type.
    pub content_type: Option<String>,
}

/// `[[gather.mqtt]]`: what a broker on this vehicle publishes becomes records.
#[derive(Clone, Debug, PartialEq)]
pub struct GatherMqtt {
    /// Topic filter.
    pub filter: String,
    /// Stream that gets it.
    pub stream: String,
    /// Host name or address of the broker.
    pub host: String,
    /// Port of the broker.
    pub port: u16,
    /// User name.
    pub username: Option<String>,
    /// File holding the password.
    pub password_file: Option<PathBuf>,
}

/// `[k3s]`: k3s on this vehicle.
#[derive(Clone, Debug, PartialEq)]
pub struct K3s {
    /// Its service.
    pub unit: Option<String>,
    /// Folder of its data.
    pub data_folder: PathBuf,
    /// What the vehicle's Node is called.
    pub node_name: Option<String>,
    /// Address of the mesh by which others reach the Node.
    pub node_ip: Option<String>,
    /// Interface of the mesh that carries the network of pods.
    pub interface: Option<String>,
    /// Region of the Node.
    pub region: Option<String>,
    /// Zone of the Node.
    pub zone: Option<String>,
    /// Further labels, `key=value`.
    pub labels: Vec<String>,
    /// Starts the service, when neither systemd nor OpenRC does.
    pub start_command: Vec<String>,
    /// Restarts it.
    pub restart_command: Vec<String>,
    /// Stops it.
    pub stop_command: Vec<String>,
    /// Says how it is.
    pub status_command: Vec<String>,
}

/// What becomes of pods that lose data when the vehicle leaves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LocalData {
    /// They are evicted like all others.
    Evict,
    /// They are not, and the vehicle does not leave by policy as long as there are any.
    Refuse,
}

/// `[membership]`: how federations are joined and left.
#[derive(Clone, Debug, PartialEq)]
pub struct Membership {
    /// Folder of what has to outlast a power cut.
    pub folder: PathBuf,
    /// Join by policy, not only when the operator says so.
    pub automatic: bool,
    /// A member stays at least so long before a better federation counts.
    pub dwell: Duration,
    /// What a better federation of the same priority may cost of the present one, in percent.
    pub switch_percent: u32,
    /// Joins by policy in [`Membership::joins_within`].
    pub joins_max: u32,
    /// See there.
    pub joins_within: Duration,
    /// How long a vehicle that leaves by policy waits for its pods.
    pub drain_within: Duration,
    /// What becomes of pods that lose data.
    pub local_data: LocalData,
}

/// `[host]`: the k3s server whose members this agent looks after.
#[derive(Clone, Debug, PartialEq)]
pub struct Host {
    /// The server as written.
    pub server: Option<String>,
    /// Hash of its authority as written.
    pub ca_hash: Option<String>,
    /// File that holds the token of the host's account.
    pub account_file: Option<PathBuf>,
    /// How long nothing is heard of a vehicle before it counts as silent.
    pub silent_after: Duration,
    /// Where the network costs are served to the cluster's API server.
    pub custom_metrics: Option<SocketAddr>,
    /// What is served for a Node without a network cost.
    pub unreachable_cost: i64,
}

/// `[[federation]]`: a cluster that this vehicle may join.
#[derive(Clone, Debug, PartialEq)]
pub struct Federation {
    /// Name.
    pub name: String,
    /// Servers as written.
    pub servers: Vec<String>,
    /// File that holds the token.
    pub token_file: PathBuf,
    /// Hash of the authority as written.
    pub ca_hash: Option<String>,
    /// File that holds the token of the vehicle's account.
    pub account_file: Option<PathBuf>,
    /// Vehicle to which the cost counts, in place of the servers.
    pub hub: Option<String>,
    /// When it is joined, strained and left.
    pub policy: crate::core::membership::Federation,
}

/// How records get in beside the control socket.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Gather {
    /// `[[gather.folder]]`.
    pub folder: Vec<GatherFolder>,
    /// `[[gather.mqtt]]`.
    pub mqtt: Vec<GatherMqtt>,
}

/// `[log]`.
#[derive(Clone, Debug, PartialEq)]
pub struct Log {
    /// Most verbose level that is written.
    pub level: tracing::Level,
}

/// Everything that can be configured.
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// `[vehicle]`.
    pub vehicle: Vehicle,
    /// `[mesh]`.
    pub mesh: Mesh,
    /// `[links]`: freshness, warm-up, hysteresis.
    pub links: crate::core::links::Policy,
    /// `[hardware]`.
    pub hardware: Hardware,
    /// `[http]`.
    pub http: Http,
    /// `[control]`.
    pub control: Control,
    /// `[mqtt]`.
    pub mqtt: Mqtt,
    /// `[spool]`.
    pub spool: Spool,
    /// `[delivery]`.
    pub delivery: Delivery,
    /// `[k3s]`.
    pub k3s: K3s,
    /// `[membership]`.
    pub membership: Membership,
    /// `[host]`.
    pub host: Host,
    /// `[log]`.
    pub log: Log,
    /// `[[stream]]`.
    pub stream: Vec<Stream>,
    /// `[[gather.folder]]` and `[[gather.mqtt]]`.
    pub gather: Gather,
    /// `[[federation]]`.
    pub federation: Vec<Federation>,
}

/// Stream of the agent's own events.
pub const EVENTS_STREAM: &str = "events";

/// Stream of the agent's own telemetry.
pub const TELEMETRY_STREAM: &str = "telemetry";

impl Stream {
    /// How a stream is treated about which nothing is written.
    #[must_use]
    pub fn undeclared(name: &str) -> Stream {
        Stream { name: name.to_owned(), ..keys::STREAM.defaults() }
    }
}

impl K3s {
    /// The Node's name: as configured, else the vehicle's, as far as that can be one (RFC 1123).
    #[must_use]
    pub fn node_name(&self, vehicle: &str) -> String {
        match &self.node_name {
            Some(name) => name.clone(),
            None => vehicle.to_ascii_lowercase().replace('_', "-"),
        }
    }
}

impl Federation {
    /// Its servers.
    #[must_use]
    pub fn servers(&self) -> Vec<Server> {
        self.servers.iter().filter_map(|server| Server::parse(server).ok()).collect()
    }

    /// The hash of its authority.
    #[must_use]
    pub fn ca_hash(&self) -> Option<CaHash> {
        self.ca_hash.as_deref().and_then(CaHash::parse)
    }
}

impl Config {
    /// Every stream that has a name here: declared, gathered for, or the agent's own.
    #[must_use]
    pub fn stream_names(&self) -> BTreeSet<&str> {
        let declared = self.stream.iter().map(|stream| stream.name.as_str());
        let folders = self.gather.folder.iter().map(|folder| folder.stream.as_str());
        let topics = self.gather.mqtt.iter().map(|mqtt| mqtt.stream.as_str());
        let own = [EVENTS_STREAM, TELEMETRY_STREAM];
        declared.chain(folders).chain(topics).chain(own).collect()
    }

    /// How each stream with a name here is treated: as declared; events of the agent before everything, its telemetry
    /// getting coarser when room is short; the others as anything undeclared.
    #[must_use]
    pub fn streams(&self) -> Vec<Stream> {
        let policy = |name: &str| {
            let declared = self.stream.iter().find(|stream| stream.name == name);
            declared.cloned().unwrap_or_else(|| Config::preset_stream(name))
        };
        self.stream_names().into_iter().map(policy).collect()
    }

    fn preset_stream(name: &str) -> Stream {
        let plain = Stream::undeclared(name);
        match name {
            EVENTS_STREAM => Stream { priority: Priority::Event, ..plain },
            TELEMETRY_STREAM => Stream { when_full: WhenFull::Thin, ..plain },
            _ => plain,
        }
    }

    /// A configuration with nothing in it, into which the defaults of all keys are put.
    fn blank() -> Config {
        Config {
            vehicle: Vehicle { name: String::new(), kind: String::new() },
            mesh: Mesh {
                daemon: DaemonChoice::Auto,
                connect: None,
                interval: Duration::ZERO,
                timeout: Duration::ZERO,
                names_file: None,
                cost_floor_per_hop: false,
                reference_rate: 0,
                vehicles: BTreeMap::new(),
                unnamed_vehicles: false,
            },
            links: crate::core::links::Policy::default(),
            hardware: Hardware {
                enabled: false,
                interval: Duration::ZERO,
                deadline: Duration::ZERO,
                root: PathBuf::new(),
                disable: BTreeSet::new(),
                exclude: BTreeMap::new(),
                include: BTreeMap::new(),
            },
            http: Http { listen: None },
            control: Control { path: None },
            mqtt: Mqtt {
                host: None,
                port: 0,
                protocol: MqttProtocol::Auto,
                client_id: String::new(),
                topic: String::new(),
                username: None,
                password_file: None,
                tls: false,
                ca_file: None,
                certificate_file: None,
                key_file: None,
                keep_alive: Duration::ZERO,
                format: TelemetryFormat::Compact,
                sample: Duration::ZERO,
                batch: Duration::ZERO,
                queue_bytes: 0,
                in_flight: 0,
            },
            spool: Spool {
                folder: None,
                size: 0,
                memory: 0,
                writes_per_day: None,
                sync_delay: Duration::ZERO,
                undeclared_max: 0,
            },
            delivery: Delivery {
                vehicle: None,
                order: DeliveryOrder::LiveFirst,
                hold_bulk_above: 0,
                rate: None,
                bytes_per_day: None,
                memory: 0,
            },
            k3s: K3s {
                unit: None,
                data_folder: PathBuf::new(),
                node_name: None,
                node_ip: None,
                interface: None,
                region: None,
                zone: None,
                labels: Vec::new(),
                start_command: Vec::new(),
                restart_command: Vec::new(),
                stop_command: Vec::new(),
                status_command: Vec::new(),
            },
            membership: Membership {
                folder: PathBuf::new(),
                automatic: false,
                dwell: Duration::ZERO,
                switch_percent: 0,
                joins_max: 0,
                joins_within: Duration::ZERO,
                drain_within: Duration::ZERO,
                local_data: LocalData::Evict,
            },
            host: Host {
                server: None,
                ca_hash: None,
                account_file: None,
                silent_after: Duration::ZERO,
                custom_metrics: None,
                unreachable_cost: 0,
            },
            log: Log { level: tracing::Level::INFO },
            stream: Vec::new(),
            gather: Gather::default(),
            federation: Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests;
