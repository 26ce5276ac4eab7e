//! Equipping and stripping with real files.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::places::Places;
use super::{Commands, Equipment, Hands, ManagerChoice, Settings, equip};
use crate::core::membership::kept;
use crate::core::membership::{CaHash, Outcome, Server, Token, Unit};

const HASH: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

fn equipment(federation: &str) -> Equipment {
    Equipment {
        federation: federation.to_owned(),
        server: Server::parse("10.0.7.1").unwrap(),
        token: Token::parse("hush").unwrap(),
        ca: CaHash::parse(HASH).unwrap(),
        node_name: "veh".to_owned(),
        node_ip: Vec::new(),
        flannel_iface: None,
        labels: vec!["a=b".to_owned()],
        taints: Vec::new(),
    }
}

fn places(root: &Path) -> Places {
    Places {
        drop_in: root.join("etc/rancher/k3s/config.yaml.d/zz-outrider.yaml"),
        password: root.join("etc/rancher/node/password"),
        agent: root.join("k3s/agent"),
        keep: root.join("keep"),
    }
}

fn strip(places: &Places, federation: &str) {
    places.perform(kept::strip(&places.look().unwrap(), federation).unwrap()).unwrap();
}

/// Every file below a folder with its mode and content; folders have none.
fn tree(folder: &Path) -> BTreeMap<PathBuf, (u32, Option<String>)> {
    let mut found = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let mode = fs::metadata(&path).unwrap().permissions().mode() & 0o777;
            if path.is_dir() {
                folders.push(path.clone());
                found.insert(path, (mode, None));
            } else {
                found.insert(path.clone(), (mode, Some(fs::read_to_string(&path).unwrap())));
            }
        }
    }
    found
}

fn vehicle() -> (TempDir, Places) {
    let folder = tempfile::tempdir().unwrap();
    let places = places(folder.path());
    for path in ["k3s/agent/etc", "k3s/agent/containerd", "k3s/server", "etc/rancher/k3s", "keep"] {
        fs::create_dir_all(folder.path().join(path)).unwrap();
    }
    for (path, content) in [
        ("k3s/agent/containerd/image", "image"),
        ("k3s/server/token", "server's"),
        ("etc/rancher/k3s/config.yaml", "node-label: [mine=1]\n"),
    ] {
        fs::write(folder.path().join(path), content).unwrap();
    }
    (folder, places)
}

#[test]
fn secrets_are_for_their_owner_alone_and_the_operators_files_are_not_touched() {
    let (folder, places) = vehicle();
    let before = tree(folder.path());
    equip(&places, &equipment("purple")).unwrap();
    for name in ["client-kubelet.key", "server-ca.crt", "etc/k3s-agent-load-balancer.json"] {
        fs::write(places.agent.join(name), name).unwrap();
    }
    let during = tree(folder.path());
    let mine = |(path, _): &(&PathBuf, &(u32, Option<String>))| {
        path.starts_with(&places.keep) || **path == places.drop_in || **path == places.password
    };
    for (path, (mode, content)) in during.iter().filter(mine) {
        let expected = if content.is_some() { 0o600 } else { 0o700 };
        assert_eq!(*mode, expected, "{}", path.display());
    }
    let token = during[&places.keep.join("purple/token")].1.clone().unwrap();
    assert_eq!(token, format!("K10{HASH}::node:hush\n"));
    let drop_in = during[&places.drop_in].1.clone().unwrap();
    assert!(!drop_in.contains("hush") && drop_in.contains("keep/purple/token"), "{drop_in}");
    let password = during[&places.password].1.clone().unwrap();
    assert!(password.len() == 33 && password.ends_with('\n'), "{password:?}");

    strip(&places, "purple");
    let after = tree(folder.path());
    for (path, content) in &before {
        if *path != places.keep {
            assert_eq!(after.get(path), Some(content), "{}", path.display());
        }
    }
    let kept = &after[&places.keep.join("purple/agent/client-kubelet.key")];
    assert_eq!(*kept, (0o600, Some("client-kubelet.key".to_owned())));
    assert_eq!(after[&places.keep.join("purple/node-password")].1.as_ref(), Some(&password));
    for gone in [&places.drop_in, &places.password, &places.keep.join("purple/token")] {
        assert!(!after.contains_key(gone), "{}", gone.display());
    }
    let agent: Vec<_> = after.keys().filter(|path| path.starts_with(&places.agent)).collect();
    assert_eq!(agent.len(), 4, "{agent:?}");
}

#[test]
fn what_a_power_cut_left_half_written_is_replaced() {
    let (folder, places) = vehicle();
    equip(&places, &equipment("purple")).unwrap();
    let whole = tree(folder.path());
    fs::remove_file(&places.drop_in).unwrap();
    let half = places.drop_in.with_file_name(".zz-outrider.yaml.outrider-new");
    fs::write(&half, "# outri").unwrap();
    equip(&places, &equipment("purple")).unwrap();
    assert_eq!(tree(folder.path()), whole);
}

#[test]
fn what_cannot_be_written_is_named_and_nothing_is_changed() {
    let (folder, places) = vehicle();
    // A folder in the way of the drop-in's unplaced file, which is written last.
    let blocked = places.drop_in.with_file_name(".zz-outrider.yaml.outrider-new");
    fs::create_dir_all(blocked.join("full")).unwrap();
    for path in [&places.password, &places.keep.join("purple/agent/x")] {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
    }
    let files = |tree: BTreeMap<PathBuf, (u32, Option<String>)>| -> BTreeMap<_, _> {
        tree.into_iter().filter(|(_, (_, content))| content.is_some()).collect()
    };
    let before = files(tree(folder.path()));
    let error = equip(&places, &equipment("purple")).unwrap_err();
    assert!(error.contains("zz-outrider.yaml"), "{error}");
    assert_eq!(files(tree(folder.path())), before);
    for name in ["../purple", "", ".operator", "a/b"] {
        assert!(equip(&places, &equipment(name)).is_err(), "{name}");
    }
}

/// A manager of one service, whose state is whether a file of its name is there.
fn by_commands(folder: &Path) -> Hands {
    let command = |script: &str| -> Vec<String> {
        let script = format!("cd {} && {script}", folder.display());
        ["sh", "-c", &script, "sh", "{unit}"].map(str::to_owned).into()
    };
    let commands = Commands {
        start: command("echo started >> log && touch \"$1\""),
        restart: command("echo restarted >> log && touch \"$1\""),
        stop: command("[ ! -e stuck ] && rm \"$1\" || [ -e stuck ]"),
        status: command("[ ! -e gone ] || exit 4; [ -e \"$1\" ] || exit 3"),
    };
    Hands::new(Settings {
        manager: Some(ManagerChoice::Commands(commands)),
        unit: Some("k3s it's".to_owned()),
        data_folder: folder.join("k3s"),
        keep: folder.join("keep"),
    })
}

#[tokio::test]
async fn any_manager_can_be_told_by_commands() {
    let folder = tempfile::tempdir().unwrap();
    let hands = by_commands(folder.path());
    let log = || fs::read_to_string(folder.path().join("log")).unwrap();
    assert_eq!(hands.unit().await, Ok(Unit::Stopped));
    for _ in 0..2 {
        assert_eq!(hands.start().await, Outcome::Done);
        assert_eq!(hands.unit().await, Ok(Unit::Active));
    }
    assert_eq!(hands.restart().await, Outcome::Done);
    assert_eq!(log(), "started\nrestarted\n");

    fs::write(folder.path().join("stuck"), "").unwrap();
    assert!(matches!(hands.stop().await, Outcome::NotYet { .. }));
    fs::remove_file(folder.path().join("stuck")).unwrap();
    for _ in 0..2 {
        assert_eq!(hands.stop().await, Outcome::Done);
        assert_eq!(hands.unit().await, Ok(Unit::Stopped));
    }
    fs::write(folder.path().join("gone"), "").unwrap();
    assert_eq!(hands.unit().await, Ok(Unit::Absent));
    assert_eq!(hands.stop().await, Outcome::Done);
    let Outcome::Refused(text) = hands.start().await else { panic!("there is nothing to start") };
    assert!(text.contains("k3s it's"), "{text}");
}

#[tokio::test]
async fn a_manager_that_cannot_be_asked_is_not_taken_for_an_absent_service() {
    let folder = tempfile::tempdir().unwrap();
    let nobody = || vec!["/no/such/manager".to_owned()];
    let commands =
        Commands { start: nobody(), restart: nobody(), stop: nobody(), status: nobody() };
    let settings = Settings {
        manager: Some(ManagerChoice::Commands(commands)),
        ..by_commands(folder.path()).settings
    };
    let hands = Hands::new(settings);
    assert!(hands.unit().await.unwrap_err().contains("/no/such/manager"));
    for outcome in [hands.start().await, hands.stop().await, hands.strip("purple").await] {
        assert!(matches!(outcome, Outcome::NotYet { .. }), "{outcome:?}");
    }
}
