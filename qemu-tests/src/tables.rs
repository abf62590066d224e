//! Device-mapper tables of two machines, made comparable.

use std::collections::BTreeMap;

/// Prints tables, UUIDs, and what the device numbers in them mean. For a POSIX shell.
pub(crate) const SCRIPT: &str = include_str!("../guest/tables.sh");

/// What is mapped: name to UUID and table, with device numbers replaced by the names of partitions and mappings.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Tables(BTreeMap<String, (String, Vec<String>)>);

impl Tables {
    /// Reads what the script printed.
    pub(crate) fn parse(text: &str) -> Tables {
        let words = |line: &str| line.split_whitespace().map(str::to_owned).collect::<Vec<_>>();
        let lines = |kind: &str| {
            text.lines()
                .filter_map(|line| line.trim().strip_prefix(kind)?.strip_prefix(' '))
                .map(str::to_owned)
                .collect::<Vec<_>>()
        };
        let devices: BTreeMap<String, String> = lines("device")
            .iter()
            .filter_map(|line| line.split_once(' '))
            .map(|(number, name)| (number.to_owned(), name.trim().to_owned()))
            .filter(|(_, name)| !name.is_empty())
            .collect();
        let uuids: BTreeMap<String, String> = lines("uuid")
            .iter()
            .filter_map(|line| line.split_once(' '))
            .map(|(name, uuid)| (name.to_owned(), uuid.trim().to_owned()))
            .collect();
        let mut tables = Tables::default();
        for line in lines("table") {
            let Some((name, table)) = line.split_once(": ") else {
                continue;
            };
            let table: Vec<String> = words(table)
                .into_iter()
                .map(|word| devices.get(&word).cloned().unwrap_or(word))
                .collect();
            let entry = tables.0.entry(name.to_owned()).or_default();
            entry.0 = uuids.get(name).cloned().unwrap_or_default();
            entry.1.push(table.join(" "));
        }
        tables
    }

    /// The same without a mapping.
    pub(crate) fn without(mut self, name: &str) -> Tables {
        let _gone = self.0.remove(name);
        self
    }

    /// Names and tables alone.
    pub(crate) fn without_uuids(&self) -> BTreeMap<&str, &[String]> {
        let all = self.0.iter();
        all.map(|(name, (_, table))| (name.as_str(), table.as_slice()))
            .collect()
    }

    /// How many mappings there are.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn device_numbers_become_names() {
        let here =
            Tables::parse("table vg-root: 0 8 linear 253:0 2048\nuuid vg-root LVM-x\ndevice 253:0 crypt1\n");
        let there =
            Tables::parse("device 254:7 crypt1\nuuid vg-root LVM-x\ntable vg-root: 0 8 linear 254:7 2048\n");
        assert_eq!(here, there);
        assert_eq!(here.len(), 1);
        let other =
            Tables::parse("device 254:7 crypt2\nuuid vg-root LVM-x\ntable vg-root: 0 8 linear 254:7 2048\n");
        assert_ne!(here, other);
    }
}
