//! Kernel modules: the table resolved when the image is built, and the loader.
