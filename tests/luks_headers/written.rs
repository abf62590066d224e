//! Everything that `cryptsetup luksFormat` writes: version, key derivation, hash, cipher, key size, sector size.

use std::sync::Mutex;

use keel::block::luks::{Header, Version};

use crate::fixture::{Image, PASSPHRASE};
use crate::for_all;

const KDFS: &[&str] = &["pbkdf2", "argon2i", "argon2id"];
/// All that cryptsetup with OpenSSL 3.0 or libgcrypt 1.10 may know.
const HASHES: &[&str] = &[
    "sha256",
    "sha1",
    "sha224",
    "sha384",
    "sha512",
    "sha512-224",
    "sha512-256",
    "sha3-224",
    "sha3-256",
    "sha3-384",
    "sha3-512",
    "ripemd160",
    "whirlpool",
    "blake2b-512",
    "blake2s-256",
    "sm3",
    "md5",
];
const CIPHERS: &[&str] = &[
    "aes-xts-plain64",
    "aes-xts-plain",
    "aes-cbc-essiv:sha256",
    "aes-cbc-plain64",
    "aes-cbc-plain",
    "aes-xts-essiv:sha256",
    "aes-cbc-plain64be",
    "aes-cbc-benbi",
    "aes-cbc-null",
    "aes-cbc-eboiv",
    "aes-ctr-plain64",
    "aes-ecb",
    "serpent-xts-plain64",
    "serpent-cbc-essiv:sha256",
    "twofish-xts-plain64",
    "twofish-cbc-plain64",
];
const KEY_BITS: &[u32] = &[128, 192, 256, 384, 512];
const SECTORS: &[u32] = &[512, 1024, 2048, 4096];

/// What cryptsetup says when it can't write a header. The one about device-mapper comes when its crypto library lacks the
/// cipher of the keyslot, or the key size is wrong, and it would need the kernel.
const SAYS_NO: &[&str] = &[
    "is not supported",
    "Cannot initialize device-mapper",
    "Failed to set pbkdf parameters",
    "Unsupported",
];

#[derive(Clone, Debug, PartialEq, Eq)]
struct Case {
    version: Version,
    kdf: &'static str,
    hash: &'static str,
    cipher: &'static str,
    key_bits: u32,
    sector: u32,
}

const PLAIN: Case = Case {
    version: Version::Luks2,
    kdf: "pbkdf2",
    hash: "sha256",
    cipher: "aes-xts-plain64",
    key_bits: 512,
    sector: 512,
};

/// The two parameters that mean most for each other vary together; the whole product would take minutes.
fn cases() -> Vec<Case> {
    let mut cases = Vec::new();
    for &hash in HASHES {
        for &kdf in KDFS {
            cases.push(Case { kdf, hash, ..PLAIN });
        }
        cases.push(Case {
            hash,
            version: Version::Luks1,
            ..PLAIN
        });
        // A hash whose length is no multiple of the key's, and the other way round.
        cases.push(Case {
            hash,
            cipher: "aes-cbc-essiv:sha256",
            key_bits: 192,
            version: Version::Luks1,
            ..PLAIN
        });
    }
    for &cipher in CIPHERS {
        for &key_bits in KEY_BITS {
            for version in [Version::Luks1, Version::Luks2] {
                cases.push(Case {
                    version,
                    cipher,
                    key_bits,
                    ..PLAIN
                });
            }
        }
    }
    for &sector in SECTORS {
        for cipher in ["aes-xts-plain64", "aes-cbc-essiv:sha256"] {
            for kdf in ["argon2id", "argon2i"] {
                cases.push(Case {
                    sector,
                    cipher,
                    key_bits: 256,
                    kdf,
                    ..PLAIN
                });
            }
        }
    }
    cases
}

impl Case {
    fn format(&self) -> Result<Image, String> {
        let mut args = vec![
            format!("--hash={}", self.hash),
            format!("--cipher={}", self.cipher),
            format!("--key-size={}", self.key_bits),
            format!("--pbkdf={}", self.kdf),
        ];
        args.extend(match self.kdf {
            "pbkdf2" => vec!["--pbkdf-force-iterations=1000".to_owned()],
            _ => [
                "--pbkdf-force-iterations=4",
                "--pbkdf-memory=32",
                "--pbkdf-parallel=1",
            ]
            .map(str::to_owned)
            .to_vec(),
        });
        let kind = match self.version {
            Version::Luks1 => "luks1",
            Version::Luks2 => {
                args.push(format!("--sector-size={}", self.sector));
                "luks2"
            }
        };
        let args: Vec<&str> = args.iter().map(String::as_str).collect();
        Image::try_format(kind, &args)
    }

    /// What must be there whatever crypto library cryptsetup has: nobody should be locked out of these.
    fn is_common(&self) -> bool {
        let hash = ["sha1", "sha256", "sha512", "ripemd160"].contains(&self.hash);
        let xts = self.cipher.starts_with("aes-xts-plain") && [256, 512].contains(&self.key_bits);
        let cbc = ["aes-cbc-essiv:sha256", "aes-cbc-plain64", "aes-cbc-plain"].contains(&self.cipher)
            && [128, 256].contains(&self.key_bits);
        hash && (xts || cbc)
    }
}

#[test]
fn every_header_that_cryptsetup_writes_opens_to_its_volume_key() {
    let cases = cases();
    let refused = Mutex::new(Vec::new());
    for_all(&cases, |case| {
        let image = match case.format() {
            Ok(image) => image,
            Err(said) => {
                assert!(!case.is_common(), "{case:?}: cryptsetup says {said}");
                assert!(
                    SAYS_NO.iter().any(|no| said.contains(no)),
                    "{case:?}: cryptsetup says {said:?}"
                );
                refused.lock().unwrap().push(case.clone());
                return;
            }
        };
        let bytes = image.bytes();
        let (header, warnings) = Header::read(&bytes).unwrap_or_else(|error| panic!("{case:?}: {error}"));
        assert!(warnings.is_empty(), "{case:?}: {warnings:?}");
        assert_eq!(header.version(), case.version);
        assert_eq!(header.cipher(), case.cipher);
        header
            .check_keyslots(&bytes)
            .unwrap_or_else(|error| panic!("{case:?}: {error}"));
        let unlocked = header
            .unlock(&bytes, PASSPHRASE)
            .unwrap_or_else(|error| panic!("{case:?}: {error}"));
        assert_eq!(unlocked.key.as_bytes(), image.volume_key(), "{case:?}");
        if case.is_common() {
            assert!(
                header.unlock(&bytes, b"wrong").unwrap_err().is_wrong_passphrase(),
                "{case:?}"
            );
        }
        assert!(header.segment_reader(&bytes, &unlocked.key).is_ok(), "{case:?}");
    });
    let refused = refused.into_inner().unwrap();
    println!(
        "{} headers, {} more that cryptsetup does not write:",
        cases.len() - refused.len(),
        refused.len()
    );
    for case in &refused {
        println!("  {case:?}");
    }
}
