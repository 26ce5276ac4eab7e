//! The table of keys and everything made from it.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use super::*;

fn machine() -> Machine {
    Machine::from_parts("Alpha", true, None, None)
}

fn problems(text: &str) -> Vec<String> {
    let problems = parse(text, &machine()).expect_err("a configuration with problems");
    problems.iter().map(|p| format!("{}:{} {}", p.line, p.column, p.text)).collect()
}

/// The one problem of `text`.
fn problem(text: &str) -> String {
    let mut all = problems(text);
    assert_eq!(all.len(), 1, "{all:#?}");
    all.remove(0)
}

#[test]
fn an_empty_file_and_the_printed_defaults_mean_the_same() {
    let empty = parse("", &machine()).unwrap();
    assert_eq!(empty, default_config(&machine()));
    assert_eq!(parse(&document::default_file(), &machine()), Ok(empty));
}

#[test]
fn the_default_file_becomes_another_one_by_removing_hashes() {
    let edited: String = document::default_file()
        .lines()
        .map(|line| match line.strip_prefix('#') {
            Some(rest) if !rest.starts_with(' ') => format!("{rest}\n"),
            _ => format!("{line}\n"),
        })
        // Client certificates and authorities need TLS.
        .map(|line| line.replace("tls = false", "tls = true"))
        .collect();
    let config = parse(&edited, &machine()).unwrap();
    assert_eq!(config.mqtt.host.as_deref(), Some("broker.convoy"));
    assert_eq!(config.mesh.vehicles.len(), 2);
    assert_eq!(config.mesh.connect, "127.0.0.1:9090".parse().ok());
    assert_eq!(
        (config.stream.len(), config.gather.folder.len(), config.gather.mqtt.len()),
        (1, 1, 1)
    );
}

#[test]
fn the_default_file_fits_a_serial_console() {
    for line in document::default_file().lines() {
        assert!(line.chars().count() <= 80 && line.is_ascii(), "{line}");
    }
}

const HASH: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

#[test]
fn every_key_has_a_sentence_and_an_example_that_works() {
    for (section, key) in keys::all() {
        let name = format!("{}.{}", section.name, key.name);
        assert!(key.doc.ends_with('.'), "{name}: {}", key.doc);
        let text = format!("{} = {}", key.name, key.example);
        let with_companions = match name.as_str() {
            "mqtt.ca_file" => format!("tls = true\n{text}"),
            "mqtt.certificate_file" => format!("tls = true\nkey_file = \"/k\"\n{text}"),
            "mqtt.key_file" => format!("tls = true\ncertificate_file = \"/c\"\n{text}"),
            "k3s.start_command"
            | "k3s.restart_command"
            | "k3s.stop_command"
            | "k3s.status_command" => {
                let words = ["start", "restart", "stop", "status"];
                let others = words.map(|word| format!("{word}_command"));
                let others = others.iter().filter(|other| **other != key.name);
                let others: String = others.map(|other| format!("{other} = [\"x\"]\n")).collect();
                others + &text
            }
            "host.server" => format!("ca_hash = \"{HASH}\"\naccount_file = \"/a\"\n{text}"),
            "host.ca_hash" => format!("server = \"::1\"\naccount_file = \"/a\"\n{text}"),
            "host.account_file" => format!("server = \"::1\"\nca_hash = \"{HASH}\"\n{text}"),
            "host.custom_metrics" => {
                format!("server = \"::1\"\nca_hash = \"{HASH}\"\naccount_file = \"/a\"\n{text}")
            }
            "mqtt.password_file" => format!("username = \"u\"\n{text}"),
            _ => text,
        };
        let file = format!("[{}]\n{with_companions}\n", section.name);
        let parsed = parse(&file, &machine());
        assert!(parsed.is_ok(), "{file}: {parsed:?}");
    }
}

#[test]
fn what_is_out_of_reach_costs_nothing_that_a_way_can_cost() {
    let parsed = |cost: &str| parse(&format!("[host]\nunreachable_cost = {cost}\n"), &machine());
    for cost in ["-1", "1000001", "2147483647"] {
        let config = parsed(cost).unwrap_or_else(|problems| panic!("{cost}: {problems:?}"));
        assert_eq!(config.host.unreachable_cost.to_string(), cost);
    }
    for cost in ["-2", "0", "600", "1000000", "2147483648", "1.5", "\"-1\""] {
        assert!(parsed(cost).is_err(), "{cost}");
    }
    let alone = problem("[host]\ncustom_metrics = \"10.0.7.1:6480\"\n");
    assert!(alone.contains("needs a server"), "{alone:?}");
    let hash = "0".repeat(64);
    let nowhere = problem(&format!(
        "[host]\nserver = \"127.0.0.1\"\nca_hash = \"{hash}\"\naccount_file = \"/host.account\"\n\
         custom_metrics = \"[::1]:6480\"\n"
    ));
    assert!(nowhere.contains("loopback"), "{nowhere:?}");
}

#[test]
fn every_key_of_a_table_has_a_sentence_and_an_example_that_works() {
    for list in keys::LISTS {
        let all = list.keys();
        for key in &all {
            let name = format!("{}.{}", list.name(), key.name);
            assert!(key.doc.ends_with('.'), "{name}: {}", key.doc);
            let mut given = vec![format!("{} = {}", key.name, key.example)];
            let needed = |other: &&key::KeyText| {
                matches!(other.preset, key::Preset::Required)
                    || (key.name == "password_file" && other.name == "username")
            };
            for other in all.iter().filter(needed).filter(|other| other.name != key.name) {
                given.push(format!("{} = {}", other.name, other.example));
            }
            let file = format!("[[{}]]\n{}\n", list.name(), given.join("\n"));
            let config = parse(&file, &machine()).unwrap_or_else(|e| panic!("{file}: {e:?}"));
            assert!(!list.changes(&default_config(&machine()), &config).is_empty(), "{name}");
            for other in all.iter().filter(needed) {
                let cut = file.replace(&format!("{} = {}", other.name, other.example), "");
                assert!(parse(&cut, &machine()).is_err(), "{name} without {}", other.name);
            }
        }
    }
}

#[test]
fn every_field_of_a_table_has_a_key_and_every_key_its_own_field() {
    let fields = |blank: String, keys: Vec<key::KeyText>| {
        let fields: BTreeSet<String> = blank
            .lines()
            .filter_map(|line| line.strip_prefix("    ")?.split_once(": "))
            .filter(|(name, _)| !name.starts_with(' '))
            .map(|(name, _)| name.to_owned())
            .collect();
        let known: BTreeSet<String> = keys.iter().map(|key| key.name.to_owned()).collect();
        assert_eq!(fields, known);
    };
    let file = "[[stream]]\nname = \"a\"\n[[gather.folder]]\npath = \"/a\"\nstream = \"a\"\n\
                [[gather.mqtt]]\nfilter = \"a\"\nstream = \"a\"\n";
    let config = parse(file, &machine()).unwrap();
    let [stream, folder, mqtt] = [0, 1, 2].map(|index| keys::LISTS[index].keys());
    fields(format!("{:#?}", config.stream[0]), stream);
    fields(format!("{:#?}", config.gather.folder[0]), folder);
    fields(format!("{:#?}", config.gather.mqtt[0]), mqtt);
}

#[test]
fn tables_are_read_in_their_order_with_their_faults() {
    let text = "[[stream]]\nname = \"camera\"\npriority = \"bulk\"\nshare = 25\nexpire = \"7d\"\n\
                when_full = \"thin\"\n[[stream]]\nname = \"alarm\"\nsync = true\n";
    let config = parse(text, &machine()).unwrap();
    let [camera, alarm] = &config.stream[..] else { panic!("{:?}", config.stream) };
    assert_eq!((camera.priority, camera.share), (Priority::Bulk, 25));
    assert_eq!(camera.expire, Some(Duration::from_secs(7 * 86_400)));
    assert_eq!(camera.when_full, WhenFull::Thin);
    assert_eq!(*alarm, Stream { sync: true, ..Stream::undeclared("alarm") });
    assert_eq!(alarm.share, 100);

    for (text, expected) in [
        ("[[stream]]\n", "1:1 `[[stream]]` needs `name`"),
        ("[[stream]]\nname = \"A\"\n", "2:8 `name`: `A` is no name for a stream"),
        ("[[stream]]\nname = \"../a\"\n", "2:8 `name`:"),
        ("[[stream]]\nname = \"a\"\nshar = 1\n", "3:1 unknown key `shar` in `[[stream]]`; did you"),
        ("[[stream]]\nname = \"a\"\nweight = 0\n", "3:10 `weight`: 0 is out of range"),
        ("[[stream]]\nname = \"a\"\nhold_above = 99\n", "3:14 `hold_above`: 99 is out of range"),
        (
            "[[stream]]\nname = \"a\"\npriority = \"event\"\nhold_above = 400\n",
            "4:1 `hold_above`: events are never held",
        ),
        ("[delivery]\nrate = \"1B\"\n", "2:8 `rate`: 1B is out of range; it must be from 1KiB"),
        ("[delivery]\norder = \"newest\"\n", "2:9 `order`: `newest` is none of the values"),
        ("[[stream]]\nname = \"a\"\nshare = 101\n", "3:9 `share`: 101 is out of range"),
        ("[[stream]]\nname = \"a\"\n[[stream]]\nname = \"a\"\n", "4:1 `name`: there is another"),
        ("[stream]\nname = \"a\"\n", "1:2 `stream` may be written several times"),
        ("stream = [1]\n", "1:11 this is no table"),
        ("[gather]\n[gather.folders]\n", "2:9 unknown table `gather.folders`; there are"),
        ("gather = 1\n", "1:1 `gather` is no key; there are `[[gather.folder]]`"),
        ("[[gather.folder]]\npath = \"x\"\nstream = \"a\"\n", "2:8 `path`: `x` depends on where"),
        ("[[gather.mqtt]]\nfilter = \"a#\"\nstream = \"a\"\n", "2:10 `filter`:"),
        (
            "[spool]\nfolder = \"/a/b\"\n[[gather.folder]]\npath = \"/a\"\nstream = \"a\"\n",
            "2:1 `folder`: it is gathered from",
        ),
    ] {
        let found = problem(text);
        assert!(found.starts_with(expected), "{text}: {found}");
    }
    let many: String = (0..21).map(|n| format!("[[stream]]\nname = \"s{n}\"\n")).collect();
    assert!(problem(&many).contains("at most 20"));
    let names: String = (0..20)
        .map(|n| {
            format!(
                "[[stream]]\nname = \"s{n}\"\n[[gather.folder]]\npath = \"/{n}\"\nstream = \"f{n}\"\n"
            )
        })
        .collect();
    assert!(problem(&names).contains("50 streams"), "{}", problem(&names));
}

#[test]
fn streams_of_the_agent_have_policies_of_their_own() {
    let text = "[[gather.folder]]\npath = \"/a\"\nstream = \"photos\"\n[[stream]]\n\
                name = \"telemetry\"\nshare = 10\n";
    let config = parse(text, &machine()).unwrap();
    let streams = config.streams();
    let names: Vec<&str> = streams.iter().map(|stream| stream.name.as_str()).collect();
    assert_eq!(names, ["events", "photos", "telemetry"]);
    assert_eq!(streams[0].priority, Priority::Event);
    assert_eq!(streams[1], Stream::undeclared("photos"));
    assert_eq!((streams[2].share, streams[2].when_full), (10, WhenFull::DropOldest));
    let streams = default_config(&machine()).streams();
    assert_eq!(streams[1].when_full, WhenFull::Thin);
}

#[test]
fn a_spool_is_where_the_service_manager_made_a_place() {
    assert_eq!(default_config(&machine()).spool.folder, None);
    let folder = |list: &str| machine().with_state(Some(list.into())).spool_folder;
    assert_eq!(folder("/var/lib/outrider:/x"), Some(PathBuf::from("/var/lib/outrider/spool")));
    assert_eq!(folder("relative"), None);
    let given = machine().with_state(Some("/var/lib/outrider".into()));
    assert_eq!(default_config(&given).spool.folder, given.spool_folder);
    assert_eq!(parse("[spool]\nfolder = \"off\"\n", &given).unwrap().spool.folder, None);
}

/// A field that no key sets would silently keep its blank value.
#[test]
fn every_field_has_a_key_and_every_key_its_own_field() {
    let config = format!("{:#?}", Config::blank());
    let fields: BTreeSet<&str> = config
        .lines()
        .filter_map(|line| line.trim().split_once(": "))
        .map(|(name, _)| name)
        .collect();
    let known: BTreeSet<&str> = keys::all()
        .map(|(_, key)| key.name)
        .chain(keys::SECTIONS.iter().map(|section| section.name))
        .chain(keys::LISTS.iter().flat_map(|list| list.name().split('.')))
        .collect();
    assert_eq!(fields, known);

    let elsewhere = Machine::from_parts("zulu", false, None, Some("/run/user/7".into()));
    let old = default_config(&elsewhere);
    for (section, key) in keys::all() {
        let mut new = old.clone();
        let value = toml::de::DeValue::parse(key.example).unwrap();
        key.field.put(&mut new, &value).unwrap();
        let changed: Vec<&str> = keys::all()
            .filter(|(_, key)| !key.field.equal(&old, &new))
            .map(|(_, key)| key.name)
            .collect();
        assert_eq!(changed, [key.name], "[{}] {}", section.name, key.name);
    }
}

#[test]
fn the_links_have_the_defaults_of_their_policy() {
    assert_eq!(default_config(&machine()).links, crate::core::links::Policy::default());
}

#[test]
fn defaults_are_those_of_a_fresh_machine() {
    let config = default_config(&machine());
    assert_eq!(config.vehicle.name, "alpha");
    assert_eq!(config.http.listen, "127.0.0.1:9695".parse().ok());
    assert_eq!(config.control.path, Some(PathBuf::from("/run/outrider/control.sock")));
    assert_eq!(config.mesh.interval, Duration::from_secs(1));
    assert_eq!(config.mqtt.host, None);
    assert_eq!(config.mqtt.client_id, "outrider-alpha");
    assert_eq!((config.mqtt.port, config.mqtt.tls), (1883, false));
}

#[test]
fn what_depends_on_other_keys_follows_them() {
    let config = parse("[vehicle]\nname = \"bravo\"\n[mqtt]\ntls = true\n", &machine()).unwrap();
    assert_eq!(config.mqtt.client_id, "outrider-bravo");
    assert_eq!(config.mqtt.port, 8883);
    let config = parse("[mqtt]\ntls = true\nport = 1883\n", &machine()).unwrap();
    assert_eq!(config.mqtt.port, 1883);
}

#[test]
fn sockets_are_where_their_user_may_make_them() {
    let path = |root, runtime: Option<&str>, xdg: Option<&str>| {
        Machine::from_parts("a", root, runtime.map(Into::into), xdg.map(Into::into)).control_socket
    };
    assert_eq!(path(true, None, Some("/run/user/0")), PathBuf::from("/run/outrider/control.sock"));
    assert_eq!(
        path(false, None, Some("/run/user/1000")),
        PathBuf::from("/run/user/1000/outrider/control.sock")
    );
    assert_eq!(path(false, None, None), PathBuf::from("/run/outrider/control.sock"));
    assert_eq!(
        path(false, Some("/run/a:/run/b"), Some("/run/user/1")),
        PathBuf::from("/run/a/control.sock")
    );
    assert_eq!(path(false, None, Some("relative")), PathBuf::from("/run/outrider/control.sock"));
}

#[test]
fn typing_errors_are_named_with_place_and_suggestion() {
    assert_eq!(
        problem("[mesh]\nintervall = \"1s\"\n"),
        "2:1 unknown key `intervall` in `[mesh]`; did you mean `interval`?"
    );
    assert_eq!(problem("[mash]\n"), "1:2 unknown section `mash`; did you mean `[mesh]`?");
    assert_eq!(
        problem("listen = \"0.0.0.0:1\"\n"),
        "1:1 `listen` stands outside its section; write it below `[http]`"
    );
    assert_eq!(
        problem("[mesh]\nlisten = \"0.0.0.0:1\"\n"),
        "2:1 unknown key `listen` in `[mesh]`; there is one in `[http]`"
    );
    assert_eq!(
        problem("[mesh]\ndaemon = \"jsoninfos\"\n"),
        "2:10 `daemon`: `jsoninfos` is none of the values; did you mean `jsoninfo`?"
    );
    assert_eq!(problem("mesh = 1\n"), "1:1 `mesh` is a section; write `[mesh]` and its keys below");
}

#[test]
fn values_of_the_wrong_kind_are_told_how_to_be_written() {
    for (line, text) in [
        ("interval = 1", "this is an integer; write a duration in quotes, like \"5s\""),
        ("interval = \"1\"", "`1` is not a duration"),
        ("interval = \"100ms\"", "100ms is out of range; it must be from 1s to 5m"),
        ("connect = \"localhost\"", "`localhost` is not an address with port"),
        ("names_file = \"hosts\"", "`hosts` depends on where the program is started"),
        ("unnamed_vehicles = \"yes\"", "this is a string; write `true` or `false`"),
        ("reference_rate = -1", "-1 is out of range; it must be from 1000 to"),
        ("reference_rate = 1e6", "this is a float; write a whole number without quotes"),
        ("reference_rate = 99999999999999999999999999", "is out of range"),
        ("vehicles = { \"a b\" = [\"10.0.0.1\"] }", "`a b` is not a vehicle name"),
        ("vehicles = { a = [] }", "the list is empty"),
        ("vehicles = { a = \"10.0.0.1\" }", "write a list of addresses in brackets"),
        ("vehicles = { a = [\"10.0.0\"] }", "`10.0.0` is not an IP address"),
    ] {
        let found = problem(&format!("[mesh]\n{line}\n"));
        assert!(found.contains(text) && found.starts_with("2:"), "{line}: {found}");
    }
    for (line, text) in [
        ("queue_bytes = \"1MB\"", "`1MB` is not a size"),
        ("queue_bytes = \"1B\"", "1B is out of range; it must be from 64KiB to 256MiB"),
        ("port = 0", "0 is out of range; it must be from 1 to 65535"),
        ("port = 65536", "65536 is out of range"),
        ("host = \"mqtt://x\"", "there is no `mqtt://` in front"),
        ("topic = \"a/#\"", "cannot begin a topic"),
    ] {
        let found = problem(&format!("[mqtt]\n{line}\n"));
        assert!(found.contains(text) && found.starts_with("2:"), "{line}: {found}");
    }
}

#[test]
fn all_problems_are_reported_at_once_and_in_order() {
    let text = "[mesh]\nintervall = \"1s\"\ntimeout = 3\n\n[mqtt]\nport = \"x\"\ntopik = \"a\"\n";
    let lines: Vec<String> =
        problems(text).iter().map(|p| p.split(':').next().unwrap().to_owned()).collect();
    assert_eq!(lines, ["2", "3", "6", "7"]);
}

#[test]
fn broken_toml_is_placed_and_does_not_hide_other_problems() {
    let found = problems("[mesh]\ninterval = \n[mqtt]\ntopik = \"a\"\n");
    assert!(found[0].starts_with("2:") && found[0].contains("not TOML"), "{found:#?}");
    assert!(found.iter().any(|p| p.contains("did you mean `topic`?")), "{found:#?}");
    let twice = problems("[mesh]\ninterval = \"1s\"\ninterval = \"2s\"\n");
    assert!(twice.iter().any(|p| p.starts_with("3:")), "{twice:#?}");
}

#[test]
fn keys_that_need_each_other_are_checked() {
    assert!(problem("[mqtt]\nca_file = \"/ca.pem\"\n").contains("write `tls = true`"));
    assert!(problem("[mqtt]\ntls = true\nkey_file = \"/k\"\n").contains("`certificate_file`"));
    assert!(problem("[mqtt]\ntls = true\ncertificate_file = \"/c\"\n").contains("`key_file`"));
    assert!(problem("[mqtt]\npassword_file = \"/p\"\n").contains("`username`"));
    assert!(problem("[mqtt]\nsample = \"10s\"\nbatch = \"5s\"\n").starts_with("3:"));
    let long = format!("[control]\npath = \"/{}\"\n", "x".repeat(120));
    assert!(problem(&long).contains("107 bytes"));
}

#[test]
fn serving_can_be_switched_off() {
    let config =
        parse("[http]\nlisten = \"off\"\n[control]\npath = \"off\"\n", &machine()).unwrap();
    assert_eq!((config.http.listen, config.control.path), (None, None));
}

#[test]
fn a_reload_says_which_changes_wait_for_a_restart() {
    let old = default_config(&machine());
    assert_eq!(reload(&old, &old), Changes::default());
    let text = "[vehicle]\nname = \"bravo\"\n[mesh]\ninterval = \"2s\"\n[http]\nlisten = \"off\"\n";
    let changes = reload(&old, &parse(text, &machine()).unwrap());
    assert_eq!(changes.effective, ["mesh.interval"]);
    // The client id follows the name.
    assert_eq!(changes.need_restart, ["vehicle.name", "http.listen", "mqtt.client_id"]);
}

/// Rules of a stream are part of the running spool, and a running drop folder is watched: each that waits is named.
#[test]
fn a_reload_names_the_tables_that_wait_for_a_restart() {
    let config = |text: &str| parse(text, &machine()).unwrap();
    let [a, b] = ["[[stream]]\nname = \"a\"\n", "[[stream]]\nname = \"b\"\n"];
    let old = config(&format!("{a}{b}"));
    for (new, changed) in [
        (format!("{a}{b}"), vec![]),
        (format!("{a}{b}weight = 5\n[[stream]]\nname = \"c\"\n"), vec!["stream b", "stream c"]),
        (b.to_owned(), vec!["stream a"]),
        (format!("{b}{a}"), vec!["stream"]),
    ] {
        assert_eq!(reload(&old, &config(&new)).need_restart, changed, "{new}");
    }
}

#[test]
fn the_committed_reference_is_what_the_program_prints() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/CONFIG.md");
    let committed = std::fs::read_to_string(path).unwrap();
    assert!(
        committed == document::reference_page(),
        "agent/CONFIG.md is old; run `cargo run -- config doc > agent/CONFIG.md`"
    );
}

#[test]
fn only_a_named_file_has_to_exist() {
    let folder = tempfile::tempdir().unwrap();
    let missing = folder.path().join("missing.toml");
    let named = ConfigSource::find(Some(missing.clone()), None, machine());
    let text = named.load().unwrap_err().to_string();
    assert!(text.contains("there is no such file") && text.contains("missing.toml"), "{text}");
    let by_variable = ConfigSource::find(None, Some(missing.into()), machine());
    assert!(by_variable.load().is_err());
    let unnamed = ConfigSource::find(None, Some("".into()), machine());
    assert_eq!(unnamed.path(), std::path::Path::new(DEFAULT_FILE));
}

#[test]
fn files_that_are_no_text_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let load = |bytes: &[u8]| {
        let path = folder.path().join("outrider.toml");
        std::fs::write(&path, bytes).unwrap();
        ConfigSource::find(Some(path), None, machine()).load().unwrap_err().to_string()
    };
    assert!(load(&[0xff, 0xfe, 0]).contains("not UTF-8"));
    assert!(load(&vec![b'#'; 2 << 20]).contains("larger than"));
    let text = load(b"[mesh]\nintervall = \"1s\"\n");
    assert!(text.contains("1 problem in") && text.contains("^^^^^^^^^"), "{text}");
}

proptest::proptest! {
    #[test]
    fn no_text_makes_the_parser_panic(text in "(\\[?[a-z_]{0,6}\\]?( = \
              )?[\"0-9a-z{}\\[\\],.=]{0,6}\n?){0,12}") {
        let _ = parse(&text, &machine());
    }
}
