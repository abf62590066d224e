//! boot.json: bootspec v1 (RFC 125) and keel's extension.
