//! The whole program on vehicles that join, hold on to and leave real clusters, with a real systemd and k3s or its double: by
//! policy, by the operator's word, over links that are cut, and with power that fails.

use std::net::Ipv4Addr;
use std::thread;
use std::time::Duration;

use federation::systemd::UNIT;
use federation::{ControlPlane, Options, wait_for};

use crate::rider::{CONFIG, DROP_IN, Known, Rider, node, red, run, wait_told, workload};
use crate::{
    LIMIT, account_of, apply_fleet, authority_of, home, shared, token_of, vehicle,
    wait_pods_allowed,
};

#[test]
fn a_vehicle_joins_by_policy_says_who_it_is_leaves_when_told_and_comes_back_when_released() {
    let mut rider = Rider::new("rider", 60, &[red()]);
    rider.start();
    rider.wait("member", Some("red"));
    let plane = home();
    let seen = node(plane, "rider").unwrap();
    assert_eq!(seen["metadata"]["labels"]["topology.kubernetes.io/zone"], "rider", "{seen:#}");
    let told = wait_for("the annotations of a member", LIMIT, || {
        let seen = node(plane, "rider").unwrap_or_default();
        let annotations = seen["metadata"]["annotations"].as_object().cloned().unwrap_or_default();
        Ok(annotations
            .iter()
            .any(|(key, cost)| key.ends_with("/network-cost") && cost == "100")
            .then_some(()))
    });
    told.unwrap();

    // What is changed in the configuration reaches k3s, which is started anew for it, once, while its server answers.
    let before = rider.process();
    let host = rider.vehicle.host();
    let config = host.read(CONFIG).unwrap();
    host.write(CONFIG, &config.replace("[k3s]", "[k3s]\nlabels = [\"crew=2\"]")).unwrap();
    rider.kill();
    rider.start();
    let told = wait_for("k3s to be told", LIMIT, || {
        let is_told = rider.vehicle.host().read(DROP_IN)?.contains("crew=2");
        Ok((is_told && rider.process() != before).then_some(()))
    });
    told.unwrap_or_else(|error| panic!("{error}\n{:#}", rider.ask(&["list"]).unwrap_or_default()));
    let after = rider.process();
    rider.wait("member", Some("red"));
    thread::sleep(Duration::from_secs(15));
    assert_eq!(rider.process(), after, "it was restarted again");

    rider.tell(&["leave"]);
    let status = rider.wait("solo", None);
    assert_eq!(status["wish"], "leave");
    assert_eq!(node(plane, "rider"), None);
    assert!(!rider.runs_k3s());
    assert!(!rider.vehicle.host().path(DROP_IN).exists());

    rider.tell(&["release"]);
    rider.wait("member", Some("red"));
    assert!(node(plane, "rider").is_some());
    rider.tell(&["leave", "--now"]);
    rider.wait("solo", None);
    assert_eq!(node(plane, "rider"), None);
}

#[test]
fn power_may_fail_at_every_step_and_the_vehicle_finds_its_way() {
    let plane = home();
    let mut rider = Rider::new("cut", 61, &[red()]);
    rider.start();
    rider.wait_stored(&["joining"]);
    rider.power_cycle();
    rider.wait("member", Some("red"));
    for (number, step) in
        ["announce", "cordon", "drain", "delete", "stop", "clean-up", "strip"].iter().enumerate()
    {
        // Some steps last a moment: one that passed while this test had no turn is taken once more.
        let wanted = format!("\"step\": \"{step}\"");
        let seen = (0..10).any(|_| {
            rider.tell(&["leave"]);
            let is_seen = rider.wait_stored(&[&wanted, "\"place\": \"solo\""]) == wanted;
            if !is_seen {
                rider.tell(&["join", "red"]);
                rider.wait("member", Some("red"));
            }
            is_seen
        });
        assert!(seen, "{step} passes too fast to be seen");
        // Alternately the program alone, and everything.
        match number % 2 {
            0 => rider.power_cycle(),
            _ => {
                rider.kill();
                rider.start();
            }
        }
        let status = rider.wait("solo", None);
        assert_eq!(status["wish"], "leave", "cut at {step}");
        let gone = wait_for("the Node to be deleted, and nothing to be owed", LIMIT, || {
            let owes =
                rider.ask(&["list"])?["deferred"].as_array().is_none_or(|owed| !owed.is_empty());
            Ok((node(plane, "cut").is_none() && !owes).then_some(()))
        });
        gone.unwrap_or_else(|error| panic!("cut at {step}: {error}"));
        assert_ne!(rider.unit(), "active", "cut at {step}");
        assert!(!rider.vehicle.host().path(DROP_IN).exists(), "cut at {step}");
        if *step == "strip" {
            // The machine starts k3s by itself, which goes nowhere without a server and is no obstacle.
            rider.power_cycle();
        }
        rider.tell(&["join", "red"]);
        rider.wait("member", Some("red"));
    }
}

#[test]
fn a_vehicle_out_of_reach_leaves_on_its_own_and_tells_the_server_when_there_is_a_way_again() {
    let (ground, plane) = (&shared().ground, home());
    let mut rider = Rider::new("remote", 62, &[red()]);
    rider.start();
    rider.wait("member", Some("red"));
    let uid = node(plane, "remote").unwrap()["metadata"]["uid"].as_str().unwrap().to_owned();
    ground.cut(rider.vehicle.address()).unwrap();
    let status = rider.wait("strained", Some("red"));
    let sentence = status["sentence"].as_str().unwrap();
    assert!(
        sentence.starts_with("Strained") && sentence.contains("pods keep running"),
        "{sentence}"
    );
    assert_eq!(rider.unit(), "active", "k3s is left alone");
    let status = rider.wait("solo", None);
    assert_eq!(status["deferred"][0]["federation"], "red", "{status:#}");
    assert!(!rider.runs_k3s());
    // It is not to come back for now, but what it owes is paid.
    rider.tell(&["leave"]);
    assert_eq!(node(plane, "remote").unwrap()["metadata"]["uid"], uid.as_str());
    rider.power_cycle();
    ground.restore(rider.vehicle.address()).unwrap();
    let paid = wait_for("the Node to be deleted", LIMIT, || {
        Ok(node(plane, "remote").is_none().then_some(()))
    });
    paid.unwrap_or_else(|error| panic!("{error}\n{:#}", rider.ask(&["list"]).unwrap_or_default()));
    let told = wait_for("nothing to be owed", LIMIT, || {
        Ok(rider.ask(&["list"])?["deferred"].as_array().is_some_and(Vec::is_empty).then_some(()))
    });
    told.unwrap();
}

#[test]
fn two_vehicles_with_one_name_do_not_fight_and_a_vehicle_made_anew_buries_its_earlier_self() {
    let plane = home();
    let mut first = Rider::new("twin", 63, &[red()]);
    first.start();
    first.wait("member", Some("red"));
    let uid = || node(plane, "twin").map(|node| node["metadata"]["uid"].clone());
    let before = uid();
    wait_told(plane, "twin");

    // Another vehicle that was given the same name for its Node.
    let mut second = Rider::new("other", 64, &[red()]);
    let config = second.vehicle.host().read(CONFIG).unwrap();
    let host = second.vehicle.host();
    host.write(CONFIG, &config.replace("[k3s]", "[k3s]\nnode_name = \"twin\"")).unwrap();
    host.write("/etc/outrider/red.account", &account_of(plane, "twin")).unwrap();
    second.start();
    let refused = wait_for("the second one to see the first", LIMIT, || {
        let status = second.ask(&["list"]).unwrap_or_default();
        let refusal = status["federations"][0]["refusal"].as_str().unwrap_or_default().to_owned();
        Ok(refusal.contains("two vehicles have one name").then_some(()))
    });
    refused
        .unwrap_or_else(|error| panic!("{error}\n{:#}", second.ask(&["list"]).unwrap_or_default()));
    assert!(!second.runs_k3s());
    assert_eq!(uid(), before);
    first.wait("member", Some("red"));
    drop(second);

    // The first one gets a new card: everything that was kept is gone, the password as well.
    first.kill();
    let host = first.vehicle.host();
    host.run("systemctl", &["disable", "--now", UNIT]).unwrap();
    let gone = "rm -rf /var/lib/outrider /etc/rancher/* /var/lib/rancher/*";
    host.run("sh", &["-c", gone]).unwrap();
    assert_eq!(uid(), before, "the Node is still there");
    first.start();
    first.wait("member", Some("red"));
    assert!(uid().is_some_and(|uid| Some(uid) != before), "it is another Node");
}

#[test]
fn a_vehicle_whose_node_was_deleted_leaves_and_does_not_come_back_at_once() {
    let plane = home();
    let mut rider = Rider::new("expelled", 65, &[red()]);
    rider.start();
    rider.wait("member", Some("red"));
    plane.kubectl(&["delete", "node", "expelled", "--wait=false"]).unwrap();
    let status = rider.wait("evaluating", Some("red"));
    let refusal = status["federations"][0]["refusal"].as_str().unwrap_or_default();
    assert!(refusal.contains("deleted at the server"), "{status:#}");
    assert!(!rider.runs_k3s());
    assert!(!rider.vehicle.host().path(DROP_IN).exists());
    // Unless somebody says so.
    rider.tell(&["join", "red"]);
    rider.wait("member", Some("red"));
}

#[test]
fn a_vehicle_with_running_pods_goes_from_red_to_purple_and_comes_back() {
    let (ground, first) = (&shared().ground, home());
    // On the same switch as the other, and out of reach at first.
    let address = Ipv4Addr::new(10, 77, 0, 13);
    let second = ControlPlane::start(ground, "violet", address, &Options::k3s()).unwrap();
    let violet =
        Known { name: "violet", plane: &second, priority: 20, more: "leave_after = \"20s\"" };
    let mut rider = Rider::with("mover", 66, &[red(), violet], true);
    ground.cut(address).unwrap();
    for plane in [first, &second] {
        wait_pods_allowed(plane);
        plane.apply(&workload("mover").to_string()).unwrap();
    }
    rider.start();
    rider.wait("member", Some("red"));
    rider.wait_pod(first);
    let pods = || rider.vehicle.host().processes("/pod").unwrap();
    let before = pods();
    assert_eq!(before.len(), 2, "sandbox and workload: {before:?}");

    ground.restore(address).unwrap();
    rider.wait("member", Some("violet"));
    assert_eq!(node(first, "mover"), None, "red was told");
    rider.wait_pod(&second);
    let after = pods();
    assert_eq!(after.len(), 2, "only the new ones: {after:?}");
    assert!(after.keys().all(|pid| !before.contains_key(pid)), "{before:?} {after:?}");

    // The better federation goes out of reach: the vehicle stays as long as it was told, and its pods with it.
    ground.cut(address).unwrap();
    rider.wait("strained", Some("violet"));
    assert_eq!(pods(), after, "pods keep running");
    rider.wait("member", Some("red"));
    rider.wait_pod(first);
    assert!(pods().keys().all(|pid| !after.contains_key(pid)));
    let status = rider.ask(&["list"]).unwrap();
    assert_eq!(status["deferred"][0]["federation"], "violet", "{status:#}");
    rider.tell(&["hold"]);
    rider.wait("held", Some("red"));
}

#[test]
fn an_agent_beside_the_server_finishes_what_a_vehicle_could_not_and_tells_left_from_lost() {
    let (ground, plane) = (&shared().ground, home());
    apply_fleet(plane);
    let token = token_of(plane, "outrider-host", "host-token");
    let ca = authority_of(plane);
    let post = vehicle("post", 67);
    let config = format!(
        "[vehicle]\nname = \"post\"\n[mesh]\ndaemon = \"none\"\n[host]\nserver = \"{}\"\nca_hash = \"{ca}\"\n\
         account_file = \"/etc/outrider/host.account\"\nsilent_after = \"20s\"\n",
        plane.address()
    );
    post.host().write(CONFIG, &config).unwrap();
    post.host().write("/etc/outrider/host.account", &token).unwrap();
    let host = run(post.host());

    // One says that it leaves and goes out of reach before its Node is deleted, one only goes out of reach, one stays.
    let mut riders: Vec<Rider> = [("left", 68), ("lost", 69), ("stays", 70)]
        .into_iter()
        .map(|(name, last)| {
            Rider::new(name, last, &[Known { more: "leave_after = \"never\"", ..red() }])
        })
        .collect();
    for rider in &mut riders {
        rider.start();
    }
    for rider in &riders {
        rider.wait("member", Some("red"));
        wait_told(plane, rider.vehicle.name());
    }
    let leaving = "outrider.internal/leaving=for good";
    plane.kubectl(&["annotate", "node", "left", leaving]).unwrap();
    for rider in &riders[..2] {
        ground.cut(rider.vehicle.address()).unwrap();
    }
    let done = wait_for("the host to have done its part", LIMIT, || {
        let lost = node(plane, "lost").ok_or("the Node of a vehicle that is lost was deleted")?;
        let annotations = &lost["metadata"]["annotations"];
        let is_marked = annotations["outrider.internal/lost"].is_string()
            && annotations["outrider.internal/network-cost"].is_null();
        Ok((is_marked && node(plane, "left").is_none()).then_some(()))
    });
    done.unwrap_or_else(|error| panic!("{error}\n{}", host.last_words()));
    let annotations = node(plane, "stays").unwrap()["metadata"]["annotations"].clone();
    assert!(annotations["outrider.internal/lost"].is_null(), "{annotations:#}");

    ground.restore(riders[1].vehicle.address()).unwrap();
    let found = wait_for("the lost one to be found", LIMIT, || {
        let lost = node(plane, "lost").unwrap_or_default();
        Ok(lost["metadata"]["annotations"]["outrider.internal/lost"].is_null().then_some(()))
    });
    found.unwrap_or_else(|error| panic!("{error}\n{}", host.last_words()));
}
