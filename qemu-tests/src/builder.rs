//! Makes the disks of a layout in a virtual machine, by Debian's own cryptsetup, LVM and file system tools.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};

use crate::disk::{Bus, Disk, make_sparse};
use crate::layout::{
    EMULATED, Layout, PASSPHRASE, ROOT_PARTITION_UUID, ROOT_UUID, STICK, SUBVOLUME, SWAP_UUID, VOLUMES,
};
use crate::machine::{Firmware, Machine, Threads};
use crate::rootfs::RootFileSystems;

/// How long each step of the builder may take.
const STEP: Duration = Duration::from_mins(15);

const STICK_MIB: u64 = 64;
/// Room for the memory of a machine that hibernates.
const SWAP_MIB: u64 = 512;
/// Beside root and swap: ESP, partition table, LUKS headers, LVM metadata.
const OVERHEAD_MIB: u64 = 300 + 64;
const MIB: u64 = 1 << 20;

/// What goes onto the disks.
#[derive(Clone, Debug)]
pub(crate) struct Contents {
    /// The image of the root file system.
    pub root: PathBuf,
    /// What the ESP holds, as a tar archive.
    pub esp: PathBuf,
}

/// Made disks.
#[derive(Clone, Debug)]
pub(crate) struct Disks {
    directory: PathBuf,
    layout: Layout,
}

impl Disks {
    /// Disks of `layout` that were made in `directory`.
    pub(crate) fn in_directory(directory: PathBuf, layout: Layout) -> Disks {
        Disks { directory, layout }
    }

    /// The disks, to be written to only through overlays.
    pub(crate) fn disks(&self) -> Vec<Disk> {
        (0..self.layout.disks())
            .map(|index| Disk::raw(self.image(index), self.layout.bus(), &format!("keel{index}")))
            .collect()
    }

    /// What the real tools loaded into device-mapper for these disks.
    pub(crate) fn tables(&self) -> Result<String> {
        let path = self.directory.join("tables");
        fs::read_to_string(&path).with_context(|| format!("{} can't be read", path.display()))
    }

    /// The layout's USB stick, which nothing may write to.
    pub(crate) fn stick(&self) -> Disk {
        Disk::raw(self.directory.join("stick.raw"), Bus::Usb, "stick").read_only()
    }

    fn image(&self, index: usize) -> PathBuf {
        self.directory.join(format!("disk{index}.raw"))
    }
}

/// What the kernel of every builder is told; its script's word for what to do.
fn parameters(order: &str) -> String {
    format!("console=ttyS0 quiet {} layout={order}", EMULATED.join(" "))
}

/// Makes the disks of `layout` in `directory`. `notes` gets the console's log, too.
pub(crate) fn build(
    layout: Layout,
    contents: &Contents,
    systems: &RootFileSystems,
    directory: &Path,
    notes: &Path,
) -> Result<Disks> {
    let made = Disks::in_directory(directory.to_owned(), layout);
    let image_mib = fs::metadata(&contents.root)
        .context("the root file system's image is gone")?
        .len()
        / MIB;
    // A stripe ends at an extent of every disk.
    let root_mib = (image_mib + 8).next_multiple_of(8);
    let block_bytes = layout.block_bytes();
    let mut disks = vec![
        Disk::raw(&contents.root, Bus::Virtio { block_bytes: 512 }, "root").read_only(),
        Disk::raw(&contents.esp, Bus::Virtio { block_bytes: 512 }, "esp").read_only(),
    ];
    for index in 0..layout.disks() {
        make_sparse(&made.image(index), (root_mib + SWAP_MIB + OVERHEAD_MIB) * MIB)?;
        disks.push(Disk::raw(
            made.image(index),
            Bus::Virtio { block_bytes },
            &format!("keel{index}"),
        ));
    }
    if layout.has_stick() {
        let stick = made.stick();
        make_sparse(&stick.path, STICK_MIB * MIB)?;
        disks.push(Disk::raw(stick.path, Bus::Virtio { block_bytes: 512 }, "stick"));
    }
    let list = |part: fn(&(&'static str, &'static str)) -> &'static str| {
        VOLUMES
            .iter()
            .take(layout.disks())
            .map(part)
            .collect::<Vec<_>>()
            .join(",")
    };
    let mut command_line = format!(
        "{} root_mib={root_mib} swap_mib={SWAP_MIB} swap_uuid={SWAP_UUID} root_uuid={ROOT_UUID} \
         partition_uuid={ROOT_PARTITION_UUID} file_system={} subvolume={SUBVOLUME} luks_uuids={} names={} \
         \"passphrase={PASSPHRASE}\"",
        parameters(layout.order()),
        layout.file_system().name(),
        list(|(uuid, _)| uuid),
        list(|(_, name)| name),
    );
    if layout.disks() > 1 {
        command_line.extend([" stripes=", &layout.disks().to_string()]);
    }
    if layout.has_stick() {
        command_line.extend([" stick=", STICK]);
    }
    if layout == Layout::Vault {
        let [_, (uuid, _)] = VOLUMES;
        command_line.extend([" vault_uuid=", uuid]);
    }
    if block_bytes != 512 {
        command_line.extend([" sector_size=", &block_bytes.to_string()]);
    }
    let machine = Machine {
        firmware: Firmware::Kernel {
            kernel: systems.kernel.clone(),
            initrd: systems.builder_initrd.clone(),
            command_line,
        },
        extra_parameters: String::new(),
        disks,
        usb: false,
        autologin: false,
        state: None,
        reboots: false,
        // A second one would only wait for the first: both run on one thread.
        processors: 1,
        threads: Threads::One,
        memory_mib: 1536,
        directory: notes.to_owned(),
        log_name: format!("builder-{}", layout.name()),
    };
    let mut running = machine.start()?;
    running
        .console
        .set_fatal(&["KEEL-BUILDER-FAILED", crate::texts::PANIC]);
    let _ = running.console.expect("KEEL-TABLES-BEGIN\n", STEP)?;
    let tables = running.console.expect("KEEL-TABLES-END", STEP)?.before;
    let _ = running.console.expect("KEEL-BUILDER-DONE", STEP)?;
    running.wait_until_off(STEP)?;
    fs::write(directory.join("tables"), tables).context("the tables can't be kept")?;
    Ok(made)
}

/// What Debian's lvm loads for the groups on `disks`, as the guest's script prints it.
pub(crate) fn tables_of(disks: &[Disk], systems: &RootFileSystems, notes: &Path) -> Result<String> {
    let machine = Machine {
        firmware: Firmware::Kernel {
            kernel: systems.kernel.clone(),
            initrd: systems.builder_initrd.clone(),
            command_line: parameters("tables"),
        },
        extra_parameters: String::new(),
        disks: disks.to_vec(),
        usb: false,
        autologin: false,
        state: None,
        reboots: false,
        processors: 1,
        threads: Threads::One,
        memory_mib: 1024,
        directory: notes.to_owned(),
        log_name: "tables".to_owned(),
    };
    let mut running = machine.start()?;
    running
        .console
        .set_fatal(&["KEEL-BUILDER-FAILED", crate::texts::PANIC]);
    let _ = running.console.expect("KEEL-TABLES-BEGIN\n", STEP)?;
    let tables = running.console.expect("KEEL-TABLES-END", STEP)?.before;
    running.wait_until_off(STEP)?;
    Ok(tables)
}
