//! The real program as people call it: output, exit codes, surroundings without home, terminal or
//! colours.

#![allow(clippy::unwrap_used, reason = "what fails here fails the test")]

use std::fs;
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

const PROGRAM: &str = env!("CARGO_BIN_EXE_outrider");

/// The program with an empty environment: no home, no temporary directory, no locale.
fn outrider(arguments: &[&str]) -> Command {
    let mut command = Command::new(PROGRAM);
    command.args(arguments).env_clear().stdin(Stdio::null());
    command
}

fn run(arguments: &[&str]) -> Output {
    outrider(arguments).output().unwrap()
}

/// Standard output of a call that must succeed.
fn output(arguments: &[&str]) -> String {
    let output = run(arguments);
    assert!(output.status.success(), "{arguments:?}: {output:?}");
    assert!(output.stderr.is_empty(), "{arguments:?}: {output:?}");
    String::from_utf8(output.stdout).unwrap()
}

/// Exit code and standard error of a call that must fail.
fn failure(arguments: &[&str]) -> (i32, String) {
    let output = run(arguments);
    let text = String::from_utf8(output.stderr).unwrap();
    (output.status.code().unwrap(), text)
}

fn file(folder: &Path, name: &str, content: &str) -> String {
    let path = folder.join(name);
    fs::write(&path, content).unwrap();
    path.to_str().unwrap().to_owned()
}

/// Compares with the committed file `tests/golden/<name>`. To accept a change on purpose, run the
/// test with `OUTRIDER_ACCEPT=1` in the environment and look at the difference.
fn golden(name: &str, text: &str) {
    let path: PathBuf = [env!("CARGO_MANIFEST_DIR"), "tests/golden", name].iter().collect();
    let text = text.replace(env!("CARGO_PKG_VERSION"), "VERSION");
    if std::env::var_os("OUTRIDER_ACCEPT").is_some() {
        fs::write(&path, &text).unwrap();
    }
    let committed = fs::read_to_string(&path).unwrap_or_default();
    assert!(
        committed == text,
        "{} differs from what the program prints; see the comment above `golden`",
        path.display()
    );
}

/// The names of all commands, from the program's help.
fn commands() -> Vec<String> {
    let help = output(&["--help"]);
    let list = help.split("Commands:\n").nth(1).unwrap().split("\n\n").next().unwrap();
    let names: Vec<String> = list
        .lines()
        .filter(|line| !line.starts_with("   "))
        .map(|line| line.trim().split("  ").next().unwrap().to_owned())
        .collect();
    assert!(names.len() >= 8, "{names:?}");
    names
}

#[test]
fn help_of_the_program_and_of_every_command_is_as_committed() {
    let mut text = output(&["--help"]);
    for name in commands() {
        let mut words: Vec<&str> = name.split(' ').collect();
        words.push("--help");
        text.push_str(&format!("\n$ outrider {name} --help\n{}", output(&words)));
    }
    for line in text.lines() {
        assert!(line.chars().count() <= 80 && line.is_ascii(), "{line}");
    }
    golden("help.txt", &text);
}

#[test]
fn the_manual_page_is_as_committed_and_names_every_command() {
    let page = output(&["man"]);
    golden("outrider.1", &page);
    for name in commands() {
        assert!(page.contains(&format!(".SS outrider {name}")), "{name}");
    }
    for line in page.lines() {
        let control = line.starts_with('.') || line.starts_with('\'');
        let known =
            [".TH ", ".SH ", ".SS ", ".B ", ".I ", ".TP", ".PP", ".RS", ".RE", ".nf", ".fi"];
        assert!(!control || known.iter().any(|macro_name| line.starts_with(macro_name)), "{line}");
    }
}

#[test]
fn completions_are_as_committed() {
    for shell in ["bash", "zsh", "fish"] {
        golden(&format!("completion.{shell}"), &output(&["completion", shell]));
    }
}

/// What bash offers after `words`, the last of which is being typed.
fn bash_offers(words: &[&str]) -> Vec<String> {
    let script = format!(
        "{}\nCOMP_WORDS=({})\nCOMP_CWORD={}\n_outrider\nprintf '%s\\n' \"${{COMPREPLY[@]}}\"\n",
        output(&["completion", "bash"]),
        words.iter().map(|word| format!("'{word}'")).collect::<Vec<_>>().join(" "),
        words.len() - 1
    );
    let result = Command::new("bash").args(["--norc", "-c", &script]).output().unwrap();
    assert!(result.status.success() && result.stderr.is_empty(), "{result:?}");
    let text = String::from_utf8(result.stdout).unwrap();
    text.lines().filter(|line| !line.is_empty()).map(str::to_owned).collect()
}

#[test]
fn bash_completes_commands_options_and_values() {
    assert_eq!(bash_offers(&["outrider", "sta"]), ["status"]);
    assert_eq!(bash_offers(&["outrider", "--v"]), ["--version"]);
    assert_eq!(bash_offers(&["outrider", "config", ""]), ["default", "check", "doc"]);
    assert_eq!(bash_offers(&["outrider", "completion", "f"]), ["fish"]);
    assert_eq!(bash_offers(&["outrider", "status", "--js"]), ["--json"]);
    assert_eq!(bash_offers(&["outrider", "config", "check", "--js"]), ["--json"]);
    assert!(bash_offers(&["outrider", "status", "--connect", ""]).is_empty());
    let folder = tempfile::tempdir().unwrap();
    let path = file(folder.path(), "my file.toml", "");
    let begun = path.strip_suffix("file.toml").unwrap();
    assert_eq!(bash_offers(&["outrider", "status", "--config", begun]), [path.as_str()]);
    assert_eq!(bash_offers(&["outrider", "config", "check", begun]), [path.as_str()]);
}

#[test]
fn the_default_file_is_valid_and_the_reference_is_printed() {
    let folder = tempfile::tempdir().unwrap();
    let path = file(folder.path(), "outrider.toml", &output(&["config", "default"]));
    assert_eq!(output(&["config", "check", &path]), format!("{path} is valid\n"));
    assert!(output(&["config", "doc"]).contains("### `mesh.interval`"));
}

#[test]
fn the_example_file_of_the_packages_is_valid() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../images/config/outrider.toml");
    assert!(output(&["config", "check", path]).ends_with("is valid\n"));
}

#[test]
fn a_typing_error_is_named_with_line_and_suggestion() {
    let folder = tempfile::tempdir().unwrap();
    let path = file(folder.path(), "o.toml", "[mesh]\nintervall = \"1s\"\ntimeout = 3\n");
    let (code, text) = failure(&["config", "check", &path]);
    assert_eq!(code, 5);
    assert_eq!(
        text,
        format!(
            "outrider: 2 problems in {path}:\n  line 2, column 1: unknown key `intervall` in \
             `[mesh]`; did you mean `interval`?\n    | intervall = \"1s\"\n    | ^^^^^^^^^\n  line \
             3, column 11: `timeout`: this is an integer; write a duration in quotes, like \
             \"5s\"\n    | timeout = 3\n    |           ^\n"
        )
    );
    let output = run(&["config", "check", &path, "--json"]);
    assert_eq!(output.status.code(), Some(5));
    let verdict: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(verdict["valid"], false);
    assert_eq!(verdict["problems"][0]["line"], 2);
}

#[test]
fn every_kind_of_failure_has_its_code() {
    let folder = tempfile::tempdir().unwrap();
    let config = format!(
        "[control]\npath = \"{}\"\n[http]\nlisten = \"off\"\n",
        folder.path().join("control.sock").display()
    );
    let absent = file(folder.path(), "absent.toml", &config);
    let (code, text) = failure(&["status", "--config", &absent]);
    assert_eq!(code, 3);
    assert!(text.contains("the agent is not running") && text.contains("outrider run"), "{text}");
    assert_eq!(failure(&["mesh", "--config", &absent]).0, 3);

    assert_eq!(failure(&["statsu"]).0, 2);
    assert_eq!(failure(&["status", "--connect", "nonsense"]).0, 2);
    assert_eq!(failure(&["mesh", "--direct", "--connect", "127.0.0.1:1"]).0, 2);

    let (code, text) = failure(&["status", "--config", "/nonexistent/outrider.toml"]);
    assert_eq!(code, 5);
    assert!(text.contains("there is no such file"), "{text}");

    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap().to_string();
    let server = std::thread::spawn(move || {
        let (stream, _) = listener.accept().unwrap();
        std::io::Write::write_all(&mut &stream, b"SSH-2.0-OpenSSH_9.2\r\n").unwrap();
    });
    let (code, text) = failure(&["status", "--connect", &address]);
    assert_eq!(code, 4);
    assert!(text.contains("no outrider"), "{text}");
    server.join().unwrap();
}

#[test]
fn the_check_ends_with_one_when_there_is_an_error() {
    let folder = tempfile::tempdir().unwrap();
    let path = file(folder.path(), "o.toml", "[mesh]\ndaemon = \"non\"\n");
    let output = run(&["check", "--config", &path]);
    assert_eq!(output.status.code(), Some(1));
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.contains("did you mean `none`?") && text.contains("\n1 error, "), "{text}");
    assert!(text.lines().all(|line| line.chars().count() <= 80 && line.is_ascii()), "{text}");
}

#[test]
fn warnings_alone_are_no_failure() {
    let folder = tempfile::tempdir().unwrap();
    let config = format!(
        "[vehicle]\nname = \"localhost\"\n[mesh]\ndaemon = \"none\"\n[http]\nlisten = \"off\"\n\
         [control]\npath = \"{}\"\n",
        folder.path().join("control.sock").display()
    );
    let path = file(folder.path(), "o.toml", &config);
    let output = run(&["check", "--json", "--config", &path]);
    assert!(output.status.success(), "{output:?}");
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["errors"], 0);
    assert!(report["warnings"].as_u64().unwrap() >= 2, "{report:#}");
    let findings = report["findings"].as_array().unwrap();
    for finding in findings {
        let remedy = finding["remedy"].as_str().unwrap();
        let needed = ["warning", "error"].contains(&finding["verdict"].as_str().unwrap());
        assert_eq!(!remedy.is_empty(), needed, "{finding:#}");
    }
}

#[test]
fn a_reader_that_leaves_early_is_no_failure() {
    let mut child =
        outrider(&["config", "doc"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let mut text = String::new();
    child.stderr.take().unwrap().read_to_string(&mut text).unwrap();
    let status = child.wait().unwrap();
    assert!(status.success() && text.is_empty(), "{status}: {text}");
}

#[test]
fn a_full_disk_is_a_failure() {
    let full = fs::OpenOptions::new().write(true).open("/dev/full").unwrap();
    let output = outrider(&["config", "doc"]).stdout(full).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("cannot write to standard output"));
}

#[test]
fn output_that_is_no_terminal_has_no_colours() {
    let text = outrider(&["--help"]).env("TERM", "xterm-256color").output().unwrap().stdout;
    assert!(!text.contains(&0x1b));
}

#[test]
fn the_version_is_that_of_the_package() {
    let line = format!("outrider {}\n", env!("CARGO_PKG_VERSION"));
    for arguments in [&["version"][..], &["--version"], &["-V"]] {
        assert_eq!(output(arguments), line);
    }
    let document: serde_json::Value =
        serde_json::from_str(&output(&["version", "--json"])).unwrap();
    assert_eq!(document["version"], env!("CARGO_PKG_VERSION"));
}
