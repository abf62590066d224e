//! LUKS: headers, keyslots, volume keys. Only LUKS2 for now; never written.
