//! The kernel's uevent netlink socket (`NETLINK_KOBJECT_UEVENT`, group 1: events from the kernel, not from udevd).
#![allow(
    clippy::cast_possible_truncation,
    reason = "sizes of structures and constants of the C interface"
)]

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

/// Room for the bursts of coldplug; the kernel's default loses events there.
static RECEIVE_BUFFER: libc::c_int = 8 << 20;
const KERNEL_GROUP: u32 = 1;

/// What a read of the socket gave.
#[derive(Debug, PartialEq, Eq)]
pub enum Received {
    /// One event: the bytes of the datagram.
    Event(Vec<u8>),
    /// Nothing is waiting.
    Nothing,
    /// The kernel dropped events (`ENOBUFS`): the state of /sys has to be looked at again.
    Lost,
}

/// A non-blocking socket that receives every uevent from the moment it's opened.
#[derive(Debug)]
pub struct UeventSocket(OwnedFd);

impl UeventSocket {
    /// Opens and binds the socket.
    pub fn open() -> io::Result<Self> {
        // SAFETY: plain numbers in, a descriptor or -1 out.
        let fd = unsafe {
            libc::socket(
                libc::AF_NETLINK,
                libc::SOCK_DGRAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK,
                libc::NETLINK_KOBJECT_UEVENT,
            )
        };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: socket(2) has just returned this descriptor; nothing else owns it.
        let socket = UeventSocket(unsafe { OwnedFd::from_raw_fd(fd) });
        // SAFETY: the option's value is a c_int that lives for the whole call. A refusal (no CAP_NET_ADMIN, in tests)
        // only means the default buffer: lost events are noticed and handled.
        let _ = unsafe {
            libc::setsockopt(
                fd,
                libc::SOL_SOCKET,
                libc::SO_RCVBUFFORCE,
                (&raw const RECEIVE_BUFFER).cast(),
                size_of::<libc::c_int>() as libc::socklen_t,
            )
        };
        // SAFETY: sockaddr_nl is plain data for which all zeros is valid.
        let mut address: libc::sockaddr_nl = unsafe { std::mem::zeroed() };
        address.nl_family = libc::AF_NETLINK as libc::sa_family_t;
        address.nl_groups = KERNEL_GROUP;
        // SAFETY: the address is a sockaddr_nl of the size given and lives for the whole call.
        let bound = unsafe {
            libc::bind(
                fd,
                (&raw const address).cast(),
                size_of::<libc::sockaddr_nl>() as libc::socklen_t,
            )
        };
        if bound < 0 {
            Err(io::Error::last_os_error())
        } else {
            Ok(socket)
        }
    }

    /// Takes the next event without blocking. Datagrams that don't come from the kernel are passed over.
    pub fn receive(&self) -> io::Result<Received> {
        // The kernel's own limit for an event is 2 KiB of variables and a path (UEVENT_BUFFER_SIZE).
        let mut buffer = vec![0_u8; 16 << 10];
        loop {
            // SAFETY: sockaddr_nl is plain data for which all zeros is valid.
            let mut sender: libc::sockaddr_nl = unsafe { std::mem::zeroed() };
            let mut sender_length = size_of::<libc::sockaddr_nl>() as libc::socklen_t;
            // SAFETY: buffer and address are writable for the lengths given, for the whole call.
            let length = unsafe {
                libc::recvfrom(
                    self.0.as_raw_fd(),
                    buffer.as_mut_ptr().cast(),
                    buffer.len(),
                    0,
                    (&raw mut sender).cast(),
                    &raw mut sender_length,
                )
            };
            if length < 0 {
                let error = io::Error::last_os_error();
                return match error.raw_os_error() {
                    Some(libc::EAGAIN) => Ok(Received::Nothing),
                    Some(libc::ENOBUFS) => Ok(Received::Lost),
                    Some(libc::EINTR) => continue,
                    _ => Err(error),
                };
            }
            if sender.nl_pid != 0 {
                continue;
            }
            buffer.truncate(usize::try_from(length).unwrap_or_default());
            return Ok(Received::Event(buffer));
        }
    }
}

impl AsFd for UeventSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}
