//! Compresses the files of both pages, which are embedded and sent as they come out of here.
//!
//! The same files give the same bytes on every machine: there is no time and no name in them. Nothing else is made at build time.

use std::path::{Path, PathBuf};
use std::{env, fs};

use miniz_oxide::deflate::compress_to_vec;

/// Where the files are, from the package's root.
const PAGE: &str = "src/shell/page";

/// The smallest result that the compressor knows how to give.
const LEVEL: u8 = 10;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed={PAGE}");
    let out = PathBuf::from(env::var_os("OUT_DIR").expect("cargo says where to write"));
    let files = fs::read_dir(PAGE).expect("cargo runs this in the package's root");
    for file in files {
        let path = file.expect("a folder that opens can be read").path();
        compress(&path, &out);
    }
}

/// Writes the file at `path` compressed into the folder `out`, with `.gz` behind its name.
fn compress(path: &Path, out: &Path) {
    let name = path.file_name().expect("an entry of a folder has a name");
    let content = fs::read(path).unwrap_or_else(|e| panic!("reading {}: {e}", path.display()));
    let target = out.join(name).with_added_extension("gz");
    fs::write(&target, gzip(&content))
        .unwrap_or_else(|e| panic!("writing {}: {e}", target.display()));
}

/// `content` as a gzip member (RFC 1952) without name and time.
fn gzip(content: &[u8]) -> Vec<u8> {
    // Magic number, DEFLATE, no optional fields, no time, slowest algorithm, unknown system.
    let mut member = vec![0x1f, 0x8b, 8, 0, 0, 0, 0, 0, 2, 255];
    member.extend(compress_to_vec(content, LEVEL));
    member.extend(crc32(content).to_le_bytes());
    let length = u32::try_from(content.len()).expect("a page's file is small");
    member.extend(length.to_le_bytes());
    member
}

/// The checksum of gzip (RFC 1952 section 8), a bit at a time: there are some 70 kB in all.
fn crc32(content: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for byte in content {
        crc ^= u32::from(*byte);
        for _ in 0..8 {
            crc = (crc >> 1) ^ (0xedb8_8320 & (crc & 1).wrapping_neg());
        }
    }
    !crc
}
