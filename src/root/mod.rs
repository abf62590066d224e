//! One way to assemble a root: for the initrd, `install`, soft reboot and the live switch.
