//! Who holds how many of what all share (connections, requests at origins): so many in all, so many for one. A seat is given back
//! when it is dropped. Pure.
//!
//! How many is said by whoever lets in: one crowd may be asked with other limits from one time to the next.

use parking_lot::Mutex;
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;

/// In the extensions of a request: the device that waits for its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Asker(pub IpAddr);

/// Who is inside, by address. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Crowd(Arc<Mutex<Count>>);

#[derive(Debug, Default)]
struct Count {
    all: usize,
    by_client: HashMap<IpAddr, usize>,
}

impl Crowd {
    /// A seat, where fewer than `most` are taken and `who` holds fewer than `each`. Nobody in particular (`None`) counts only among
    /// all.
    pub fn enter(&self, who: Option<IpAddr>, most: usize, each: usize) -> Option<Seat> {
        let mut count = self.0.lock();
        let held = who.and_then(|who| count.by_client.get(&who)).copied().unwrap_or(0);
        if count.all >= most || (who.is_some() && held >= each) {
            return None;
        }
        count.all += 1;
        if let Some(who) = who {
            count.by_client.insert(who, held + 1);
        }
        Some(Seat { crowd: self.clone(), who })
    }

    /// Seats taken.
    pub fn all(&self) -> usize {
        self.0.lock().all
    }

    /// Addresses that hold one.
    pub fn clients(&self) -> usize {
        self.0.lock().by_client.len()
    }
}

/// One seat; given back when dropped.
#[derive(Debug)]
pub struct Seat {
    crowd: Crowd,
    who: Option<IpAddr>,
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut count = self.crowd.0.lock();
        count.all -= 1;
        if let Some(who) = self.who
            && let Some(held) = count.by_client.get_mut(&who)
        {
            *held -= 1;
            if *held == 0 {
                count.by_client.remove(&who);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_in_all_and_so_many_for_one() {
        let crowd = Crowd::default();
        let one = Some(IpAddr::from([10, 0, 0, 1]));
        let other = Some(IpAddr::from([10, 0, 0, 2]));
        let first = crowd.enter(one, 4, 2).expect("room");
        let second = crowd.enter(one, 4, 2).expect("room");
        assert!(crowd.enter(one, 4, 2).is_none(), "its share is taken");
        let third = crowd.enter(other, 4, 2).expect("room");
        let nobody = crowd.enter(None, 4, 2).expect("room");
        assert!(crowd.enter(other, 4, 2).is_none() && crowd.enter(None, 4, 2).is_none(), "all are taken");
        drop(first);
        let again = crowd.enter(one, 4, 2).expect("room again");
        assert_eq!((crowd.all(), crowd.clients()), (4, 2));
        drop((second, third, nobody, again));
        assert_eq!((crowd.all(), crowd.clients()), (0, 0), "nothing is remembered of whoever left");
    }
}
