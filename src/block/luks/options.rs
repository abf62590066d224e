//! How dm-crypt is to treat a volume: options that the administrator gives, and flags that the header stores.

/// Options of an unlocked volume.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[allow(
    clippy::struct_excessive_bools,
    reason = "each is an independent switch of dm-crypt"
)]
pub struct CryptOptions {
    /// Discards reach the disk, which shows what is unused.
    pub allow_discards: bool,
    /// Encrypt on the CPU that submitted the request.
    pub same_cpu_crypt: bool,
    /// Don't hand writes to a separate thread.
    pub submit_from_crypt_cpus: bool,
    /// Decrypt without a workqueue.
    pub no_read_workqueue: bool,
    /// Encrypt without a workqueue.
    pub no_write_workqueue: bool,
    /// Workqueues and the writing thread at high priority (dm-crypt 1.26, Linux 6.10).
    pub high_priority: bool,
    /// The mapping can't be written to. A property of the mapping, not of the table.
    pub read_only: bool,
}

impl CryptOptions {
    /// Parses a list with the names of `crypttab(5)` and `rd.luks.options=`, separated by commas. What isn't known,
    /// or is no matter of dm-crypt, is given back in the order of the list.
    pub fn parse(list: &str) -> (Self, Vec<String>) {
        let mut options = Self::default();
        let mut unknown = Vec::new();
        for name in list.split(',').map(str::trim).filter(|name| !name.is_empty()) {
            match name {
                "discard" | "allow-discards" => options.allow_discards = true,
                "same-cpu-crypt" => options.same_cpu_crypt = true,
                "submit-from-crypt-cpus" => options.submit_from_crypt_cpus = true,
                "no-read-workqueue" => options.no_read_workqueue = true,
                "no-write-workqueue" => options.no_write_workqueue = true,
                "high-priority" => options.high_priority = true,
                "readonly" | "read-only" => options.read_only = true,
                // What they ask for is the case: a LUKS volume, unlocked in the initrd.
                "luks" | "initramfs" | "x-initrd.attach" => {}
                other => unknown.push(other.to_owned()),
            }
        }
        (options, unknown)
    }

    /// Reads the flags of a header's `config` object (LUKS2 on-disk format 1.1, section 3.5). As in cryptsetup, unknown
    /// ones are ignored.
    pub(super) fn from_header_flags(flags: &[String]) -> Self {
        let has = |name: &str| flags.iter().any(|flag| flag == name);
        Self {
            allow_discards: has("allow-discards"),
            same_cpu_crypt: has("same-cpu-crypt"),
            submit_from_crypt_cpus: has("submit-from-crypt-cpus"),
            no_read_workqueue: has("no-read-workqueue"),
            no_write_workqueue: has("no-write-workqueue"),
            // The one with an underscore.
            high_priority: has("high_priority"),
            read_only: false,
        }
    }

    /// What either asks for.
    #[must_use]
    pub fn union(self, other: Self) -> Self {
        Self {
            allow_discards: self.allow_discards || other.allow_discards,
            same_cpu_crypt: self.same_cpu_crypt || other.same_cpu_crypt,
            submit_from_crypt_cpus: self.submit_from_crypt_cpus || other.submit_from_crypt_cpus,
            no_read_workqueue: self.no_read_workqueue || other.no_read_workqueue,
            no_write_workqueue: self.no_write_workqueue || other.no_write_workqueue,
            high_priority: self.high_priority || other.high_priority,
            read_only: self.read_only || other.read_only,
        }
    }

    /// The names of dm-crypt's optional parameters, in the order in which cryptsetup writes them.
    pub(super) fn table_words(self) -> impl Iterator<Item = &'static str> {
        [
            (self.allow_discards, "allow_discards"),
            (self.same_cpu_crypt, "same_cpu_crypt"),
            (self.submit_from_crypt_cpus, "submit_from_crypt_cpus"),
            (self.no_read_workqueue, "no_read_workqueue"),
            (self.no_write_workqueue, "no_write_workqueue"),
            (self.high_priority, "high_priority"),
        ]
        .into_iter()
        .filter_map(|(set, word)| set.then_some(word))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_names_of_crypttab_are_known() {
        let (options, unknown) = CryptOptions::parse(
            "luks,discard,same-cpu-crypt,submit-from-crypt-cpus,no-read-workqueue,no-write-workqueue,\
             high-priority,readonly",
        );
        let all = CryptOptions {
            allow_discards: true,
            same_cpu_crypt: true,
            submit_from_crypt_cpus: true,
            no_read_workqueue: true,
            no_write_workqueue: true,
            high_priority: true,
            read_only: true,
        };
        assert_eq!((options, unknown), (all, vec![]));
    }

    #[test]
    fn unknown_options_are_reported() {
        let (options, unknown) = CryptOptions::parse(" discard ,, tpm2-device=auto,Discard");
        assert_eq!(
            options,
            CryptOptions {
                allow_discards: true,
                ..CryptOptions::default()
            }
        );
        assert_eq!(unknown, ["tpm2-device=auto", "Discard"]);
        assert_eq!(CryptOptions::parse(""), (CryptOptions::default(), vec![]));
    }
}
