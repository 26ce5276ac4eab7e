//! Archives, sums and signatures of a release: what they hold, and what breaks them.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::{
    Packed, SIGNATURE, SUMS, Signing, archive, changelog_section, check_signature, check_sums,
    sha256, write_sums,
};
use crate::packages;
use crate::steps::quiet;

const CHANGELOG: &str = "\
# Changelog

## Unreleased

- Coming.

## [0.2.0] - 2026-12-01

### Added

- Second.

## 0.1.10
- Tenth.

## 0.1.1
";

#[test]
fn a_release_has_its_own_section() {
    let section = |version: &str| changelog_section(CHANGELOG, version);
    assert_eq!(section("0.2.0").unwrap(), "### Added\n\n- Second.");
    assert_eq!(section("0.1.10").unwrap(), "- Tenth.");
    assert!(section("0.1.1").unwrap_err().contains("says nothing"));
    let message = section("0.3.0").unwrap_err();
    assert!(message.contains("no section `## 0.3.0`"), "{message}");
}

#[test]
fn a_build_between_releases_has_what_is_unreleased() {
    let section = |version: &str| changelog_section(CHANGELOG, version);
    assert_eq!(section("0.3.0-rc.1").unwrap(), "- Coming.");
    assert_eq!(section("0.3.0+g1a2b3c4").unwrap(), "- Coming.");
    let own = format!("{CHANGELOG}\n## 0.3.0-rc.1\n\n- Candidate.\n");
    assert_eq!(changelog_section(&own, "0.3.0-rc.1").unwrap(), "- Candidate.");
    let message = changelog_section("# Changelog\n", "0.3.0-rc.1").unwrap_err();
    assert!(message.contains("neither"), "{message}");
}

#[test]
fn this_projects_changelog_has_a_section_for_the_next_build() {
    let text = fs::read_to_string(super::super::fixtures::root().join("CHANGELOG.md")).unwrap();
    assert!(!changelog_section(&text, "999.0.0-dev").unwrap().is_empty());
}

#[test]
fn sums_are_those_of_everybody_else() {
    let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    assert_eq!(sha256(b"").unwrap(), empty);
}

/// A folder with two files, one of them in a folder.
fn release() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::create_dir(folder.path().join("armv7")).unwrap();
    fs::write(folder.path().join("armv7/outrider"), "program").unwrap();
    fs::write(folder.path().join("CHANGES.md"), "changes").unwrap();
    folder
}

#[test]
fn sums_cover_every_file_and_find_every_change() {
    let folder = release();
    let path = folder.path();
    write_sums(path).unwrap();
    let sums = fs::read_to_string(path.join(SUMS)).unwrap();
    let names: Vec<&str> = sums.lines().map(|line| &line[66..]).collect();
    assert_eq!(names, ["CHANGES.md", "armv7/outrider"]);
    write_sums(path).unwrap();
    assert_eq!(fs::read_to_string(path.join(SUMS)).unwrap(), sums, "it has no sum of itself");

    fs::write(path.join("armv7/outrider"), "tampered").unwrap();
    let message = check_sums(path).unwrap_err();
    assert!(message.contains("armv7/outrider: FAILED"), "{message}");
    fs::write(path.join("armv7/outrider"), "program").unwrap();
    fs::write(path.join("armv7/added"), "").unwrap();
    let message = check_sums(path).unwrap_err();
    assert!(message.contains("has no sum of armv7/added"), "{message}");
    fs::remove_file(path.join("armv7/added")).unwrap();
    check_sums(path).unwrap();
    fs::remove_file(path.join("CHANGES.md")).unwrap();
    assert!(check_sums(path).unwrap_err().contains("CHANGES.md"));
}

#[test]
fn names_that_would_be_read_differently_are_refused() {
    for name in ["two words", "-rf", "line\nbreak", "é", "a\\b"] {
        let folder = release();
        fs::write(folder.path().join(name), "").unwrap();
        let message = write_sums(folder.path()).unwrap_err();
        assert!(message.contains("not a name to publish"), "{name}: {message}");
    }
    let folder = release();
    std::os::unix::fs::symlink("CHANGES.md", folder.path().join("link")).unwrap();
    assert!(write_sums(folder.path()).unwrap_err().contains("neither file nor folder"));
    let empty = tempfile::tempdir().unwrap();
    assert!(write_sums(empty.path()).unwrap_err().contains("no file to publish"));
}

/// A fresh key without a password: its secret and its public file.
fn key(folder: &Path) -> (PathBuf, PathBuf) {
    assert!(packages::find("minisign").is_some(), "minisign is needed: apt-get install minisign");
    let (secret, public) = (folder.join("secret"), folder.join("public"));
    let mut make = Command::new("minisign");
    make.args(["-G", "-W", "-f", "-s"]).arg(&secret).arg("-p").arg(&public);
    quiet(&mut make).unwrap();
    (secret, public)
}

#[test]
fn a_signature_holds_until_anything_changes() {
    let (folder, keys, others) =
        (release(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let path = folder.path();
    let (secret, public) = key(keys.path());
    let (_, other) = key(others.path());
    let about = "outrider 0.2.0 commit c0ffee";
    write_sums(path).unwrap();
    let signing = Signing::Minisign { secret, public: public.clone() };
    signing.sign(path, about).unwrap();
    check_signature(path, &public, about).unwrap();
    let text = fs::read_to_string(path.join(SIGNATURE)).unwrap();
    assert!(text.contains(&format!("trusted comment: {about}\n")), "{text}");
    let key = fs::read_to_string(&public).unwrap();
    assert!(signing.to_string().contains(key.lines().nth(1).unwrap()));

    assert!(check_signature(path, &other, about).is_err(), "another key");
    let message = check_signature(path, &public, "outrider 9.9.9").unwrap_err();
    assert!(message.contains("is about `outrider 0.2.0 commit c0ffee`"), "{message}");
    fs::write(path.join(SIGNATURE), text.replace("0.2.0", "0.2.1")).unwrap();
    let message = check_signature(path, &public, "outrider 0.2.1 commit c0ffee").unwrap_err();
    assert!(message.contains("failed"), "the comment is covered too: {message}");
    fs::write(path.join(SIGNATURE), &text).unwrap();
    let sums = fs::read_to_string(path.join(SUMS)).unwrap();
    fs::write(path.join(SUMS), sums.replace("CHANGES", "CHANGED")).unwrap();
    assert!(check_signature(path, &public, about).is_err(), "tampered sums");

    // Sums that are made again leave no signature over the old ones.
    write_sums(path).unwrap();
    assert!(!path.join(SIGNATURE).exists());
}

#[test]
fn a_key_that_does_not_match_leaves_no_signature() {
    let (folder, keys, others) =
        (release(), tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let (secret, _) = key(keys.path());
    let (_, public) = key(others.path());
    write_sums(folder.path()).unwrap();
    let message =
        Signing::Minisign { secret, public }.sign(folder.path(), "outrider 0.2.0").unwrap_err();
    assert!(message.contains("does not hold for"), "{message}");
    assert!(!folder.path().join(SIGNATURE).exists());
}

#[test]
fn without_a_key_it_is_unsigned_and_says_so() {
    let folder = release();
    write_sums(folder.path()).unwrap();
    let signing = Signing::of(None, None).unwrap();
    signing.sign(folder.path(), "outrider 0.2.0").unwrap();
    assert!(!folder.path().join(SIGNATURE).exists());
    assert!(signing.to_string().starts_with("unsigned: no key was given"));
    let file = Some(folder.path().join("CHANGES.md"));
    assert!(Signing::of(file.clone(), None).unwrap_err().contains("--verify PUBKEY is needed"));
    assert!(Signing::of(None, file.clone()).unwrap_err().contains("there is no --sign"));
    let missing = Some(PathBuf::from("/nowhere/key"));
    assert!(Signing::of(missing, file).unwrap_err().contains("/nowhere/key"));
}

fn packed(name: &str, from: PathBuf, mode: u32) -> Packed {
    Packed { name: PathBuf::from(name), from, mode }
}

#[test]
fn archives_depend_on_names_contents_and_modes_only() {
    let (one, two) = (release(), release());
    let program = two.path().join("armv7/outrider");
    fs::set_permissions(&program, fs::Permissions::from_mode(0o600)).unwrap();
    let old = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000);
    fs::File::open(&program).unwrap().set_modified(old).unwrap();
    let pack = |folder: &Path, reverse: bool| {
        let mut files = vec![
            packed("outrider-0.2.0/bin/outrider", folder.join("armv7/outrider"), 0o755),
            packed("outrider-0.2.0/CHANGES.md", folder.join("CHANGES.md"), 0o644),
        ];
        if reverse {
            files.reverse();
        }
        let out = folder.join("outrider.tar.gz");
        archive(&out, &files, 1_790_000_000).unwrap();
        assert!(!folder.join("outrider.tar.gz.staging").exists());
        out
    };
    let first = pack(one.path(), false);
    assert_eq!(fs::read(&first).unwrap(), fs::read(pack(two.path(), true)).unwrap());

    let mut list = Command::new("tar");
    list.args(["--list", "--verbose", "--numeric-owner", "--utc", "--full-time", "--file"]);
    let list = quiet(list.arg(first).env("LC_ALL", "C")).unwrap();
    let words: Vec<Vec<&str>> = list.lines().map(|l| l.split_whitespace().collect()).collect();
    let expected = [
        ("drwxr-xr-x", "outrider-0.2.0/"),
        ("-rw-r--r--", "outrider-0.2.0/CHANGES.md"),
        ("drwxr-xr-x", "outrider-0.2.0/bin/"),
        ("-rwxr-xr-x", "outrider-0.2.0/bin/outrider"),
    ];
    assert_eq!(words.len(), expected.len(), "{list}");
    for (line, (mode, name)) in words.iter().zip(expected) {
        assert_eq!((line[0], line[1], line[5]), (mode, "0/0", name));
        assert_eq!((line[3], line[4]), ("2026-09-21", "14:13:20"));
    }
}

#[test]
fn archives_hold_no_path_that_leads_out_and_no_name_twice() {
    let folder = release();
    let file = folder.path().join("CHANGES.md");
    let out = folder.path().join("outrider.tar.gz");
    for name in ["../evil", "/etc/evil", ""] {
        let files = [packed(name, file.clone(), 0o644)];
        let message = archive(&out, &files, 0).unwrap_err();
        assert!(message.contains("not a path inside an archive"), "{message}");
    }
    let twice = [packed("a", file.clone(), 0o644), packed("a", file, 0o755)];
    assert!(archive(&out, &twice, 0).unwrap_err().contains("named twice"));
    assert!(!out.exists());
}
