//! What the tests of this folder share: this very workspace, with stand-ins for Rust's library and the C toolchain, which
//! are not on every machine that runs tests.

use std::fs;
use std::path::{Path, PathBuf};

use super::bom::PROGRAMS;
use super::linked::{self, Graph, Input, Inventory, Runtime, Zig};

/// The target of the tests; any of the four would do.
pub const TARGET: &str = "armv7-unknown-linux-musleabihf";

/// Root of this workspace.
pub fn root() -> PathBuf {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../..");
    folder.canonicalize().expect("this crate is in the workspace")
}

/// A folder with the files of zig that are read.
pub fn zig(folder: &Path) -> Zig {
    for (name, text) in [
        ("LICENSE", "zig's terms"),
        ("lib/libunwind/LICENSE.TXT", "LLVM's terms"),
        ("lib/libc/musl/COPYRIGHT", "musl's terms"),
        ("lib/libc/musl/src/internal/version.h", "#define VERSION \"1.2.5\"\n"),
    ] {
        let path = folder.join(name);
        fs::create_dir_all(path.parent().expect("a file in a folder")).expect("a folder");
        fs::write(path, text).expect("a file");
    }
    Zig::read(folder, "0.17.0").expect("zig's folder")
}

/// Rust's library with four of its parts; its one crate of the registry is called `cfg-if`.
pub fn std(folder: &Path) -> Graph {
    let crate_folder = folder.join("registry/cfg-if-1.0.4");
    fs::create_dir_all(&crate_folder).expect("a folder");
    fs::write(crate_folder.join("LICENSE-MIT"), "cfg-if's terms").expect("a file");
    let library = folder.join("library");
    let part = |name: &str, version: &str, licence: &str| {
        serde_json::json!({
            "name": name, "version": version, "license": licence, "repository": null, "source": null,
            "manifest_path": library.join(name).join("Cargo.toml"),
        })
    };
    let dual = "MIT OR Apache-2.0";
    let metadata = serde_json::json!({
        "workspace_root": library,
        "packages": [
            part("std", "0.0.0", dual),
            part("core", "0.0.0", dual),
            part("compiler_builtins", "0.1.160", "MIT AND Apache-2.0 WITH LLVM-exception AND (MIT OR Apache-2.0)"),
            {
                "name": "cfg-if", "version": "1.0.4", "license": "MIT/Apache-2.0", "repository": null,
                "source": "registry+index", "manifest_path": crate_folder.join("Cargo.toml"),
            },
            part("sysroot", "0.0.0", dual),
        ],
    });
    let linked =
        "0 std v0.0.0 (/library/std)\n1 cfg-if v1.0.4\n2 compiler_builtins v0.1.160 (/library)\n\
                  3 core v0.0.0 (/library/core)\n1 core v0.0.0 (/library/core) (*)\n"
            .to_owned();
    let lock = format!(
        "version = 4\n[[package]]\nname = \"cfg-if\"\nversion = \"1.0.4\"\nchecksum = \"{}\"\n",
        "ab".repeat(32)
    );
    Graph { built: linked.clone(), linked, metadata: metadata.to_string(), lock }
}

/// What is linked in of this workspace, with `folder` for the stand-ins.
pub fn inventory(folder: &Path) -> Inventory {
    let programs =
        Graph::of_workspace(&root(), PROGRAMS, TARGET).expect("cargo knows its workspace");
    linked::inventory(&Input {
        target: TARGET,
        programs: &programs,
        std: &std(folder),
        rust: "1.95.0",
        zig: &zig(&folder.join("zig")),
        runtime: Runtime::Zig,
    })
    .expect("an inventory of this workspace")
}
