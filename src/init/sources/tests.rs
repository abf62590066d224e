//! Files stand for devices.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::block::DeviceNumber;
use crate::init::modules::Table;

struct Machine {
    dir: tempfile::TempDir,
    devices: Devices,
    loader: Loader,
}

impl Machine {
    fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
            devices: Devices::default(),
            loader: Loader::start(
                Table::default(),
                "/lib/modules",
                &super::super::cmdline::ModuleParameters::default(),
            )
            .unwrap(),
        }
    }

    fn sources(&self) -> Sources<'_> {
        Sources {
            devices: &self.devices,
            loader: &self.loader,
        }
    }

    /// A device `/dev/key` with this content appears.
    fn device_appears(&mut self, content: &[u8]) {
        let path = self.dir.path().join("device");
        fs::write(&path, content).unwrap();
        let device = BlockDevice {
            number: DeviceNumber { major: 8, minor: 1 },
            path,
            aliases: vec!["/dev/key".into()],
            superblock: None,
            partition_uuid: None,
            partition_label: Some("keys".to_owned()),
            dm_uuid: None,
        };
        self.devices.insert(device).unwrap();
    }
}

fn options(list: &str) -> VolumeOptions {
    VolumeOptions::parse(list).0
}

#[test]
fn a_device_is_waited_for_and_its_bytes_are_the_key() {
    let mut machine = Machine::new();
    let source = Source::parse("/dev/disk/by-partlabel/keys").unwrap();
    let asked = options("keyfile-offset=512,keyfile-size=4");
    assert!(machine.sources().key(&source, &asked).is_none());
    assert!(machine.sources().header(&source, "uuid").is_none());
    let mut content = vec![0; 2048];
    content.get_mut(512..516).unwrap().copy_from_slice(b"key!");
    machine.device_appears(&content);
    assert_eq!(*machine.sources().key(&source, &asked).unwrap().unwrap(), b"key!");
    let header = machine.sources().header(&source, "uuid").unwrap().unwrap();
    assert_eq!(header, machine.dir.path().join("device"));
    let error = machine
        .sources()
        .key(&source, &options("keyfile-offset=4096"))
        .unwrap();
    assert!(error.unwrap_err().contains("2048 bytes"));
}

#[test]
fn a_file_of_the_initrd_is_there_or_never_will_be() {
    let machine = Machine::new();
    let path = machine.dir.path().join("key");
    fs::write(&path, b"secret\n").unwrap();
    let source = Source::File(path.clone());
    let key = machine.sources().key(&source, &options("")).unwrap().unwrap();
    assert_eq!(*key, b"secret\n", "every byte counts");
    assert_eq!(machine.sources().header(&source, "uuid").unwrap(), Ok(path));
    for missing in [machine.dir.path().join("other"), machine.dir.path().to_owned()] {
        let source = Source::File(missing);
        assert!(machine.sources().key(&source, &options("")).unwrap().is_err());
        assert!(machine.sources().header(&source, "uuid").unwrap().is_err());
    }
}

#[test]
fn a_device_without_a_file_system_is_named() {
    let mut machine = Machine::new();
    machine.device_appears(&[0; 4096]);
    let source = Source::parse("/key:PARTLABEL=keys").unwrap();
    let error = machine.sources().key(&source, &options("")).unwrap().unwrap_err();
    assert_eq!(error, "/dev/key has no file system that keel knows");
}

#[test]
fn a_header_on_a_file_system_is_copied_whole() {
    let dir = tempfile::tempdir().unwrap();
    let content: Vec<u8> = (0..=255).cycle().take(100_000).collect();
    fs::write(dir.path().join("header"), &content).unwrap();
    let copy = dir.path().join("headers/uuid");
    copy_header(&File::open(dir.path().join("header")).unwrap(), &copy).unwrap();
    assert_eq!(fs::read(copy).unwrap(), content);
}
