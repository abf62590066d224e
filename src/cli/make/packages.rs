//! The packages of a configuration as parts of a system: from the lock's `.deb`s, or from a root file system.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::{Source, identity, remember, waiting};
use crate::cli::build::{Builder, How};
use crate::cli::output::errln;
use crate::config::Overlay;
use crate::layers::{Layers, Replacement, Request, With};
use crate::pins::{self, APT_ARCHIVES, Fetch, JOBS, METHOD};
use crate::store::cache::copy::Progress;
use crate::store::locks::TempRoots;
use crate::store::{Addition, Layout, StorePath};
use crate::system::make::host::locales;
use crate::system::make::memory::{self, Inputs};
use crate::system::own::{self, Programs};
use crate::system::packages_parts::{self as parts, Key, Parts};

/// Parts of the lock's packages: found, or built.
pub(super) fn of_lock(source: &Source, how: &How, layout: &Layout) -> Result<Parts> {
    let (config, lock) = (&source.config, &source.lock);
    if let Some(why) = pins::stale(config, lock) {
        bail!(
            "{} isn't of this configuration: {why}; `keel update` brings it up to date",
            source.lock_path.display()
        );
    }
    let debs = lock
        .packages
        .iter()
        .map(|pin| pins::path_of(pin, layout.store_dir()))
        .collect::<Result<Vec<_>, _>>()?;
    let mut roots = TempRoots::new(layout).context("temporary roots can't be made")?;
    let overlays = replacements(source, how, layout, &mut roots)?;
    let locales = locales(&config.system);
    let request = Request {
        lock,
        debs: &debs,
        exclude: &config.packages.exclude,
        setuid: &config.security.setuid,
        overlays: &overlays,
        locales: &locales,
    };
    let layers = Layers::new(layout, &request)?;
    if let Some(parts) = layers.find(layout, lock)? {
        return Ok(parts);
    }
    let builder = Builder::new(layout, how)?;
    let must_be_built = layers.must_be_built(layout)?;
    fetch(source, &builder, layout, must_be_built, &mut roots)?;
    builder.layers(&request, &mut roots, &mut |notice| log::info!("{notice}"))
}

/// Makes keel's own programs and, when they're needed, the lock's packages valid.
fn fetch(
    source: &Source,
    builder: &Builder,
    layout: &Layout,
    with_packages: bool,
    roots: &mut TempRoots,
) -> Result<()> {
    let progress = Progress::default();
    let deb_dirs = [PathBuf::from(APT_ARCHIVES)];
    let fetch = Fetch {
        layout,
        mirrors: &source.config.packages.mirrors,
        deb_dirs: &deb_dirs,
        caches: builder.caches(),
        trust: builder.trust(),
        jobs: JOBS,
        progress: &progress,
    };
    let keel = std::env::current_exe().context("this program's own place can't be found")?;
    let init = Some(keel.with_file_name("keel-init")).filter(|path| path.exists());
    let own = Programs {
        keel: &keel,
        init: init.as_deref(),
    };
    pins::provide(&fetch, &source.lock, &own, roots, &mut waiting)?;
    if !with_packages {
        return Ok(());
    }
    let _paths = crate::cli::copy::shown(&progress, || {
        pins::fetch(&fetch, &source.lock, roots, &mut waiting)
    })?;
    Ok(())
}

/// What `[[overlay]]` puts in the place of packages, in the store.
fn replacements(
    source: &Source,
    how: &How,
    layout: &Layout,
    roots: &mut TempRoots,
) -> Result<Vec<Replacement>> {
    let mut all = Vec::new();
    for overlay in &source.config.overlay {
        let package = overlay.package.clone();
        let failed = || format!("the overlay of {package}");
        let with = if let Some(recipe) = &overlay.recipe {
            let builder = Builder::new(layout, how).with_context(failed)?;
            let output = builder.recipe(&source.base.join(recipe), roots);
            With::Files(output.with_context(failed)?)
        } else {
            replacement(overlay, &source.base, layout).with_context(failed)?
        };
        all.push(Replacement { package, with });
    }
    Ok(all)
}

fn replacement(overlay: &Overlay, base: &Path, layout: &Layout) -> Result<With> {
    if let Some(path) = &overlay.path {
        return Ok(With::Files(StorePath::from_absolute(layout.store_dir(), path)?));
    }
    let deb = overlay
        .deb
        .as_ref()
        .context("deb, recipe or path has to say what takes its place")?;
    let file = base.join(deb);
    let name = file.file_name().unwrap_or_default().to_string_lossy();
    let allowed = |c: char| c.is_ascii_alphanumeric() || "+-._?=".contains(c);
    let name: String = name.chars().map(|c| if allowed(c) { c } else { '-' }).collect();
    let mut addition = Addition::begin(layout, &mut waiting)?;
    let path = addition.copy(&file, &name, METHOD)?;
    addition.commit()?;
    Ok(With::Deb(path))
}

/// Parts of a root file system. An archive that was taken apart before is found again as long as it's the same file.
pub(super) fn of_rootfs(rootfs: &Path, source: &Source, layout: &Layout) -> Result<Parts> {
    let keel = match source.lock.programs.get("keel") {
        Some(path) => StorePath::from_absolute(layout.store_dir(), path)?,
        None => add_keel(layout)?,
    };
    let setuid = &source.config.security.setuid;
    let key = Key::of([
        identity(rootfs),
        keel.base_name().as_bytes().to_vec(),
        serde_json::to_vec(setuid)?,
        source.lock.request.date.to_string().into_bytes(),
    ]);
    if rootfs.is_file()
        && let Some(found) = parts::find(layout, &key, &source.lock.ids)?
    {
        return Ok(found);
    }
    let making = parts::Making {
        layout,
        rootfs,
        ids: &source.lock.ids,
        keel: Some(&keel),
        setuid,
        overlays: &[],
        clamp: Some(source.lock.request.date).filter(|date| *date > 0),
    };
    Ok(parts::make(&making, &key, &mut |notice| {
        errln!("keel: {notice}");
    })?)
}

/// This very program, and the keel-init beside it, become a path of the store.
fn add_keel(layout: &Layout) -> Result<StorePath> {
    let keel = std::env::current_exe().context("this program's own place can't be found")?;
    let init = Some(keel.with_file_name("keel-init")).filter(|path| path.exists());
    let inputs = Inputs::of(
        "keel",
        [identity(&keel), init.as_deref().map(identity).unwrap_or_default()],
    );
    if let Some(found) = memory::find(layout, &inputs)? {
        return Ok(found);
    }
    let mut addition = Addition::begin(layout, &mut waiting)?;
    let pool = addition.pool()?;
    let tree = own::programs(
        &Programs {
            keel: &keel,
            init: init.as_deref(),
        },
        &pool,
    )?;
    let prepared = Addition::prepare(addition.temporary(), &tree, &pool)?;
    let path = addition.adopt(concat!("keel-", env!("CARGO_PKG_VERSION")), prepared)?;
    addition.commit()?;
    remember(layout, &inputs, &path)?;
    Ok(path)
}
