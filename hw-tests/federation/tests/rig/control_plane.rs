//! Control planes: parts that are stopped and come back, and hosts that end with their test.

use std::io::{BufRead, BufReader};
use std::net::Ipv4Addr;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use federation::https::Call;
use federation::{ControlPlane, Ground, Kind, Options, Part, Shape, wait_for};

use crate::{LIMIT, equipment, shared};

#[test]
fn the_api_keeps_its_objects_while_its_parts_restart() {
    let ground = Ground::new(equipment()).unwrap();
    let address = Ipv4Addr::new(10, 77, 0, 13);
    let plane = ControlPlane::start(&ground, "api", address, &Options::new(Shape::Api)).unwrap();
    plane.kubectl(&["create", "configmap", "kept", "--from-literal=a=1"]).unwrap();
    plane.stop_part(Part::ApiServer, true).unwrap();
    assert!(plane.kubectl(&["get", "configmap", "kept"]).is_err(), "nobody serves");
    plane.stop_part(Part::Etcd, false).unwrap();
    plane.start_part(Part::Etcd).unwrap();
    plane.start_part(Part::ApiServer).unwrap();
    plane.wait_ready().unwrap();
    let value = plane.kubectl(&["get", "configmap", "kept", "-o", "jsonpath={.data.a}"]).unwrap();
    assert_eq!(value, "1");
}

#[test]
fn the_real_parts_do_their_work() {
    let red = &shared().red;
    let version = red.get("/version").unwrap().unwrap();
    assert!(version["gitVersion"].as_str().unwrap().starts_with('v'), "{version}");
    // The controller manager makes the account of a new namespace, the scheduler has nowhere to put its pod.
    red.kubectl(&["create", "namespace", "real-parts"]).unwrap();
    wait_for("the default service account", LIMIT, || {
        red.get("/api/v1/namespaces/real-parts/serviceaccounts/default")
    })
    .unwrap();
    let pod = r#"{"apiVersion":"v1","kind":"Pod","metadata":{"name":"nowhere","namespace":"real-parts"},
                  "spec":{"nodeSelector":{"never":"there"},
                          "containers":[{"name":"a","image":"none"}]}}"#;
    red.apply(pod).unwrap();
    wait_for("the scheduler to say that no node fits", LIMIT, || {
        let pod = red.get("/api/v1/namespaces/real-parts/pods/nowhere")?.unwrap_or_default();
        Ok(pod["status"]["conditions"][0]["reason"]
            .as_str()
            .filter(|r| *r == "Unschedulable")
            .map(|_| ()))
    })
    .unwrap();
    red.kubectl(&["delete", "namespace", "real-parts", "--wait=false"]).unwrap();
}

#[test]
fn a_host_ends_with_whoever_holds_it_even_when_that_is_killed() {
    let ground = Ground::new(equipment()).unwrap();
    let host = ground.host(Kind::Machine, "held", Ipv4Addr::new(10, 77, 0, 90)).unwrap();
    assert_eq!(host.run("hostname", &[]).unwrap().trim(), "held");
    // What is done below these folders stays there.
    host.write("/etc/rancher/node/password", "secret").unwrap();
    host.run("mkdir", &["-p", "/run/k3s", "/var/lib/cni"]).unwrap();
    for outside in ["/etc/rancher/node/password", "/run/k3s"] {
        assert!(!Path::new(outside).exists(), "{outside} reached the machine itself");
    }
    assert_eq!(host.read("/etc/rancher/node/password").unwrap(), "secret");
    let shown = host.run("ls", &["/sys/class/net"]).unwrap();
    assert_eq!(shown.split_whitespace().collect::<Vec<_>>(), ["eth0", "lo"]);

    let mut sleep = host.spawn("sleep", host.command(Path::new("sleep")).arg("1000")).unwrap();
    let pid = sleep.pid().unwrap();
    drop(host);
    assert!(sleep.wait(LIMIT).is_some());
    assert!(!Path::new("/proc").join(pid.to_string()).exists());

    // The holder here is a shell that is killed without a chance to clean up.
    let script =
        r#"mkfifo "$1/hold"; "$0" anchor plain killed "$1" <"$1/hold" & exec 3>"$1/hold"; wait"#;
    let folder = ground.host(Kind::Plain, "folder", Ipv4Addr::new(10, 77, 0, 91)).unwrap();
    let mut command = Command::new("sh");
    command.args(["-c", script]).arg(equipment().double).arg(folder.folder());
    let mut holder = Holder(command.stdout(Stdio::piped()).spawn().unwrap());
    let mut lines = BufReader::new(holder.0.stdout.take().unwrap()).lines();
    let (mut pid, mut ready) = (None, false);
    while pid.is_none() || !ready {
        let line = lines.next().unwrap().unwrap();
        pid = pid.or(line.strip_prefix("pid ").map(str::to_owned));
        ready |= line == "ready";
    }
    let first = Path::new("/proc").join(pid.unwrap());
    assert!(first.exists());
    drop(holder);
    wait_for("the host to end", LIMIT, || Ok((!first.exists()).then_some(()))).unwrap();
}

/// A process that is killed in the end.
struct Holder(Child);

impl Drop for Holder {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[test]
fn kubectl_tells_what_it_was_refused() {
    let refused = shared().red.kubectl(&["get", "no-such-thing"]).unwrap_err();
    assert!(refused.contains("no-such-thing"), "{refused}");
    let answer = shared().red.call_as(Call::get("/api/v1/nodes"), None).unwrap();
    assert_eq!(answer.status, 401, "nobody without credentials is answered");
}
