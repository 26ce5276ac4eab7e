//! A k3s as it is after its service was stopped while a pod ran: nothing of it is k3s's own doing here, and everything is real:
//! processes, control data, mounts, networks, interfaces, rules.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use federation::{Host, Process, wait_for};

use crate::{LIMIT, script};

/// Folder of the operator that pods get as a volume.
pub const VOLUME: &str = "/var/srv/volume";

/// What holds docker's containers.
const DOCKER: &str = "/var/docker/containerd-shim-runc-v2";

/// One of them.
#[derive(Clone, Copy, Debug)]
pub struct Laid {
    /// Folder of its data.
    pub data: &'static str,
    /// Two hexadecimal digits of which its ids are made.
    pub tag: &'static str,
    /// Last part of its pod's address.
    pub last: u8,
}

/// The k3s that the agent has to do with.
pub const OURS: Laid = Laid { data: "/var/lib/rancher/k3s", tag: "ab", last: 5 };

/// Another, which must not notice.
pub const SECOND: Laid = Laid { data: "/var/lib/rancher/second", tag: "cd", last: 6 };

/// The program that stands for everything that runs.
fn statue() -> &'static Path {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let build = || {
        let program =
            Path::new(env!("CARGO_TARGET_TMPDIR")).join(format!("statue-{}", std::process::id()));
        let source = concat!(env!("CARGO_MANIFEST_DIR"), "/image/statue.c");
        let words = ["-static", "-O2", "-Wall", "-Werror", "-o"];
        let status = Command::new("cc").args(words).arg(&program).arg(source).status().unwrap();
        assert!(status.success(), "{source} does not compile");
        program
    };
    BUILT.get_or_init(build)
}

impl Laid {
    /// Id of its sandbox.
    pub fn sandbox(self) -> String {
        self.tag.repeat(32)
    }

    /// Id of its container.
    fn container(self) -> String {
        format!("{}00", self.tag.repeat(31))
    }

    fn uid(self) -> String {
        let part = self.tag.repeat(2);
        format!("{part}{part}-{part}-{part}-{part}-{part}{part}{part}")
    }

    /// Its interface in the bridge.
    pub fn port(self) -> String {
        format!("veth{}", self.tag)
    }

    /// Lays it out, with processes that run until they are killed or the host ends.
    pub fn lay(self, host: &Host) -> Vec<Process> {
        let (sandbox, container, uid) = (self.sandbox(), self.container(), self.uid());
        let Laid { data, tag, last } = self;
        let network = format!("cni-{tag}");
        let bin = format!("{data}/data/{tag}/bin");
        let statue = statue().display();
        script(
            host,
            &format!(
                "mkdir -p {bin} {data}/agent/etc/flannel {data}/agent/images
                 ln -sfn {data}/data/{tag} {data}/data/current
                 for name in containerd-shim-runc-v2 k3s; do cp {statue} {bin}/$name; done
                 cp {statue} {data}/pod
                 echo image > {data}/agent/images/pause.tar
                 echo net > {data}/agent/etc/flannel/net-conf.json

                 [ -e /sys/class/net/cni0 ] || {{
                   ip link add cni0 address 02:00:00:00:00:01 type bridge
                   ip address add 10.42.0.1/24 dev cni0
                   ip link set cni0 up
                   ip link add flannel.1 address 02:00:00:00:00:02 type vxlan id 1 dev eth0 dstport 8472
                   ip link add kube-ipvs0 type bridge
                 }}
                 ip netns add {network}
                 ip link add {port} type veth peer name eth0 netns {network}
                 ip link set {port} master cni0 up

                 mkdir -p /var/lib/cni/networks/cbr0 /var/lib/cni/results /run/flannel
                 printf '{sandbox}\\r\\neth0' > /var/lib/cni/networks/cbr0/10.42.0.{last}
                 [ -e /var/lib/cni/networks/cbr0/last_reserved_ip.0 ] \\
                   || printf 10.42.0.{last} > /var/lib/cni/networks/cbr0/last_reserved_ip.0
                 printf 'FLANNEL_NETWORK=10.42.0.0/16\\nFLANNEL_SUBNET=10.42.0.1/24\\n' > /run/flannel/subnet.env
                 echo '{{\"kind\":\"cniCacheV1\",\"containerId\":\"{sandbox}\",\"result\":{{\"interfaces\":[{{\"name\":\"cni0\"}},'\\
                   '{{\"name\":\"{port}\"}},{{\"name\":\"eth0\",\"sandbox\":\"/var/run/netns/{network}\"}}]}}}}' \\
                   > /var/lib/cni/results/cbr0-{sandbox}-eth0

                 store={data}/agent/containerd
                 cri=$store/io.containerd.grpc.v1.cri
                 mkdir -p $cri/sandboxes/{sandbox} $cri/containers/{container}
                 state=/run/k3s/containerd
                 for id in {sandbox} {container}; do
                   snapshot=$store/io.containerd.snapshotter.v1.overlayfs/snapshots/$id
                   bundle=$state/io.containerd.runtime.v2.task/k8s.io/$id
                   mkdir -p $snapshot/lower $snapshot/fs $snapshot/work $bundle/rootfs
                   echo layer > $snapshot/lower/file
                   mount -t overlay overlay $bundle/rootfs \\
                     -o lowerdir=$snapshot/lower,upperdir=$snapshot/fs,workdir=$snapshot/work
                   echo '{{\"mounts\":[{{\"source\":\"/var/lib/kubelet/pods/{uid}/etc-hosts\"}},{{\"source\":\"'$cri'/sandboxes/x\"}}],'\\
                     '\"linux\":{{\"namespaces\":[{{\"type\":\"network\",\"path\":\"/var/run/netns/{network}\"}}]}}}}' \\
                     > $bundle/config.json
                 done
                 mkdir -p $state/io.containerd.grpc.v1.cri/sandboxes/{sandbox}/shm
                 mount -t tmpfs shm $state/io.containerd.grpc.v1.cri/sandboxes/{sandbox}/shm

                 pod=/var/lib/kubelet/pods/{uid}
                 mkdir -p $pod/volumes/kubernetes.io~projected/token $pod/volumes/kubernetes.io~empty-dir/data \\
                   $pod/volume-subpaths/data/app/0
                 echo 10.42.0.{last} pod > $pod/etc-hosts
                 echo kept > $pod/volumes/kubernetes.io~empty-dir/data/file
                 mount -t tmpfs tmpfs $pod/volumes/kubernetes.io~projected/token
                 echo token > $pod/volumes/kubernetes.io~projected/token/token
                 mount --bind $pod/volumes/kubernetes.io~empty-dir/data $pod/volume-subpaths/data/app/0
                 mkdir -p $pod/volumes/kubernetes.io~local-volume/pv
                 mount --bind {VOLUME} $pod/volumes/kubernetes.io~local-volume/pv
                 echo '{{}}' > /var/lib/kubelet/cpu_manager_state",
                port = self.port(),
            ),
        );
        self.rules(host);
        let mut shim = host.command(Path::new(&format!("{bin}/containerd-shim-runc-v2")));
        shim.args(["-namespace", "k8s.io", "-id", &sandbox]);
        shim.args(["-address", "/run/k3s/containerd/containerd.sock"]);
        shim.env("POD_PROGRAM", format!("{data}/pod"));
        shim.env("POD_NETWORK", format!("/run/netns/{network}"));
        let shim = host.spawn(&format!("shim-{tag}"), &mut shim).unwrap();
        wait_for("the pod", LIMIT, || Ok((self.living(host) == 4).then_some(()))).unwrap();
        vec![shim]
    }

    /// Starts what a running service is.
    pub fn run(self, host: &Host) -> Process {
        let program = format!("{}/data/{}/bin/k3s", self.data, self.tag);
        let mut main = host.command(Path::new(&program));
        let main = host.spawn(&format!("k3s-{}", self.tag), main.arg("agent")).unwrap();
        let runs = || Ok((!host.processes(&program)?.is_empty()).then_some(()));
        wait_for("k3s to run", LIMIT, runs).unwrap();
        main
    }

    /// How many processes its pod has: pause, app, its child and its orphan.
    pub fn living(self, host: &Host) -> usize {
        let program = Path::new(self.data).join("pod");
        let entries = std::fs::read_dir(host.path("/proc")).unwrap().flatten();
        let programs =
            entries.filter_map(|entry| std::fs::read_link(entry.path().join("exe")).ok());
        programs.filter(|found| found.ends_with(program.strip_prefix("/").unwrap())).count()
    }

    /// Rules as the network plugins make them for a pod, in one family and in both kernel interfaces.
    fn rules(self, host: &Host) {
        let Laid { tag, last, .. } = self;
        let comment = format!("-m comment --comment 'name: \"cbr0\" id: \"{}\"'", self.sandbox());
        for program in ["iptables-nft", "iptables-legacy"] {
            script(
                host,
                &format!(
                    "{program} -t nat -N CNI-{tag}
                     {program} -t nat -A CNI-{tag} -d 10.42.0.0/24 {comment} -j ACCEPT
                     {program} -t nat -A POSTROUTING -s 10.42.0.{last}/32 {comment} -j CNI-{tag}
                     {program} -t nat -N CNI-HOSTPORT-DNAT 2>&- || true
                     {program} -t nat -N CNI-DN-{tag}
                     {program} -t nat -A CNI-DN-{tag} -p tcp -j DNAT --to-destination 10.42.0.{last}:80
                     {program} -t nat -A CNI-HOSTPORT-DNAT -p tcp --dport 80{last} {comment} -j CNI-DN-{tag}"
                ),
            );
        }
    }
}

/// Rules of kube-proxy and flannel, of which a machine has one set.
pub fn shared_rules(host: &Host) {
    for program in ["iptables-nft", "iptables-legacy", "ip6tables-nft"] {
        script(
            host,
            &format!(
                "{program} -t nat -N KUBE-SERVICES
                 {program} -t nat -N KUBE-SVC-1
                 {program} -t nat -A KUBE-SERVICES -p tcp --dport 443 -j KUBE-SVC-1
                 {program} -t nat -A PREROUTING -m comment --comment 'kubernetes service portals' -j KUBE-SERVICES
                 {program} -t nat -A OUTPUT -j KUBE-SERVICES
                 {program} -N FLANNEL-FWD
                 {program} -A FORWARD -m comment --comment 'flanneld forward' -j FLANNEL-FWD
                 {program} -A FORWARD -p udp --dport 9 -m comment --comment 'flanneld forward' -j ACCEPT"
            ),
        );
    }
}

/// Rules as the flannel of k3s 1.21 writes them.
pub fn older_flannel(host: &Host) {
    script(
        host,
        "iptables-nft -A FORWARD -s 10.42.0.0/16 -j ACCEPT
         iptables-nft -A FORWARD -d 10.42.0.0/16 -j ACCEPT
         iptables-nft -t nat -A POSTROUTING -s 10.42.0.0/16 -d 10.42.0.0/16 -j RETURN
         iptables-nft -t nat -A POSTROUTING -s 10.42.0.0/16 ! -d 224.0.0.0/4 -j MASQUERADE --random-fully
         iptables-nft -t nat -A POSTROUTING ! -s 10.42.0.0/16 -d 10.42.0.0/24 -j RETURN
         iptables-nft -t nat -A POSTROUTING ! -s 10.42.0.0/16 -d 10.42.0.0/16 -j MASQUERADE --random-fully",
    );
}

/// What an operator has, some of which looks like k3s's: rules, interfaces, mounts, a container of docker, and a process in a
/// network that is named like that of a pod.
pub fn operators(host: &Host) -> Vec<Process> {
    script(
        host,
        &format!(
            "for program in iptables-nft iptables-legacy ip6tables-nft; do
               $program -N KUBERNETES-MINE
               $program -A INPUT -p udp --dport 698 -m comment --comment 'not -j KUBE-SERVICES' -j ACCEPT
               $program -A INPUT -j KUBERNETES-MINE
               $program -t nat -A POSTROUTING -o eth0 -m comment --comment 'CNI- \"flannel\"' -j ACCEPT
             done
             ip link add docker0 type bridge
             ip link add vethmine type veth peer name vethpeer
             ip link set vethmine master docker0 up
             ip netns add vpn
             ip netns add cni-inhabited
             mkdir -p {VOLUME} /var/srv/mine /var/docker /run/k3s-mine /var/lib/cni/networks/podman
             mount -t tmpfs mine /var/srv/mine
             echo precious > {VOLUME}/file
             echo mine > /var/srv/mine/file
             echo elsewhere > /var/lib/cni/networks/podman/10.88.0.2
             cp {} {DOCKER}",
            statue().display()
        ),
    );
    let mut inhabitant = host.command(Path::new("ip"));
    inhabitant.args(["netns", "exec", "cni-inhabited", "sleep", "infinity"]);
    let mut docker = host.command(Path::new(DOCKER));
    docker.args(["-namespace", "moby", "-id", "x"]);
    let started = vec![
        host.spawn("inhabitant", &mut inhabitant).unwrap(),
        host.spawn("docker", &mut docker).unwrap(),
    ];
    let run = || {
        let [sleeps, shims] = ["sleep", DOCKER].map(|program| host.processes(program));
        Ok((!sleeps?.is_empty() && !shims?.is_empty()).then_some(()))
    };
    wait_for("the operator's processes", LIMIT, run).unwrap();
    started
}
