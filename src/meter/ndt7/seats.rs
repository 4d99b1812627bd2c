//! Who may be tested at once. Pure. A test of several streams has one seat for all of them, and no client has all seats.

use std::collections::HashMap;
use std::net::IpAddr;

/// Seats of tests.
#[derive(Debug)]
pub(super) struct Seats {
    most: usize,
    /// Of one client.
    each: usize,
    /// Streams of a test at most.
    streams: usize,
    taken: HashMap<String, Test>,
}

#[derive(Debug)]
struct Test {
    streams: usize,
    client: Option<IpAddr>,
}

/// Why there is no seat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// As many tests run as may.
    Full,
    /// This client has as many tests as one may have.
    Client,
    /// This test has as many streams as it may have.
    Streams,
}

impl Seats {
    /// So many tests, so many of one client, each of so many streams.
    pub(super) fn new(most: usize, each: usize, streams: usize) -> Seats {
        Seats { most, each, streams, taken: HashMap::new() }
    }

    /// A stream of `test` begins. `client`: whose it is, where that can be told.
    pub(super) fn take(&mut self, test: &str, client: Option<IpAddr>) -> Result<(), Taken> {
        if let Some(test) = self.taken.get_mut(test) {
            if test.streams >= self.streams {
                return Err(Taken::Streams);
            }
            test.streams += 1;
            return Ok(());
        }
        if self.taken.len() >= self.most {
            return Err(Taken::Full);
        }
        if client.is_some() && self.taken.values().filter(|test| test.client == client).count() >= self.each {
            return Err(Taken::Client);
        }
        self.taken.insert(test.to_owned(), Test { streams: 1, client });
        Ok(())
    }

    /// A stream of `test` has ended.
    pub(super) fn leave(&mut self, test: &str) {
        if let Some(running) = self.taken.get_mut(test) {
            running.streams -= 1;
            if running.streams == 0 {
                self.taken.remove(test);
            }
        }
    }

    /// How many tests run.
    pub(super) fn running(&self) -> usize {
        self.taken.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[expect(clippy::unnecessary_wraps, reason = "it stands where nothing may stand, too")]
    fn client(last: u8) -> Option<IpAddr> {
        Some(IpAddr::from([10, 0, 0, last]))
    }

    #[test]
    fn streams_of_one_test_share_a_seat() {
        let mut seats = Seats::new(2, 2, 3);
        for _ in 0..3 {
            assert_eq!(seats.take("a", client(1)), Ok(()));
        }
        assert_eq!(seats.take("a", client(1)), Err(Taken::Streams));
        assert_eq!((seats.take("b", client(1)), seats.take("c", client(1))), (Ok(()), Err(Taken::Full)));
        seats.leave("a");
        assert_eq!((seats.take("c", client(1)), seats.take("a", client(1))), (Err(Taken::Full), Ok(())));
        for _ in 0..3 {
            seats.leave("a");
        }
        seats.leave("a");
        assert_eq!((seats.running(), seats.take("c", client(1))), (1, Ok(())));
    }

    #[test]
    fn no_client_has_all_seats() {
        let mut seats = Seats::new(3, 1, 8);
        assert_eq!((seats.take("a", client(1)), seats.take("b", client(1))), (Ok(()), Err(Taken::Client)));
        assert_eq!((seats.take("b", client(2)), seats.running()), (Ok(()), 2));
        seats.leave("a");
        assert_eq!(seats.take("c", client(1)), Ok(()));
        // Behind a proxy all have one address, which says nothing.
        let mut seats = Seats::new(3, 1, 8);
        assert!(["a", "b", "c"].iter().all(|test| seats.take(test, None).is_ok()));
        assert_eq!(seats.take("d", None), Err(Taken::Full));
    }
}
