//! Deletes a network interface, by a message to the kernel (rtnetlink(7)): the program `ip` is not on every image, and this needs
//! none.

use std::io;
use std::os::fd::AsRawFd as _;

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, send, socket,
};

/// `RTM_DELLINK` of linux/rtnetlink.h.
const DELETE_LINK: u16 = 17;

/// `NLM_F_REQUEST` and `NLM_F_ACK` of linux/netlink.h.
const REQUEST_ACKNOWLEDGED: u16 = 1 | 4;

/// `NLMSG_ERROR` of linux/netlink.h, also for the good answer, which is error 0.
const ANSWER: u16 = 2;

/// `IFLA_IFNAME` of linux/if_link.h.
const NAME: u16 = 3;

/// Bytes of the headers before the attributes: `nlmsghdr` and `ifinfomsg`.
const HEADERS: usize = 16 + 16;

/// Deletes the interface of this name; whatever is plugged into it or made on top of it loses it. One that is not there is fine.
pub fn delete(name: &str) -> io::Result<()> {
    let socket = socket(
        AddressFamily::Netlink,
        SockType::Raw,
        SockFlag::SOCK_CLOEXEC,
        SockProtocol::NetlinkRoute,
    )?;
    send(socket.as_raw_fd(), &message(name), MsgFlags::empty())?;
    let mut answer = [0_u8; 1024];
    // The kernel has answered before send returns.
    let length = recv(socket.as_raw_fd(), &mut answer, MsgFlags::MSG_DONTWAIT)?;
    let strange = || io::Error::new(io::ErrorKind::InvalidData, "the kernel's answer is none");
    let kind = answer.get(4..6).map(|bytes| u16::from_ne_bytes([bytes[0], bytes[1]]));
    let code: [u8; 4] =
        answer[..length].get(16..20).and_then(|bytes| bytes.try_into().ok()).ok_or_else(strange)?;
    match (kind, -i32::from_ne_bytes(code)) {
        (Some(ANSWER), 0) => Ok(()),
        (Some(ANSWER), code) if Errno::from_raw(code) == Errno::ENODEV => Ok(()),
        (Some(ANSWER), code) => Err(io::Error::from_raw_os_error(code)),
        _ => Err(strange()),
    }
}

fn message(name: &str) -> Vec<u8> {
    // The name ends with a zero; the attribute is filled up to a multiple of 4.
    let attribute = 4 + name.len() + 1;
    let mut message = vec![0; HEADERS + attribute.next_multiple_of(4)];
    let mut put = |at: usize, bytes: &[u8]| message[at..at + bytes.len()].copy_from_slice(bytes);
    // Names have at most 15 letters.
    let length = |bytes: usize| u16::try_from(bytes).unwrap_or(u16::MAX).to_ne_bytes();
    put(4, &DELETE_LINK.to_ne_bytes());
    put(6, &REQUEST_ACKNOWLEDGED.to_ne_bytes());
    put(HEADERS, &length(attribute));
    put(HEADERS + 2, &NAME.to_ne_bytes());
    put(HEADERS + 4, name.as_bytes());
    let whole = u32::try_from(message.len()).unwrap_or(u32::MAX);
    message[..4].copy_from_slice(&whole.to_ne_bytes());
    message
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernel_understands_the_question() {
        // Without the right to, the kernel says so; with it, that there is none.
        match delete("no-such-link0") {
            Ok(()) => {}
            Err(error) => assert_eq!(error.kind(), io::ErrorKind::PermissionDenied, "{error}"),
        }
        let message = message("cni0");
        assert_eq!(message.len(), 44);
        assert_eq!(message[36..], *b"cni0\0\0\0\0");
    }
}
