//! Following links by hand: one may lead from one tree of several into another.

use std::io;

use super::{Found, Sources};

/// As many links as the kernel follows (path_resolution(7)).
const LINKS_MAX: usize = 40;

/// Where a path leads.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Resolved {
    /// Without links, `.` and `..`.
    pub path: String,
    /// What lies there: never a link.
    pub found: Found,
}

/// Follows all links of `path` below the root of `sources`. Nothing when it leads nowhere or in circles.
pub fn resolve(sources: &dyn Sources, path: &str) -> io::Result<Option<Resolved>> {
    let parts = |text: &str| -> Vec<String> { text.split('/').rev().map(str::to_owned).collect() };
    let mut pending = parts(path);
    let mut at = String::new();
    let mut found = Found::Directory;
    let mut links = 0;
    while let Some(part) = pending.pop() {
        match part.as_str() {
            "" | "." => continue,
            ".." => {
                at.truncate(at.rfind('/').unwrap_or(0));
                found = Found::Directory;
                continue;
            }
            _ => {}
        }
        if found != Found::Directory {
            return Ok(None);
        }
        let parent = at.len();
        at.push('/');
        at.push_str(&part);
        if is_null(&at) || at == "/dev" {
            found = if at == "/dev" {
                Found::Directory
            } else {
                Found::Other
            };
            continue;
        }
        match sources.look(&at)? {
            None | Some(Found::Whiteout) => return Ok(None),
            Some(Found::Symlink(target)) => {
                links += 1;
                if links > LINKS_MAX {
                    return Ok(None);
                }
                at.truncate(if target.starts_with('/') { 0 } else { parent });
                pending.extend(parts(&target));
                found = Found::Directory;
            }
            Some(other) => found = other,
        }
    }
    let path = if at.is_empty() { "/".to_owned() } else { at };
    Ok(Some(Resolved { path, found }))
}

/// Whether a path is that of the null device, which masks what links to it. Trees of systems hold no devices.
pub fn is_null(path: &str) -> bool {
    path == "/dev/null"
}
