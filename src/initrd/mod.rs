//! Building initrd images.
