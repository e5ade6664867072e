//! The linked object, made fit to be committed: no DWARF, no path of the building machine.

use anyhow::{Context, Result, bail};
use object::build::elf::{Builder, SectionData};
use object::elf::SHT_STRTAB;

/// Removes the debug sections. BTF, which the loader reads and which gives the verifier's messages
/// their source lines, stays; DWARF is several times its size and nobody reads it.
pub(crate) fn strip(linked: &[u8]) -> Result<Vec<u8>> {
    let mut elf = Builder::read(linked).context("cannot read the object that bpf-linker wrote")?;
    let mut has_btf = false;
    for section in elf.sections.iter_mut() {
        let name = section.name.to_string();
        has_btf |= name == ".BTF";
        if [".debug_", ".rel.debug_", ".llvm_addrsig"]
            .iter()
            .any(|debug| name.starts_with(debug))
        {
            section.delete = true;
        }
    }
    if !has_btf {
        bail!(
            "the object has no BTF, so kernels would refuse its programs; is bpf-linker too old?"
        );
    }
    // LLVM keeps the sections' names in .strtab; the writer wants a table of their own.
    let names = elf.sections.add();
    names.name = ".shstrtab".into();
    names.sh_type = SHT_STRTAB;
    names.data = SectionData::SectionString;
    elf.delete_orphans();
    elf.set_section_sizes();
    let mut stripped = Vec::new();
    elf.write(&mut stripped)
        .context("cannot write the stripped object")?;
    Ok(stripped)
}

/// The first of `paths` that stands in the object. BTF's and the panics' strings are the places
/// where a compiler leaves them.
pub(crate) fn leaked_path<'a>(object: &[u8], paths: &[&'a str]) -> Option<&'a str> {
    // "/" or "" as a home would match anything and betray nothing.
    let telling = paths.iter().copied().filter(|path| path.len() > 1);
    telling.into_iter().find(|path| {
        let found = object.windows(path.len()).enumerate();
        found.filter(|(_, w)| *w == path.as_bytes()).any(|(at, _)| {
            // A repository in `/src` is not betrayed by `/crates/x/src`.
            let before = at.checked_sub(1).map_or(0, |at| object[at]);
            let after = object.get(at + path.len()).copied().unwrap_or(0);
            !in_name(before) && (path.ends_with('/') || !in_name(after))
        })
    })
}

/// Whether a byte can be part of a file's name.
fn in_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"-_.".contains(&byte)
}

/// The names of the object's sections, in order.
#[cfg(test)]
pub(crate) fn section_names(object: &[u8]) -> Result<Vec<String>> {
    let elf = Builder::read(object)?;
    Ok(elf.sections.iter().map(|s| s.name.to_string()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_path_is_found_where_it_begins() {
        let check = |object: &str, path, leaks: bool| {
            let found = leaked_path(object.as_bytes(), &[path]);
            assert_eq!(found.is_some(), leaks, "{path} in {object:?}");
        };
        check("\0/src/main.rs\0", "/src", true);
        check("\0/src\0", "/src", true);
        check("in /home/me/x\0", "/home/", true);
        check("\0/crates/aya/src/lib.rs\0", "/src", false);
        check("\0/srcs/lib.rs\0", "/src", false);
        check("\0/crates/x\0", "/", false);
    }
}
