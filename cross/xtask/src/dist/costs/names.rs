//! Says from a symbol's name whose code or data it is. Pure text work: reads no file and fails on no name.
//!
//! Both manglings of rustc carry the path of an item, which begins with its crate. Generic code belongs to the crate that
//! wrote it and not to the one that needed a copy: `alloc::vec::Vec<outrider::Event>::push` is std's. Methods of a trait
//! belong to the crate of the type, looking through references, pointers and slices; where that is a type of std's or of
//! the language, to the crate of the trait, so that `<Vec<Event> as serde::Serialize>::serialize` is serde's. Closures
//! belong to the function they are in.

use rustc_demangle::try_demangle;

/// Name of the row for core, alloc and std.
pub const STD: &str = "std";

/// Crates that nobody can choose or leave out; rustc makes `__rustc` for the allocator and the panic handler.
const PARTS_OF_STD: &[&str] = &[
    "std",
    "core",
    "alloc",
    "panic_abort",
    "panic_unwind",
    "unwind",
    "std_detect",
    "proc_macro",
    "test",
    "__rustc",
];

/// Symbols with these beginnings are std's although their names are not mangled.
const UNMANGLED_OF_STD: &[&str] = &[
    "__rust_",
    "__rustc_",
    "__rdl_",
    "__rg_",
    "_rust_extern_with_linkage_",
    "rust_begin_unwind",
    "rust_panic",
    "rust_eh_personality",
    "DW.ref.rust_eh_personality",
];

/// Crates with C and assembly, by the beginning that they give to the names of their symbols.
const C_OF_CRATES: &[(&str, &str)] = &[("ring_core_", "ring")];

/// Constants that the compiler names after nothing.
const NAMELESS: &[&str] = &["anon.", "alloc_", "vtable.", "str.", "_MergedGlobals"];

/// Whose a symbol is.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Owner {
    /// A crate's, under its name in Rust code.
    Crate(String),
    /// The C library's or the compiler's own; also of any C code that is not known here.
    Runtime,
    /// Cannot be told from its name.
    Nameless,
}

/// Whose `symbol` is.
pub fn owner(symbol: &str) -> Owner {
    let symbol = symbol.strip_prefix(".L").unwrap_or(symbol);
    // Tables that a `match` became, and jumps over a distance that one instruction cannot reach.
    let symbol = symbol.strip_prefix("switch.table.").unwrap_or(symbol);
    let symbol = match symbol.split_once("Thunk_") {
        Some((kind, target)) if kind.starts_with("__") => target,
        _ => symbol,
    };
    let begins = |list: &[&str]| list.iter().any(|beginning| symbol.starts_with(beginning));
    if begins(NAMELESS) {
        return Owner::Nameless;
    }
    if begins(UNMANGLED_OF_STD) {
        return Owner::Crate(STD.to_owned());
    }
    if let Some(name) = c_of_crate(symbol) {
        return Owner::Crate(name.to_owned());
    }
    let Ok(path) = try_demangle(symbol) else { return Owner::Runtime };
    // C++ is mangled like the older of rustc's ways, but for the hash at the end.
    if symbol.starts_with("_ZN") && !has_hash(&path.to_string()) {
        return Owner::Runtime;
    }
    match crate_of(&format!("{path:#}")) {
        Some("compiler_builtins") => Owner::Runtime,
        Some(name) => Owner::Crate(name.to_owned()),
        None => Owner::Crate(STD.to_owned()),
    }
}

/// The crate whose C or assembly `symbol` is, by its prefix.
pub fn c_of_crate(symbol: &str) -> Option<&'static str> {
    C_OF_CRATES.iter().find(|(prefix, _)| symbol.starts_with(prefix)).map(|(_, name)| *name)
}

/// Whether a path of the older mangling ends as rustc ends it: `::h` and 16 hexadecimal digits, before what LLVM appends.
fn has_hash(path: &str) -> bool {
    let last = path.rsplit("::").next().unwrap_or_default();
    let last = last.split('.').next().unwrap_or_default();
    last.strip_prefix('h').is_some_and(|digits| {
        digits.len() == 16 && digits.bytes().all(|digit| digit.is_ascii_hexdigit())
    })
}

/// Crate of a demangled path; `None` for std.
fn crate_of(path: &str) -> Option<&str> {
    let Some(inner) = qualified(path) else { return first_word(path) };
    let (subject, of_trait) = match top_level(inner, " as ") {
        Some(at) => (&inner[..at], Some(&inner[at + " as ".len()..])),
        None => (inner, None),
    };
    crate_of_type(subject).or_else(|| of_trait.and_then(first_word))
}

/// Crate of a type; `None` for std's and the language's own.
fn crate_of_type(text: &str) -> Option<&str> {
    let mut text = text.trim_start();
    while let Some(rest) = behind_sign(text) {
        text = rest.trim_start();
    }
    if text.starts_with('<') {
        return crate_of(text);
    }
    let length = text.find(|letter| !in_word(letter)).unwrap_or(text.len());
    // A word alone is a type of the language or, in the older mangling, the name of a parameter.
    if text[length..].starts_with("::") { first_word(text) } else { None }
}

/// What a type is made from by the sign that it begins with: reference, pointer, slice, trait object.
fn behind_sign(text: &str) -> Option<&str> {
    ["&", "*const ", "*mut ", "mut ", "dyn ", "["]
        .iter()
        .find_map(|sign| text.strip_prefix(sign))
        .or_else(|| Some(text.strip_prefix('\'')?.split_once(' ')?.1))
        .or_else(|| Some(text.strip_prefix("for<")?.split_once("> ")?.1))
}

/// First word of a path, which is its crate; `None` for std.
fn first_word(path: &str) -> Option<&str> {
    let length = path.find(|letter| !in_word(letter)).unwrap_or(path.len());
    Some(&path[..length]).filter(|name| !name.is_empty() && !PARTS_OF_STD.contains(name))
}

fn in_word(letter: char) -> bool {
    letter.is_alphanumeric() || letter == '_'
}

/// What is between the brackets that `path` begins with.
fn qualified(path: &str) -> Option<&str> {
    let inner = path.strip_prefix('<')?;
    Some(&inner[..top_level(inner, ">").unwrap_or(inner.len())])
}

/// Place of `sign` in `text` outside of all brackets.
fn top_level(text: &str, sign: &str) -> Option<usize> {
    let mut depth = 0u32;
    let mut before = ' ';
    for (at, letter) in text.char_indices() {
        if depth == 0 && before != '-' && text[at..].starts_with(sign) {
            return Some(at);
        }
        match letter {
            '<' | '(' | '[' => depth += 1,
            // The one of `->` closes nothing.
            '>' if before == '-' => {}
            '>' | ')' | ']' => depth = depth.saturating_sub(1),
            _ => {}
        }
        before = letter;
    }
    None
}

#[cfg(test)]
mod tests {
    use rustc_demangle::try_demangle;

    use super::{Owner, owner};

    fn of(symbol: &str) -> String {
        match owner(symbol) {
            Owner::Crate(name) => name,
            Owner::Runtime => "(runtime)".to_owned(),
            Owner::Nameless => "(nameless)".to_owned(),
        }
    }

    #[test]
    fn symbols_of_the_newer_mangling_have_owners() {
        for (symbol, expected) in [
            // tokio::runtime::park::park
            ("_RNvNtNtCs1234_5tokio7runtime4park4park", "tokio"),
            // <core::option::Option<u8>>::take, and a copy of LLVM's
            ("_RNvMNtCs1234_4core6optionINtB2_6OptionhE4take", "std"),
            ("_RNvNtCs2Nb3gJ4iU0I_5alloc3fmt6format.2516", "std"),
            ("_RNvCsfLfy6EI15iL_7___rustc12___rust_alloc", "std"),
            ("_RNvNtCs1234_17compiler_builtins3mem6memcpy", "(runtime)"),
            // generic code that another crate needed a copy of
            (
                "_RINvNtCs7BliBxkEZsN_4core3ptr13drop_in_placeINtNtB4_6result6ResultuNtNtNtCsaz6eC2DG7lh_3std2io5error5ErrorEEB19_",
                "std",
            ),
            ("_RINvCs1234_10serde_json9from_sliceNtCs5678_8outrider5EventE", "serde_json"),
            // outrider::main::{closure#0}
            ("_RNCNvCs1234_8outrider4main0B3_", "outrider"),
            // <outrider::Event as core::fmt::Debug>::fmt
            ("_RNvXCs1234_8outriderNtB2_5EventNtNtCs5678_4core3fmt5Debug3fmt", "outrider"),
            // <&outrider::Event as core::fmt::Debug>::fmt
            ("_RNvYRNtCs1234_8outrider5EventNtNtCs5678_4core3fmt5Debug3fmt", "outrider"),
            // <u32 as itoa::Unsigned>::fmt
            ("_RNvYmNtCs1234_4itoa8Unsigned3fmt", "itoa"),
            // <alloc::vec::Vec<outrider::Event> as serde::Serialize>::serialize
            (
                "_RNvYINtNtCs1234_5alloc3vec3VecNtCs5678_8outrider5EventENtCs9abc_5serde9Serialize9serialize",
                "serde",
            ),
            // <outrider::main::{closure#0} as core::ops::FnOnce<()>>::call_once
            (
                "_RNSNvYNCNvCs1234_8outrider4main0INtNtCs5678_4core3ops6FnOnceuE9call_once6vtableB6_",
                "outrider",
            ),
            // <fn() as core::ops::FnOnce<()>>::call_once
            ("_RNvYFEuINtNtCs5678_4core3ops6FnOnceuE9call_onceCs1234_8outrider", "std"),
            ("switch.table._RNvNtNtCs1234_5tokio7runtime4park4park", "tokio"),
            ("__ARMv7ABSLongThunk__RNvNtNtCs1234_5tokio7runtime4park4park", "tokio"),
        ] {
            let mangled = &symbol[symbol.find("_R").expect("a symbol of rustc")..];
            let text = try_demangle(mangled).expect("a symbol of rustc").to_string();
            assert_eq!(of(symbol), expected, "{text}");
        }
    }

    #[test]
    fn symbols_of_the_older_mangling_have_owners() {
        for (symbol, expected) in [
            ("_ZN12atomic_waker11AtomicWaker4wake17hce925630d37f9552E", "atomic_waker"),
            ("_ZN5bytes9bytes_mut8BytesMut6freeze17h43d0586aac90aa64E.102", "bytes"),
            ("_ZN5alloc5slice29_$LT$impl$u20$$u5b$T$u5d$$GT$6to_vec17ha2a1d7340058ee0dE", "std"),
            ("_ZN42_$LT$$RF$T$u20$as$u20$core..fmt..Debug$GT$3fmt17h5e6a3272eb452785E", "std"),
            ("_ZN38_$LT$u64$u20$as$u20$itoa..Unsigned$GT$3fmt17ha09d531e0a74ab31E", "itoa"),
            (
                "_ZN48_$LT$T$u20$as$u20$http..extensions..AnyClone$GT$9clone_box17h1059fc775ef961d6E",
                "http",
            ),
            (
                "_ZN58_$LT$bytes..bytes..Bytes$u20$as$u20$core..clone..Clone$GT$5clone17hb224fff66a1dfd67E",
                "bytes",
            ),
            (
                "_ZN135_$LT$core..result..Result$LT$T$C$std..sync..poison..PoisonError$LT$T$GT$$GT$$u20$as$u20$hyper..common..lock..LockResultExt$LT$T$GT$$GT$17panic_if_poisoned17ha56008323287c8b2E",
                "hyper",
            ),
            ("_ZN8outrider4main28_$u7b$$u7b$closure$u7d$$u7d$17ha04ca0b4d3977fc9E", "outrider"),
            ("_ZN9libunwind17LocalAddressSpace17sThisAddressSpaceE", "(runtime)"),
            ("_ZN9libunwind13DwarfFDECacheINS_17LocalAddressSpaceEE3addEmmmm", "(runtime)"),
        ] {
            assert_eq!(of(symbol), expected, "{symbol}");
        }
    }

    #[test]
    fn symbols_that_are_not_mangled_have_owners() {
        for (symbol, expected) in [
            ("memcpy", "(runtime)"),
            ("__aeabi_memcpy", "(runtime)"),
            ("ring_core_0_17_14__sha256_block_data_order_avx", "ring"),
            ("rust_eh_personality", "std"),
            ("__rust_no_alloc_shim_is_unstable", "std"),
            (".Lanon.92e6b625c94129947a2e3c08f0e83233.3119", "(nameless)"),
            ("anon.92e6b625c94129947a2e3c08f0e83233.12.llvm.99", "(nameless)"),
            ("", "(runtime)"),
            ("_R", "(runtime)"),
            ("_ZN", "(runtime)"),
        ] {
            assert_eq!(of(symbol), expected, "{symbol}");
        }
    }

    #[test]
    fn no_path_breaks_the_reader() {
        for path in
            ["", "<", "<<a::b", "<a as ", "< as >", "<fn() -> a::b as c::D>::e", "<'a", "<é::x>"]
        {
            let _ = super::crate_of(path);
        }
        assert_eq!(super::crate_of("<fn(a::B) -> c::D as e::F>::g"), Some("e"));
        assert_eq!(super::crate_of("<dyn for<'a> a::B<'a> + core::marker::Send>::c"), Some("a"));
        assert_eq!(super::crate_of("<&mut [a::B; 4] as core::fmt::Debug>::fmt"), Some("a"));
        assert_eq!(super::crate_of("<<a::B as c::D>::E as f::G>::h"), Some("a"));
    }
}
