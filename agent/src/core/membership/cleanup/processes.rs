//! Processes as `/proc` shows them: which of them a stopped k3s left, in what order they are to die, and which belong to another
//! Kubernetes.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::Claims;

/// Program of k3s: it unpacks itself below its data and goes on as this file.
const K3S: &str = "k3s";

/// Begins the names of the programs that hold a container.
const SHIM: &str = "containerd-shim";

/// Sub-commands under which k3s and its kin run nodes and control planes, and not just a tool.
const MAIN: [&str; 4] = ["agent", "server", "worker", "controller"];

/// Programs that need one of these to count.
const WHOLE: [&str; 3] = [K3S, "rke2", "k0s"];

/// Programs of other ways to run Kubernetes.
const PARTS: [&str; 4] = ["kubelet", "kubelite", "kube-proxy", "flanneld"];

/// containerd's namespace of the kubelet; that of docker is another.
const KUBERNETES: &str = "k8s.io";

/// Which process, for as long as the machine runs: its number may be given again, its number and start not.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Identity {
    /// Number.
    pub pid: i32,
    /// Start, in clock ticks after that of the machine.
    pub start: u64,
}

/// A process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Process {
    /// Number.
    pub pid: i32,
    /// Its parent's.
    pub parent: i32,
    /// Start, in clock ticks after that of the machine.
    pub start: u64,
    /// It has ended, and nobody asked how.
    pub dead: bool,
    /// Path of its program; empty for threads of the kernel.
    pub program: PathBuf,
    /// The program is a file of this k3s's data.
    pub ours: bool,
    /// Its arguments, also where they were made one text.
    pub words: Vec<String>,
    /// Its control groups, as the kernel prints them.
    pub groups: String,
    /// It sees the mounts that this agent sees.
    pub same_mounts: bool,
    /// It is in the network that this agent is in.
    pub same_network: bool,
    /// Its network.
    pub network: u64,
}

impl Process {
    /// Which one it is.
    #[must_use]
    pub const fn identity(&self) -> Identity {
        Identity { pid: self.pid, start: self.start }
    }

    /// Takes in `/proc/<pid>/stat`: name in parentheses, which may have any letters, then state, parent, and as the 22nd field the
    /// start (proc_pid_stat(5)). `false` when it is not that.
    #[must_use]
    pub fn read_stat(&mut self, text: &str) -> bool {
        let Some((_, fields)) = text.rsplit_once(')') else { return false };
        let fields: Vec<&str> = fields.split_ascii_whitespace().collect();
        let (Some(state), Some(parent), Some(start)) =
            (fields.first(), fields.get(1), fields.get(19))
        else {
            return false;
        };
        let (Ok(parent), Ok(start)) = (parent.parse(), start.parse()) else { return false };
        self.dead = matches!(*state, "Z" | "X");
        (self.parent, self.start) = (parent, start);
        true
    }

    /// Takes in `/proc/<pid>/cmdline`. k3s makes its own one text with blanks.
    pub fn read_words(&mut self, text: &str) {
        let words = text.split(['\0', ' ']).filter(|word| !word.is_empty());
        self.words = words.map(str::to_owned).collect();
    }

    fn name(&self) -> &str {
        let name = self.program.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        name.strip_suffix(" (deleted)").unwrap_or(name)
    }

    /// What it was called as.
    fn called(&self) -> &str {
        let first = self.words.first().map_or("", String::as_str);
        first.rsplit('/').next().unwrap_or(first)
    }

    fn is_main(&self) -> bool {
        WHOLE.contains(&self.name())
            && self.words.get(1).is_some_and(|word| MAIN.contains(&word.as_str()))
    }

    /// Whether containers of this k3s descend from it. Shims of other runtimes may be programs of the machine; they name the sandbox.
    fn is_root(&self, claims: &Claims) -> bool {
        let names = |pair: &[String]| pair[0] == "-id" && claims.has_id(&pair[1]);
        match self.is_shim() {
            true => self.ours || self.words.windows(2).any(names),
            false => self.ours && self.called() == "containerd",
        }
    }

    fn is_shim(&self) -> bool {
        self.name().starts_with(SHIM)
    }

    /// Folder of the data that its program was unpacked to: `<data>/data/<hash>/bin/<program>`.
    #[must_use]
    pub fn data_folder(&self) -> Option<&Path> {
        let data = self.program.ancestors().nth(3)?;
        data.parent().filter(|_| data.ends_with("data"))
    }
}

/// What is to be done about processes next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// Nothing of this k3s lives.
    Nothing,
    /// These have to die before anything else is looked at.
    Kill(BTreeSet<Identity>),
    /// k3s itself runs: it would start anew what is killed. Its number.
    Runs(i32),
    /// This agent runs in a container of that k3s.
    Inside,
}

/// Which processes of this k3s have to die next. Those in containers come first: as long as their shim lives, it inherits whatever
/// they leave, and nothing escapes.
#[must_use]
pub fn next(processes: &[Process], claims: &Claims, own_pid: i32) -> Next {
    let living = || processes.iter().filter(|process| !process.dead);
    if let Some(main) = living().find(|process| process.ours && process.is_main()) {
        return Next::Runs(main.pid);
    }
    let is_root = |process: &Process| process.is_root(claims);
    let inside = contained(processes, claims);
    if inside.contains(&own_pid) {
        return Next::Inside;
    }
    let contents: BTreeSet<Identity> = living()
        .filter(|process| inside.contains(&process.pid) && !is_root(process))
        .map(Process::identity)
        .collect();
    if !contents.is_empty() {
        return Next::Kill(contents);
    }
    let roots: BTreeSet<Identity> =
        living().filter(|process| is_root(process)).map(Process::identity).collect();
    if roots.is_empty() { Next::Nothing } else { Next::Kill(roots) }
}

/// Numbers of the processes in containers of this k3s: those that descend from its shims, and those that lost theirs.
fn contained(processes: &[Process], claims: &Claims) -> BTreeSet<i32> {
    let mut children: BTreeMap<i32, Vec<i32>> = BTreeMap::new();
    for process in processes {
        children.entry(process.parent).or_default().push(process.pid);
    }
    let is_root = |process: &&Process| process.is_root(claims);
    let below = |pid: i32| children.get(&pid).into_iter().flatten().copied();
    let mut pending: Vec<i32> =
        processes.iter().filter(is_root).flat_map(|process| below(process.pid)).collect();
    pending
        .extend(processes.iter().filter(|process| claims.has_id(&process.groups)).map(|p| p.pid));
    let mut found = BTreeSet::new();
    while let Some(pid) = pending.pop() {
        if found.insert(pid) {
            pending.extend(below(pid));
        }
    }
    found
}

/// Processes by which another Kubernetes shows: k3s and its kin with other data, parts of others, and containers of the kubelet,
/// unless they run in a container of this k3s.
#[must_use]
pub fn others<'a>(processes: &'a [Process], claims: &Claims) -> Vec<&'a Process> {
    let inside = contained(processes, claims);
    let is_kubernetes = |process: &&Process| {
        let follows = |pair: &[String]| pair[0] == "-namespace" && pair[1] == KUBERNETES;
        process.is_main()
            || PARTS.contains(&process.name())
            || (process.is_shim() && process.words.windows(2).any(follows))
    };
    let lives = |process: &&Process| {
        !process.dead && !process.ours && !process.is_root(claims) && !inside.contains(&process.pid)
    };
    processes.iter().filter(lives).filter(is_kubernetes).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const OURS: &str = "/var/lib/rancher/k3s/data/ab12/bin";

    fn process(pid: i32, parent: i32, program: &str, words: &str) -> Process {
        let mut process = Process {
            pid,
            parent,
            start: u64::from(pid.unsigned_abs()) * 10,
            program: program.into(),
            ours: program.starts_with(OURS),
            ..Process::default()
        };
        process.read_words(words);
        process
    }

    fn shim(pid: i32, folder: &str, namespace: &str) -> Process {
        let program = format!("{folder}/containerd-shim-runc-v2");
        process(pid, 1, &program, &format!("{program} -namespace {namespace} -id x -address y"))
    }

    fn pids(next: &Next) -> Vec<i32> {
        match next {
            Next::Kill(found) => found.iter().map(|identity| identity.pid).collect(),
            Next::Nothing | Next::Runs(_) | Next::Inside => panic!("{next:?}"),
        }
    }

    fn machine() -> Vec<Process> {
        vec![
            process(1, 0, "/lib/systemd/systemd", "/sbin/init"),
            process(50, 1, "/usr/bin/outrider", "outrider agent"),
            shim(100, OURS, "k8s.io"),
            process(101, 100, "/pause", "/pause"),
            process(102, 100, "/bin/sh", "sh"),
            process(103, 102, "/bin/sleep", "sleep 1"),
            shim(200, "/var/lib/second/data/cd34/bin", "k8s.io"),
            process(201, 200, "/pause", "/pause"),
            process(300, 1, "/usr/bin/containerd-shim-runc-v2", "shim -namespace moby -id x"),
            process(301, 300, "/usr/sbin/nginx", "nginx"),
        ]
    }

    #[test]
    fn containers_die_before_their_shims_and_nothing_else_does() {
        let mut processes = machine();
        let claims = Claims::default();
        assert_eq!(pids(&next(&processes, &claims, 50)), [101, 102, 103]);
        processes.retain(|process| ![101, 102].contains(&process.pid));
        // Its shim has inherited it.
        processes[3].parent = 100;
        assert_eq!(pids(&next(&processes, &claims, 50)), [103]);
        processes[3].dead = true;
        assert_eq!(pids(&next(&processes, &claims, 50)), [100]);
        processes[2].dead = true;
        assert_eq!(next(&processes, &claims, 50), Next::Nothing);
    }

    #[test]
    fn a_container_that_lost_its_shim_is_known_by_its_control_group() {
        let mut claims = Claims::default();
        let id = "ab".repeat(32);
        claims.add_id(&id);
        let mut orphan = process(400, 1, "/bin/app", "app");
        orphan.groups = format!("0::/kubepods/besteffort/pod1/{id}\n");
        let child = process(401, 400, "/bin/part", "part");
        let mut other = process(402, 1, "/bin/app", "app");
        other.groups = format!("0::/kubepods/besteffort/pod1/{}\n", "cd".repeat(32));
        assert_eq!(pids(&next(&[orphan, child, other], &claims, 50)), [400, 401]);
    }

    #[test]
    fn a_shim_of_the_machine_that_serves_a_sandbox_of_this_k3s_is_one_of_its() {
        let mut claims = Claims::default();
        let id = "ab".repeat(32);
        claims.add_id(&id);
        let program = "/usr/local/bin/containerd-shim-spin-v2";
        let words = format!("{program} -namespace k8s.io -id {id}");
        let mut processes =
            vec![process(500, 1, program, &words), process(501, 500, "/app", "app")];
        assert_eq!(pids(&next(&processes, &claims, 50)), [501]);
        assert!(others(&processes, &claims).is_empty());
        processes.pop();
        assert_eq!(pids(&next(&processes, &claims, 50)), [500]);
        assert_eq!(next(&processes, &Claims::default(), 50), Next::Nothing);
        assert_eq!(others(&processes, &Claims::default()).len(), 1);
    }

    #[test]
    fn k3s_itself_must_not_run() {
        let mut processes = machine();
        let k3s = format!("{OURS}/k3s");
        processes.push(process(90, 1, &k3s, "/usr/local/bin/k3s agent"));
        assert_eq!(next(&processes, &Claims::default(), 50), Next::Runs(90));
        processes.pop();
        // Its container runtime that outlived it is the same program, and an operator's tool too.
        processes.push(process(91, 1, &k3s, "containerd\0-c\0/x"));
        processes.push(process(92, 1, &k3s, "kubectl get pods"));
        processes.retain(|process| ![101, 102, 103].contains(&process.pid));
        assert_eq!(pids(&next(&processes, &Claims::default(), 50)), [91, 100]);
    }

    #[test]
    fn an_agent_in_a_container_of_that_k3s_does_not_kill_itself() {
        assert_eq!(next(&machine(), &Claims::default(), 103), Next::Inside);
    }

    #[test]
    fn other_kubernetes_are_told_from_tools_and_from_docker() {
        let claims = Claims::default();
        let mut processes = machine();
        let found = |processes: &[Process]| -> Vec<i32> {
            others(processes, &claims).iter().map(|process| process.pid).collect()
        };
        assert_eq!(found(&processes), [200]);
        processes.push(process(500, 1, "/var/lib/second/data/cd34/bin/k3s", "/bin/k3s server"));
        processes.push(process(501, 1, "/var/lib/second/data/cd34/bin/k3s", "k3s kubectl"));
        processes.push(process(502, 1, "/usr/bin/kubelet", "kubelet --config x"));
        // k3s in a container of this k3s.
        processes.push(process(503, 102, "/bin/k3s", "k3s server"));
        assert_eq!(found(&processes), [200, 500, 502]);
        assert_eq!(processes[10].data_folder(), Some(Path::new("/var/lib/second")));
        assert_eq!(processes[12].data_folder(), None);
    }

    #[test]
    fn a_stat_is_read_whatever_the_program_is_called() {
        let mut read = Process::default();
        let rest = "S 7 1 1 0 -1 4194560 1 2 3 4 5 6 7 8 20 0 1 0 4711 9 9";
        assert!(read.read_stat(&format!("12 (a) b) (c) {rest}")));
        assert_eq!((read.parent, read.start, read.dead), (7, 4711, false));
        assert!(read.read_stat(&format!("12 (x) {}", rest.replacen('S', "Z", 1))));
        assert!(read.dead);
        for text in ["", "12", "12 (x) S", "12 (x) S x 1 1 0 -1 4 1 2 3 4 5 6 7 8 20 0 1 0 y"] {
            assert!(!read.read_stat(text), "{text}");
        }
    }

    proptest::proptest! {
        /// Whatever the tree, also one that was read while it changed: what is to die is this k3s's or descends from it.
        #[test]
        fn only_descendants_die(parents in proptest::collection::vec(0_i32..30, 30), ours: u32) {
            let processes: Vec<Process> = parents.iter().enumerate().map(|(pid, parent)| {
                let folder = if ours >> pid & 1 == 1 && pid % 3 == 0 { OURS } else { "/usr/bin" };
                Process { parent: *parent, ..shim(i32::try_from(pid).unwrap(), folder, "moby") }
            }).collect();
            if let Next::Kill(found) = next(&processes, &Claims::default(), -1) {
                for identity in found {
                    let (mut pid, mut descends) = (identity.pid, false);
                    for _ in 0..=processes.len() {
                        let process = &processes[usize::try_from(pid).unwrap()];
                        descends |= process.ours;
                        pid = process.parent;
                    }
                    proptest::prop_assert!(descends);
                }
            }
        }
    }
}
