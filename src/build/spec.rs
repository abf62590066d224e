//! What a sandbox is made of, as the stages hand it on.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

/// A sandbox, and what runs in it.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Sandbox {
    /// An empty directory of the host's that becomes the root. It belongs to the first id of the range, and lies in the file
    /// system of the store, so that outputs can be renamed.
    pub root: PathBuf,
    /// The directory of the host's that the builder sees as `/build`.
    pub build_directory: PathBuf,
    /// `/nix/store`: outputs are made there.
    pub store_dir: String,
    /// What the builder sees beside that, read only.
    pub inputs: Vec<Input>,
    /// The program, as the sandbox sees it.
    pub builder: Vec<u8>,
    /// Its arguments.
    pub arguments: Vec<Vec<u8>>,
    /// Its whole environment: names and values.
    pub environment: Vec<(Vec<u8>, Vec<u8>)>,
    /// The host's number of the sandbox's id 0; 65,536 follow.
    pub first_id: u32,
    /// Whether the builder is root inside, and may use all ids (`uid-range`).
    pub is_root: bool,
    /// Whether it's in the host's network: only where the output is known beforehand.
    pub has_network: bool,
    /// What its outputs may have together, and the largest file that it may write, in bytes.
    pub output_bytes_max: u64,
    /// Memory that its processes may use together, in bytes; none of them gets more for itself.
    pub memory_bytes_max: Option<u64>,
}

/// A path of the host's in a sandbox.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Input {
    /// On the host.
    pub source: PathBuf,
    /// In the sandbox, absolute.
    pub target: PathBuf,
}
