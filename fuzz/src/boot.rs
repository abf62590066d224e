//! What early boot reads besides disks: boot.json, the kernel command line, the module table, mountinfo.

use std::os::unix::ffi::OsStrExt;

use keel::init::cmdline::{CommandLine, DeviceSpec};
use keel::init::modules::{Index, Table};
use keel::root::parse_mounts;
use keel::system::bootspec::{BootSpec, check_parameter};

use super::input::{check_line, parts};

/// A boot.json: what is read is written and read again.
pub(crate) fn boot_json(data: &[u8]) {
    let spec = match BootSpec::parse(data) {
        Ok(spec) => spec,
        Err(error) => return check_line(&error),
    };
    let text = spec.to_json();
    assert_eq!(BootSpec::parse(text.as_bytes()).as_ref(), Ok(&spec));
    // The parameters are what the kernel hands over in the end.
    let line = spec.v1.kernel_params.join(" ");
    assert!(
        spec.v1
            .kernel_params
            .iter()
            .all(|parameter| check_parameter(parameter).is_ok())
    );
    let _ = CommandLine::parse(&line);
}

/// A kernel command line.
pub(crate) fn command_line(data: &[u8]) {
    let text = String::from_utf8_lossy(data);
    let (line, warnings) = CommandLine::parse(&text);
    for warning in &warnings {
        assert!(!warning.to_string().is_empty());
    }
    assert_eq!(
        CommandLine::parse(&format!(" {text}")).0,
        line,
        "a blank at the start"
    );
    // Nothing that could lead out of where it is used.
    for device in [&line.root, &line.resume].into_iter().flatten() {
        if let DeviceSpec::Path(path) = device {
            assert!(path.starts_with("/dev"));
            assert_eq!(
                DeviceSpec::parse(&path.to_string_lossy()).as_ref().ok(),
                Some(device)
            );
        }
    }
    if let Some(id) = &line.machine_id {
        assert!(id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_hexdigit()));
    }
    if let Some(init) = &line.init {
        assert!(init.starts_with('/'));
    }
    for (uuid, name) in &line.luks.volumes {
        assert_eq!(uuid.len(), 36);
        assert!(
            name.as_ref()
                .is_none_or(|name| !name.is_empty() && !name.contains('/'))
        );
        let _ = line.luks_name(uuid);
        let _ = line.luks.options_of(uuid);
    }
    assert!(
        line.modules
            .options
            .keys()
            .all(|name| !name.is_empty() && !name.contains('-'))
    );
}

/// Aliases to look up, one a line, then `=== table` and a module table.
pub(crate) fn modules(data: &[u8]) {
    let parts = parts(data);
    let table = parts
        .iter()
        .find(|(title, _)| *title == "table")
        .map_or(data, |(_, table)| table);
    let table = match Table::parse(table) {
        Ok(table) => table,
        Err(error) => return assert!(!error.to_string().is_empty()),
    };
    assert_eq!(Table::parse(&table.to_bytes()).as_ref(), Ok(&table));
    let patterns = table
        .aliases
        .iter()
        .map(|(pattern, module)| (pattern.as_str(), *module));
    let index = Index::new(patterns.clone());
    let given = parts.iter().filter(|(title, _)| title.is_empty());
    let given = given.flat_map(|(_, lines)| lines.split(|&byte| byte == b'\n'));
    let given = given.filter_map(|line| std::str::from_utf8(line).ok());
    // An alias is also asked for by the text of each pattern, which mostly matches.
    for alias in given.chain(patterns.map(|(pattern, _)| pattern).take(64)) {
        let direct: Vec<usize> = table.matching(alias).collect();
        assert_eq!(index.matching(alias).collect::<Vec<_>>(), direct, "{alias:?}");
        assert!(direct.iter().all(|module| *module < table.modules.len()));
    }
    for module in &table.modules {
        assert!(table.find(&module.name).is_some() || module.name.contains('-'));
        let all = module
            .depends
            .iter()
            .chain(&module.soft_before)
            .chain(&module.soft_after);
        assert!(all.clone().all(|other| *other < table.modules.len()));
    }
}

/// A `/proc/PID/mountinfo`.
pub(crate) fn mountinfo(data: &[u8]) {
    let mounts = parse_mounts(data);
    assert!(mounts.len() <= data.split(|&byte| byte == b'\n').count());
    // As the kernel writes them they mean the same.
    let mut text = Vec::new();
    for mount in &mounts {
        text.extend(format!("{} {} {} ", mount.id, mount.parent, mount.device).bytes());
        for path in [&mount.root, &mount.mount_point] {
            text.extend(escaped(path.as_os_str().as_bytes()));
            text.push(b' ');
        }
        text.extend(mount.options.bytes());
        text.extend(b" - ");
        text.extend(mount.kind.bytes());
        text.push(b' ');
        text.extend(escaped(mount.source.as_bytes()));
        text.extend(b" rw\n");
    }
    assert_eq!(parse_mounts(&text), mounts);
}

fn escaped(field: &[u8]) -> Vec<u8> {
    let escape = |byte: &u8| match byte {
        b' ' | b'\t' | b'\n' | b'\\' => format!("\\{byte:03o}").into_bytes(),
        other => vec![*other],
    };
    field.iter().flat_map(escape).collect()
}
