//! Who may be tested at once. Pure. A test of several streams has one seat for all of them.

use std::collections::HashMap;

/// Seats of tests.
#[derive(Debug)]
pub(super) struct Seats {
    most: usize,
    /// Streams of a test at most.
    streams: usize,
    taken: HashMap<String, usize>,
}

/// Why there is no seat.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Taken {
    /// As many tests run as may.
    Full,
    /// This test has as many streams as it may have.
    Streams,
}

impl Seats {
    /// So many tests, each of so many streams.
    pub(super) fn new(most: usize, streams: usize) -> Seats {
        Seats { most, streams, taken: HashMap::new() }
    }

    /// A stream of `test` begins.
    pub(super) fn take(&mut self, test: &str) -> Result<(), Taken> {
        if let Some(streams) = self.taken.get_mut(test) {
            if *streams >= self.streams {
                return Err(Taken::Streams);
            }
            *streams += 1;
            return Ok(());
        }
        if self.taken.len() >= self.most {
            return Err(Taken::Full);
        }
        self.taken.insert(test.to_owned(), 1);
        Ok(())
    }

    /// A stream of `test` has ended.
    pub(super) fn leave(&mut self, test: &str) {
        if let Some(streams) = self.taken.get_mut(test) {
            *streams -= 1;
            if *streams == 0 {
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

    #[test]
    fn streams_of_one_test_share_a_seat() {
        let mut seats = Seats::new(2, 3);
        for _ in 0..3 {
            assert_eq!(seats.take("a"), Ok(()));
        }
        assert_eq!(seats.take("a"), Err(Taken::Streams));
        assert_eq!((seats.take("b"), seats.take("c")), (Ok(()), Err(Taken::Full)));
        seats.leave("a");
        assert_eq!((seats.take("c"), seats.take("a")), (Err(Taken::Full), Ok(())));
        for _ in 0..3 {
            seats.leave("a");
        }
        seats.leave("a");
        assert_eq!((seats.running(), seats.take("c")), (1, Ok(())));
    }
}
