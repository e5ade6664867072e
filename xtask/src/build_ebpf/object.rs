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
    paths.iter().copied().find(|path| {
        // "/" or "" as a home would match anything and betray nothing.
        path.len() > 1 && object.windows(path.len()).any(|w| w == path.as_bytes())
    })
}

/// The names of the object's sections, in order.
#[cfg(test)]
pub(crate) fn section_names(object: &[u8]) -> Result<Vec<String>> {
    let elf = Builder::read(object)?;
    Ok(elf.sections.iter().map(|s| s.name.to_string()).collect())
}
