//! What only libc can say: the kernel's view of a TCP connection, its congestion control, its receive window.
//!
//! The first of three rooms where `unsafe` may live (`lib.rs`). Linux fixes the layout of `struct tcp_info` by offsets
//! (include/uapi/linux/tcp.h) and only ever appends to it, so it is read as bytes: a field that an older kernel does not fill is `None`,
//! never zero.
#![expect(unsafe_code, reason = "getsockopt and setsockopt have no safe form for TCP_INFO and TCP_WINDOW_CLAMP")]

use rustix::io::Errno;
use std::io;
use std::mem::size_of;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::time::Duration;

/// Whether this machine lacks what a connection takes (a file, a socket, memory), which says nothing of who was to be reached.
pub fn is_ours(error: &io::Error) -> bool {
    let lacks = [Errno::MFILE, Errno::NFILE, Errno::NOBUFS, Errno::NOMEM];
    lacks.iter().any(|lack| error.raw_os_error() == Some(lack.raw_os_error()))
}

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
    /// Segments with data that came in, those out of order and repeats included (Linux 4.6).
    pub segments_received: Option<u32>,
    /// Segments with data that were sent, repeats included (Linux 4.6).
    pub segments_sent: Option<u32>,
    /// Segments with data that came while one before them was missing (Linux 5.4).
    pub segments_disordered: Option<u32>,
    /// Segments of ours that the other side told to have, those out of order included (Linux 4.18).
    pub segments_delivered: Option<u32>,
    /// Bytes that wait in our buffer and were not sent yet (Linux 4.6).
    pub bytes_unsent: Option<u32>,
    /// How long there was something to send (Linux 4.9).
    pub busy: Option<Duration>,
    /// Of which held up by the other side's window (Linux 4.9).
    pub window_limited: Option<Duration>,
    /// Of which held up by our own buffer (Linux 4.9).
    pub buffer_limited: Option<Duration>,
}

/// What the congestion control BBR says of a connection.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Bbr {
    /// Its estimate of the bottleneck's bandwidth, bytes/s.
    pub bandwidth: u64,
    /// Shortest round trip of late.
    pub min_rtt: Option<Duration>,
    /// How fast it sends now, compared with the estimate, times 256.
    pub pacing_gain: u32,
    /// How much it lets be under way, compared with the estimate, times 256.
    pub window_gain: u32,
}

/// A hold on a TCP socket that somebody else reads and writes, however deep it lies beneath TLS and buffers: to ask the kernel about it.
/// The connection is not closed before every hold is gone, so it is kept no longer than the connection is used.
#[derive(Debug)]
pub struct Hold(OwnedFd);

impl Hold {
    /// Takes a hold.
    ///
    /// # Errors
    /// When there are no descriptors left.
    pub fn on(socket: impl AsFd) -> io::Result<Hold> {
        Ok(Hold(socket.as_fd().try_clone_to_owned()?))
    }
}

impl AsFd for Hold {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Room for more than any kernel of today fills.
const LARGEST: usize = 512;

/// Asks the kernel about a TCP socket.
///
/// # Errors
/// When the descriptor is no TCP socket.
pub fn tcp_info(socket: impl AsFd) -> io::Result<TcpInfo> {
    let mut bytes = [0_u8; LARGEST];
    Ok(read(ask(socket, libc::TCP_INFO, &mut bytes)?))
}

/// Asks BBR about a TCP socket; `None` when another congestion control has it.
///
/// # Errors
/// When the descriptor is no TCP socket.
pub fn bbr(socket: impl AsFd) -> io::Result<Option<Bbr>> {
    let socket = socket.as_fd();
    // Others answer with a layout of their own.
    if congestion(socket)? != "bbr" {
        return Ok(None);
    }
    let mut bytes = [0_u8; LARGEST];
    Ok(read_bbr(ask(socket, libc::TCP_CC_INFO, &mut bytes)?))
}

/// What the kernel writes for one of TCP's options.
fn ask(socket: impl AsFd, option: libc::c_int, room: &mut [u8; LARGEST]) -> io::Result<&[u8]> {
    let mut filled = libc::socklen_t::try_from(LARGEST).unwrap_or(0);
    let descriptor = socket.as_fd().as_raw_fd();
    // SAFETY: the descriptor is borrowed and therefore open, the buffer is writable and `filled` holds its length.
    let answer = unsafe { libc::getsockopt(descriptor, libc::IPPROTO_TCP, option, room.as_mut_ptr().cast(), &raw mut filled) };
    if answer != 0 {
        return Err(io::Error::last_os_error());
    }
    let room: &[u8] = room;
    Ok(room.get(..filled as usize).unwrap_or(room))
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

/// Bounds what may wait in our buffer without having been sent (bytes): a measurement neither keeps a thin line busy after its end, nor
/// speaks of what it sent long ago.
///
/// # Errors
/// When the descriptor is no TCP socket.
pub fn set_unsent_limit(socket: impl AsFd, bytes: u32) -> io::Result<()> {
    socket2::SockRef::from(&socket).set_tcp_notsent_lowat(bytes)
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

/// Bytes that have come in order and were not read.
///
/// # Errors
/// When the descriptor is no socket.
pub fn unread(socket: impl AsFd) -> io::Result<u32> {
    Ok(u32::try_from(rustix::io::ioctl_fionread(socket)?).unwrap_or(u32::MAX))
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
        segments_received: small(152),
        segments_sent: small(156),
        segments_disordered: small(224),
        segments_delivered: small(192),
        bytes_unsent: small(144),
        busy: large(168).map(Duration::from_micros),
        window_limited: large(176).map(Duration::from_micros),
        buffer_limited: large(184).map(Duration::from_micros),
    }
}

/// `struct tcp_bbr_info` (include/uapi/linux/inet_diag.h): five words, the bandwidth in two of them.
fn read_bbr(bytes: &[u8]) -> Option<Bbr> {
    let word = |at: usize| bytes.get(at * 4..at * 4 + 4).and_then(|part| part.try_into().ok()).map(u32::from_ne_bytes);
    Some(Bbr {
        bandwidth: u64::from(word(1)?) << 32 | u64::from(word(0)?),
        // All ones until a first sample exists.
        min_rtt: word(2).filter(|micros| *micros != u32::MAX).map(|micros| Duration::from_micros(micros.into())),
        pacing_gain: word(3)?,
        window_gain: word(4)?,
    })
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
        assert_eq!((info.segments_received, info.segments_sent, info.segments_disordered), (Some(1), Some(0), Some(0)));
        assert_eq!(tcp_info(&far).unwrap().segments_sent, Some(1));
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
    fn bbr_is_asked_where_it_is_and_others_are_not_taken_for_it() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let hold = Hold::on(&near).unwrap();
        set_congestion(&hold, "reno").unwrap();
        assert_eq!(bbr(&hold).unwrap(), None);
        // A kernel without it says so; then there is nothing to read.
        if set_congestion(&hold, "bbr").is_ok() {
            // It begins to judge with the first acknowledgement.
            let (mut far, _) = listener.accept().unwrap();
            (&near).write_all(&[7; 1000]).unwrap();
            far.read_exact(&mut [0; 1000]).unwrap();
            far.write_all(&[7]).unwrap();
            (&near).read_exact(&mut [0]).unwrap();
            let told = bbr(&near).unwrap().expect("BBR answers for itself");
            assert!(told.pacing_gain > 256 && told.window_gain > 256, "it starts by sending more than it knows of: {told:?}");
        }
        assert!(bbr(UdpSocket::bind("127.0.0.1:0").unwrap()).is_err());
    }

    #[test]
    fn bbr_has_five_words_or_is_not_read() {
        let words = [7_u32, 1, u32::MAX, 739, 512].map(u32::to_ne_bytes).concat();
        let told = Bbr { bandwidth: (1 << 32) + 7, min_rtt: None, pacing_gain: 739, window_gain: 512 };
        assert_eq!(read_bbr(&words), Some(told));
        assert_eq!(read_bbr(&words[..19]), None);
    }

    #[test]
    fn an_older_kernel_says_less_and_nothing_is_made_up() {
        let info = read(&[1; 104]);
        assert!(info.rtt.is_some() && info.retransmits.is_some());
        assert_eq!((info.bytes_acked, info.min_rtt, info.bytes_sent), (None, None, None));
        assert_eq!(read(&[]), TcpInfo::default());
    }
}
