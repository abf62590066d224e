//! The kernel's uevent netlink socket.
