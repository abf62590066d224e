//! Images made by the real cryptsetup, and ways to damage them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::cast_possible_truncation,
    dead_code,
    unused_results,
    reason = "tests/luks_headers has it as a module, too, and each of the two uses a part"
)]

use std::fs;
use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Output, Stdio};

use serde_json::Value;
use sha2::{Digest, Sha256};
use tempfile::TempDir;

pub(crate) const PASSPHRASE: &[u8] = b"correct horse battery staple";
/// Size of the images; the data starts at 2 MiB.
pub(crate) const IMAGE_SIZE: usize = 3 << 20;
pub(crate) const ARGON2ID: &[&str] = &[
    "--pbkdf=argon2id",
    "--pbkdf-memory=64",
    "--pbkdf-force-iterations=4",
    "--pbkdf-parallel=1",
];
pub(crate) const PBKDF2: &[&str] = &["--pbkdf=pbkdf2", "--pbkdf-force-iterations=1000"];

/// A device image in a directory of its own.
pub(crate) struct Image {
    dir: TempDir,
}

impl Image {
    /// `cryptsetup luksFormat --type luks2 ARGS` of 3 MiB.
    pub(crate) fn format(args: &[&str]) -> Self {
        let image = Self::holding(&[]);
        fs::File::create(image.path())
            .unwrap()
            .set_len(IMAGE_SIZE as u64)
            .unwrap();
        let mut all = vec![
            "luksFormat",
            "--type=luks2",
            "-q",
            "--offset=4096",
            "--luks2-keyslots-size=1m",
        ];
        all.extend_from_slice(args);
        image.cryptsetup(&all);
        image
    }

    /// `cryptsetup luksFormat --type KIND ARGS` of 3 MiB, or what cryptsetup says against it.
    pub(crate) fn try_format(kind: &str, args: &[&str]) -> Result<Self, String> {
        let image = Self::holding(&[]);
        fs::File::create(image.path())
            .unwrap()
            .set_len(IMAGE_SIZE as u64)
            .unwrap();
        let kind_arg = format!("--type={kind}");
        let mut all = vec!["luksFormat", &kind_arg, "-q", "--disable-locks", "--offset=4096"];
        if kind == "luks2" {
            all.push("--luks2-keyslots-size=1m");
        }
        all.extend_from_slice(args);
        let output = image.try_cryptsetup(&all, PASSPHRASE, b"");
        if output.status.success() {
            Ok(image)
        } else {
            Err(String::from_utf8_lossy(&output.stderr).into_owned())
        }
    }

    /// An image with given content.
    pub(crate) fn holding(bytes: &[u8]) -> Self {
        // In memory when there is such a directory: cryptsetup syncs after every write.
        let dir = TempDir::new_in("/dev/shm").or_else(|_| TempDir::new());
        let image = Self { dir: dir.unwrap() };
        fs::write(image.path(), bytes).unwrap();
        fs::write(image.file("passphrase"), PASSPHRASE).unwrap();
        image
    }

    pub(crate) fn path(&self) -> PathBuf {
        self.file("image")
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub(crate) fn bytes(&self) -> Vec<u8> {
        fs::read(self.path()).unwrap()
    }

    /// Runs `cryptsetup ARGS IMAGE` with the passphrase; it must succeed. A second passphrase goes to standard input.
    pub(crate) fn cryptsetup(&self, args: &[&str]) -> Output {
        let output = self.try_cryptsetup(args, PASSPHRASE, b"");
        assert!(
            output.status.success(),
            "cryptsetup {args:?}: {}",
            String::from_utf8_lossy(&output.stderr)
        );
        output
    }

    pub(crate) fn try_cryptsetup(&self, args: &[&str], passphrase: &[u8], stdin: &[u8]) -> Output {
        fs::write(self.file("passphrase"), passphrase).unwrap();
        let (verb, options) = args.split_first().unwrap();
        let mut child = Command::new("cryptsetup")
            .arg(verb)
            .args(options)
            .arg("--key-file")
            .arg(self.file("passphrase"))
            .arg(self.path())
            .args((*verb == "luksAddKey").then_some("-"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .expect("cryptsetup must be installed");
        child.stdin.take().unwrap().write_all(stdin).unwrap();
        child.wait_with_output().unwrap()
    }

    /// Adds a keyslot.
    pub(crate) fn add_key(&self, passphrase: &[u8], args: &[&str]) {
        let mut all = vec!["luksAddKey", "-q"];
        all.extend_from_slice(args);
        let output = self.try_cryptsetup(&all, PASSPHRASE, passphrase);
        assert!(
            output.status.success(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }

    /// The volume key by `cryptsetup luksDump --dump-volume-key`.
    pub(crate) fn volume_key(&self) -> Vec<u8> {
        let file = self.file("volume-key");
        let argument = format!("--volume-key-file={}", file.display());
        self.cryptsetup(&["luksDump", "-q", "--dump-volume-key", &argument]);
        fs::read(file).unwrap()
    }

    /// Whether `cryptsetup luksDump` reads the header, on a copy so that it repairs nothing here.
    pub(crate) fn cryptsetup_reads(bytes: &[u8]) -> bool {
        let image = Self::holding(bytes);
        image
            .try_cryptsetup(&["luksDump", "--disable-locks"], b"", b"")
            .status
            .success()
    }

    /// Whether `cryptsetup open --test-passphrase` opens it, on a copy.
    pub(crate) fn cryptsetup_opens(bytes: &[u8], passphrase: &[u8]) -> bool {
        Self::cryptsetup_opens_as("luks2", bytes, passphrase)
    }

    /// [`Image::cryptsetup_opens`] with `--type=KIND`.
    pub(crate) fn cryptsetup_opens_as(kind: &str, bytes: &[u8], passphrase: &[u8]) -> bool {
        let image = Self::holding(bytes);
        let kind = format!("--type={kind}");
        let args = ["open", "--test-passphrase", "--disable-locks", &kind];
        image.try_cryptsetup(&args, passphrase, b"").status.success()
    }
}

/// Size of one copy of the header.
fn header_size(bytes: &[u8]) -> usize {
    u64::from_be_bytes(bytes[8..16].try_into().unwrap()) as usize
}

/// Where the second copy lies.
pub(crate) fn secondary(bytes: &[u8]) -> usize {
    header_size(bytes)
}

/// Computes the checksum of the copy at `offset` anew.
pub(crate) fn reseal(bytes: &mut [u8], offset: usize) {
    let size = header_size(&bytes[offset..]);
    let header = &mut bytes[offset..offset + size];
    header[448..512].fill(0);
    let sum = Sha256::digest(&*header);
    header[448..448 + sum.len()].copy_from_slice(&sum);
}

/// The JSON of the first copy.
pub(crate) fn metadata(bytes: &[u8]) -> Value {
    let area = &bytes[4096..header_size(bytes)];
    let len = area.iter().position(|&byte| byte == 0).unwrap();
    serde_json::from_slice(&area[..len]).unwrap()
}

/// Writes a JSON area into both copies, whatever it is, and fills the rest with zeroes.
pub(crate) fn set_area(bytes: &mut [u8], text: &[u8]) {
    let size = header_size(bytes);
    for offset in [0, size] {
        let area = &mut bytes[offset + 4096..offset + size];
        area.fill(0);
        area[..text.len()].copy_from_slice(text);
        reseal(bytes, offset);
    }
}

/// Changes the metadata of both copies.
pub(crate) fn patch(bytes: &[u8], change: impl FnOnce(&mut Value)) -> Vec<u8> {
    let mut patched = bytes.to_vec();
    let mut value = metadata(bytes);
    change(&mut value);
    set_area(&mut patched, &serde_json::to_vec(&value).unwrap());
    patched
}
