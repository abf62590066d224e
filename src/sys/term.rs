//! Terminal ioctls: consoles, kernel log level, VT keyboards.
