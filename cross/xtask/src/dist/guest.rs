//! Boots a 32-bit ARM machine under emulation and runs the release's own binaries on dates past 2038.
//!
//! Emulating a program alone does not do: the clock belongs to the kernel, and setting it would set it for everybody. So
//! Debian's kernel for the architecture starts with an image that holds the binaries, and `cross/guest` as its `init`, which
//! sets the clock, runs them and says what it found on the console.

use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use crate::apt::{Apt, codename};
use crate::packages::{self, Program};

/// The emulator.
const EMULATOR: &[Program] = &[(&["qemu-system-arm"], "qemu-system-arm")];

/// Debian's name for hard-float ARMv7, and its package that depends on the present kernel for it.
const ARCHITECTURE: &str = "armhf";
const KERNEL: &str = "linux-image-armmp";

/// The second program of `cross/guest`, which comes out of the same build into the same folder as its `init`.
const CLOCK: &str = "guest-clock";

/// Time for everything in the machine. Takes about a minute; emulation beside other work may take many times that.
const WITHIN: Duration = Duration::from_secs(1800);

/// Lines of the console that are shown when the machine ended without a verdict.
const LAST_LINES: usize = 25;

/// Runs `outrider`, and `olsr_bridge` if given, on dates past 2038. `guest_init` is the program `guest` built from
/// `cross/guest`, with `guest-clock` beside it; all are static programs for ARMv7. Kernel and image are kept in `work`.
///
/// Returns one line per check that held. Fails when a check did not hold, none was made, or the machine ended early.
pub fn past_2038(
    work: &Path,
    outrider: &Path,
    olsr_bridge: Option<&Path>,
    guest_init: &Path,
) -> Result<Vec<String>, String> {
    packages::ensure(EMULATOR, &[])?;
    let work = work.join("guest");
    fs::create_dir_all(&work).map_err(|e| format!("making {}: {e}", work.display()))?;
    let work = work.canonicalize().map_err(|e| format!("finding {}: {e}", work.display()))?;
    let kernel = kernel(&work)?;
    let mut image = Image::default();
    for folder in ["dev", "proc", "sys", "tmp", "run"] {
        image.folder(folder);
    }
    let clock = guest_init.with_file_name(CLOCK);
    let mut programs = vec![("init", guest_init), (CLOCK, clock.as_path()), ("outrider", outrider)];
    programs.extend(olsr_bridge.map(|path| ("olsr-bridge", path)));
    for (name, path) in programs {
        let content = fs::read(path).map_err(|e| format!("reading {}: {e}", path.display()))?;
        image.program(name, &content)?;
    }
    let path = work.join("image.cpio");
    fs::write(&path, image.finish()).map_err(|e| format!("writing {}: {e}", path.display()))?;
    verdict(&boot(&kernel, &path)?)
}

/// `cargo xtask guest`: boots once with binaries that are there already.
pub fn run(arguments: &[String]) -> Result<(), String> {
    let (mut outrider, mut olsr_bridge, mut init) = (None, None, None);
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        let slot = match argument.as_str() {
            "--outrider" => &mut outrider,
            "--olsr-bridge" => &mut olsr_bridge,
            "--init" => &mut init,
            other => return Err(format!("guest has no option `{other}`")),
        };
        *slot = Some(PathBuf::from(arguments.next().ok_or(format!("{argument} needs a path"))?));
    }
    let outrider = outrider.ok_or("guest needs --outrider PATH")?;
    let init = init.ok_or("guest needs --init PATH")?;
    let started = Instant::now();
    let lines = past_2038(Path::new("target/cross"), &outrider, olsr_bridge.as_deref(), &init)?;
    for line in &lines {
        println!("{line}");
    }
    println!("{} checks held, {:.0} s", lines.len(), started.elapsed().as_secs_f64());
    Ok(())
}

/// Debian's kernel for the machine, downloaded once.
fn kernel(work: &Path) -> Result<PathBuf, String> {
    if let Some(kernel) = kernel_in(work) {
        return Ok(kernel);
    }
    let suite = codename()?;
    println!("fetching the kernel of Debian {suite} for {ARCHITECTURE} (once)");
    let apt = Apt::new(&work.join("apt"), ARCHITECTURE, &[&suite])?;
    let depends = apt.tool("apt-cache", &["depends", KERNEL])?;
    let package = depends
        .lines()
        .find_map(|line| line.trim().strip_prefix("Depends: "))
        .filter(|package| package.starts_with("linux-image-"))
        .ok_or(format!("Debian {suite} has no {KERNEL} for {ARCHITECTURE}"))?;
    let unpacked = work.join("unpacked");
    apt.unpack(package, &unpacked)?;
    let from = kernel_in(&unpacked.join("boot")).ok_or(format!("{package} holds no kernel"))?;
    let name = from.file_name().ok_or("a kernel has a name")?;
    let kernel = work.join(name);
    // The same file system, so the kernel is there as a whole or not at all.
    fs::rename(&from, &kernel).map_err(|e| format!("keeping {}: {e}", kernel.display()))?;
    fs::remove_dir_all(&unpacked).map_err(|e| format!("removing {}: {e}", unpacked.display()))?;
    Ok(kernel)
}

fn kernel_in(folder: &Path) -> Option<PathBuf> {
    let mut entries = fs::read_dir(folder).ok()?.flatten().map(|entry| entry.path());
    entries.find(|path| {
        path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("vmlinuz-"))
    })
}

/// The emulator, killed when dropped.
struct Machine(Child);

impl Drop for Machine {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Runs the machine until it switches itself off, and returns its console.
fn boot(kernel: &Path, image: &Path) -> Result<Vec<String>, String> {
    println!("==> machine past 2038, {}", kernel.display());
    let mut command = packages::command("qemu-system-arm");
    command.args(["-M", "virt", "-cpu", "cortex-a7", "-m", "256", "-nographic", "-no-reboot"]);
    command.args(["-nic", "none", "-append", "console=ttyAMA0 quiet panic=-1 rdinit=/init"]);
    command.arg("-kernel").arg(kernel).arg("-initrd").arg(image);
    command.stdin(Stdio::null()).stdout(Stdio::piped());
    let mut child =
        command.spawn().map_err(|e| format!("starting the emulator qemu-system-arm: {e}"))?;
    let stdout = child.stdout.take();
    // Dropped, and so killed, however this function ends.
    let _machine = Machine(child);
    let stdout = stdout.ok_or("the emulator has no output")?;
    let (send, lines) = channel();
    thread::spawn(move || {
        let mut reader = BufReader::new(stdout);
        let mut bytes = Vec::new();
        while reader.read_until(b'\n', &mut bytes).is_ok_and(|n| n > 0) {
            if send.send(String::from_utf8_lossy(&bytes).trim_end().to_owned()).is_err() {
                return;
            }
            bytes.clear();
        }
    });
    console(&lines)
}

/// Collects lines until there are no more, or the time is over.
fn console(lines: &Receiver<String>) -> Result<Vec<String>, String> {
    let deadline = Instant::now() + WITHIN;
    let mut console = Vec::new();
    loop {
        match lines.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(line) => console.push(line),
            Err(RecvTimeoutError::Disconnected) => return Ok(console),
            Err(RecvTimeoutError::Timeout) => {
                let seconds = WITHIN.as_secs();
                return Err(format!(
                    "the machine still runs after {seconds} s:\n{}",
                    end_of(&console)
                ));
            }
        }
    }
}

/// The checks that held, if the machine says that all did.
fn verdict(console: &[String]) -> Result<Vec<String>, String> {
    let begin = |with: &str| -> Vec<String> {
        console.iter().filter(|line| line.starts_with(with)).cloned().collect()
    };
    let (held, failed) = (begin("ok "), begin("FAILED "));
    if !failed.is_empty() {
        return Err(format!("past 2038:\n{}", failed.join("\n")));
    }
    if held.is_empty() || !console.contains(&format!("guest: {} ok, 0 failed", held.len())) {
        return Err(format!("the machine ended without a verdict:\n{}", end_of(console)));
    }
    Ok(held)
}

fn end_of(console: &[String]) -> String {
    console[console.len().saturating_sub(LAST_LINES)..].join("\n")
}

/// An image in the kernel's format for an initial file system (cpio `newc`; Linux,
/// Documentation/driver-api/early-userspace/buffer-format.rst).
#[derive(Default)]
struct Image {
    bytes: Vec<u8>,
    entries: u32,
}

impl Image {
    const FOLDER: u32 = 0o040_755;
    const PROGRAM: u32 = 0o100_755;

    fn folder(&mut self, name: &str) {
        self.entry(name, Self::FOLDER, 0);
    }

    fn program(&mut self, name: &str, content: &[u8]) -> Result<(), String> {
        let size = u32::try_from(content.len())
            .map_err(|_| format!("{name} does not fit into an image: it has over 4 GiB"))?;
        self.entry(name, Self::PROGRAM, size);
        self.bytes.extend_from_slice(content);
        self.pad();
        Ok(())
    }

    fn finish(mut self) -> Vec<u8> {
        self.entry("TRAILER!!!", 0, 0);
        self.bytes
    }

    /// Header and name: everything belongs to root and dates from 1970, so the same programs give the same bytes.
    fn entry(&mut self, name: &str, mode: u32, size: u32) {
        self.entries += 1;
        let name_size = name.len() as u32 + 1;
        let (owner, links, date, device, sum) = (0, 1, 0, 0, 0);
        let fields = [
            self.entries,
            mode,
            owner,
            owner,
            links,
            date,
            size,
            device,
            device,
            device,
            device,
            name_size,
            sum,
        ];
        self.bytes.extend_from_slice(b"070701");
        for field in fields {
            self.bytes.extend_from_slice(format!("{field:08X}").as_bytes());
        }
        self.bytes.extend_from_slice(name.as_bytes());
        self.bytes.push(0);
        self.pad();
    }

    fn pad(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lines(text: &str) -> Vec<String> {
        text.lines().map(str::to_owned).collect()
    }

    #[test]
    fn only_a_full_verdict_counts() {
        let good = lines("Linux\nok a: 1\nok b: 2\nguest: 2 ok, 0 failed");
        assert_eq!(verdict(&good), Ok(lines("ok a: 1\nok b: 2")));
        for bad in [
            "",
            "guest: 0 ok, 0 failed",
            "ok a: 1\nKernel panic",
            "ok a: 1\nguest: 2 ok, 0 failed",
            "ok a: 1\nFAILED b: no\nguest: 1 ok, 1 failed",
        ] {
            assert!(verdict(&lines(bad)).is_err(), "{bad}");
        }
    }

    #[test]
    fn images_are_laid_out_as_the_kernel_reads_them() {
        let mut image = Image::default();
        image.folder("dev");
        image.program("init", b"12345").unwrap();
        let bytes = image.finish();
        // Headers have 110 bytes; header with name, and content, are padded to four.
        let init = (110usize + 4).next_multiple_of(4);
        assert_eq!(&bytes[..22], b"070701\x30\x30\x30\x30\x30\x30\x30\x31000041ED");
        assert_eq!(&bytes[init + 14..init + 22], b"000081ED");
        assert_eq!(&bytes[init + 54..init + 62], b"00000005");
        assert_eq!(&bytes[init + 94..init + 102], b"00000005", "the name with its final zero");
        let content = init + (110usize + 5).next_multiple_of(4);
        assert_eq!(&bytes[content..content + 8], b"12345\0\0\0");
        assert_eq!(&bytes[content + 8..content + 14], b"070701");
        assert!(bytes.ends_with(b"TRAILER!!!\0\0\0\0") && bytes.len().is_multiple_of(4));
    }
}
