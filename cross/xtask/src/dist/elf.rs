//! What a binary must be before it is run: for the right machine, static, position independent, without executable stack or
//! writable code, stripped, within its budget. Reads the file, trusts nothing that built it.

use object::elf;
use object::read::elf::{FileHeader, ProgramHeader, SectionHeader};
use object::{Endianness, FileKind, Object, ObjectSection};

use super::targets::{Machine, Target};

/// Build attribute that names the least processor (ABI for the Arm architecture, addenda: `Tag_CPU_arch`). LLD keeps those of
/// the first file that it links, so this is what the C library is built for; what all code needs is seen by running it on
/// the target's least processors.
const TAG_CPU_ARCH: u64 = 6;

/// What is said of a binary that passes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Facts {
    /// Size of the file.
    pub bytes: u64,
    /// Whether it can be loaded anywhere.
    pub pie: bool,
    /// Build id, hexadecimal; debuggers find the debug file by it.
    pub build_id: String,
}

/// Checks `data`, a stripped program for `target` that has to be position independent if `pie`. The error lists everything
/// that is wrong.
pub fn check(data: &[u8], target: &Target, pie: bool) -> Result<Facts, String> {
    match FileKind::parse(data).map_err(|e| format!("not an executable: {e}"))? {
        FileKind::Elf32 => check_class::<elf::FileHeader32<Endianness>>(data, target, pie),
        FileKind::Elf64 => check_class::<elf::FileHeader64<Endianness>>(data, target, pie),
        other => Err(format!("not an ELF file but {other:?}")),
    }
}

/// Checks `data`, the debug information kept for the program with `build_id`.
pub fn check_debug(data: &[u8], build_id: &str) -> Result<(), String> {
    let odd = |e: object::Error| format!("odd debug file: {e}");
    let file = object::File::parse(data).map_err(odd)?;
    let id = file.build_id().map_err(odd)?.unwrap_or_default();
    let id: String = id.iter().map(|byte| format!("{byte:02x}")).collect();
    if id != build_id {
        return Err(format!("debug file: its build id is `{id}` and not `{build_id}`"));
    }
    let lines = file.section_by_name(".debug_line").map_or(0, |section| section.size());
    if lines == 0 || file.symbols().next().is_none() {
        return Err("debug file: it has no line tables or no symbols".to_owned());
    }
    Ok(())
}

fn check_class<H: FileHeader<Endian = Endianness>>(
    data: &[u8],
    target: &Target,
    pie: bool,
) -> Result<Facts, String> {
    let odd = |e: object::Error| format!("odd ELF file: {e}");
    let header = H::parse(data).map_err(odd)?;
    let endian = header.endian().map_err(odd)?;
    let mut wrong: Vec<String> = Vec::new();
    let mut demand = |holds: bool, what: &str| {
        if !holds {
            wrong.push(what.to_owned());
        }
    };

    let machine = match target.machine {
        Machine::X86_64 => elf::EM_X86_64,
        Machine::Aarch64 => elf::EM_AARCH64,
        Machine::Arm => elf::EM_ARM,
    };
    demand(header.e_machine(endian) == machine, "for another machine");
    demand(header.is_class_64() == (target.bits == 64), "of the wrong word size");
    demand(header.is_little_endian(), "big-endian");
    if target.machine == Machine::Arm {
        let flags = header.e_flags(endian);
        demand(flags.0 & elf::EF_ARM_ABI_FLOAT_HARD != 0, "not for hardware floating point");
    }

    let segments = header.program_headers(endian, data).map_err(odd)?;
    let kinds: Vec<(elf::ProgramType, elf::ProgramFlags)> =
        segments.iter().map(|segment| (segment.p_type(endian), segment.p_flags(endian))).collect();
    let has = |kind: elf::ProgramType| kinds.iter().any(|(k, _)| *k == kind);
    demand(!has(elf::PT_INTERP), "asks for a dynamic linker");
    let is_pie = header.e_type(endian) == elf::ET_DYN && has(elf::PT_DYNAMIC);
    demand(is_pie || !pie, "not position independent");
    for segment in segments {
        let dynamic = segment.dynamic(endian, data).map_err(odd)?;
        for entry in dynamic.into_iter().flatten() {
            use object::read::elf::Dyn;
            let tag = entry.tag(endian);
            demand(tag != elf::DT_NEEDED, "needs a shared library");
            demand(tag != elf::DT_TEXTREL, "has relocations in its code");
        }
    }
    demand(has(elf::PT_GNU_STACK), "says nothing about its stack");
    demand(has(elf::PT_GNU_RELRO), "its relocated data stay writable");
    for (kind, flags) in &kinds {
        let executable = flags.0 & elf::PF_X.0 != 0;
        demand(*kind != elf::PT_GNU_STACK || !executable, "its stack is executable");
        let writable = flags.0 & elf::PF_W.0 != 0;
        demand(*kind != elf::PT_LOAD || !(executable && writable), "has code that can be written");
    }

    let sections = header.sections(endian, data).map_err(odd)?;
    let mut build_id = String::new();
    let mut arm = None;
    for section in sections.iter() {
        let name = sections.section_name(endian, section).map_err(odd)?;
        demand(section.sh_type(endian) != elf::SHT_SYMTAB, "not stripped");
        // rustc puts the name of a debugger's script among the data; that is no debug information.
        let debug = name.starts_with(b".debug_") && name != b".debug_gdb_scripts";
        demand(!debug, "carries debug information");
        if let Some(mut notes) = section.notes(endian, data).map_err(odd)? {
            while let Some(note) = notes.next().map_err(odd)? {
                if note.n_type(endian) == elf::NT_GNU_BUILD_ID && note.name() == elf::ELF_NOTE_GNU {
                    build_id = note.desc().iter().map(|byte| format!("{byte:02x}")).collect();
                }
            }
        }
        if section.sh_type(endian) == elf::SHT_ARM_ATTRIBUTES {
            let attributes = section.attributes(endian, data).map_err(odd)?;
            arm = cpu_arch(attributes).map_err(odd)?.or(arm);
        }
    }
    demand(!build_id.is_empty(), "has no build id");
    if let Some(expected) = target.arm {
        let told = arm.map_or("nothing".to_owned(), |arch| arch.to_string());
        demand(arm == Some(expected), &format!("its Tag_CPU_arch is {told} and not {expected}"));
    }

    let bytes = data.len() as u64;
    let over = format!("has {bytes} bytes, {} are allowed", target.budget_bytes);
    demand(bytes <= target.budget_bytes, &over);
    if wrong.is_empty() {
        Ok(Facts { bytes, pie: is_pie, build_id })
    } else {
        Err(wrong.join("; "))
    }
}

/// `Tag_CPU_arch` among the build attributes of an ARM file.
fn cpu_arch<H: FileHeader<Endian = Endianness>>(
    attributes: object::read::elf::AttributesSection<'_, H>,
) -> object::Result<Option<u64>> {
    let mut subsections = attributes.subsections()?;
    while let Some(subsection) = subsections.next()? {
        if subsection.vendor() != b"aeabi" {
            continue;
        }
        let mut parts = subsection.subsubsections();
        while let Some(part) = parts.next()? {
            let mut reader = part.attributes();
            while let Some(tag) = reader.read_tag()? {
                // Tags 4, 5, 65 and 67 hold text, 32 both; the others a number (same document, section 3.3).
                match tag {
                    TAG_CPU_ARCH => return reader.read_integer().map(Some),
                    4 | 5 | 65 | 67 => {
                        reader.read_string()?;
                    }
                    32 => {
                        reader.read_integer()?;
                        reader.read_string()?;
                    }
                    _ => {
                        reader.read_integer()?;
                    }
                }
            }
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests;
