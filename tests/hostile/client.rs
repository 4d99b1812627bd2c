//! The byte-exact client: sends what the case wrote, reads until the answers are there, and repairs nothing.

use crate::strict::{self, Reading};
use bulak::base::clock::Clock;
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::time::{Duration, Instant};

/// Who has said nothing for so long hangs: generous, since machines are busy.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

/// More than this of one answer is not read.
const MOST: usize = 8 << 20;

/// How the reading ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// The connection is still there.
    Open,
    Closed,
    Reset,
    /// Nothing came for [`PATIENCE`].
    Hung,
    /// Enough was read of something that does not end.
    Enough,
}

/// What came in answer to what was sent.
#[derive(Clone, Debug)]
pub(crate) struct Heard {
    pub(crate) reading: Reading,
    pub(crate) raw: Vec<u8>,
    pub(crate) end: End,
}

/// One connection to the proxy.
pub(crate) struct Client {
    stream: TcpStream,
    pub(crate) over: bool,
}

impl Client {
    /// Connects.
    pub(crate) fn open(to: SocketAddr) -> Result<Client, String> {
        let stream = TcpStream::connect_timeout(&to, PATIENCE).map_err(|error| format!("the proxy takes no connection: {error}"))?;
        let options = stream.set_nodelay(true).and_then(|()| stream.set_write_timeout(Some(PATIENCE)));
        options.map_err(|error| error.to_string())?;
        Ok(Client { stream, over: false })
    }

    /// Sends bytes and reads the answers to requests with these methods.
    pub(crate) fn exchange(&mut self, bytes: &[u8], methods: &[String]) -> Heard {
        // A proxy may refuse and close before it has read everything: then the rest cannot be sent, and its answer still counts.
        let _sent = self.stream.write_all(bytes);
        let clock = Clock::system();
        let mut until = clock.steady() + PATIENCE;
        let mut heard = Heard { reading: Reading::default(), raw: Vec::new(), end: End::Open };
        let mut piece = vec![0; 64 << 10];
        loop {
            heard.end = self.take(&mut piece, until, &clock, &mut heard.raw);
            if heard.end == End::Open {
                until = clock.steady() + PATIENCE;
            }
            // A large body is looked at when it has grown by something.
            heard.reading = strict::answers(&heard.raw, methods, heard.end == End::Closed);
            let done = heard.reading.whole.len() == methods.len() || heard.reading.fault.is_some();
            if heard.end == End::Open && heard.raw.len() > MOST {
                heard.end = End::Enough;
            }
            if done || heard.end != End::Open {
                self.over = heard.end != End::Open;
                return heard;
            }
        }
    }

    fn take(&mut self, piece: &mut [u8], until: Instant, clock: &Clock, into: &mut Vec<u8>) -> End {
        let mut taken = 0;
        // Several pieces at once, so that reading anew stays cheap.
        loop {
            let left = if taken > 0 { Duration::from_millis(1) } else { until.saturating_duration_since(clock.steady()) };
            if left.is_zero() || self.stream.set_read_timeout(Some(left)).is_err() {
                return End::Hung;
            }
            match self.stream.read(piece) {
                Ok(0) => return End::Closed,
                Ok(read) => {
                    into.extend_from_slice(&piece[..read]);
                    taken += read;
                    if taken > 1 << 20 || read < piece.len() {
                        return End::Open;
                    }
                }
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                    return if taken > 0 { End::Open } else { End::Hung };
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => return End::Reset,
            }
        }
    }

    /// Sends and goes away.
    pub(crate) fn leave(mut self, bytes: &[u8]) {
        let _sent = self.stream.write_all(bytes);
        // One look, so that something has happened.
        let (clock, mut piece, mut raw) = (Clock::system(), vec![0; 4096], Vec::new());
        self.take(&mut piece, clock.steady() + Duration::from_millis(300), &clock, &mut raw);
        let _gone = self.stream.shutdown(Shutdown::Both);
    }
}
