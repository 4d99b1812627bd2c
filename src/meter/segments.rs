//! What has crossed the line by now, whether in order or not. Pure.
//!
//! # Why segments and not bytes
//! Bytes count once they are in order. Behind a lost segment nothing counts for a round trip or two, and then all of it at once: on a
//! line of 250 ms the bytes stand still and leap, while the line is evenly full. The kernel also counts segments as they come, and on
//! our way out as the other side tells to have them (SACK, RFC 2018). Their usual size is that of the moment at which nothing was missing:
//! the most bytes for a segment that was seen.

use crate::base::socket::TcpInfo;
use crate::meter::ndt7::Way;
use crate::meter::ndt7::client::Progress;

/// Before so many segments the first ones, of a handshake, make the mean too small.
const ENOUGH: u32 = 32;

/// What has crossed, of all streams together.
#[derive(Debug, Default)]
pub(super) struct Arrived {
    streams: Vec<Stream>,
    bytes: f64,
    /// By bytes in order, where the kernel counts no segments.
    plain: bool,
}

#[derive(Clone, Copy, Debug, Default)]
struct Stream {
    segments: u32,
    /// Most bytes in order for each segment.
    size: f64,
}

impl Arrived {
    /// Bytes of payload that have crossed by now.
    pub(super) fn take(&mut self, way: Way, progress: &Progress<'_>) -> u64 {
        let counted: Option<Vec<(u32, u64)>> = progress.kernel.iter().map(|tcp| count(way, tcp)).collect();
        let Some(counted) = counted.filter(|counted| !counted.is_empty() && !self.plain) else {
            self.plain = true;
            return progress.moved;
        };
        self.streams.resize(counted.len().max(self.streams.len()), Stream::default());
        for (stream, (segments, bytes)) in self.streams.iter_mut().zip(counted) {
            #[expect(clippy::cast_precision_loss, reason = "bytes of some seconds")]
            let size = bytes as f64 / f64::from(segments.max(1));
            if stream.size == 0.0 || segments >= ENOUGH {
                stream.size = stream.size.max(size);
            }
            let new = segments.wrapping_sub(stream.segments);
            // A counter that goes back is another connection's.
            if new < u32::MAX / 2 {
                self.bytes += f64::from(new) * stream.size;
            }
            stream.segments = segments;
        }
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "bytes; a cast from a float saturates")]
        {
            self.bytes as u64
        }
    }
}

/// Segments and bytes in order of a stream.
fn count(way: Way, tcp: &TcpInfo) -> Option<(u32, u64)> {
    match way {
        Way::Download => tcp.segments_received.zip(tcp.bytes_received),
        Way::Upload => tcp.segments_delivered.zip(tcp.bytes_acked),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::meter::ndt7::client::Cost;
    use std::time::Duration;

    fn take(arrived: &mut Arrived, kernel: &[TcpInfo], moved: u64) -> u64 {
        let progress = Progress { elapsed: Duration::ZERO, moved, arrived: None, cost: Cost::default(), server: None, kernel };
        arrived.take(Way::Download, &progress)
    }

    fn info(segments: u32, bytes: u64) -> TcpInfo {
        TcpInfo { segments_received: Some(segments), bytes_received: Some(bytes), ..TcpInfo::default() }
    }

    #[test]
    fn a_gap_holds_nothing_back() {
        let mut arrived = Arrived::default();
        // A thousand segments, then a lost one: bytes stand still while as many come again; then all of it is in order.
        assert_eq!(take(&mut arrived, &[info(1_000, 1_448_000)], 0), 1_448_000);
        assert_eq!(take(&mut arrived, &[info(2_000, 1_448_000)], 0), 2_896_000);
        assert_eq!(take(&mut arrived, &[info(3_000, 4_344_000)], 0), 4_344_000);
        // Two streams are summed.
        let mut both = Arrived::default();
        assert_eq!(take(&mut both, &[info(100, 144_800), info(200, 289_600)], 0), 434_400);
        assert_eq!(take(&mut both, &[info(200, 289_600), info(200, 289_600)], 0), 579_200);
    }

    #[test]
    fn small_segments_are_as_small_as_they_are_and_a_handshake_is_soon_forgotten() {
        let mut arrived = Arrived::default();
        take(&mut arrived, &[info(4, 400)], 0);
        let first = take(&mut arrived, &[info(1_004, 1_448_400)], 0);
        let second = take(&mut arrived, &[info(2_004, 2_896_400)], 0);
        assert!((second - first).abs_diff(1_448_000) < 6_000, "{first} {second}");
    }

    #[test]
    fn where_the_kernel_counts_none_bytes_do() {
        let mut arrived = Arrived::default();
        assert_eq!(take(&mut arrived, &[], 77), 77);
        assert_eq!(take(&mut arrived, &[info(1_000, 1_448_000)], 78), 78, "and it stays so");
        assert_eq!(take(&mut Arrived::default(), &[TcpInfo::default()], 5), 5);
    }
}
