//! `builtin:fetchurl`: the one builder of Nix's own that keel has, for what bootstraps everything else.

use std::fs::File;
use std::io::{self, Read, Seek};
use std::path::Path;

use liblzma::read::XzDecoder;

use super::failure::Cause;
use super::place::Place;
use crate::store::cache::download;
use crate::store::derivation::Derivation;
use crate::store::nar;

/// Fetches what `url` says to where the output goes. The content is checked against the derivation's hash afterwards, as that
/// of every fixed output; no other derivation may do this.
pub(super) fn run(derivation: &Derivation, place: &Place, most: u64) -> Result<(), Cause> {
    let fixed = derivation.fixed_output().is_some();
    let output = derivation
        .outputs
        .get("out")
        .and_then(|output| output.path.as_ref());
    let (Some(path), true) = (output, fixed) else {
        return Err(Cause::Builtin("builtin:fetchurl without a hash".to_owned()));
    };
    let url = derivation.variable("url").unwrap_or_default();
    let failed = |source| Cause::Fetch {
        url: url.to_owned(),
        source,
    };
    let target = place.output(path);
    if let Some(parent) = target.parent() {
        std::fs::create_dir_all(parent).map_err(Cause::file(parent))?;
    }
    let is_set = |name: &str| derivation.variable(name) == Some("1");
    if is_set("unpack") {
        return unpack(url, &target, &place.beside("fetched"), most);
    }
    let mut file = File::create_new(&target).map_err(Cause::file(&target))?;
    let _bytes = download(url, &mut file, most).map_err(failed)?;
    if is_set("executable") {
        use std::os::unix::fs::PermissionsExt;
        let mode = std::fs::Permissions::from_mode(0o755);
        file.set_permissions(mode).map_err(Cause::file(&target))?;
    }
    Ok(())
}

/// An archive of Nix's, compressed by xz when its name says so.
fn unpack(url: &str, target: &Path, scratch: &Path, most: u64) -> Result<(), Cause> {
    let failed = |source| Cause::Fetch {
        url: url.to_owned(),
        source,
    };
    let mut file = File::options()
        .read(true)
        .write(true)
        .create_new(true)
        .open(scratch)
        .map_err(Cause::file(scratch))?;
    let _bytes = download(url, &mut file, most).map_err(failed)?;
    file.rewind().map_err(Cause::file(scratch))?;
    let file = io::BufReader::new(file);
    let mut source: Box<dyn Read> = if url.ends_with(".xz") {
        Box::new(XzDecoder::new(file))
    } else {
        Box::new(file)
    };
    let _nar = nar::unpack(&mut source, target, most, &mut |_| {})
        .map_err(|error| failed(io::Error::other(error.to_string())))?;
    Ok(())
}
