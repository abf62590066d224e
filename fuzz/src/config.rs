//! `system.toml`: files of a configuration and what the command line adds, with NULs between them.

use std::io;
use std::path::Path;

use keel::config::{Sources, load};

/// What loads is written as a configuration that is the same when it's loaded; what doesn't has problems with places.
pub(crate) fn system_toml(data: &[u8]) {
    let mut parts = data.split(|&byte| byte == 0);
    let main = parts.next().unwrap_or_default();
    let imported = parts.next().unwrap_or_default();
    let overrides: Vec<String> = parts
        .map(|part| String::from_utf8_lossy(part).into_owned())
        .collect();
    let loaded = match load_of(main, imported, &overrides) {
        Ok(loaded) => loaded,
        Err(problems) => {
            assert!(!problems.0.is_empty());
            for problem in &problems.0 {
                let text = problem.to_string();
                assert!(!text.contains(char::is_control), "{text:?}");
                assert!(problem.place.line() > 0 && problem.place.column() > 0);
            }
            return;
        }
    };
    let text = loaded.to_toml().expect("a configuration can be written");
    let again = load_of(text.as_bytes(), b"", &[]).expect("what was written can be loaded");
    assert_eq!(again.config, loaded.config);
}

fn load_of(
    main: &[u8],
    imported: &[u8],
    overrides: &[String],
) -> Result<keel::config::Loaded, keel::config::Problems> {
    load(&Sources {
        path: Path::new("/c/system.toml"),
        overrides,
        read: &|path| match path.to_str() {
            Some("/c/system.toml") => Ok(main.to_vec()),
            Some(name) if name.ends_with("hardware.toml") => Ok(imported.to_vec()),
            _ => Err(io::ErrorKind::NotFound.into()),
        },
        exists: &|_| true,
    })
}
