//! Kernel keyring: volume keys on their way to dm-crypt.
