//! The boot menu on the EFI system partition.
