//! From the store into a cache in a directory.

use std::collections::BTreeMap;
use std::io::{self, Write};

use sha2::{Digest, Sha256};

use super::order::{in_order, run};
use super::{CopyError, Progress};
use crate::store::cache::directory::{Directory, Upload};
use crate::store::cache::keys::SecretKey;
use crate::store::cache::narinfo;
use crate::store::cache::narinfo::{Compression, NarInfo, fingerprint};
use crate::store::db::{Database, Direction, PathInfo};
use crate::store::locks::TempRoots;
use crate::store::{Layout, StorePath, base32, nar};

/// What is copied, and how.
#[derive(Clone, Copy, Debug)]
pub struct Push<'a> {
    /// The store.
    pub layout: &'a Layout,
    /// Where to.
    pub cache: &'a Directory,
    /// How archives are compressed there.
    pub compression: Compression,
    /// Signs what is copied.
    pub key: Option<&'a SecretKey>,
    /// How many paths at once.
    pub jobs: usize,
    /// How far it has come.
    pub progress: &'a Progress,
}

/// Copies valid `paths` and all that they need, as far as the cache hasn't it yet, and returns what was copied. In the cache
/// nothing is told of before all that it needs.
///
/// # Errors
/// The first fault. What was copied until then stays.
pub fn push(
    push: &Push<'_>,
    paths: &[StorePath],
    roots: &mut TempRoots,
) -> Result<Vec<StorePath>, CopyError> {
    roots.add_all(paths).map_err(|source| CopyError::Store {
        path: push.layout.physical(push.layout.state_dir()).join("temproots"),
        source,
    })?;
    let database = Database::open(
        &push.layout.physical(&push.layout.database_dir()),
        push.layout.store_dir(),
    )?;
    for path in paths {
        if !database.is_valid(path)? {
            return Err(CopyError::Source(path.clone(), "it isn't valid".to_owned()));
        }
    }
    push.cache.prepare(push.layout)?;
    let mut infos: Vec<PathInfo> = Vec::new();
    for path in database.closure(paths, Direction::References)? {
        let Some(info) = database.path_info(&path)? else {
            return Err(CopyError::Source(path, "it was deleted meanwhile".to_owned()));
        };
        let known = narinfo(push.cache, push.layout, &path)?;
        if known.is_none_or(|known| known.info.nar != info.nar) {
            infos.push(info);
        }
    }
    let index: BTreeMap<StorePath, usize> = infos
        .iter()
        .enumerate()
        .map(|(index, info)| (info.path.clone(), index))
        .collect();
    let needs: Vec<Vec<usize>> = infos
        .iter()
        .map(|info| {
            let others = info.references.iter().filter(|path| **path != info.path);
            others.filter_map(|path| index.get(path).copied()).collect()
        })
        .collect();
    let order = in_order(&needs).map_err(|circle| {
        CopyError::Circle(
            infos
                .get(circle)
                .map_or_else(StorePath::stand_in, |info| info.path.clone()),
        )
    })?;
    push.progress
        .begin(infos.len(), infos.iter().map(|info| info.nar.size).sum());
    let work = |index: usize| match infos.get(index) {
        Some(info) => archive(push, info),
        None => Err(CopyError::Circle(StorePath::stand_in())),
    };
    let mut copied = Vec::new();
    run(&order, &needs, push.jobs, &work, &mut |batch| {
        for (_, info) in batch {
            let name = format!("{}.narinfo", info.info.path.hash_part());
            push.cache
                .put(&name, info.print(push.layout.store_dir()).as_bytes())?;
            copied.push(info.info.path);
            push.progress.path();
        }
        Ok(())
    })?;
    Ok(copied)
}

/// Writes the archive of a path into the cache.
fn archive(push: &Push<'_>, info: &PathInfo) -> Result<NarInfo, CopyError> {
    let failed = |source| CopyError::Cache(push.cache.failed("nar", source));
    let mut file = Hashed {
        upload: push.cache.begin()?,
        sha256: Sha256::new(),
        bytes: 0,
    };
    let path = push.layout.physical_path(&info.path);
    let mut seen = |bytes: &[u8]| push.progress.bytes(bytes.len() as u64);
    let written = compressed(push.compression, &mut file, &mut |sink| {
        nar::hash_written(&mut seen, |hash| nar::write(&path, &mut Tee(hash, sink)))
    });
    let hash = written
        .map_err(failed)?
        .map_err(|error| CopyError::Source(info.path.clone(), error.to_string()))?;
    if hash != info.nar {
        return Err(CopyError::Source(
            info.path.clone(),
            "it isn't what the database says: see `keel store verify`".to_owned(),
        ));
    }
    let file_hash: [u8; 32] = file.sha256.finalize().into();
    let url = format!(
        "nar/{}.nar{}",
        base32::encode(&file_hash),
        push.compression.suffix()
    );
    push.cache.finish(file.upload, &url)?;
    let mut info = info.clone();
    if let Some(key) = push.key {
        let signature = key.sign(&fingerprint(&info, push.layout.store_dir()));
        if !info.signatures.contains(&signature) {
            info.signatures.push(signature);
        }
    }
    Ok(NarInfo {
        info,
        url,
        compression: push.compression,
        file_hash: Some(file_hash),
        file_size: Some(file.bytes),
    })
}

/// What the archive's writer says, once the compression has come to its end.
fn compressed<T>(
    compression: Compression,
    file: &mut Hashed,
    writer: &mut dyn FnMut(&mut dyn Write) -> T,
) -> io::Result<T> {
    match compression {
        Compression::None => Ok(writer(file)),
        Compression::Xz => {
            let mut encoder = liblzma::write::XzEncoder::new(file, 6);
            let written = writer(&mut encoder);
            encoder.try_finish()?;
            Ok(written)
        }
        Compression::Zstd => {
            let mut encoder = zstd::stream::write::Encoder::new(file, 3)?;
            let written = writer(&mut encoder);
            let _file = encoder.finish()?;
            Ok(written)
        }
    }
}

struct Hashed {
    upload: Upload,
    sha256: Sha256,
    bytes: u64,
}

impl Write for Hashed {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.upload.write(bytes)?;
        self.sha256.update(bytes.get(..count).unwrap_or_default());
        self.bytes += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.upload.flush()
    }
}

/// Writes everything twice.
struct Tee<'a>(&'a mut dyn Write, &'a mut dyn Write);

impl Write for Tee<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.write_all(bytes)?;
        self.1.write_all(bytes)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        self.0.flush()?;
        self.1.flush()
    }
}
