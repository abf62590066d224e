//! Device-mapper ioctls.
