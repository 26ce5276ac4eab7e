//! Fill of mounted filesystems: what is mounted from /proc/1/mountinfo (proc(5); the first process's view, else our
//! own), how full it is from statvfs(3) below the root. Files are never opened and directories never walked. Whether
//! a filesystem is read-only is asked of its superblock, not of the mount: a service in a sandbox sees everything
//! mounted read-only, but only storage errors and the administrator make the superblock so.
//!
//! There are two collectors: `filesystem` for storage of this machine, and `filesystem-remote` for network
//! filesystems and FUSE, whose server may be gone, in which case statvfs does not return. A dead NFS server hides
//! other network mounts until it is back, and nothing else. Pseudo filesystems, images that are full by design
//! (squashfs, ISO 9660) and automount points are left out; so are the mounts of pods and containers unless `include`
//! asks for them. `include` and `exclude` match mount points.

use nix::sys::statvfs::{Statvfs, statvfs};

use crate::core::catalog::hardware as catalog;

use super::Collector;
use super::tree::{Cause, Output, Tree};

/// Mount points reported. A vehicle has five; pods' mounts are excluded by name.
const MOUNTS_MAX: usize = 32;

/// Mounts of pods, containers, users' sessions and services: they show filesystems that are reported elsewhere.
pub(super) const UNINTERESTING: &[&str] = &[
    "/var/lib/kubelet/*",
    "/run/k3s/*",
    "/run/containerd/*",
    "/var/lib/docker/*",
    "/var/lib/containers/*",
    "/var/lib/rancher/k3s/*",
    "/run/netns*",
    "/run/user/*",
    "/run/credentials/*",
    "/run/systemd/*",
    "/run/lock",
    "/dev",
    "/dev/*",
    "/sys/*",
    "/proc/*",
];

/// Filesystems whose space is finite and on this machine.
const LOCAL: &[&str] = &[
    "bcachefs", "btrfs", "exfat", "ext2", "ext3", "ext4", "f2fs", "jffs2", "jfs", "msdos",
    "nilfs2", "ntfs", "ntfs3", "overlay", "ramfs", "reiserfs", "tmpfs", "ubifs", "vfat", "xfs",
    "zfs",
];

/// Filesystems whose answers come from another machine or another program.
const REMOTE: &[&str] = &[
    "9p",
    "afs",
    "ceph",
    "cifs",
    "fuse",
    "fuseblk",
    "glusterfs",
    "lustre",
    "ncpfs",
    "nfs",
    "nfs4",
    "smb3",
    "virtiofs",
];

pub(super) struct Filesystem {
    remote: bool,
}

impl Filesystem {
    /// Storage of this machine.
    pub fn local() -> Filesystem {
        Filesystem { remote: false }
    }

    /// Network filesystems and FUSE.
    pub fn remote() -> Filesystem {
        Filesystem { remote: true }
    }

    fn handles(&self, fstype: &str) -> bool {
        if self.remote {
            REMOTE.contains(&fstype) || fstype.starts_with("fuse.")
        } else {
            LOCAL.contains(&fstype)
        }
    }
}

impl Collector for Filesystem {
    fn collect(&mut self, tree: &mut Tree, output: &mut Output<'_>) {
        for mount in self.mounts(tree, output) {
            let labels = [mount.point.as_str()];
            let path = tree.path(format_args!("{}", mount.point.trim_start_matches('/')));
            match statvfs(path) {
                Ok(status) => put_fill(&status, &labels, output),
                Err(error) => {
                    let what = format_args!("statvfs `{path}`: {error}");
                    output.complain(Cause::Unreadable, what);
                    continue;
                }
            }
            let readonly = f64::from(u8::from(mount.readonly));
            output.put(&catalog::FILESYSTEM_READONLY, &labels, readonly);
            let labels = [mount.point.as_str(), &mount.device, &mount.fstype];
            output.put(&catalog::FILESYSTEM_INFO, &labels, 1.0);
        }
    }
}

#[derive(Debug, PartialEq)]
struct Mount {
    /// `major:minor`, the same for all mounts of one filesystem.
    number: String,
    device: String,
    point: String,
    fstype: String,
    readonly: bool,
}

impl Filesystem {
    fn mounts(&self, tree: &mut Tree, output: &mut Output<'_>) -> Vec<Mount> {
        let first_process = tree.exists(format_args!("proc/1/mountinfo"));
        let process = if first_process { "1" } else { "self" };
        let text = tree.text(format_args!("proc/{process}/mountinfo"), output).unwrap_or("");
        let mut mounts = Vec::new();
        for line in text.lines() {
            let Some((before, filesystem)) = split_mount(line) else {
                let what = format_args!("`/proc/{process}/mountinfo` has the line {line:?}");
                output.complain(Cause::Garbage, what);
                continue;
            };
            // Most lines of a busy machine are about containers: tell by the type before reading on.
            let (fstype, _) = filesystem.split_once(' ').unwrap_or((filesystem, ""));
            if !self.handles(fstype) {
                continue;
            }
            match parse_mount(before, filesystem) {
                Some(mount) if output.wants(&mount.point) => note(mount, &mut mounts),
                Some(_) => {}
                None => output.complain(
                    Cause::Garbage,
                    format_args!("`/proc/{process}/mountinfo` has the line {line:?}"),
                ),
            }
        }
        if mounts.len() > MOUNTS_MAX {
            let what = format_args!("{} mounts, of which {MOUNTS_MAX} are reported", mounts.len());
            output.complain(Cause::Bound, what);
            mounts.truncate(MOUNTS_MAX);
        }
        mounts
    }
}

/// Adds `mount` unless it shows what is there already: a mount hides an earlier one at the same place, and of
/// several places where a filesystem is mounted the shortest is the one people mean.
fn note(mount: Mount, mounts: &mut Vec<Mount>) {
    mounts.retain(|other| other.point != mount.point);
    match mounts.iter_mut().find(|other| other.number == mount.number) {
        Some(same) if mount.point.len() < same.point.len() => *same = mount,
        Some(_) => {}
        None => mounts.push(mount),
    }
}

/// A line of mountinfo about the mount and about the filesystem: what is before and after the field that is a dash.
fn split_mount(line: &str) -> Option<(&str, &str)> {
    let dash = line.as_bytes().windows(3).position(|three| three == b" - ")?;
    Some((&line[..dash], &line[dash + 3..]))
}

/// About the mount: two numbers, device number, root of the mount, mount point, its options, tags. About the
/// filesystem: type, device, options of the superblock. Blanks inside are octal `\040`.
fn parse_mount(mount: &str, filesystem: &str) -> Option<Mount> {
    let mut mount = mount.split(' ').skip(2);
    let number = mount.next()?.to_owned();
    let point = unescape(mount.nth(1)?);
    let mut filesystem = filesystem.split(' ');
    let (fstype, device) = (filesystem.next()?.to_owned(), unescape(filesystem.next()?));
    let readonly = filesystem.next()?.split(',').any(|option| option == "ro");
    point.starts_with('/').then_some(Mount { number, device, point, fstype, readonly })
}

fn unescape(field: &str) -> String {
    if !field.contains('\\') {
        return field.to_owned();
    }
    let mut plain = Vec::with_capacity(field.len());
    let mut rest = field.as_bytes();
    while let Some((&byte, tail)) = rest.split_first() {
        let octal = tail
            .get(..3)
            .filter(|_| byte == b'\\')
            .and_then(|digits| u8::from_str_radix(str::from_utf8(digits).ok()?, 8).ok());
        plain.push(octal.unwrap_or(byte));
        rest = if octal.is_some() { &tail[3..] } else { tail };
    }
    String::from_utf8_lossy(&plain).into_owned()
}

fn put_fill(status: &Statvfs, labels: &[&str; 1], output: &mut Output<'_>) {
    // Types differ between C libraries and word sizes; none exceeds 64 bits.
    #[allow(clippy::unnecessary_cast)]
    let (unit, blocks, free, available, files, files_free) = (
        status.fragment_size() as u64 as f64,
        status.blocks() as u64 as f64,
        status.blocks_free() as u64 as f64,
        status.blocks_available() as u64 as f64,
        status.files() as u64 as f64,
        status.files_free() as u64 as f64,
    );
    // A filesystem without blocks has no fill.
    if blocks == 0.0 {
        return;
    }
    output.put(&catalog::FILESYSTEM_SIZE, labels, blocks * unit);
    output.put(&catalog::FILESYSTEM_AVAILABLE, labels, available * unit);
    output.put(&catalog::FILESYSTEM_FREE, labels, free * unit);
    // FAT and Btrfs have no fixed number of files.
    if files > 0.0 {
        output.put(&catalog::FILESYSTEM_FILES, labels, files);
        output.put(&catalog::FILESYSTEM_FILES_FREE, labels, files_free);
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::shell::hw::filter::Filter;

    fn mount(number: &str, point: &str) -> Mount {
        let device = format!("/dev/{number}");
        let (number, point) = (number.to_owned(), point.to_owned());
        Mount { number, device, point, fstype: "ext4".to_owned(), readonly: false }
    }

    fn parse(line: &str) -> Option<Mount> {
        let (mount, filesystem) = split_mount(line)?;
        parse_mount(mount, filesystem)
    }

    #[test]
    fn lines_are_taken_apart() {
        let line =
            r"36 35 8:1 / /media/a\040b\134c rw,noatime shared:1 master:2 - vfat /dev/sda1 ro,utf8";
        let parsed = parse(line).unwrap();
        assert_eq!((parsed.point.as_str(), parsed.number.as_str()), (r"/media/a b\c", "8:1"));
        assert_eq!((parsed.device.as_str(), parsed.fstype.as_str()), ("/dev/sda1", "vfat"));
        assert!(parsed.readonly);
        // A sandbox mounts read-only what is not.
        let line = "36 35 8:1 / / ro,noatime - ext4 /dev/sda1 rw,errors=remount-ro";
        assert!(!parse(line).unwrap().readonly);
        for garbage in ["", "x", "1 2 8:1 / / rw", "1 2 8:1 / / rw - ext4 x", "1 - ext4 x rw"] {
            assert_eq!(parse(garbage), None, "{garbage}");
        }
        assert_eq!(parse("1 2 8:1 / relative rw - ext4 /dev/sda1 rw"), None);
    }

    #[test]
    fn escapes_that_are_none_stay() {
        assert_eq!(unescape(r"a\04"), r"a\04");
        assert_eq!(unescape(r"\999\777"), r"\999\777");
        assert_eq!(unescape(r"\011\\"), "\t\\\\");
    }

    #[test]
    fn a_filesystem_counts_once_and_a_place_shows_the_latest_mount() {
        let mut mounts = Vec::new();
        for (number, point) in [
            ("8:1", "/var/lib/x"),
            ("8:1", "/"),
            ("8:1", "/srv"),
            ("0:20", "/tmp"),
            ("0:21", "/run"),
            ("8:2", "/run"),
        ] {
            note(mount(number, point), &mut mounts);
        }
        let expected = [mount("8:1", "/"), mount("0:20", "/tmp"), mount("8:2", "/run")];
        assert_eq!(mounts, expected);
    }

    fn chosen(filesystem: &Filesystem, machine: &str) -> Vec<String> {
        let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/hw");
        let filter = Filter::new(&[], &[], UNINTERESTING);
        let mut output = Output::new(&filter, 0);
        let mounts = filesystem.mounts(&mut Tree::new(&fixtures.join(machine)), &mut output);
        let of = |mount: Mount| {
            let access = if mount.readonly { "ro" } else { "rw" };
            format!("{} {} {access}", mount.point, mount.fstype)
        };
        mounts.into_iter().map(of).collect()
    }

    #[test]
    fn storage_is_told_from_everything_else_that_is_mounted() {
        let local = Filesystem::local();
        let x86 = ["/run tmpfs rw", "/ ext4 rw", "/boot/efi vfat rw", "/srv/sensor data ext4 ro"];
        assert_eq!(chosen(&local, "x86-box"), x86);
        let remote = ["/srv/maps nfs4 rw", "/srv/logs fuse.sshfs rw"];
        assert_eq!(chosen(&Filesystem::remote(), "x86-box"), remote);
        let pi = ["/ ext4 rw", "/run tmpfs rw", "/boot/firmware vfat rw"];
        assert_eq!(chosen(&local, "raspberry-pi"), pi);
        let arm = ["/run tmpfs rw", "/ overlay rw", "/data f2fs rw", "/tmp tmpfs rw"];
        assert_eq!(chosen(&local, "industrial-arm"), arm);
    }

    #[test]
    fn no_filesystem_is_both_local_and_remote() {
        assert!(LOCAL.iter().all(|local| !REMOTE.contains(local)));
        assert!(Filesystem::remote().handles("fuse.sshfs"));
        assert!(!Filesystem::local().handles("proc"));
    }
}
