//! Size of a program after `llvm-objcopy --strip-all`, from the file before it, without running anything.
//!
//! What is loaded keeps its place, what is not loaded goes, the table of sections moves up behind what is left and its names
//! are written anew. The result is compared with real objcopy in tests; other strippers lay files out in other ways.

use object::Endianness;
use object::elf;
use object::read::elf::{FileHeader, ProgramHeader, SectionHeader, SectionTable};

/// Size in bytes of the stripped file.
pub fn size<'data, H: FileHeader<Endian = Endianness>>(
    header: &H,
    data: &'data [u8],
    sections: &SectionTable<'data, H>,
) -> object::Result<u64> {
    let endian = header.endian()?;
    let mut end = u64::from(header.e_ehsize(endian));
    for segment in header.program_headers(endian, data)? {
        if segment.p_type(endian) == elf::PT_LOAD {
            let (offset, bytes) = segment.file_range(endian);
            end = end.max(offset.saturating_add(bytes));
        }
    }
    let mut names: Vec<&[u8]> = vec![b".shstrtab"];
    // The first entry of the table is empty.
    let mut entries = 2;
    for section in sections.iter().skip(1) {
        let loaded = section.sh_flags(endian).0 & elf::SHF_ALLOC.0 != 0;
        // Of what is not loaded only the processor's description stays.
        if !loaded && section.sh_type(endian) != elf::SHT_ARM_ATTRIBUTES {
            continue;
        }
        names.push(sections.section_name(endian, section)?);
        entries += 1;
        if !loaded {
            end = up(end, section.sh_addralign(endian).into());
            end = end.saturating_add(section.sh_size(endian).into());
        }
    }
    end = end.saturating_add(string_table(&names));
    let word = if header.is_class_64() { 8 } else { 4 };
    let entry = size_of::<H::SectionHeader>() as u64;
    Ok(up(end, word).saturating_add(entries * entry))
}

fn up(place: u64, align: u64) -> u64 {
    place.checked_next_multiple_of(align.max(1)).unwrap_or(u64::MAX)
}

/// Size of a table of strings that end with a zero byte, after an empty one. A name that another one ends with is not
/// written again.
fn string_table(names: &[&[u8]]) -> u64 {
    let mut names = names.to_vec();
    names.sort_unstable();
    names.dedup();
    let inside = |name: &[u8]| names.iter().any(|other| *other != name && other.ends_with(name));
    1 + names.iter().filter(|name| !inside(name)).map(|name| name.len() as u64 + 1).sum::<u64>()
}

#[cfg(test)]
mod tests {
    use super::string_table;

    #[test]
    fn names_that_end_alike_are_written_once() {
        assert_eq!(string_table(&[]), 1);
        assert_eq!(string_table(&[b".hash", b".gnu.hash", b".text", b".text"]), 1 + 10 + 6);
    }
}
