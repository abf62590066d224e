//! boot.json: bootspec v1 (RFC 125) and keel's extension. No I/O.

use serde::{Deserialize, Serialize};

/// More than any real document; what is larger isn't read.
pub const LARGEST: u64 = 1 << 20;

/// `boot.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BootSpec {
    /// The part that every boot tool reads.
    #[serde(rename = "org.nixos.bootspec.v1")]
    pub v1: BootSpecV1,
    /// keel's own part. A system without it (NixOS's) is foreign.
    #[serde(rename = "io.keel.system.v1", default, skip_serializing_if = "Option::is_none")]
    pub keel: Option<KeelSystem>,
}

/// `org.nixos.bootspec.v1`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct BootSpecV1 {
    /// `x86_64-linux`
    pub system: String,
    /// The first program of the running system.
    pub init: String,
    /// Store path of the initrd.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub initrd: Option<String>,
    /// Store path of the kernel.
    pub kernel: String,
    /// Kernel parameters, without those that a boot entry adds.
    pub kernel_params: Vec<String>,
    /// What people call the system.
    pub label: String,
    /// Store path of the system, or the empty string inside of the system itself, which can't know its own hash.
    pub toplevel: String,
}

/// `io.keel.system.v1`
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct KeelSystem {
    /// Version of the kernel, as `uname -r` prints it.
    pub kernel_version: String,
    /// Store path of the composefs image of `/usr`.
    pub usr_image: String,
    /// Store path of the composefs image of `/etc`.
    pub etc_image: String,
    /// Store path of the modules tree.
    pub modules: String,
}

/// A document that can't be used.
#[derive(Debug, thiserror::Error)]
#[error("boot.json can't be used: {0}")]
pub struct BootSpecError(#[from] serde_json::Error);

impl BootSpec {
    /// Reads a document.
    pub fn parse(bytes: &[u8]) -> Result<BootSpec, BootSpecError> {
        Ok(serde_json::from_slice(bytes)?)
    }

    /// Writes a document.
    pub fn to_json(&self) -> Result<String, BootSpecError> {
        let mut text = serde_json::to_string_pretty(self)?;
        text.push('\n');
        Ok(text)
    }
}
