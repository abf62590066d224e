//! finit_module.
