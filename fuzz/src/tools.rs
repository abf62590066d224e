//! What only the administrator's command reads and writes.

use std::io::{self, Cursor, Seek, SeekFrom, Write};

use keel::activate::Line;
use keel::boot::record::{Boot, Record};
use keel::initrd::Archive;
use keel::layers::deb::unpack_data;
use keel::pins::Lock;
use keel::pins::deb822::{date, paragraphs, signed_text};
use keel::pins::index::{Index, Listed};
use keel::pins::sources::Source;

/// A switch journal: every line that is an event is written and read again as the same.
pub(crate) fn journal(data: &[u8]) {
    for line in data.split(|&byte| byte == b'\n') {
        let Ok(read) = serde_json::from_slice::<Line>(line) else {
            continue;
        };
        let text = serde_json::to_vec(&read).expect("a line can be written");
        assert!(!text.contains(&b'\n'), "a line with a line break");
        assert_eq!(
            serde_json::from_slice::<Line>(&text).expect("what was written"),
            read
        );
    }
}

/// A generations.json.
pub(crate) fn generations(data: &[u8]) {
    let Ok(mut record) = serde_json::from_slice::<Record>(data) else {
        return;
    };
    let text = serde_json::to_vec_pretty(&record).expect("a record can be written");
    assert_eq!(
        serde_json::from_slice::<Record>(&text).expect("what was written"),
        record
    );
    let running = record
        .trial
        .as_ref()
        .map_or("/nix/store/x", |trial| &trial.system)
        .to_owned();
    for system in ["/nix/store/another", &running] {
        let _ = record.judge_trial(system);
        record.note_boot(
            system,
            Boot {
                time: 1,
                healthy: true,
                reason: String::new(),
            },
        );
        assert!(record.is_proven(system) && record.systems[system].boots.len() <= 20);
        let _ = record.bless(system);
    }
    assert!(record.last_good.is_some() && record.trial.is_none());
}

/// A text of Debian's: an index, a release file, sources; or a lock.
pub(crate) fn deb822(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let signed = signed_text(&text);
    for paragraph in paragraphs(&signed) {
        let fields: Vec<_> = paragraph.fields().collect();
        assert!(!fields.is_empty(), "a paragraph of nothing");
        let again = format!("{}\n\n", paragraph.text());
        let mut read = paragraphs(&again);
        let same = read.next().expect("a paragraph");
        assert_eq!(same.fields().collect::<Vec<_>>(), fields);
        assert!(read.next().is_none(), "two paragraphs of one");
        if let Some(text) = paragraph.get("Date") {
            assert!(date(text).is_none_or(|seconds| (0..=253_402_300_800).contains(&seconds)));
        }
    }
    for source in text
        .lines()
        .filter_map(Source::from_line)
        .chain(Source::from_deb822(&text))
    {
        assert!(!source.line().contains('\n'), "a line with a line break");
    }
    let lists = [Listed {
        uri: "file:/srv".to_owned(),
        suite: "trixie".to_owned(),
        is_mirror: true,
        text: signed.into_owned(),
    }];
    let index = Index::new(&lists);
    let mut lock = Lock {
        version: keel::pins::VERSION,
        ..Lock::default()
    };
    lock.packages = index.all().filter_map(|package| package.pin()).collect();
    for pin in &lock.packages {
        keel::pins::path_of(pin, "/nix/store").expect("a pin has a place in the store");
    }
    let written = lock.text().expect("a lock can be written");
    assert_eq!(Lock::parse(&written, "lock").expect("what was written"), lock);
    match Lock::parse(&text, "lock") {
        Ok(lock) => assert_eq!(
            Lock::parse(&lock.text().expect("text"), "lock").expect("the same"),
            lock
        ),
        Err(error) => assert!(!error.to_string().contains('\n'), "an error of several lines"),
    }
}

/// A newc archive: what keel writes of its entries is an archive with the same entries.
pub(crate) fn newc(data: &[u8]) {
    let mut archive = Archive::default();
    for entry in entries(data) {
        let Ok(name) = std::str::from_utf8(entry.name) else {
            continue;
        };
        let mode = entry.mode & 0o7777;
        let added = match entry.mode & 0o170_000 {
            0o040_000 => archive.directory(name, mode),
            0o120_000 => match std::str::from_utf8(entry.content) {
                Ok(target) => archive.link(name, target),
                Err(_) => continue,
            },
            0o020_000 => archive.character_device(name, mode, entry.major, entry.minor),
            _ => archive.file(name, mode, entry.content.to_vec()),
        };
        if let Err(error) = added {
            assert!(!error.to_string().is_empty());
        }
    }
    let plain = archive.to_bytes().expect("memory takes all");
    let list: Vec<(&str, usize)> = archive.list().collect();
    let mut aligned = Vec::new();
    archive.write_aligned(&mut aligned, 64).expect("memory takes all");
    let (first, second) = (entries(&plain), entries(&aligned));
    assert_eq!(first.len(), list.len());
    for (entry, (name, bytes)) in first.iter().zip(list) {
        assert_eq!((entry.name, entry.content.len()), (name.as_bytes(), bytes));
    }
    assert!(first.is_sorted_by(|one, other| one.name < other.name));
    for (one, other) in first.iter().zip(&second) {
        assert_eq!(
            (one.name, one.mode, one.content),
            (other.name, other.mode, other.content)
        );
        assert!(other.content.is_empty() || other.at.is_multiple_of(64));
    }
    assert_eq!(first.len(), second.len());
}

/// More bytes than this are not unpacked of an input.
const UNPACKED_MAX: u64 = 4 << 20;

/// Memory that is full at some point, as a disk is.
#[derive(Default)]
struct Bounded(Cursor<Vec<u8>>);

impl Write for Bounded {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.0.position() > UNPACKED_MAX {
            return Err(io::ErrorKind::StorageFull.into());
        }
        self.0.write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Seek for Bounded {
    fn seek(&mut self, to: SeekFrom) -> io::Result<u64> {
        self.0.seek(to)
    }
}

/// A package: what its archives are unpacked into is a package that says and holds the same.
pub(crate) fn deb(data: &[u8]) {
    let mut once = Bounded::default();
    let control = match unpack_data(data, &mut once) {
        Ok(control) => control,
        Err(error) => {
            let text = error.to_string();
            assert!(!text.is_empty() && !text.contains('\n'), "{text:?}");
            return;
        }
    };
    let once = once.0.into_inner();
    let mut twice = Bounded::default();
    let again = unpack_data(once.as_slice(), &mut twice).expect("what was written is a package");
    assert_eq!(again, control);
    assert_eq!(twice.0.into_inner(), once);
}

struct Entry<'a> {
    name: &'a [u8],
    mode: u32,
    major: u32,
    minor: u32,
    content: &'a [u8],
    /// Where the content is.
    at: usize,
}

/// A reader of newc archives that owes nothing to the writer (Linux, buffer-format.rst): entries up to the trailer, or up
/// to what is none.
fn entries(data: &[u8]) -> Vec<Entry<'_>> {
    let mut entries = Vec::new();
    let mut at = 0;
    while let Some((entry, next)) = entry(data, at) {
        if entry.name == b"TRAILER!!!" {
            break;
        }
        entries.push(entry);
        at = next;
    }
    entries
}

fn entry(data: &[u8], start: usize) -> Option<(Entry<'_>, usize)> {
    let header = data.get(start..start.checked_add(110)?)?;
    if !header.starts_with(b"070701") {
        return None;
    }
    let field = |number: usize| {
        let digits = std::str::from_utf8(&header[6 + 8 * number..14 + 8 * number]).ok()?;
        u32::from_str_radix(digits, 16).ok()
    };
    let (size, name_size) = (field(6)? as usize, field(11)? as usize);
    let name = data.get(start + 110..(start + 110).checked_add(name_size)?)?;
    let at = (start + 110 + name_size).next_multiple_of(4);
    let content = data.get(at..at.checked_add(size)?)?;
    let entry = Entry {
        name: name.split(|&byte| byte == 0).next()?,
        mode: field(1)?,
        major: field(9)?,
        minor: field(10)?,
        content,
        at,
    };
    Some((entry, (at + size).next_multiple_of(4)))
}
