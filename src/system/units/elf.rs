//! Which libraries a program asks for: the dynamic section of an ELF file (System V gABI, "Dynamic Section"; ELF-64,
//! little endian). What is damaged or hostile gives an error or nothing, never a large allocation.

use std::io;

use crate::block::ReadAt;

const HEADER: usize = 64;
const PROGRAM_HEADER: usize = 56;
const ENTRY: usize = 16;
/// No real program comes near these.
const PROGRAM_HEADERS_MAX: u16 = 512;
const DYNAMIC_MAX: u64 = 1 << 20;
const STRINGS_MAX: u64 = 64 << 20;
const NEEDED_MAX: usize = 1024;
const NAME_MAX: usize = 4096;
const NOTES_MAX: u64 = 1 << 20;

const PT_LOAD: u32 = 1;
const PT_DYNAMIC: u32 = 2;
const PT_INTERP: u32 = 3;
const PT_NOTE: u32 = 4;
/// `.note.dlopen` (<https://systemd.io/ELF_DLOPEN_METADATA/>), of the owner `FDO`.
const NOTE_DLOPEN: u32 = 0x407c_0c0a;
const DT_NULL: u64 = 0;
const DT_NEEDED: u64 = 1;
const DT_STRTAB: u64 = 5;
const DT_STRSZ: u64 = 10;
const DT_RPATH: u64 = 15;
const DT_RUNPATH: u64 = 29;

/// What a program or library asks the dynamic loader for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Dynamic {
    /// `e_machine`: libraries of another one don't fit.
    pub machine: u16,
    /// The dynamic loader, for programs.
    pub interpreter: Option<String>,
    /// Names of libraries, or paths when they have a slash.
    pub needed: Vec<String>,
    /// Names of libraries that it opens when they're there, in alternatives: the first of each that is found.
    pub optional: Vec<Vec<String>>,
    /// Directories to search first, `$ORIGIN` as it is.
    pub rpath: Vec<String>,
    /// Directories to search first; `rpath` doesn't count then.
    pub runpath: Vec<String>,
}

/// Reads what `file` asks for; nothing when it is no such ELF file, or a damaged one. Errors are of reading only.
pub fn read(file: &dyn ReadAt) -> io::Result<Option<Dynamic>> {
    match Elf::read(file) {
        Ok(dynamic) => Ok(dynamic),
        // Its headers name what lies behind its end.
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        Err(error) => Err(error),
    }
}

struct Segment {
    kind: u32,
    offset: u64,
    address: u64,
    size: u64,
}

struct Elf<'a> {
    file: &'a dyn ReadAt,
    segments: Vec<Segment>,
}

impl Elf<'_> {
    fn read(file: &dyn ReadAt) -> io::Result<Option<Dynamic>> {
        let header = bytes(file, 0, HEADER)?;
        if !header.starts_with(b"\x7fELF\x02\x01") {
            return Ok(None);
        }
        let (Some(machine), Some(offset), Some(size), Some(count)) = (
            half(&header, 18),
            word(&header, 32),
            half(&header, 54),
            half(&header, 56),
        ) else {
            return Ok(None);
        };
        if usize::from(size) != PROGRAM_HEADER || count > PROGRAM_HEADERS_MAX {
            return Ok(None);
        }
        let table = bytes(file, offset, PROGRAM_HEADER * usize::from(count))?;
        let segments = table.chunks_exact(PROGRAM_HEADER).filter_map(segment).collect();
        let elf = Elf { file, segments };
        elf.dynamic(machine)
    }

    fn segment(&self, kind: u32) -> Option<&Segment> {
        self.segments.iter().find(|segment| segment.kind == kind)
    }

    fn dynamic(&self, machine: u16) -> io::Result<Option<Dynamic>> {
        let mut dynamic = Dynamic {
            machine,
            ..Dynamic::default()
        };
        if let Some(segment) = self.segment(PT_INTERP) {
            let Some(length) = usize::try_from(segment.size)
                .ok()
                .filter(|&length| length <= NAME_MAX)
            else {
                return Ok(None);
            };
            dynamic.interpreter = text(&bytes(self.file, segment.offset, length)?, 0);
        }
        dynamic.optional = self.optional()?;
        let Some(segment) = self.segment(PT_DYNAMIC) else {
            return Ok(Some(dynamic));
        };
        if segment.size > DYNAMIC_MAX {
            return Ok(None);
        }
        let length = usize::try_from(segment.size).unwrap_or(0);
        let table = bytes(self.file, segment.offset, length)?;
        let entries: Vec<(u64, u64)> = table
            .chunks_exact(ENTRY)
            .map_while(|entry| Some((word(entry, 0)?, word(entry, 8)?)))
            .take_while(|(tag, _)| *tag != DT_NULL)
            .collect();
        let value = |wanted| {
            entries
                .iter()
                .find(|(tag, _)| *tag == wanted)
                .map(|(_, value)| *value)
        };
        let Some(strings) = self.strings(value(DT_STRTAB), value(DT_STRSZ))? else {
            return Ok(Some(dynamic));
        };
        for (tag, at) in entries {
            let name = || text(&strings, usize::try_from(at).ok()?);
            match tag {
                DT_NEEDED if dynamic.needed.len() < NEEDED_MAX => dynamic.needed.extend(name()),
                DT_RPATH => dynamic.rpath = directories(name()),
                DT_RUNPATH => dynamic.runpath = directories(name()),
                _ => {}
            }
        }
        Ok(Some(dynamic))
    }

    // What the notes say of libraries that are opened while it runs. Damaged notes say nothing.
    fn optional(&self) -> io::Result<Vec<Vec<String>>> {
        let mut found = Vec::new();
        for segment in &self.segments {
            if segment.kind == PT_NOTE && segment.size <= NOTES_MAX {
                let length = usize::try_from(segment.size).unwrap_or(0);
                notes(&bytes(self.file, segment.offset, length)?, &mut found);
            }
        }
        Ok(found)
    }

    // The string table, which is named by its address in memory.
    fn strings(&self, address: Option<u64>, size: Option<u64>) -> io::Result<Option<Vec<u8>>> {
        let (Some(address), Some(size)) = (address, size.filter(|&size| size <= STRINGS_MAX)) else {
            return Ok(None);
        };
        let holds = |segment: &&Segment| {
            segment.kind == PT_LOAD && address >= segment.address && address - segment.address < segment.size
        };
        let Some(segment) = self.segments.iter().find(holds) else {
            return Ok(None);
        };
        let (Some(offset), Ok(length)) = (
            segment.offset.checked_add(address - segment.address),
            usize::try_from(size),
        ) else {
            return Ok(None);
        };
        bytes(self.file, offset, length).map(Some)
    }
}

#[derive(serde::Deserialize)]
struct OpenedLater {
    soname: Vec<String>,
}

/// Reads the notes of a segment: length of the owner's name, length of the content, type, name, content; each padded to
/// four bytes.
fn notes(mut notes: &[u8], found: &mut Vec<Vec<String>>) {
    loop {
        let number = |at: usize| Some(u32::from_le_bytes(notes.get(at..at + 4)?.try_into().ok()?));
        let (Some(name), Some(content), Some(kind)) = (number(0), number(4), number(8)) else {
            return;
        };
        let padded = |length: u32| {
            usize::try_from(length)
                .unwrap_or(usize::MAX)
                .checked_next_multiple_of(4)
        };
        let (Some(start), Some(room)) = (
            padded(name).and_then(|name| name.checked_add(12)),
            padded(content),
        ) else {
            return;
        };
        let text = notes
            .get(start..)
            .and_then(|rest| rest.get(..usize::try_from(content).ok()?));
        if kind == NOTE_DLOPEN && found.len() < NEEDED_MAX {
            let text = text
                .unwrap_or_default()
                .split(|&byte| byte == 0)
                .next()
                .unwrap_or_default();
            let later: Vec<OpenedLater> = serde_json::from_slice(text).unwrap_or_default();
            found.extend(later.into_iter().map(|later| later.soname));
        }
        match start.checked_add(room).and_then(|end| notes.get(end..)) {
            Some(rest) if !rest.is_empty() => notes = rest,
            _ => return,
        }
    }
}

fn segment(header: &[u8]) -> Option<Segment> {
    Some(Segment {
        kind: u32::from_le_bytes(header.get(..4)?.try_into().ok()?),
        offset: word(header, 8)?,
        address: word(header, 16)?,
        size: word(header, 32)?,
    })
}

// Nothing is allocated that the file hasn't got.
fn bytes(file: &dyn ReadAt, offset: u64, length: usize) -> io::Result<Vec<u8>> {
    let end = offset.checked_add(length as u64);
    if end.is_none_or(|end| file.size().map_or(true, |size| end > size)) {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    let mut buffer = vec![0; length];
    file.read_exact_at(offset, &mut buffer)?;
    Ok(buffer)
}

fn half(bytes: &[u8], at: usize) -> Option<u16> {
    Some(u16::from_le_bytes(bytes.get(at..at + 2)?.try_into().ok()?))
}

fn word(bytes: &[u8], at: usize) -> Option<u64> {
    Some(u64::from_le_bytes(bytes.get(at..at + 8)?.try_into().ok()?))
}

fn text(strings: &[u8], at: usize) -> Option<String> {
    let text = strings.get(at..)?;
    let end = text.iter().take(NAME_MAX).position(|&byte| byte == 0)?;
    let text = str::from_utf8(text.get(..end)?).ok()?;
    (!text.is_empty()).then(|| text.to_owned())
}

fn directories(list: Option<String>) -> Vec<String> {
    let list = list.unwrap_or_default();
    list.split(':')
        .filter(|directory| !directory.is_empty())
        .map(str::to_owned)
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;
    use proptest::prelude::*;

    // The machine's shell is dynamic: it names a loader and libc.
    fn shell() -> Vec<u8> {
        std::fs::read("/bin/sh").unwrap()
    }

    #[test]
    fn reads_what_readelf_reads() {
        let dynamic = read(&shell()).unwrap().unwrap();
        assert!(dynamic.interpreter.unwrap().contains("/ld-linux"));
        assert!(dynamic.needed.iter().any(|name| name == "libc.so.6"));
        // A library has no loader of its own; a static program nothing at all.
        let own = std::fs::read("/proc/self/exe").unwrap();
        assert_eq!(read(&own).unwrap().unwrap().needed, Vec::<String>::new());
        assert_eq!(read(&b"#!/bin/sh\n".to_vec()).unwrap(), None);
        assert_eq!(read(&Vec::new()).unwrap(), None);
        assert_eq!(read(&shell()[..200].to_vec()).unwrap(), None);
    }

    // As `readelf --notes --wide` prints that of a library of systemd 257.
    #[test]
    fn libraries_that_are_opened_later_are_read_from_notes() {
        let text = br#"[{"feature":"kmod","description":"Support for modules","priority":"recommended","soname":["libkmod.so.2"]}]"#;
        let mut note = b"\x04\0\0\0\x08\0\0\0\x03\0\0\0GNU\0abcdefgh".to_vec();
        note.extend_from_slice(&4_u32.to_le_bytes());
        note.extend_from_slice(&u32::try_from(text.len() + 1).unwrap().to_le_bytes());
        note.extend_from_slice(&NOTE_DLOPEN.to_le_bytes());
        note.extend_from_slice(b"FDO\0");
        note.extend_from_slice(text);
        note.push(0);
        note.resize(note.len().next_multiple_of(4), 0);
        let mut found = Vec::new();
        notes(&note, &mut found);
        assert_eq!(found, [["libkmod.so.2"]]);
        for end in 0..note.len() {
            notes(&note[..end], &mut Vec::new());
        }
        notes(&[0xff; 40], &mut Vec::new());
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(500))]
        // Headers and the dynamic section are where damage hurts.
        #[test]
        fn damage_never_panics(damage in prop::collection::vec((0usize..2000, any::<u8>()), 1..20), far in any::<prop::sample::Index>()) {
            let mut bytes = shell();
            for (at, byte) in damage {
                bytes[at] = byte;
            }
            let at = far.index(bytes.len());
            bytes[at] = 0xff;
            let _result = read(&bytes);
        }
    }
}
