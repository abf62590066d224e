//! What a machine needs, as modules of a kernel: wishes for an image, and a judgement of what came of them.

use super::host::{Host, Need};
use super::resolve::{Origin, Resolved, Wish};
use super::tree::{Meaning, ModuleTree};

/// Modules of these directories aren't bound to a device, so those that are loaded now are put in.
const WITHOUT_DEVICE: [&str; 4] = [
    "kernel/crypto/",
    "kernel/lib/crypto/",
    "kernel/arch/x86/crypto/",
    // Interrupts of keyboards and touchpads on I2C come by them.
    "kernel/drivers/pinctrl/",
];

impl ModuleTree {
    /// What a machine needs of this kernel: of each need the first name that means something.
    pub(super) fn wishes_of(&self, host: &Host) -> Vec<Wish> {
        let wish = |name: &str, by: &str| Wish {
            name: name.to_owned(),
            optional: true,
            origin: Origin::Host(by.to_owned()),
        };
        let needed = host
            .needs
            .iter()
            .filter_map(|need| Some(wish(self.known(need)?, &need.by)));
        let in_use = self.modules.iter().filter(|(name, entry)| {
            host.loaded.contains(*name)
                && WITHOUT_DEVICE
                    .iter()
                    .any(|directory| entry.path.starts_with(directory))
        });
        needed
            .chain(in_use.map(|(name, _)| wish(name, "what uses it now")))
            .collect()
    }

    fn known<'a>(&self, need: &'a Need) -> Option<&'a str> {
        let known = |name: &&String| self.meaning(name) != Meaning::Nothing;
        need.names.iter().find(known).map(String::as_str)
    }

    /// Why an image with these modules wouldn't boot the machine, a clause each.
    pub(super) fn lacking(&self, host: &Host, resolved: &Resolved) -> Vec<String> {
        let mut problems = host.problems.clone();
        for need in host.needs.iter().filter(|need| need.is_must) {
            let (name, is_there) = match self.known(need) {
                None => (need.names.join(" or "), false),
                Some(name) => {
                    let is_there = match self.meaning(name) {
                        Meaning::Modules(names) => {
                            names.iter().any(|module| resolved.table.find(module).is_some())
                        }
                        Meaning::Builtin => true,
                        Meaning::Nothing => false,
                    };
                    (name.to_owned(), is_there)
                }
            };
            if !is_there {
                let why = resolved.left_out.get(&name).map_or_else(
                    || format!("kernel {} doesn't have", self.kernel()),
                    |line| format!("modprobe.d leaves out (`{line}`)"),
                );
                problems.push(format!("{} needs the module {name}, which {why}", need.by));
            }
        }
        problems
    }
}

#[cfg(test)]
#[path = "needed_tests.rs"]
mod tests;
