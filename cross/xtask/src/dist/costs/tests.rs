//! Counts the bytes of this very test program.

use std::fs;
use std::path::Path;
use std::process::Command;

use super::names::{Owner, c_of_crate, owner};
use super::{
    Costs, Part, RUNTIME, Remainder, Rest, Section, Symbol, Tally, give_neighbours, grouped,
    report, run,
};
use crate::dist::toolchain;
use crate::steps::quiet;

fn this_program() -> std::path::PathBuf {
    std::env::current_exe().expect("a running program has a file")
}

/// Strips `whole` as a release is.
fn strip(whole: &Path, folder: &Path) -> std::path::PathBuf {
    let sysroot = quiet(Command::new("rustc").args(["--print", "sysroot"])).expect("rustc");
    let objcopy = toolchain::objcopy(Path::new(sysroot.trim())).expect("LLVM's objcopy");
    let stripped = folder.join("stripped");
    quiet(Command::new(objcopy).arg("--strip-all").arg(whole).arg(&stripped)).expect("a strip");
    stripped
}

fn sum(costs: &Costs) -> u64 {
    let parts: u64 = costs.parts.iter().map(|part| part.code_bytes + part.data_bytes).sum();
    parts + costs.rest.iter().map(|rest| rest.bytes).sum::<u64>()
}

#[test]
fn a_real_program_adds_up_to_its_stripped_size_to_the_byte() {
    let folder = tempfile::tempdir().expect("a folder");
    let whole = this_program();
    let costs = report(&whole).expect("costs of this program");
    let shipped = fs::metadata(strip(&whole, folder.path())).expect("the stripped file").len();
    assert_eq!(costs.stripped_bytes, shipped);
    assert_eq!(sum(&costs), shipped);

    let part = |name: &str| costs.parts.iter().find(|part| part.name == name);
    for name in ["std", "xtask", "serde_json", "toml", "object", "rustc_demangle"] {
        let found = part(name).unwrap_or_else(|| panic!("{name} is linked in: {:?}", costs.parts));
        assert!(found.code_bytes > 0, "{found:?}");
    }
    for name in ["core", "alloc", "__rustc", "T", "u8", "", "ring"] {
        assert_eq!(part(name), None);
    }
    assert!(costs.parts.is_sorted_by_key(|part| {
        (std::cmp::Reverse(part.code_bytes + part.data_bytes), part.name.clone())
    }));
    assert_eq!(report(&whole).expect("the same again"), costs);
}

#[test]
fn a_stripped_program_is_refused_with_the_remedy() {
    let folder = tempfile::tempdir().expect("a folder");
    let stripped = strip(&this_program(), folder.path());
    let error = report(&stripped).expect_err("it has no symbols");
    assert!(error.contains(&stripped.display().to_string()), "{error}");
    assert!(error.contains("has no symbols; give the file before stripping"), "{error}");
}

#[test]
fn other_files_are_refused_by_name() {
    let folder = tempfile::tempdir().expect("a folder");
    let text = folder.path().join("text");
    fs::write(&text, "no program").expect("a file");
    for path in [folder.path().join("missing"), text] {
        let error = report(&path).expect_err("no program");
        assert!(error.contains(&path.display().to_string()), "{error}");
    }
    // Cut anywhere, it is refused or read, but nothing panics.
    let whole = fs::read(this_program()).expect("this program");
    let cut = folder.path().join("cut");
    for length in [16, 52, 64, 100, 1000, whole.len() / 2, whole.len() - 1] {
        fs::write(&cut, &whole[..length]).expect("a file");
        let error = report(&cut).expect_err("its tables are at the end");
        assert!(error.contains(&cut.display().to_string()), "{error}");
    }
}

#[test]
fn the_table_shows_every_row_and_the_whole() {
    let remainder = |what| Remainder { what, bytes: 10 };
    let costs = Costs {
        stripped_bytes: 2060,
        parts: vec![
            Part { name: "ring".to_owned(), code_bytes: 1500, data_bytes: 400 },
            Part { name: "std".to_owned(), code_bytes: 100, data_bytes: 0 },
        ],
        rest: Rest::ALL.map(remainder).to_vec(),
    };
    assert_eq!(sum(&costs), costs.stripped_bytes);
    let table = costs.markdown();
    let lines: Vec<&str> = table.lines().collect();
    assert_eq!(lines.len(), 2 + 2 + Rest::ALL.len() + 1);
    assert_eq!(lines[2], "| ring | 1,500 | 400 | 92.2 % |");
    assert_eq!(lines[4], "| code without a name | 10 |  | 0.5 % |");
    assert_eq!(lines[9], "| headers and padding |  | 10 | 0.5 % |");
    assert_eq!(lines[10], "| **together** | 1,610 | 450 | 100.0 % |");
    let json = serde_json::to_value(&costs).expect("JSON");
    assert_eq!(json["parts"][0]["data_bytes"], 400);
    assert_eq!(json["rest"][1]["what"], "read_only");
    assert_eq!([1, 12, 123, 1234, 1234567].map(grouped).join(" "), "1 12 123 1,234 1,234,567");
}

#[test]
fn the_command_says_what_it_needs() {
    let words = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    let error = |arguments: &[&str]| run(&words(arguments)).expect_err("not enough");
    assert!(error(&[]).contains("--binary PATH"));
    assert!(error(&["--json", "--binary"]).contains("--binary needs a value"));
    assert!(error(&["--binaries"]).contains("no option `--binaries`"));
}

/// A symbol in section 1, which is code.
fn symbol(name: &str, start: u64, end: u64) -> Symbol {
    Symbol {
        section: 1,
        start,
        end,
        code: true,
        owner: owner(name),
        c_of: c_of_crate(name),
        object: None,
    }
}

#[test]
fn c_of_a_crate_is_known_by_its_neighbours() {
    let data = |name: &str, object: usize| Symbol {
        section: 2,
        code: false,
        object: Some(object),
        ..symbol(name, 0, 8)
    };
    let of_object = |symbol: Symbol, object: usize| Symbol { object: Some(object), ..symbol };
    let mut symbols = [
        symbol("memcpy", 0, 10),
        of_object(symbol("ring_core_1_first", 10, 20), 1),
        of_object(symbol("static_helper", 20, 30), 1),
        symbol("ring_core_1_last", 30, 40),
        of_object(symbol("strlen", 40, 50), 2),
        data("table", 1),
        data("errmsg", 2),
        of_object(symbol("ring_core_1_strayed", 35, 36), 2),
    ];
    give_neighbours(&mut symbols);
    let ring = Owner::Crate("ring".to_owned());
    let of_ring: Vec<bool> = symbols.iter().map(|symbol| symbol.owner == ring).collect();
    assert_eq!(of_ring, [false, true, true, true, false, true, false, true]);
}

#[test]
fn every_byte_of_a_section_counts_once() {
    let section = Section { index: 1, size: 1000, align: 16, code: true, kind: Rest::Code };
    let rust = "_RNvNtNtCs1234_5tokio7runtime4park4park";
    let symbols = [
        symbol("_start", 0, 0),         // up to the next, 10
        symbol(rust, 10, 100),          // 90
        symbol("alias", 10, 60),        // inside
        symbol("label", 50, 50),        // inside
        symbol("overlapping", 90, 110), // 10
        symbol(rust, 120, 200),         // 80, after 10 of alignment
        symbol("end", 300, 2000),       // cut at 1000, after 100 without a name
    ];
    let mut tally = Tally::default();
    tally.walk(&section, &symbols);
    let costs = tally.finish(1234).expect("costs");
    let part = |name: &str| costs.parts.iter().find(|part| part.name == name).expect("a part");
    assert_eq!(part("tokio").code_bytes, 90 + 80);
    assert_eq!(part(RUNTIME).code_bytes, 10 + 10 + 700);
    assert_eq!(costs.rest[0], Remainder { what: Rest::Code, bytes: 100 });
    assert_eq!(costs.rest[5], Remainder { what: Rest::Headers, bytes: 10 + 234 });
    assert_eq!(sum(&costs), 1234);
}
