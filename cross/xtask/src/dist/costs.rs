//! What each crate costs in a program: every byte of the file that is shipped has a row, and the rows add up to its size.
//!
//! Reads the program before it is stripped and counts what is left after it. Bytes get their owner from the symbols they are
//! in (`names`). Whole-program optimisation decides what that means: a function that was inlined counts for its caller, and
//! of identical functions that the linker folded the first owner in the alphabet gets all. So the table says what the bytes
//! are, not what would be gone without a crate; that takes a build without it.
//!
//! Crates have their names in Rust code. core, alloc and std are one row; crates of std that are also in the registry
//! (hashbrown, memchr) cannot be told from the same ones of ours. C and assembly of a crate are recognised by the prefix of
//! its symbols, by their place (what the linker put between two of them came from the same archive) and by the object file
//! they share. All other code that is not Rust is the C library's or the compiler's. Most constants have no symbols, and who
//! uses them is not guessed; on ARM more have symbols than elsewhere, so data of crates do not compare between machines.

mod names;
mod stripped;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use object::read::elf::{FileHeader, ProgramHeader, SectionHeader, Sym};
use object::{Endianness, FileKind, elf};
use serde::Serialize;

use names::Owner;

/// Name of the row for C that belongs to no crate.
const RUNTIME: &str = "C library and compiler runtime";

/// Why a stripped program is refused, and what to give instead.
const NO_SYMBOLS: &str = "has no symbols; give the file before stripping (`cargo xtask dist` leaves \
                          it below target/cross/build; elsewhere build with `strip = \"none\"`)";

/// Sections that tell how to walk the stack.
const UNWIND: &[&[u8]] =
    &[b".eh_frame", b".eh_frame_hdr", b".gcc_except_table", b".ARM.exidx", b".ARM.extab"];

/// What a program consists of. The bytes of all rows add up to `stripped_bytes`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Costs {
    /// Size of the program as it is shipped, after LLVM's `objcopy --strip-all`.
    pub stripped_bytes: u64,
    /// What has an owner, largest first and by name where sizes are equal.
    pub parts: Vec<Part>,
    /// What has none, in the order of [`Rest`].
    pub rest: Vec<Remainder>,
}

/// One crate, or all C code that belongs to none.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Part {
    /// The crate's name in Rust code.
    pub name: String,
    /// Machine code.
    pub code_bytes: u64,
    /// Constants and initial values of variables, as far as they have symbols.
    pub data_bytes: u64,
}

/// Bytes that belong to nobody.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Remainder {
    /// What they are.
    pub what: Rest,
    /// How many.
    pub bytes: u64,
}

/// Kinds of bytes without an owner.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Rest {
    /// Machine code outside of all symbols, but for gaps that only align.
    Code,
    /// Strings and other constants.
    ReadOnly,
    /// Vtables, constants that hold addresses, and initial values of variables.
    Data,
    /// Tables for walking the stack.
    Unwind,
    /// Relocations and what else a dynamic linker reads; a static program applies its own relocations when it starts.
    Linking,
    /// Headers, notes, the table of sections, gaps.
    Headers,
}

impl Rest {
    const ALL: [Rest; 6] =
        [Rest::Code, Rest::ReadOnly, Rest::Data, Rest::Unwind, Rest::Linking, Rest::Headers];

    fn label(self) -> &'static str {
        match self {
            Rest::Code => "code without a name",
            Rest::ReadOnly => "read-only data without a name",
            Rest::Data => "vtables and other data without a name",
            Rest::Unwind => "unwind tables",
            Rest::Linking => "relocations and dynamic linking",
            Rest::Headers => "headers and padding",
        }
    }
}

/// `cargo xtask costs`. `arguments` are those after the command's name.
pub fn run(arguments: &[String]) -> Result<(), String> {
    let mut binary = None;
    let mut json = false;
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--binary" => {
                let path = arguments.next().ok_or("costs: --binary needs a value")?;
                binary = Some(PathBuf::from(path));
            }
            "--json" => json = true,
            other => return Err(format!("costs has no option `{other}`")),
        }
    }
    let binary = binary.ok_or("costs: say which program, before stripping: --binary PATH")?;
    let costs = report(&binary)?;
    if json {
        let text = serde_json::to_string_pretty(&costs).map_err(|e| format!("costs: {e}"))?;
        println!("{text}");
    } else {
        print!("{}", costs.markdown());
    }
    Ok(())
}

/// What the program in the file `whole` consists of. It has to be linked and not stripped: an ELF file for any machine.
pub fn report(whole: &Path) -> Result<Costs, String> {
    let named = |e: &dyn std::fmt::Display| format!("costs of {}: {e}", whole.display());
    let data = fs::read(whole).map_err(|e| named(&e))?;
    let costs = match FileKind::parse(&*data) {
        Ok(FileKind::Elf32) => read::<elf::FileHeader32<Endianness>>(&data),
        Ok(FileKind::Elf64) => read::<elf::FileHeader64<Endianness>>(&data),
        _ => Err("not a program in ELF format; give one that is for Linux".to_owned()),
    };
    costs.map_err(|e| named(&e))
}

impl Costs {
    /// Names of all crates that have bytes in it, but for Rust's core, alloc and std.
    pub fn crates(&self) -> impl Iterator<Item = &str> {
        let names = self.parts.iter().map(|part| part.name.as_str());
        names.filter(|name| *name != RUNTIME && *name != names::STD)
    }

    /// A Markdown table of all rows, with the whole as its last.
    pub fn markdown(&self) -> String {
        let mut text = String::from("| crate | code | data | share |\n|---|---:|---:|---:|\n");
        let mut row = |name: &str, code: &str, data: &str, bytes: u64| {
            // Tenths of a percent, rounded.
            let share = (bytes * 1000 + self.stripped_bytes / 2) / self.stripped_bytes.max(1);
            let share = format!("{}.{} %", share / 10, share % 10);
            writeln!(text, "| {name} | {code} | {data} | {share} |").expect("a String takes all");
        };
        for Part { name, code_bytes, data_bytes } in &self.parts {
            row(name, &grouped(*code_bytes), &grouped(*data_bytes), code_bytes + data_bytes);
        }
        for Remainder { what, bytes } in &self.rest {
            let amount = grouped(*bytes);
            match what {
                Rest::Code => row(what.label(), &amount, "", *bytes),
                Rest::ReadOnly | Rest::Data | Rest::Unwind | Rest::Linking | Rest::Headers => {
                    row(what.label(), "", &amount, *bytes);
                }
            }
        }
        let (code, data) = self.totals();
        row("**together**", &grouped(code), &grouped(data), code + data);
        text
    }

    /// Code and everything else; together the size of the file.
    fn totals(&self) -> (u64, u64) {
        let code = |what: Rest| if what == Rest::Code { 1 } else { 0 };
        let named: u64 = self.parts.iter().map(|part| part.code_bytes).sum();
        let nameless: u64 = self.rest.iter().map(|rest| code(rest.what) * rest.bytes).sum();
        (named + nameless, self.stripped_bytes - named - nameless)
    }
}

/// A section of the program that is in the file and loaded.
struct Section {
    index: usize,
    size: u64,
    align: u64,
    /// Whether it is machine code.
    code: bool,
    /// What its bytes are outside of all symbols.
    kind: Rest,
}

/// One symbol with a place in a section.
struct Symbol {
    /// Index of the section.
    section: usize,
    /// First byte, from the section's beginning.
    start: u64,
    /// Byte after the last; `start` when the symbol does not say.
    end: u64,
    /// Whether the section is machine code.
    code: bool,
    owner: Owner,
    /// Crate that the name's prefix is known of.
    c_of: Option<&'static str>,
    /// Number of the object file it came from; linkers keep that of local symbols only.
    object: Option<usize>,
}

fn read<H: FileHeader<Endian = Endianness>>(data: &[u8]) -> Result<Costs, String> {
    let odd = |e: object::Error| format!("odd ELF file: {e}");
    let header = H::parse(data).map_err(odd)?;
    let endian = header.endian().map_err(odd)?;
    if header.program_headers(endian, data).map_err(odd)?.is_empty() {
        return Err("not linked; give a program".to_owned());
    }
    let sections = header.sections(endian, data).map_err(odd)?;
    let stripped_bytes = stripped::size(header, data, &sections).map_err(odd)?;
    let symbols = symbols(header, data).map_err(odd)?;
    if symbols.is_empty() {
        return Err(NO_SYMBOLS.to_owned());
    }
    let mut tally = Tally::default();
    for (index, section) in sections.enumerate() {
        let flags = section.sh_flags(endian).0;
        let Some((offset, size)) = section.file_range(endian) else { continue };
        if flags & elf::SHF_ALLOC.0 == 0 {
            continue;
        }
        if offset.checked_add(size).is_none_or(|end| end > data.len() as u64) {
            return Err(
                "odd ELF file: a section is outside of it; was it copied to the end?".to_owned()
            );
        }
        let name = sections.section_name(endian, section).map_err(odd)?;
        let section = Section {
            index: index.0,
            size,
            align: section.sh_addralign(endian).into(),
            code: flags & elf::SHF_EXECINSTR.0 != 0,
            kind: kind(name, section.sh_type(endian), flags),
        };
        let first = symbols.partition_point(|symbol| symbol.section < section.index);
        let past = symbols.partition_point(|symbol| symbol.section <= section.index);
        tally.walk(&section, &symbols[first..past]);
    }
    tally.finish(stripped_bytes)
}

/// What the bytes of a section are that no symbol owns.
fn kind(name: &[u8], of_type: elf::SectionType, flags: u64) -> Rest {
    let linking = [
        elf::SHT_REL,
        elf::SHT_RELA,
        elf::SHT_RELR,
        elf::SHT_DYNAMIC,
        elf::SHT_DYNSYM,
        elf::SHT_STRTAB,
        elf::SHT_HASH,
        elf::SHT_GNU_HASH,
        elf::SHT_GNU_VERSYM,
        elf::SHT_GNU_VERNEED,
        elf::SHT_GNU_VERDEF,
    ];
    if UNWIND.contains(&name) {
        Rest::Unwind
    } else if linking.contains(&of_type) || name.starts_with(b".got") || name.starts_with(b".plt") {
        Rest::Linking
    } else if of_type == elf::SHT_NOTE {
        Rest::Headers
    } else if flags & elf::SHF_EXECINSTR.0 != 0 {
        Rest::Code
    } else if flags & elf::SHF_WRITE.0 != 0 {
        Rest::Data
    } else {
        Rest::ReadOnly
    }
}

/// All symbols that have a place, by place; of those at one place the one that is to count first.
fn symbols<H: FileHeader<Endian = Endianness>>(
    header: &H,
    data: &[u8],
) -> object::Result<Vec<Symbol>> {
    let endian = header.endian()?;
    let sections = header.sections(endian, data)?;
    let table = sections.symbols(endian, data, elf::SHT_SYMTAB)?;
    let thread_local = header
        .program_headers(endian, data)?
        .iter()
        .find(|segment| segment.p_type(endian) == elf::PT_TLS)
        .map_or(0, |segment| segment.p_vaddr(endian).into());
    let arm = header.e_machine(endian) == elf::EM_ARM;
    let mut symbols = Vec::new();
    let mut object = None;
    for (index, symbol) in table.enumerate() {
        let of_type = symbol.st_type();
        // The name of an object file stands before its symbols.
        if of_type == elf::STT_FILE {
            object = Some(index.0);
        }
        let counts =
            [elf::STT_NOTYPE, elf::STT_OBJECT, elf::STT_FUNC, elf::STT_TLS, elf::STT_GNU_IFUNC];
        let Some(section) = table.symbol_section(endian, symbol, index)? else { continue };
        let name = table.symbol_name(endian, symbol)?;
        // `$a`, `$d` and the like tell code from data for disassemblers of ARM; they are nobody's names.
        if !counts.contains(&of_type) || name.is_empty() || name.starts_with(b"$") {
            continue;
        }
        let mut address: u64 = symbol.st_value(endian).into();
        if of_type == elf::STT_TLS {
            address = address.wrapping_add(thread_local);
        }
        if arm && of_type == elf::STT_FUNC {
            // The lowest bit says that it is in the shorter instruction set.
            address &= !1;
        }
        let header = sections.section(section)?;
        let Some(start) = address.checked_sub(header.sh_addr(endian).into()) else { continue };
        let name = String::from_utf8_lossy(name);
        symbols.push(Symbol {
            section: section.0,
            start,
            end: start.saturating_add(symbol.st_size(endian).into()),
            code: header.sh_flags(endian).0 & elf::SHF_EXECINSTR.0 != 0,
            owner: names::owner(&name),
            c_of: names::c_of_crate(&name),
            object: object.filter(|_| symbol.is_local()),
        });
    }
    give_neighbours(&mut symbols);
    symbols.sort_by(|a, b| {
        let place = |s: &Symbol| (s.section, s.start, s.end == s.start, std::cmp::Reverse(s.end));
        place(a).cmp(&place(b)).then_with(|| a.owner.cmp(&b.owner))
    });
    Ok(symbols)
}

/// Gives C symbols without a known prefix to a crate: code that is between two of its prefixes, and data from an object
/// file all of whose code is that crate's.
fn give_neighbours(symbols: &mut [Symbol]) {
    let mut spans: BTreeMap<(usize, &str), (u64, u64)> = BTreeMap::new();
    for symbol in symbols.iter().filter(|symbol| symbol.code) {
        if let Some(name) = symbol.c_of {
            let span = spans.entry((symbol.section, name)).or_insert((symbol.start, symbol.start));
            *span = (span.0.min(symbol.start), span.1.max(symbol.start));
        }
    }
    let mut homes: BTreeMap<usize, &str> = BTreeMap::new();
    let mut strangers: BTreeSet<usize> = BTreeSet::new();
    for symbol in symbols.iter_mut() {
        let around = spans.iter().find(|((section, _), (first, last))| {
            *section == symbol.section && (*first..=*last).contains(&symbol.start)
        });
        if let Some(((_, name), _)) = around
            && symbol.owner == Owner::Runtime
        {
            symbol.owner = Owner::Crate((*name).to_owned());
        }
        let Some(object) = symbol.object else { continue };
        if let Some(name) = symbol.c_of {
            homes.insert(object, name);
        } else if symbol.code && symbol.owner == Owner::Runtime {
            strangers.insert(object);
        }
    }
    for symbol in symbols.iter_mut().filter(|symbol| symbol.owner == Owner::Runtime) {
        let Some(object) = symbol.object.filter(|object| !strangers.contains(object)) else {
            continue;
        };
        if let Some(name) = homes.get(&object) {
            symbol.owner = Owner::Crate((*name).to_owned());
        }
    }
}

/// Bytes counted so far.
#[derive(Default)]
struct Tally {
    /// Code and data of each part.
    parts: BTreeMap<String, (u64, u64)>,
    rest: BTreeMap<Rest, u64>,
}

impl Tally {
    /// Counts all bytes of a section. `symbols` are those in it, by place.
    fn walk(&mut self, section: &Section, symbols: &[Symbol]) {
        let mut at = 0;
        for (position, symbol) in symbols.iter().enumerate() {
            let mut end = symbol.end;
            if symbol.end == symbol.start {
                // Assembly often says only where something begins; it ends where the next begins. Data are not guessed.
                if !section.code || symbol.start < at {
                    continue;
                }
                let next = symbols[position..].iter().find(|next| next.start > symbol.start);
                end = next.map_or(section.size, |next| next.start);
            }
            let (start, end) = (symbol.start.max(at), end.min(section.size));
            if start < end {
                self.gap(section, start - at);
                self.add(section, &symbol.owner, end - start);
                at = end;
            }
        }
        self.gap(section, section.size - at);
    }

    fn gap(&mut self, section: &Section, bytes: u64) {
        let aligns = section.code && bytes < section.align;
        *self.rest.entry(if aligns { Rest::Headers } else { section.kind }).or_default() += bytes;
    }

    fn add(&mut self, section: &Section, owner: &Owner, bytes: u64) {
        let name = match owner {
            Owner::Crate(name) => name,
            Owner::Runtime => RUNTIME,
            Owner::Nameless => return *self.rest.entry(section.kind).or_default() += bytes,
        };
        let part = self.parts.entry(name.to_owned()).or_default();
        *(if section.code { &mut part.0 } else { &mut part.1 }) += bytes;
    }

    /// What is in the file beside its sections are headers and padding.
    fn finish(mut self, stripped_bytes: u64) -> Result<Costs, String> {
        let parts = self.parts.into_iter();
        let mut parts: Vec<Part> = parts
            .map(|(name, (code_bytes, data_bytes))| Part { name, code_bytes, data_bytes })
            .collect();
        parts.sort_by_key(|part| std::cmp::Reverse(part.code_bytes + part.data_bytes));
        let known: u64 = parts.iter().map(|part| part.code_bytes + part.data_bytes).sum::<u64>()
            + self.rest.values().sum::<u64>();
        let outside = stripped_bytes
            .checked_sub(known)
            .ok_or("odd ELF file: its sections are larger than the whole")?;
        *self.rest.entry(Rest::Headers).or_default() += outside;
        let rest = Rest::ALL
            .map(|what| Remainder { what, bytes: self.rest.get(&what).copied().unwrap_or(0) })
            .to_vec();
        Ok(Costs { stripped_bytes, parts, rest })
    }
}

/// `number` with a comma between each three digits.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests;
