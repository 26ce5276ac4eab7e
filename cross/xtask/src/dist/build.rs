//! Builds the programs for one target: static, position independent, the same bytes from any folder.
//!
//! Rust and C code are compiled as usual, with zig as the C compiler. The link goes straight to zig's LLD, since `zig cc`
//! passes on neither position independence nor packed relocations. What it would add to the link (start-up code, musl,
//! compiler-rt) is taken from a probe that it links itself.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::bom::PROGRAMS;
use super::targets::{Machine, Target};
use super::toolchain::{Std, Toolchain};
use crate::steps::{cargo, quiet, run};

/// Digits of a commit that stand in a version.
const SHORT: usize = 12;

/// Commit of sources that came without git.
const UNKNOWN: &str = "unknown";

/// What identifies a build; it is the same wherever that build happens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// The commit, with `-dirty` when files differ from it.
    pub commit: String,
    /// When it was committed, in seconds since 1970: the time of everything in the release.
    pub epoch: u64,
    /// Tags of the commit.
    pub tags: Vec<String>,
}

impl Source {
    /// The commit that is checked out in the folder `root`. Sources without git are of an unknown commit and as old as
    /// SOURCE_DATE_EPOCH says, which is needed then.
    pub fn read(root: &Path) -> Result<Source, String> {
        let git = |arguments: &[&str]| {
            let mut git = Command::new("git");
            // Whoever owns the folder, and whatever it wants to run.
            git.args(["-c", "safe.directory=*", "-c", "core.fsmonitor=false"]);
            quiet(git.args(["-c", "log.showSignature=false"]).args(arguments).current_dir(root))
        };
        let top = git(&["rev-parse", "--show-toplevel"]).map(|top| PathBuf::from(top.trim()));
        match top {
            // Sources that were unpacked somewhere in a repository are not that repository's.
            Ok(top) if fs::canonicalize(&top).ok() == fs::canonicalize(root).ok() => (),
            Ok(top) => {
                return Source::without_git(&format!("the repository is {}", top.display()));
            }
            Err(e) => return Source::without_git(&e),
        }
        let commit = git(&["rev-parse", "HEAD"])?.trim().to_owned();
        let dirty = !git(&["status", "--porcelain"])?.trim().is_empty();
        let epoch = git(&["log", "-1", "--format=%ct"])?;
        let epoch = epoch.trim().parse().map_err(|_| format!("git gave an odd time: {epoch}"))?;
        let tags = git(&["tag", "--points-at", "HEAD"])?.lines().map(str::to_owned).collect();
        Ok(Source { commit: if dirty { format!("{commit}-dirty") } else { commit }, epoch, tags })
    }

    fn without_git(why: &str) -> Result<Source, String> {
        let epoch = std::env::var("SOURCE_DATE_EPOCH")
            .ok()
            .and_then(|text| text.parse().ok())
            .ok_or_else(|| {
                format!("{why}: sources without git need SOURCE_DATE_EPOCH, their time in seconds since 1970")
            })?;
        Ok(Source { commit: UNKNOWN.to_owned(), epoch, tags: Vec::new() })
    }

    /// Whether it can be said for certain what is built.
    pub fn is_certain(&self) -> bool {
        !self.commit.ends_with("-dirty") && self.commit != UNKNOWN
    }

    /// Version of what is built: `package` when the commit has the tag `v` + `package`, else with the commit behind it.
    pub fn version(&self, package: &str) -> String {
        let (hash, dirty) = match self.commit.strip_suffix("-dirty") {
            Some(hash) => (hash, ".dirty"),
            None => (self.commit.as_str(), ""),
        };
        if dirty.is_empty() && self.tags.contains(&format!("v{package}")) {
            return package.to_owned();
        }
        format!("{package}+g{}{dirty}", hash.get(..SHORT).unwrap_or(hash))
    }
}

/// Where a build happens.
#[derive(Clone, Debug)]
pub struct Folders {
    /// Of wrappers and caches of the C compiler.
    pub work: PathBuf,
    /// Root of the sources.
    pub workspace: PathBuf,
    /// Cargo's target folder.
    pub output: PathBuf,
    /// Cargo's home, with the sources of all dependencies.
    pub home: PathBuf,
}

/// One way to build for one target: folders, wrappers and flags.
pub struct Build<'a> {
    pub target: &'a Target,
    pub toolchain: &'a Toolchain,
    pub std: Std,
    pub source: &'a Source,
    pub folders: Folders,
    wrappers: PathBuf,
}

/// A program as the linker wrote it, taken apart.
#[derive(Clone, Debug)]
pub struct Built {
    pub program: &'static str,
    /// With symbols and line tables, as it was linked.
    pub whole: PathBuf,
    /// What is shipped.
    pub stripped: PathBuf,
    /// Symbols and line tables only.
    pub debug: PathBuf,
}

impl<'a> Build<'a> {
    /// Prepares wrappers and start-up code.
    pub fn new(
        target: &'a Target,
        toolchain: &'a Toolchain,
        std: Std,
        source: &'a Source,
        folders: Folders,
    ) -> Result<Build<'a>, String> {
        let wrappers = folders.work.join(&target.name);
        let build = Build { target, toolchain, std, source, folders, wrappers };
        build.forget_other_tools()?;
        build.write_wrappers()?;
        Ok(build)
    }

    /// Removes what other tools have made: cargo looks neither into the linker nor into the C compiler, and would keep it.
    fn forget_other_tools(&self) -> Result<(), String> {
        let Target { zig: target, zig_cpu: cpu, .. } = self.target;
        let Toolchain { zig, zig_version, rustc_details, .. } = self.toolchain;
        let tools = format!(
            "{} {zig_version} {target} {cpu} {:?}\n{rustc_details}\n",
            zig.display(),
            self.std
        );
        let note = self.wrappers.join("made-with");
        if fs::read_to_string(&note).is_ok_and(|made_with| made_with == tools) {
            return Ok(());
        }
        for folder in [&self.wrappers, &self.folders.output.join(&self.target.triple)] {
            if folder.exists() {
                fs::remove_dir_all(folder)
                    .map_err(|e| format!("removing {}: {e}", folder.display()))?;
            }
        }
        fs::create_dir_all(&self.wrappers)
            .and_then(|()| fs::write(&note, tools))
            .map_err(|e| format!("making {}: {e}", self.wrappers.display()))
    }

    /// `cargo <words>` for this target.
    pub fn cargo(&self, words: &[&str]) -> Result<Command, String> {
        let mut command = cargo(words);
        for (variable, _) in std::env::vars_os() {
            if decides_bytes(&variable.to_string_lossy()) {
                command.env_remove(variable);
            }
        }
        let variable = self.target.variable();
        command
            .args(["--locked", "--target", &self.target.triple])
            .arg("--target-dir")
            .arg(&self.folders.output)
            .current_dir(&self.folders.workspace)
            .env("CARGO_ENCODED_RUSTFLAGS", self.rust_flags()?.join("\x1f"))
            .env(format!("CC_{variable}"), self.wrappers.join("cc"))
            .env(format!("AR_{variable}"), self.wrappers.join("ar"))
            .env(format!("CFLAGS_{variable}"), format!("{} {C_NO_UNWIND_TABLES}", self.c_flags()?))
            .env("SOURCE_DATE_EPOCH", self.source.epoch.to_string())
            .env("OUTRIDER_BUILD", self.label())
            .env("CC_SHELL_ESCAPED_FLAGS", "1")
            .env("RUSTC", self.toolchain.sysroot.join("bin/rustc"))
            .env("CARGO_HOME", &self.folders.home);
        if let [_, ..] = self.target.runner() {
            let runner = format!("CARGO_TARGET_{}_RUNNER", variable.to_uppercase());
            command.env(runner, self.target.runner().join(" "));
        }
        if self.std == Std::Source {
            command.args(BUILD_STD).env("RUSTC_BOOTSTRAP", "1");
        }
        Ok(command)
    }

    /// `cargo <words>` for this target and for tests: unlike programs, they unwind, and their C code is not optimised, to
    /// which zig would add checks that need a library of its own.
    pub fn cargo_for_tests(&self, words: &[&str]) -> Result<Command, String> {
        let mut flags = self.rust_flags()?;
        flags.retain(|flag| flag != NO_UNWIND_TABLES);
        let mut command = self.cargo(words)?;
        let c_flags = format!("{} -fno-sanitize=undefined", self.c_flags()?);
        command
            .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\x1f"))
            .env(format!("CFLAGS_{}", self.target.variable()), c_flags);
        Ok(command)
    }

    /// What `outrider version --json` tells of the build.
    pub fn label(&self) -> String {
        let std = match self.std {
            Std::Own => "toolchain",
            Std::Source => "source",
        };
        let rustc = self.toolchain.rustc.split(' ').nth(1).unwrap_or_default();
        let zig = &self.toolchain.zig_version;
        format!("commit {}, rustc {rustc}, std from {std}, zig {zig}", self.source.commit)
    }

    /// Builds all programs, with `environment` besides, and splits off their debug information.
    pub fn programs(&self, environment: &[(&str, &str)]) -> Result<Vec<Built>, String> {
        let mut words = vec!["build", "--profile", "dist"];
        for program in PROGRAMS {
            words.extend(["--package", program, "--bin", program]);
        }
        let mut cargo = self.cargo(&words)?;
        cargo.envs(environment.iter().copied());
        run(&format!("build for {}", self.target.name), &mut cargo)?;
        PROGRAMS.iter().map(|program| self.take_apart(program)).collect()
    }

    /// Builds the programs that are put into a booting machine, and returns the first of them.
    pub fn guest(&self) -> Result<PathBuf, String> {
        let words = ["build", "--profile", "dist", "--package", "guest"];
        run(&format!("guest for {}", self.target.name), &mut self.cargo(&words)?)?;
        Ok(self.folders.output.join(&self.target.triple).join("dist/guest"))
    }

    /// Flags that decide the bytes, without the folders of this machine.
    pub fn recorded_flags(&self) -> Result<Vec<String>, String> {
        let folders = ["-Clinker=", "--remap-path-prefix="];
        let mut flags = self.rust_flags()?;
        flags.retain(|flag| !folders.iter().any(|folder| flag.starts_with(folder)));
        if self.std == Std::Source {
            flags.extend(BUILD_STD.iter().map(|flag| (*flag).to_owned()));
        }
        Ok(flags)
    }

    /// Whether the programs have to be position independent: rustc's own start-up code for 32-bit ARM is not.
    pub fn is_pie(&self) -> bool {
        self.std == Std::Source || self.target.machine != Machine::Arm
    }

    fn take_apart(&self, program: &'static str) -> Result<Built, String> {
        let folder = self.folders.output.join(&self.target.triple).join("dist");
        let whole = folder.join(program);
        let stripped = folder.join(format!("{program}.stripped"));
        let debug = folder.join(format!("{program}.debug"));
        let objcopy = |arguments: &[&str], from: &Path, to: &Path| {
            quiet(Command::new(&self.toolchain.objcopy).args(arguments).arg(from).arg(to))
        };
        objcopy(&["--only-keep-debug"], &whole, &debug)?;
        objcopy(&["--strip-all"], &whole, &stripped)?;
        Ok(Built { program, whole, stripped, debug })
    }

    fn rust_flags(&self) -> Result<Vec<String>, String> {
        let mut flags = vec![
            format!("-Clinker={}", self.wrappers.join("ld").display()),
            "-Clinker-flavor=ld.lld".to_owned(),
            NO_UNWIND_TABLES.to_owned(),
            format!("-Clink-args={LINK_FLAGS}"),
        ];
        if let Some(features) = &self.target.rust_features {
            flags.push(format!("-Ctarget-feature={features}"));
        }
        if self.target.outline {
            flags.push(OUTLINE.to_owned());
        }
        if self.std == Std::Source {
            flags.push("-Clink-self-contained=no".to_owned());
            flags.push(format!("-Clink-args={PIE_FLAGS}"));
        }
        for (from, to) in self.remapped()? {
            flags.push(format!("--remap-path-prefix={}={to}", from.display()));
        }
        Ok(flags)
    }

    fn c_flags(&self) -> Result<String, String> {
        let flags = self
            .remapped()?
            .into_iter()
            .map(|(from, to)| format!("-ffile-prefix-map={}={to}", from.display()));
        Ok(flags.collect::<Vec<_>>().join(" "))
    }

    /// Folders whose names must not reach the bytes, and what stands for them.
    fn remapped(&self) -> Result<Vec<(PathBuf, &'static str)>, String> {
        let zig = self.toolchain.zig.parent().unwrap_or(&self.toolchain.zig).to_owned();
        // The last one that fits wins, and the others may be inside the workspace.
        let mut folders = vec![
            (self.folders.workspace.clone(), "/outrider"),
            (self.folders.output.clone(), "/target"),
            (self.folders.home.clone(), "/cargo"),
        ];
        // Named after the registry's address, which may be a mirror's.
        if let Ok(registries) = fs::read_dir(self.folders.home.join("registry/src")) {
            let mut registries: Vec<PathBuf> =
                registries.flatten().map(|entry| entry.path()).collect();
            registries.sort();
            folders.extend(registries.into_iter().map(|folder| (folder, "/crates")));
        }
        folders.extend([(self.toolchain.sysroot.clone(), "/rust"), (zig, "/zig")]);
        Ok(folders)
    }

    fn write_wrappers(&self) -> Result<(), String> {
        let zig = shell_word(&self.toolchain.zig.display().to_string());
        let cache = self.folders.work.join("zig-cache");
        let cache = shell_word(&cache.display().to_string());
        let Target { zig: target, zig_cpu: cpu, .. } = self.target;
        let head =
            format!("#!/bin/sh\nexport ZIG_GLOBAL_CACHE_DIR={cache} ZIG_LOCAL_CACHE_DIR={cache}\n");
        // Build scripts name target and processor in clang's words, which zig does not know.
        self.script(
            "cc",
            &format!(
                "{head}for a do shift; case $a in --target=*|-march=*|-mfpu=*) ;; *) set -- \"$@\" \"$a\" ;; esac; done\n\
                 exec {zig} cc -target {target} -mcpu={cpu} \"$@\"\n"
            ),
        )?;
        self.script("ar", &format!("{head}exec {zig} ar \"$@\"\n"))?;
        let (before, after) = match self.std {
            Std::Own => (String::new(), String::new()),
            Std::Source => self.start_up()?,
        };
        self.script(
            "ld",
            // rustc takes every LLD for the one that plays all linkers.
            &format!(
                "{head}[ \"$1\" = -flavor ] && shift 2\nexec {zig} ld.lld {before} \"$@\" {after}\n"
            ),
        )
    }

    /// Start-up code and libraries of this target, as words of a shell.
    fn start_up(&self) -> Result<(String, String), String> {
        let folder = self.wrappers.join("libc");
        let probe = folder.join("probe.c");
        let cache = folder.join("cache");
        let said = folder.join("link");
        let failed = |e: std::io::Error| format!("making {}: {e}", folder.display());
        if !said.exists() {
            let _ = fs::remove_dir_all(&folder);
            fs::create_dir_all(&folder).map_err(failed)?;
            fs::write(&probe, "int main(void) { return 0; }\n").map_err(failed)?;
            let mut zig = Command::new(&self.toolchain.zig);
            zig.args(["cc", "-target", &self.target.zig, "-Os", "-static", "-pie", "-fPIE", "-v"])
                .arg(format!("-mcpu={}", self.target.zig_cpu))
                .arg("-o")
                .arg(folder.join("probe"))
                .arg(&probe)
                .arg("-lunwind")
                .env("ZIG_GLOBAL_CACHE_DIR", &cache)
                .env("ZIG_LOCAL_CACHE_DIR", &cache);
            let output = zig.output().map_err(|e| format!("starting zig: {e}"))?;
            let text = String::from_utf8_lossy(&output.stderr);
            let link = text
                .lines()
                .rfind(|line| line.starts_with("ld.lld "))
                .filter(|_| output.status.success())
                .ok_or(format!("zig does not build musl for {}: {text}", self.target.zig))?;
            // Renamed when complete: half a line would be believed for ever.
            let partial = folder.join("link.partial");
            fs::write(&partial, link).and_then(|()| fs::rename(&partial, &said)).map_err(failed)?;
        }
        // The command line is printed without quotes and from elsewhere: what is in it is found by the cache's names.
        let link = fs::read_to_string(&said).map_err(failed)?;
        let mut objects = Vec::new();
        let mut libraries = Vec::new();
        for folder in fs::read_dir(cache.join("o")).map_err(failed)?.flatten() {
            for file in fs::read_dir(folder.path()).map_err(failed)?.flatten() {
                let path = file.path().display().to_string();
                let name = file.file_name().to_string_lossy().into_owned();
                let hash = folder.file_name().to_string_lossy().into_owned();
                if !link.contains(&format!("{hash}/{name}")) {
                    continue;
                }
                if name.ends_with("crt1.o") || name == "crti.o" || name == "crtn.o" {
                    objects.push((name, shell_word(&path)));
                } else if name.ends_with(".a") {
                    libraries.push((name, shell_word(&path)));
                }
            }
        }
        objects.sort();
        libraries.sort();
        if !objects.iter().any(|(name, _)| name == "rcrt1.o")
            || !libraries.iter().any(|(name, _)| name == "libc.a")
        {
            return Err(format!(
                "zig {} did not build musl for {}",
                self.toolchain.zig_version, self.target.zig
            ));
        }
        let words = |list: Vec<(String, String)>| {
            list.into_iter().map(|(_, word)| word).collect::<Vec<_>>().join(" ")
        };
        // rustc asks for `-lc` and `-lunwind` by name.
        let stubs = self.wrappers.join("stubs");
        fs::create_dir_all(&stubs).map_err(failed)?;
        for name in ["libc.a", "libunwind.a"] {
            fs::write(stubs.join(name), "!<arch>\n").map_err(failed)?;
        }
        let stubs = shell_word(&stubs.display().to_string());
        Ok((format!("-L {stubs} {}", words(objects)), words(libraries)))
    }

    fn script(&self, name: &str, text: &str) -> Result<(), String> {
        let path = self.wrappers.join(name);
        fs::write(&path, text)
            .and_then(|()| fs::set_permissions(&path, fs::Permissions::from_mode(0o755)))
            .map_err(|e| format!("writing {}: {e}", path.display()))
    }
}

/// Panics end a program; tables to unwind with would be dead weight.
const NO_UNWIND_TABLES: &str = "-Cforce-unwind-tables=no";

/// The same for C code, whose tables are a third of what is left.
const C_NO_UNWIND_TABLES: &str = "-fno-asynchronous-unwind-tables -fno-unwind-tables";

/// Sequences of instructions that stand in several places become functions.
const OUTLINE: &str = "-Cllvm-args=-enable-machine-outliner=always";

/// Cargo's home on this machine.
pub fn cargo_home() -> Result<PathBuf, String> {
    let home = std::env::var_os("CARGO_HOME").map(PathBuf::from);
    let home = home
        .or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".cargo")))
        .ok_or("neither CARGO_HOME nor HOME is set")?;
    std::path::absolute(&home).map_err(|e| format!("{}: {e}", home.display()))
}

/// Whether an environment variable could change what a build gives, so that it must not reach it.
fn decides_bytes(variable: &str) -> bool {
    const BEGIN: &[&str] = &[
        "CARGO_PROFILE_",
        "CARGO_BUILD_",
        "CARGO_TARGET_",
        "CARGO_UNSTABLE_",
        "RUSTC",
        "CFLAGS",
        "CXXFLAGS",
        "CC_",
        "AR_",
        "TARGET_",
        "HOST_",
        "ZIG_",
        "LD_",
    ];
    const WHOLE: &[&str] = &[
        "CARGO_ENCODED_RUSTFLAGS",
        "RUSTFLAGS",
        "CC",
        "AR",
        "CPATH",
        "C_INCLUDE_PATH",
        "LIBRARY_PATH",
        "CRATE_CC_NO_DEFAULTS",
    ];
    WHOLE.contains(&variable) || BEGIN.iter().any(|begin| variable.starts_with(begin))
}

/// Fails when a configuration file of cargo outside of the workspace `root` says how programs are built. Cargo reads those
/// of all folders above and of its home, and there is no option to keep it from that.
pub fn no_foreign_settings(root: &Path, home: &Path) -> Result<(), String> {
    let above = root.ancestors().skip(1).map(|folder| folder.join(".cargo"));
    for folder in above.chain([home.to_owned()]) {
        for name in ["config.toml", "config"] {
            let path = folder.join(name);
            let Ok(text) = fs::read_to_string(&path) else { continue };
            if let Some(setting) = foreign_setting(&text) {
                return Err(format!(
                    "{} sets `{setting}`, which would change the programs; build without that file",
                    path.display()
                ));
            }
        }
    }
    Ok(())
}

/// The first setting in a configuration of cargo that decides what a build gives.
fn foreign_setting(text: &str) -> Option<String> {
    /// Keys of `[build]` that only say where and how fast.
    const HARMLESS: &[&str] = &["jobs", "target-dir", "incremental", "dep-info-basedir"];
    let settings: toml::Table = toml::from_str(text).ok()?;
    let tables = ["profile", "target", "env", "unstable", "patch", "paths"];
    if let Some(table) = tables.into_iter().find(|table| settings.contains_key(*table)) {
        return Some(table.to_owned());
    }
    let build = settings.get("build")?.as_table()?;
    build.keys().find(|key| !HARMLESS.contains(&key.as_str())).map(|key| format!("build.{key}"))
}

/// What makes cargo build std along, without what is only for backtraces and unwinding: a release has neither. Its algorithms are
/// the small ones: every type that is sorted, or gathered into an ordered map, brings its own copy of a sort.
const BUILD_STD: &[&str] =
    &["-Zbuild-std=std,panic_abort", "-Zbuild-std-features=optimize_for_size"];

/// Flags of every link: relocations in the packed form that musl reads since 1.2.4, a build id for debuggers, and functions of
/// the same code are one function, which Rust allows: nothing may tell functions apart by their addresses.
const LINK_FLAGS: &str = "--pack-dyn-relocs=relr --build-id=sha1 --icf=all";

/// Flags of every link against a std that was built along. rustc takes 32-bit ARM for unable to run static programs that are
/// position independent; with this start-up code it is able.
const PIE_FLAGS: &str = "-pie --no-dynamic-linker -z text";

/// `text` as one word of a POSIX shell.
fn shell_word(text: &str) -> String {
    format!("'{}'", text.replace('\'', "'\\''"))
}

#[cfg(test)]
mod tests {
    use super::{Source, decides_bytes, foreign_setting, shell_word};

    #[test]
    fn what_decides_the_bytes_is_kept_away() {
        for variable in
            ["CARGO_PROFILE_DIST_OPT_LEVEL", "RUSTC_WRAPPER", "CFLAGS_armv7", "CC", "CPATH"]
        {
            assert!(decides_bytes(variable), "{variable}");
        }
        for variable in
            ["CARGO_HOME", "PATH", "HOME", "RUSTUP_TOOLCHAIN", "CARGO", "CARGO_NET_OFFLINE"]
        {
            assert!(!decides_bytes(variable), "{variable}");
        }
    }

    #[test]
    fn settings_of_others_that_decide_the_bytes_are_found() {
        assert_eq!(foreign_setting("[net]\noffline = true\n[build]\njobs = 1\n"), None);
        assert_eq!(foreign_setting("[source.a]\nreplace-with = \"b\"\n"), None);
        let found = |text: &str| foreign_setting(text).unwrap();
        assert_eq!(found("[profile.dist]\nopt-level = 3\n"), "profile");
        assert_eq!(found("[build]\nrustflags = [\"-g\"]\n"), "build.rustflags");
        assert_eq!(found("[env]\nCFLAGS = \"-O0\"\n"), "env");
    }

    #[test]
    fn only_the_tagged_commit_has_the_plain_version() {
        let source = |commit: &str, tag: &str| Source {
            commit: commit.to_owned(),
            epoch: 0,
            tags: vec![tag.to_owned()],
        };
        let hash = "0123456789abcdef";
        assert_eq!(source(hash, "v0.1.0").version("0.1.0"), "0.1.0");
        assert_eq!(source(hash, "v0.2.0").version("0.1.0"), "0.1.0+g0123456789ab");
        let dirty = source("0123456789abcdef-dirty", "v0.1.0");
        assert_eq!(dirty.version("0.1.0"), "0.1.0+g0123456789ab.dirty");
    }

    #[test]
    fn words_survive_the_shell() {
        let said = |text: &str| {
            let mut shell = std::process::Command::new("sh");
            shell.arg("-c").arg(format!("printf %s {}", shell_word(text)));
            String::from_utf8(shell.output().unwrap().stdout).unwrap()
        };
        for text in ["/plain", "/with blank", "it's", "$HOME `id` \\ \"x\""] {
            assert_eq!(said(text), text);
        }
    }
}
