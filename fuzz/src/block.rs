//! Superblocks, partition tables, and ELF files.

use keel::block::{partition, probe};
use keel::system::units::elf as reader;

use super::image::Image;

/// A device in pieces: its partitions have names, and what `probe` says of it is said again, and is fit to be shown.
pub(crate) fn probe(data: &[u8]) {
    let image = Image::decode(data);
    let found = probe::probe(&image).expect("an image gives no errors");
    assert_eq!(found, probe::probe(&image).expect("an image gives no errors"));
    for number in [1, 2, 5, u32::MAX] {
        let identity = partition::identity(&image, number).expect("an image gives no errors");
        assert!(identity.is_none_or(|found| found.uuid.contains('-')));
    }
    let Some(found) = found else { return };
    assert!(!found.kind.name().is_empty());
    for text in [&found.uuid, &found.label].into_iter().flatten() {
        assert!(!text.is_empty() && text.len() <= 2048, "{text:?}");
    }
}

/// An ELF file as it is.
pub(crate) fn elf(data: &[u8]) {
    let file = data.to_vec();
    if let Some(dynamic) = reader::read(&file).expect("memory gives no errors") {
        let names = dynamic.needed.iter().chain(&dynamic.interpreter);
        let directories = dynamic.rpath.iter().chain(&dynamic.runpath);
        assert!(
            names
                .chain(directories)
                .all(|name| !name.is_empty() && !name.contains('\0'))
        );
    }
}
