//! Mounts as `/proc/self/mountinfo` shows them (proc_pid_mountinfo(5)), and which of them are to be undone, in what order.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use super::Claims;

/// Folders in which k3s has mounts, without symbolic links on the way, as the kernel shows them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Places {
    /// `/run/k3s`.
    pub run: PathBuf,
    /// `/var/lib/kubelet`.
    pub kubelet: PathBuf,
    /// `/run/netns`.
    pub networks: PathBuf,
    /// Folder of this k3s's data.
    pub data: PathBuf,
}

/// A mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mount {
    /// What of the file system it shows; a namespace as `net:[4026532000]`.
    pub root: String,
    /// Where.
    pub point: PathBuf,
    /// Options of the file system.
    pub options: String,
}

/// Reads all of them, in order. A line that is none is passed over.
#[must_use]
pub fn read(text: &str) -> Vec<Mount> {
    text.lines().filter_map(mount).collect()
}

/// `36 35 98:0 /root /point rw,noatime shared:1 - ext3 /dev/root rw,errors=continue`
fn mount(line: &str) -> Option<Mount> {
    let (before, after) = line.split_once(" - ")?;
    let mut before = before.split(' ').skip(3);
    let (root, point) = (unescaped(before.next()?), unescaped(before.next()?));
    let options = after.splitn(3, ' ').nth(2).unwrap_or_default();
    Some(Mount { root, point: point.into(), options: unescaped(options) })
}

/// The kernel writes blank, tab, line feed and backslash as three octal digits.
fn unescaped(text: &str) -> String {
    let mut parts = text.split('\\');
    let mut plain = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let code = part.get(..3).and_then(|digits| u8::from_str_radix(digits, 8).ok());
        match code {
            Some(code) if code.is_ascii() => {
                plain.push(char::from(code));
                plain.push_str(&part[3..]);
            }
            Some(_) | None => {
                plain.push('\\');
                plain.push_str(part);
            }
        }
    }
    plain
}

/// What is to be undone, and what is left.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// In this order: what lies on top of others comes first.
    pub undo: Vec<PathBuf>,
    /// Left, since there is no telling whose it is.
    pub left: BTreeSet<PathBuf>,
}

/// Which mounts are to be undone. `alone` when no other Kubernetes shares this view of mounts; `inhabited` are the networks in
/// which a process lives.
#[must_use]
pub fn plan(
    mounts: &[Mount],
    places: &Places,
    claims: &Claims,
    alone: bool,
    inhabited: &BTreeSet<u64>,
) -> Plan {
    let mut plan = Plan::default();
    let mut undo: Vec<(usize, usize, &Path)> = Vec::new();
    for (order, mount) in mounts.iter().enumerate() {
        match whose(mount, places, claims, inhabited) {
            Whose::Elsewhere | Whose::InUse => {}
            Whose::Unknown if !alone => drop(plan.left.insert(mount.point.clone())),
            Whose::Ours | Whose::Unknown => {
                undo.push((mount.point.components().count(), order, &mount.point));
            }
        }
    }
    undo.sort_unstable_by(|a, b| b.cmp(a));
    plan.undo = undo.into_iter().map(|(_, _, point)| point.to_owned()).collect();
    plan
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Whose {
    /// It lies where k3s has no mounts.
    Elsewhere,
    /// A network in which somebody lives.
    InUse,
    Ours,
    Unknown,
}

fn whose(mount: &Mount, places: &Places, claims: &Claims, inhabited: &BTreeSet<u64>) -> Whose {
    let decided = |ours: bool| if ours { Whose::Ours } else { Whose::Unknown };
    if let Some(path) = below(&mount.point, &places.run) {
        return decided(claims.has_id(&path) || has_folder_of(&mount.options, &places.data));
    }
    if let Some(path) = below(&mount.point, &places.kubelet.join("pods")) {
        let uid = path.split('/').next().unwrap_or_default();
        return decided(claims.pods.contains(uid));
    }
    if below(&mount.point, &places.kubelet.join("plugins")).is_some() {
        return Whose::Unknown;
    }
    match below(&mount.point, &places.networks) {
        Some(name) if name.starts_with("cni-") => match network(&mount.root) {
            Some(network) if inhabited.contains(&network) => Whose::InUse,
            Some(_) | None => decided(claims.namespaces.contains(&name)),
        },
        Some(_) | None => Whose::Elsewhere,
    }
}

/// The rest of a path below a folder, which is not the folder itself.
fn below(point: &Path, folder: &Path) -> Option<String> {
    let rest = point.strip_prefix(folder).ok()?.to_string_lossy().into_owned();
    (!rest.is_empty()).then_some(rest)
}

/// `upperdir=/var/lib/rancher/k3s/agent/containerd/...`
fn has_folder_of(options: &str, data: &Path) -> bool {
    let folders = options.split([',', ':', '=']).filter(|option| option.starts_with('/'));
    folders.into_iter().any(|folder| Path::new(folder).starts_with(data.join("agent")))
}

/// 4026532000 of `net:[4026532000]`; of a link in `/proc/<pid>/ns` too.
#[must_use]
pub fn network(root: &str) -> Option<u64> {
    root.strip_prefix("net:[")?.strip_suffix(']')?.parse().ok()
}

/// Whether anything is mounted at or below a folder.
#[must_use]
pub fn is_mounted(mounts: &[Mount], folder: &Path) -> bool {
    mounts.iter().any(|mount| mount.point.starts_with(folder))
}

#[cfg(test)]
mod tests {
    use super::*;

    const UID: &str = "0a1b2c3d-0000-1111-2222-333344445555";

    fn places() -> Places {
        Places {
            run: "/run/k3s".into(),
            kubelet: "/var/lib/kubelet".into(),
            networks: "/run/netns".into(),
            data: "/var/lib/rancher/k3s".into(),
        }
    }

    fn text(id: &str) -> String {
        format!(
            "22 1 0:20 / / rw,relatime shared:1 - ext4 /dev/root rw\n\
             30 22 0:25 / /run rw,nosuid - tmpfs run rw\n\
             31 30 0:26 / /run/k3s rw - tmpfs run rw\n\
             41 31 0:50 / /run/k3s/containerd/io.containerd.grpc.v1.cri/sandboxes/{id}/shm rw shared:9 - tmpfs shm rw,size=65536k\n\
             42 31 0:51 / /run/k3s/containerd/io.containerd.runtime.v2.task/k8s.io/x/rootfs rw - overlay overlay \
             rw,lowerdir=/a:/var/lib/rancher/k3s/agent/containerd/s/1/fs,upperdir=/u,workdir=/w\n\
             43 31 0:51 / /run/k3s/containerd/io.containerd.runtime.v2.task/k8s.io/y/rootfs rw - overlay overlay \
             rw,lowerdir=/a,upperdir=/var/lib/second/agent/containerd/s/1/fs\n\
             44 22 0:52 / /var/lib/kubelet/pods/{UID}/volumes/kubernetes.io~projected/token rw - tmpfs tmpfs rw\n\
             45 44 0:52 / /var/lib/kubelet/pods/{UID}/volumes/kubernetes.io~projected/token rw - tmpfs tmpfs rw\n\
             46 22 8:1 /x /var/lib/kubelet/pods/other\\040one/volume-subpaths/a rw - ext4 /dev/root rw\n\
             47 22 8:1 /x /var/lib/kubelet/plugins/csi/globalmount rw - ext4 /dev/root rw\n\
             48 30 0:4 net:[4026532001] /run/netns/cni-1 rw shared:3 - nsfs nsfs rw\n\
             49 30 0:4 net:[4026532002] /run/netns/cni-2 rw - nsfs nsfs rw\n\
             50 30 0:4 net:[4026532003] /run/netns/vpn rw - nsfs nsfs rw\n\
             51 22 8:1 /x /var/lib/kubelet/pods rw - ext4 /dev/root rw\n\
             52 22 8:1 /x /run/k3s-other rw - ext4 /dev/root rw\n\
             nonsense\n"
        )
    }

    #[test]
    fn alone_everything_in_k3ss_places_goes_deepest_first() {
        let id = "ab".repeat(32);
        let plan =
            plan(&read(&text(&id)), &places(), &Claims::default(), true, &[4_026_532_002].into());
        assert!(plan.left.is_empty());
        let points: Vec<String> =
            plan.undo.iter().map(|point| point.to_string_lossy().into_owned()).collect();
        assert_eq!(points.len(), 8, "{points:#?}");
        let depths: Vec<usize> = plan.undo.iter().map(|point| point.components().count()).collect();
        assert!(depths.is_sorted_by(|a, b| a >= b), "{points:#?}");
        for kept in [
            "/run/netns/cni-2",
            "/run/netns/vpn",
            "/run/k3s",
            "/var/lib/kubelet/pods",
            "/run/k3s-other",
        ] {
            assert!(!points.iter().any(|point| point == kept), "{kept}");
        }
        assert!(points.contains(&"/var/lib/kubelet/pods/other one/volume-subpaths/a".to_owned()));
        let twice = points.iter().filter(|point| point.contains("projected")).count();
        assert_eq!(twice, 2, "one on top of the other");
    }

    #[test]
    fn beside_another_only_what_is_evident_goes_and_the_rest_is_told() {
        let id = "ab".repeat(32);
        let mut claims = Claims::default();
        claims.add_id(&id);
        claims.pods.insert(UID.to_owned());
        claims.namespaces.insert("cni-1".to_owned());
        let plan = plan(&read(&text(&id)), &places(), &claims, false, &BTreeSet::new());
        let undone = plan.undo.iter().filter(|point| {
            point.ends_with("cni-1")
                || point.ends_with("shm")
                || point.ends_with("x/rootfs")
                || point.ends_with("token")
        });
        assert_eq!((undone.count(), plan.undo.len()), (5, 5), "{plan:#?}");
        let left: Vec<_> = plan.left.iter().map(|point| point.to_string_lossy()).collect();
        assert_eq!(left.len(), 4, "{left:#?}");
        assert!(left.iter().any(|point| point.ends_with("y/rootfs")));
    }

    #[test]
    fn what_is_mounted_below_a_folder_is_seen() {
        let mounts = read(&text("x"));
        assert!(is_mounted(&mounts, Path::new("/run/k3s")));
        assert!(is_mounted(&mounts, Path::new("/var/lib/kubelet/pods/other one")));
        assert!(!is_mounted(&mounts, Path::new("/var/lib/kubelet/pods/other")));
    }

    proptest::proptest! {
        #[test]
        fn no_text_makes_it_panic(text: String) {
            let _ = read(&text);
            let _ = read(&format!("1 2 3 /{text} /{text} rw - {text} x\\04"));
        }
    }
}
