//! boot.json: bootspec v1 (RFC 125) and keel's extension. Bytes in, bytes out.

use serde::{Deserialize, Serialize};

/// A longer boot.json is refused unread.
pub const SIZE_MAX: u64 = 256 << 10;
/// Bytes that the kernel takes on x86 (`COMMAND_LINE_SIZE`), with the NUL at its end.
const COMMAND_LINE_MAX: usize = 2048;
/// Longer texts are no paths and no labels.
const TEXT_MAX: usize = 4096;

/// Why a boot.json can't be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BootSpecError {
    /// More than [`SIZE_MAX`] bytes.
    #[error("boot.json is larger than {SIZE_MAX} bytes")]
    TooLarge,
    /// No JSON, or another shape.
    #[error("boot.json doesn't parse: {0}")]
    Syntax(String),
    /// For another kind of machine.
    #[error("boot.json is for '{0}', this keel boots {SYSTEM}")]
    OtherSystem(String),
    /// A field that must be an absolute path without `..` isn't.
    #[error("boot.json: {field} is '{value}', not an absolute path")]
    BadPath {
        /// Its name.
        field: &'static str,
        /// What it holds.
        value: String,
    },
    /// A field holds what can't go where it is meant for.
    #[error("boot.json: {field} is '{value}': {why}")]
    BadText {
        /// Its name.
        field: &'static str,
        /// What it holds.
        value: String,
        /// What is wrong with it.
        why: &'static str,
    },
}

/// The only kind of machine that is booted.
pub const SYSTEM: &str = "x86_64-linux";

/// What a system says about being booted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BootSpec {
    /// The standard part.
    #[serde(rename = "org.nixos.bootspec.v1")]
    pub v1: V1,
    /// keel's part.
    #[serde(rename = "io.keel.system.v1")]
    pub keel: Keel,
}

/// Bootspec v1, RFC 125.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct V1 {
    /// `x86_64-linux`.
    pub system: String,
    /// The first program of the real root, on the assembled root.
    pub init: String,
    /// The initrd, in the store.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub initrd: Option<String>,
    /// The kernel, in the store.
    pub kernel: String,
    /// Kernel parameters, one each.
    pub kernel_params: Vec<String>,
    /// What the menu shows.
    pub label: String,
    /// The system itself.
    pub toplevel: String,
}

/// keel's extension: what the root is assembled from.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Keel {
    /// The name that the system was given.
    pub name: String,
    /// As `uname -r` says it.
    pub kernel_version: String,
    /// The composefs image of `/usr`, in the store.
    pub usr_image: String,
    /// The composefs image of `/etc`, in the store.
    pub etc_image: String,
    /// The tree of the kernel's modules, in the store: `lib/modules/<version>`, a layer of `/usr`.
    pub modules: String,
    /// The directory of objects that the images refer to.
    pub objects: String,
}

impl BootSpec {
    /// Reads a boot.json and checks that every field can be used for what it is meant for.
    pub fn parse(bytes: &[u8]) -> Result<Self, BootSpecError> {
        if bytes.len() as u64 > SIZE_MAX {
            return Err(BootSpecError::TooLarge);
        }
        let spec: Self = serde_json::from_slice(bytes)
            .map_err(|error| BootSpecError::Syntax(short(&error.to_string())))?;
        spec.check()?;
        Ok(spec)
    }

    /// As JSON, with a newline at its end. Equal specs give equal bytes.
    pub fn to_json(&self) -> String {
        // Maps with keys that are no strings are all that could fail.
        serde_json::to_string_pretty(self)
            .map(|text| text + "\n")
            .unwrap_or_default()
    }

    /// Checks what [`BootSpec::parse`] checks, for a spec that was made here.
    pub fn check(&self) -> Result<(), BootSpecError> {
        if self.v1.system != SYSTEM {
            return Err(BootSpecError::OtherSystem(short(&self.v1.system)));
        }
        let paths = [
            ("init", Some(&self.v1.init)),
            ("initrd", self.v1.initrd.as_ref()),
            ("kernel", Some(&self.v1.kernel)),
            ("toplevel", Some(&self.v1.toplevel)),
            ("usrImage", Some(&self.keel.usr_image)),
            ("etcImage", Some(&self.keel.etc_image)),
            ("modules", Some(&self.keel.modules)),
            ("objects", Some(&self.keel.objects)),
        ];
        for (field, value) in paths {
            let Some(value) = value else { continue };
            text(field, value)?;
            let clean = value
                .strip_prefix('/')
                .is_some_and(|rest| rest.split('/').all(|part| !matches!(part, "" | "." | "..")));
            if !clean {
                return Err(BootSpecError::BadPath {
                    field,
                    value: short(value),
                });
            }
        }
        text("label", &self.v1.label)?;
        text("name", &self.keel.name)?;
        text("kernelVersion", &self.keel.kernel_version)?;
        // It becomes a name below lib/modules.
        if matches!(self.keel.kernel_version.as_str(), "" | "." | "..")
            || self.keel.kernel_version.contains('/')
        {
            return Err(bad(
                "kernelVersion",
                &self.keel.kernel_version,
                "that is no kernel version",
            ));
        }
        let mut length = 0;
        for parameter in &self.v1.kernel_params {
            check_parameter(parameter)?;
            length += parameter.len() + 1;
        }
        if length > COMMAND_LINE_MAX {
            return Err(bad(
                "kernelParams",
                "…",
                "together they are longer than the kernel's command line",
            ));
        }
        Ok(())
    }
}

/// Whether `parameter` can stand on the kernel's command line and in a boot entry.
pub fn check_parameter(parameter: &str) -> Result<(), BootSpecError> {
    text("kernelParams", parameter)?;
    if parameter.is_empty() {
        return Err(bad("kernelParams", parameter, "a parameter is empty"));
    }
    // Inside double quotes the kernel allows blanks (Documentation/admin-guide/kernel-parameters.rst).
    let mut quoted = false;
    for c in parameter.chars() {
        if c == '"' {
            quoted = !quoted;
        } else if c == ' ' && !quoted {
            return Err(bad(
                "kernelParams",
                parameter,
                "give each parameter by itself, or put blanks in double quotes",
            ));
        }
    }
    if quoted {
        return Err(bad("kernelParams", parameter, "a double quote isn't closed"));
    }
    Ok(())
}

fn text(field: &'static str, value: &str) -> Result<(), BootSpecError> {
    if value.len() > TEXT_MAX {
        return Err(bad(field, value, "it is too long"));
    }
    // A newline would begin another line of a boot entry or of the console.
    if value.contains(char::is_control) {
        return Err(bad(field, value, "it holds control characters"));
    }
    Ok(())
}

fn bad(field: &'static str, value: &str, why: &'static str) -> BootSpecError {
    BootSpecError::BadText {
        field,
        value: short(value),
        why,
    }
}

// What comes from a damaged file is shown on a console: one line, not long, nothing that moves the cursor.
fn short(value: &str) -> String {
    value
        .chars()
        .take(80)
        .map(|c| if c.is_control() { '?' } else { c })
        .collect()
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::indexing_slicing,
        unused_results
    )]
    use super::*;
    use proptest::prelude::*;

    fn example() -> BootSpec {
        let path = |name: &str| format!("/nix/store/mgvzxmm9gsamf9p3rfr8jva7rkfbwmbw-{name}");
        BootSpec {
            v1: V1 {
                system: SYSTEM.into(),
                init: "/usr/lib/systemd/systemd".into(),
                initrd: Some(path("initrd")),
                kernel: path("kernel-6.12.1"),
                kernel_params: vec![
                    "quiet".into(),
                    "root=/dev/vg/root".into(),
                    r#"dyndbg="file a +p""#.into(),
                ],
                label: "Debian GNU/Linux 13 (trixie), Linux 6.12.1".into(),
                toplevel: path("keel-system-host"),
            },
            keel: Keel {
                name: "host".into(),
                kernel_version: "6.12.1".into(),
                usr_image: path("usr.cfs"),
                etc_image: path("etc.cfs"),
                modules: path("modules-6.12.1"),
                objects: "/nix/var/keel/objects".into(),
            },
        }
    }

    #[test]
    fn what_is_written_is_read() {
        let spec = example();
        assert_eq!(BootSpec::parse(spec.to_json().as_bytes()).unwrap(), spec);
    }

    #[test]
    fn other_namespaces_are_ignored() {
        let json = example()
            .to_json()
            .replacen('{', r#"{"org.nixos.specialisation.v1": {},"#, 1);
        assert!(BootSpec::parse(json.as_bytes()).is_ok());
    }

    #[test]
    fn bad_fields_are_named() {
        type Change = fn(&mut BootSpec);
        let changes: [(Change, &str); 11] = [
            (|s| s.v1.system = "riscv64-linux".into(), "riscv64-linux"),
            (
                |s| s.v1.kernel = "kernel".into(),
                "kernel is 'kernel', not an absolute path",
            ),
            (|s| s.v1.initrd = Some("/nix/../etc/shadow".into()), "initrd is"),
            (|s| s.keel.usr_image = "/a//b".into(), "usrImage is"),
            (
                |s| s.v1.label = "a\nb".into(),
                "label is 'a?b': it holds control characters",
            ),
            (|s| s.v1.kernel_params = vec!["a b".into()], "double quotes"),
            (|s| s.v1.kernel_params = vec!["a=\"b".into()], "isn't closed"),
            (|s| s.v1.kernel_params = vec![String::new()], "empty"),
            (
                |s| s.v1.kernel_params = vec!["x".repeat(1000); 3],
                "longer than the kernel's",
            ),
            (|s| s.keel.kernel_version = "../x".into(), "no kernel version"),
            (|s| s.v1.toplevel = "/".repeat(9000), "too long"),
        ];
        for (change, text) in changes {
            let mut spec = example();
            change(&mut spec);
            let error = BootSpec::parse(spec.to_json().as_bytes())
                .unwrap_err()
                .to_string();
            assert!(error.contains(text) && !error.contains('\n'), "{error}");
        }
    }

    #[test]
    fn no_json_missing_parts_and_deep_nesting_give_one_line() {
        let big = vec![b' '; usize::try_from(SIZE_MAX).unwrap() + 1];
        let deep = vec![b'['; 100_000];
        for bytes in [&b""[..], b"{}", b"[1", b"\xff", &deep, &big] {
            let error = BootSpec::parse(bytes).unwrap_err().to_string();
            assert!(!error.contains('\n') && error.len() < 300, "{error}");
        }
    }

    proptest! {
        #[test]
        fn damage_never_panics(at in 0usize..900, byte: u8) {
            let mut bytes = example().to_json().into_bytes();
            let at = at % bytes.len();
            bytes[at] = byte;
            let _either = BootSpec::parse(&bytes);
        }
    }
}
