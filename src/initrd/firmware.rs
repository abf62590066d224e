//! Firmware that modules ask the kernel for, found as the kernel finds it (Linux,
//! Documentation/driver-api/firmware/fw_search_path.rst).

use std::io;
use std::path::Path;

use super::plan::BuildError;
use super::tree::decompressed;

/// As the kernel's loader knows them, with CONFIG_FW_LOADER_COMPRESS.
const COMPRESSIONS: [&str; 3] = ["", ".xz", ".zst"];

/// A file of firmware below `directory` (`/usr/lib/firmware`), decompressed: so every kernel takes it, and the image is
/// compressed as a whole. `None` when it isn't there.
pub(super) fn read(
    directory: Option<&Path>,
    kernel: &str,
    name: &str,
) -> Result<Option<Vec<u8>>, BuildError> {
    let Some(directory) = directory else {
        return Ok(None);
    };
    let updates = directory.join("updates");
    let places = [
        updates.join(kernel),
        updates,
        directory.join(kernel),
        directory.to_owned(),
    ];
    for place in places {
        for compression in COMPRESSIONS {
            let path = place.join(format!("{name}{compression}"));
            match decompressed(&path) {
                Ok(content) => return Ok(Some(content)),
                Err(error)
                    if matches!(
                        error.kind(),
                        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory | io::ErrorKind::IsADirectory
                    ) => {}
                Err(source) => return Err(BuildError::Read { path, source }),
            }
        }
    }
    Ok(None)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use std::fs;
    use std::process::Command;

    #[test]
    fn files_are_found_where_the_kernel_looks_and_decompressed() {
        let place = tempfile::tempdir().unwrap();
        let at = |path: &str| place.path().join(path);
        let found = |name: &str| read(Some(place.path()), "6.0", name).unwrap();
        fs::create_dir_all(at("updates/6.0/vendor")).unwrap();
        fs::create_dir_all(at("vendor")).unwrap();
        for name in ["plain", "xz", "zst"] {
            fs::write(at("vendor").join(name), name).unwrap();
        }
        // By the real tools, as distributions do.
        for (tool, options, file) in [
            ("xz", &["--check=crc32"][..], "vendor/xz"),
            ("zstd", &["--quiet", "--rm"][..], "vendor/zst"),
        ] {
            assert!(
                Command::new(tool)
                    .args(options)
                    .arg(at(file))
                    .status()
                    .unwrap()
                    .success()
            );
            assert!(!at(file).exists());
        }
        for name in ["plain", "xz", "zst"] {
            assert_eq!(found(&format!("vendor/{name}")).unwrap(), name.as_bytes());
        }
        fs::write(at("updates/6.0/vendor/plain"), "newer").unwrap();
        assert_eq!(found("vendor/plain").unwrap(), b"newer");
        for name in ["vendor/none", "vendor", "vendor/plain/below"] {
            assert_eq!(found(name), None);
        }
        fs::write(at("vendor/broken.xz"), "no xz").unwrap();
        let error = read(Some(place.path()), "6.0", "vendor/broken")
            .unwrap_err()
            .to_string();
        assert!(error.contains("vendor/broken.xz can't be read"), "{error}");
        assert_eq!(read(None, "6.0", "vendor/plain").unwrap(), None);
    }
}
