//! What only libc can say: the kernel's view of a TCP connection, its congestion control, its receive window.
//!
//! The one room where `unsafe` may live. Linux fixes the layout of `struct tcp_info` by offsets (include/uapi/linux/tcp.h) and
//! only ever appends to it, so it is read as bytes: a field that an older kernel does not fill is `None`, never zero.
#![expect(unsafe_code, reason = "getsockopt and setsockopt have no safe form for TCP_INFO and TCP_WINDOW_CLAMP")]

use std::io;
use std::mem::size_of;
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

/// The kernel's view of a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TcpInfo {
    /// Smoothed round trip time.
    pub rtt: Option<Duration>,
    /// Its mean deviation.
    pub rtt_variation: Option<Duration>,
    /// Shortest round trip seen (Linux 4.6).
    pub min_rtt: Option<Duration>,
    /// Segments sent again so far.
    pub retransmits: Option<u32>,
    /// Bytes that the other side has acknowledged (Linux 4.1).
    pub bytes_acked: Option<u64>,
    /// Bytes received in order (Linux 4.1).
    pub bytes_received: Option<u64>,
    /// Bytes sent, repeats included (Linux 4.19).
    pub bytes_sent: Option<u64>,
    /// Of which repeats (Linux 4.19).
    pub bytes_retransmitted: Option<u64>,
}

/// Room for more than any kernel of today fills.
const LARGEST: usize = 512;

/// Asks the kernel about a TCP socket.
///
/// # Errors
/// When the descriptor is no TCP socket.
pub fn tcp_info(socket: impl AsFd) -> io::Result<TcpInfo> {
    let mut bytes = [0_u8; LARGEST];
    let mut filled = libc::socklen_t::try_from(LARGEST).unwrap_or(0);
    let descriptor = socket.as_fd().as_raw_fd();
    // SAFETY: the descriptor is borrowed and therefore open, the buffer is writable and `filled` holds its length.
    let answer = unsafe { libc::getsockopt(descriptor, libc::IPPROTO_TCP, libc::TCP_INFO, bytes.as_mut_ptr().cast(), &raw mut filled) };
    if answer != 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(read(bytes.get(..filled as usize).unwrap_or(&bytes)))
}

/// Chooses the congestion control by name, such as `bbr`, where the kernel has it.
///
/// # Errors
/// When the kernel does not know or not permit it.
pub fn set_congestion(socket: impl AsFd, name: &str) -> io::Result<()> {
    Ok(rustix::net::sockopt::set_tcp_congestion(socket, name)?)
}

/// The name of the congestion control in use.
///
/// # Errors
/// When the descriptor is no TCP socket.
pub fn congestion(socket: impl AsFd) -> io::Result<String> {
    Ok(rustix::net::sockopt::tcp_congestion(socket)?)
}

/// Bounds the receive window that we offer (bytes), which bounds what a sender can have under way. Most useful before connecting.
///
/// # Errors
/// When the descriptor is no TCP socket.
pub fn set_window_clamp(socket: impl AsFd, bytes: u32) -> io::Result<()> {
    let value = libc::c_int::try_from(bytes).unwrap_or(libc::c_int::MAX);
    let length = libc::socklen_t::try_from(size_of::<libc::c_int>()).unwrap_or(4);
    let descriptor = socket.as_fd().as_raw_fd();
    // SAFETY: the descriptor is borrowed and therefore open, the value lives through the call and `length` is its size.
    let answer = unsafe { libc::setsockopt(descriptor, libc::IPPROTO_TCP, libc::TCP_WINDOW_CLAMP, (&raw const value).cast(), length) };
    if answer == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// The bound on the receive window that is in force (bytes): what was set, or what the kernel chose.
///
/// # Errors
/// When the descriptor is no TCP socket.
pub fn window_clamp(socket: impl AsFd) -> io::Result<u32> {
    let mut value: libc::c_int = 0;
    let mut length = libc::socklen_t::try_from(size_of::<libc::c_int>()).unwrap_or(4);
    let descriptor = socket.as_fd().as_raw_fd();
    // SAFETY: the descriptor is borrowed and therefore open, the value is writable and `length` is its size.
    let answer =
        unsafe { libc::getsockopt(descriptor, libc::IPPROTO_TCP, libc::TCP_WINDOW_CLAMP, (&raw mut value).cast(), &raw mut length) };
    if answer == 0 { Ok(u32::try_from(value).unwrap_or(0)) } else { Err(io::Error::last_os_error()) }
}

/// Reads the fields at their fixed offsets.
fn read(bytes: &[u8]) -> TcpInfo {
    let small = |at: usize| bytes.get(at..at + 4).and_then(|part| part.try_into().ok()).map(u32::from_ne_bytes);
    let large = |at: usize| bytes.get(at..at + 8).and_then(|part| part.try_into().ok()).map(u64::from_ne_bytes);
    let micros = |at: usize| small(at).map(|micros| Duration::from_micros(u64::from(micros)));
    TcpInfo {
        rtt: micros(68),
        rtt_variation: micros(72),
        // All ones until a first sample exists.
        min_rtt: small(148).filter(|micros| *micros != u32::MAX).and_then(|_| micros(148)),
        retransmits: small(100),
        bytes_acked: large(120),
        bytes_received: large(128),
        bytes_sent: large(200),
        bytes_retransmitted: large(208),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream, UdpSocket};

    #[test]
    fn the_kernel_counts_what_passed() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        set_window_clamp(&near, 65_536).unwrap();
        assert_eq!(window_clamp(&near).unwrap(), 65_536);
        let (mut far, _) = listener.accept().unwrap();
        far.write_all(&[7; 1000]).unwrap();
        let mut got = [0; 1000];
        near.read_exact(&mut got).unwrap();
        let info = tcp_info(&near).unwrap();
        assert_eq!(info.bytes_received, Some(1000));
        assert_eq!(info.retransmits, Some(0));
        assert!(info.rtt.is_some() && info.min_rtt.is_some());
    }

    #[test]
    fn other_sockets_and_unknown_names_are_errors() {
        let udp = UdpSocket::bind("127.0.0.1:0").unwrap();
        assert!(tcp_info(&udp).is_err() && window_clamp(&udp).is_err());
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        assert!(set_congestion(&listener, "no-such-control").is_err());
        let name = congestion(&listener).unwrap();
        set_congestion(&listener, &name).unwrap();
    }

    #[test]
    fn an_older_kernel_says_less_and_nothing_is_made_up() {
        let info = read(&[1; 104]);
        assert!(info.rtt.is_some() && info.retransmits.is_some());
        assert_eq!((info.bytes_acked, info.min_rtt, info.bytes_sent), (None, None, None));
        assert_eq!(read(&[]), TcpInfo::default());
    }
}
