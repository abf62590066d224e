//! `<hash part>.narinfo`: what a cache tells about a path (Nix manual, "Binary Cache"; Nix's `nar-info.cc`).

use crate::store::base32;
use crate::store::db::PathInfo;
use crate::store::nar::NarHash;
use crate::store::path::{PathError, StorePath};

/// Longer ones are refused: no path refers to a million others.
pub const LENGTH_MAX: u64 = 16 << 20;

/// Why a text is no narinfo.
#[derive(Debug, thiserror::Error)]
pub enum NarInfoError {
    /// A line without `: `.
    #[error("line {0} has no ': ' in it")]
    Line(usize),
    /// What has to be there.
    #[error("it has no {0}")]
    Missing(&'static str),
    /// What may be there once.
    #[error("it has more than one {0}")]
    Twice(&'static str),
    /// A value that can't be read.
    #[error("its {0} is '{1}', which can't be")]
    Value(&'static str, String),
    /// A path that is none.
    #[error("its {0}: {1}")]
    Path(&'static str, #[source] PathError),
    /// A place outside of the cache.
    #[error("its URL '{0}' leads out of the cache")]
    Url(String),
}

/// How an archive is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    /// Not at all.
    None,
    /// xz(1).
    Xz,
    /// zstd(1).
    Zstd,
}

impl Compression {
    /// Nix's name, which is also how the archive's name ends.
    pub fn name(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::Xz => "xz",
            Self::Zstd => "zstd",
        }
    }

    /// What follows `.nar` in names.
    pub fn suffix(self) -> &'static str {
        match self {
            Self::None => "",
            Self::Xz => ".xz",
            Self::Zstd => ".zst",
        }
    }

    /// From its name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::None, Self::Xz, Self::Zstd]
            .into_iter()
            .find(|compression| compression.name() == name)
    }
}

/// What a cache tells about a path.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NarInfo {
    /// What will be registered.
    pub info: PathInfo,
    /// Where the archive lies, relative to the cache.
    pub url: String,
    /// How it is compressed.
    pub compression: Compression,
    /// SHA-256 of what lies there.
    pub file_hash: Option<[u8; 32]>,
    /// Its bytes.
    pub file_size: Option<u64>,
}

impl NarInfo {
    /// Reads one of a cache for the store directory `store_dir`.
    ///
    /// # Errors
    /// Whatever Nix would refuse, and places outside of the cache.
    pub fn parse(text: &str, store_dir: &str) -> Result<Self, NarInfoError> {
        let mut fields = Fields::default();
        for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.is_empty()) {
            let (name, value) = match line.split_once(": ") {
                Some(pair) => pair,
                // Nix writes empty lists with the space, other writers without it.
                None => (line.strip_suffix(':').ok_or(NarInfoError::Line(number + 1))?, ""),
            };
            fields.take(name, value.trim())?;
        }
        fields.finish(store_dir)
    }

    /// As Nix writes it.
    pub fn print(&self, store_dir: &str) -> String {
        let info = &self.info;
        let mut lines = vec![
            format!("StorePath: {}", info.path.absolute(store_dir)),
            format!("URL: {}", self.url),
            format!("Compression: {}", self.compression.name()),
        ];
        if let Some(hash) = &self.file_hash {
            lines.push(format!("FileHash: sha256:{}", base32::encode(hash)));
        }
        if let Some(size) = self.file_size {
            lines.push(format!("FileSize: {size}"));
        }
        let references: Vec<_> = info.references.iter().map(StorePath::base_name).collect();
        lines.push(format!("NarHash: sha256:{}", base32::encode(&info.nar.sha256)));
        lines.push(format!("NarSize: {}", info.nar.size));
        lines.push(format!("References: {}", references.join(" ")));
        if let Some(deriver) = &info.deriver {
            lines.push(format!("Deriver: {}", deriver.base_name()));
        }
        lines.extend(
            info.signatures
                .iter()
                .map(|signature| format!("Sig: {signature}")),
        );
        lines.extend(info.ca.iter().map(|ca| format!("CA: {ca}")));
        lines.join("\n") + "\n"
    }
}

/// What is signed: path, hash and size of its archive, what it refers to.
pub fn fingerprint(info: &PathInfo, store_dir: &str) -> String {
    let references: Vec<_> = info
        .references
        .iter()
        .map(|path| path.absolute(store_dir))
        .collect();
    format!(
        "1;{};sha256:{};{};{}",
        info.path.absolute(store_dir),
        base32::encode(&info.nar.sha256),
        info.nar.size,
        references.join(",")
    )
}

#[derive(Default)]
struct Fields<'a> {
    path: Option<&'a str>,
    url: Option<&'a str>,
    compression: Option<&'a str>,
    file_hash: Option<&'a str>,
    file_size: Option<&'a str>,
    nar_hash: Option<&'a str>,
    nar_size: Option<&'a str>,
    references: Option<&'a str>,
    deriver: Option<&'a str>,
    ca: Option<&'a str>,
    signatures: Vec<&'a str>,
}

impl<'a> Fields<'a> {
    fn take(&mut self, name: &str, value: &'a str) -> Result<(), NarInfoError> {
        let (slot, name) = match name {
            "StorePath" => (&mut self.path, "StorePath"),
            "URL" => (&mut self.url, "URL"),
            "Compression" => (&mut self.compression, "Compression"),
            "FileHash" => (&mut self.file_hash, "FileHash"),
            "FileSize" => (&mut self.file_size, "FileSize"),
            "NarHash" => (&mut self.nar_hash, "NarHash"),
            "NarSize" => (&mut self.nar_size, "NarSize"),
            "References" => (&mut self.references, "References"),
            "Deriver" => (&mut self.deriver, "Deriver"),
            "CA" => (&mut self.ca, "CA"),
            "Sig" => {
                self.signatures.push(value);
                return Ok(());
            }
            // Later versions say more.
            _ => return Ok(()),
        };
        match slot.replace(value) {
            None => Ok(()),
            Some(_) => Err(NarInfoError::Twice(name)),
        }
    }

    fn finish(self, store_dir: &str) -> Result<NarInfo, NarInfoError> {
        let path = self.path.ok_or(NarInfoError::Missing("StorePath"))?;
        let path = StorePath::from_absolute(store_dir, path)
            .map_err(|error| NarInfoError::Path("StorePath", error))?;
        let url = self.url.ok_or(NarInfoError::Missing("URL"))?;
        check_url(url)?;
        // Nix's own default.
        let name = self
            .compression
            .filter(|name| !name.is_empty())
            .unwrap_or("bzip2");
        let compression =
            Compression::from_name(name).ok_or_else(|| NarInfoError::Value("Compression", short(name)))?;
        let size = number("NarSize", self.nar_size.ok_or(NarInfoError::Missing("NarSize"))?)?;
        let hash = self.nar_hash.ok_or(NarInfoError::Missing("NarHash"))?;
        let nar = NarHash {
            sha256: sha256("NarHash", hash)?,
            size,
        };
        let mut references = base_names("References", self.references.unwrap_or_default())?;
        references.sort_unstable();
        references.dedup();
        let deriver = self
            .deriver
            .filter(|deriver| !deriver.is_empty() && *deriver != "unknown-deriver")
            .map(|deriver| {
                StorePath::from_base_name(deriver).map_err(|error| NarInfoError::Path("Deriver", error))
            })
            .transpose()?;
        Ok(NarInfo {
            info: PathInfo {
                deriver,
                signatures: self.signatures.into_iter().map(str::to_owned).collect(),
                ca: self.ca.filter(|ca| !ca.is_empty()).map(str::to_owned),
                ..PathInfo::new(path, nar, references)
            },
            url: url.to_owned(),
            compression,
            file_hash: self
                .file_hash
                .filter(|hash| !hash.is_empty())
                .map(|hash| sha256("FileHash", hash))
                .transpose()?,
            file_size: self
                .file_size
                .map(|size| number("FileSize", size))
                .transpose()?
                .filter(|&size| size > 0),
        })
    }
}

/// Relative, and below the cache: neither another machine nor another directory is asked.
fn check_url(url: &str) -> Result<(), NarInfoError> {
    let leads_out = url.is_empty()
        || url.starts_with('/')
        || url.contains("://")
        || url.split('/').any(|part| part == "..")
        || url
            .chars()
            .any(|c| c.is_control() || c == '\\' || c == '?' || c == '#' || c == ' ');
    if leads_out {
        return Err(NarInfoError::Url(short(url)));
    }
    Ok(())
}

fn number(name: &'static str, text: &str) -> Result<u64, NarInfoError> {
    text.parse().map_err(|_| NarInfoError::Value(name, short(text)))
}

/// `sha256:` and base 32 or hexadecimal.
fn sha256(name: &'static str, text: &str) -> Result<[u8; 32], NarInfoError> {
    crate::store::db::sha256(text).ok_or_else(|| NarInfoError::Value(name, short(text)))
}

fn base_names(name: &'static str, text: &str) -> Result<Vec<StorePath>, NarInfoError> {
    text.split_whitespace()
        .map(|word| StorePath::from_base_name(word).map_err(|error| NarInfoError::Path(name, error)))
        .collect()
}

fn short(text: &str) -> String {
    text.chars()
        .take(100)
        .map(|c| if c.is_control() { '?' } else { c })
        .collect()
}
