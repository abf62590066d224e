//! What the command line says about kernel modules. The kernel applies such parameters only to what is built in: for a
//! module, whoever loads it must pass them (`modprobe` does, and so must keel-init).

use super::words::Parameter;

/// `MODULE.NAME=VALUE`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModuleParameter {
    /// Module, with `_` for `-`.
    pub module: String,
    /// Parameter, with `_` for `-`.
    pub name: String,
    /// `None` for a switch without `=`.
    pub value: Option<String>,
}

impl ModuleParameter {
    /// The text that finit_module(2) takes: `name`, `name=value` or `name="value with spaces"`.
    pub fn to_argument(&self) -> String {
        match &self.value {
            None => self.name.clone(),
            Some(value) if value.contains(char::is_whitespace) => format!("{}=\"{value}\"", self.name),
            Some(value) => format!("{}={value}", self.name),
        }
    }
}

/// Names before the first dot that are programs' rather than modules'.
const NOT_MODULES: [&str; 9] = [
    "fsck", "keel", "locale", "luks", "plymouth", "rd", "systemd", "udev", "vconsole",
];

/// The module parameter that this is, if it is one.
pub(super) fn module_parameter(parameter: &Parameter) -> Option<ModuleParameter> {
    let (module, name) = parameter.name.split_once('.')?;
    if module.is_empty() || name.is_empty() || NOT_MODULES.contains(&module) {
        return None;
    }
    Some(ModuleParameter {
        module: module_name(module),
        name: name.replace('-', "_"),
        value: parameter.value.clone(),
    })
}

/// A module name as the kernel spells it: `_` for `-`.
pub fn module_name(text: &str) -> String {
    text.replace('-', "_")
}
