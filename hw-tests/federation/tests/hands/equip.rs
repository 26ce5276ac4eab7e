//! Drop-in, token and password on a vehicle: read by what reads them, on a disk that is full, and away again.

use std::collections::BTreeSet;

use federation::systemd::{self, Manager};
use federation::{Host, wait_for};

use crate::snapshot::snapshot;
use crate::{LIMIT, script, try_hands, use_hands, vehicle};

const HASH: &str = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff";

const EQUIP: [&str; 5] = ["equip", "purple", "10.77.0.99", "hush", HASH];

fn configuration(host: &Host) -> BTreeSet<String> {
    let mut lines = snapshot(host);
    lines.retain(|line| line.starts_with("file /etc/rancher"));
    lines
}

#[test]
fn k3s_goes_where_the_drop_in_says_and_the_operators_file_stays() {
    let vehicle = vehicle("equipped", 67);
    let host = vehicle.host();
    let _manager = Manager::start(&vehicle).unwrap();
    systemd::install_unit(&vehicle, false).unwrap();
    vehicle.configure("https://10.77.0.98:6443", "other").unwrap();
    script(host, "mkdir -p /etc/rancher/node; echo operators > /etc/rancher/node/password");
    let before = configuration(host);
    assert_eq!(use_hands(host, &["equipped"]), "\n");
    use_hands(host, &EQUIP);
    assert_eq!(use_hands(host, &["equipped"]), "purple\n");
    use_hands(host, &["start"]);
    let log = host.log_of("k3s-agent");
    let says =
        || -> Result<String, String> { Ok(std::fs::read_to_string(&log).unwrap_or_default()) };
    wait_for("a try at the server", LIMIT, || Ok(says()?.contains("10.77.0.99").then_some(())))
        .unwrap();
    assert!(!says().unwrap().contains("10.77.0.98"), "{}", says().unwrap());

    // Stops the service by itself: k3s would write again what is put away.
    use_hands(host, &["strip", "purple"]);
    assert_eq!(use_hands(host, &["unit"]), "Stopped\n");
    assert_eq!(configuration(host), before);
    let kept = host.read("/var/lib/outrider/federations/purple/node-password").unwrap();
    assert_eq!(kept, "operators\n");
}

#[test]
fn a_full_disk_changes_nothing_and_is_told() {
    let vehicle = vehicle("full", 68);
    let host = vehicle.host();
    let folders =
        "/etc/rancher/k3s/config.yaml.d /etc/rancher/node /var/lib/outrider/federations/purple";
    for place in ["/etc/rancher", "/var/lib/outrider"] {
        script(
            host,
            &format!(
                "mkdir -p {place}
                 mount -t tmpfs -o size=64k small {place}
                 mkdir -p {folders}
                 echo 'node-label: [mine=1]' > /etc/rancher/k3s/config.yaml
                 dd if=/dev/zero of={place}/filler bs=4k 2>&- || true"
            ),
        );
        let tree = || host.run("find", &["/etc/rancher", "/var/lib/outrider", "-ls"]).unwrap();
        let (files, before) = (configuration(host), tree());
        let (done, said) = try_hands(host, &EQUIP);
        assert!(!done && said.contains("free room on that disk"), "{said}");
        assert_eq!(configuration(host), files);
        // Times of folders may differ: a file was made and removed.
        let names = |tree: &str| -> Vec<String> {
            tree.lines().map(|line| line.rsplit(' ').next().unwrap().to_owned()).collect()
        };
        assert_eq!(names(&tree()), names(&before), "no half-written file is left");
        script(host, &format!("rm {place}/filler"));
        use_hands(host, &EQUIP);
        script(
            host,
            &format!(
                "umount {place}; rm -rf /var/lib/outrider/* /etc/rancher/k3s/config.yaml.d /etc/rancher/node"
            ),
        );
    }
}
