//! Bodies that a socket can take without a copy: in memory page-aligned slots of one anonymous file (memfd), mapped once; on disk
//! an extent of a file, mapped for whoever sends it (`Arena::lend`). Whoever reads a body sees ordinary `Bytes`; whoever writes to a
//! socket asks `Arena::place` and may use `sendfile`.
//!
//! The second room where `unsafe` may live. A socket's queue goes on holding the pages of what was sent, so a slot is never
//! written to again: when its last reader has gone its pages are punched out of the file, and whoever comes next gets new ones.
//!
//! # Why
//! Copying 1 MiB into a socket costs 190 to 210 µs, sendfile of the same bytes 72 to 90 (Linux 6.18, loopback); at 100 KiB it is 19
//! against 11, at 10 KiB nothing. A file on disk instead of a memfd would be written back, and wear an SD card. What the page cache
//! of ext4 holds costs a fifth less again: it comes in large folios, a memfd's pages one by one, and huge pages for it are off as Linux
//! comes. Of 1 MiB by sendfile looking pages up is 15 % here and 6 % in nginx, letting go of them 6 and 3 (perf); no function of ours has
//! 1 %. To lend such bodies from their segments instead would let whoever comes by TLS, most of a school, read and verify them each time.
#![expect(unsafe_code, reason = "a mapping has no safe form, and its bytes must be reached by address")]

use bytes::Bytes;
use parking_lot::{Mutex, RwLock};
use rustix::fs::{FallocateFlags, MemfdFlags, SealFlags};
use rustix::mm::{Advice, MapFlags, ProtFlags};
use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::ptr::NonNull;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// Pages whose residence is asked for at a time.
const ASKED: usize = 256;

/// Room for bodies. Cheap to clone.
#[derive(Clone, Debug)]
pub struct Arena(Arc<Room>);

#[derive(Debug)]
struct Room {
    file: OwnedFd,
    base: NonNull<u8>,
    /// Bytes mapped, whole pages.
    length: usize,
    page: usize,
    free: Mutex<Free>,
    /// Extents of other files that are lent, by address.
    lent: RwLock<BTreeMap<usize, Lent>>,
    /// How many they are, for who has no time for a lock: every hit asks.
    loans: AtomicUsize,
}

/// A file of which extents may be lent.
pub trait Lender: Send + Sync + 'static {
    /// Its descriptor, open for reading.
    fn fd(&self) -> BorrowedFd<'_>;
}

/// A mapped extent of another file.
struct Lent {
    file: Arc<dyn Lender>,
    /// Where in the file the mapping begins, and its bytes.
    at: u64,
    length: usize,
}

impl std::fmt::Debug for Lent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Lent").field("at", &self.at).field("length", &self.length).finish_non_exhaustive()
    }
}

/// Where bytes lie in a file.
pub struct Spot<'a> {
    file: Holder<'a>,
    /// Offset in the file.
    pub at: u64,
}

enum Holder<'a> {
    Own(BorrowedFd<'a>),
    Other(Arc<dyn Lender>),
}

impl AsFd for Spot<'_> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.file {
            Holder::Own(file) => *file,
            Holder::Other(file) => file.fd(),
        }
    }
}

// SAFETY: the mapping stays where it is until the room is dropped; a slot is written by the one thread that has just taken it and
// read only after that.
unsafe impl Send for Room {}
// SAFETY: as above.
unsafe impl Sync for Room {}

impl Arena {
    /// Room for `length` bytes of addresses; memory is taken only for what is in it, and given back when that goes.
    ///
    /// # Errors
    /// When the kernel lacks what is needed (Linux 5.14 has it), or has no addresses left.
    pub fn new(length: usize) -> io::Result<Arena> {
        let page = rustix::param::page_size();
        let length = length.div_ceil(page).max(1).checked_mul(page).ok_or(io::ErrorKind::InvalidInput)?;
        let file = rustix::fs::memfd_create(c"bulak-bodies", MemfdFlags::CLOEXEC | MemfdFlags::ALLOW_SEALING)?;
        rustix::fs::ftruncate(&file, length as u64)?;
        // A file that were cut short would end the process at the next look at the mapping.
        rustix::fs::fcntl_add_seals(&file, SealFlags::SHRINK | SealFlags::GROW | SealFlags::SEAL)?;
        // SAFETY: a new mapping at an address of the kernel's choice touches nothing that exists.
        let base =
            unsafe { rustix::mm::mmap(std::ptr::null_mut(), length, ProtFlags::READ | ProtFlags::WRITE, MapFlags::SHARED, &file, 0)? };
        let base = NonNull::new(base.cast::<u8>()).ok_or(io::ErrorKind::OutOfMemory)?;
        let free = Mutex::new(Free(BTreeMap::from([(0, length)])));
        let room = Room { file, base, length, page, free, lent: RwLock::default(), loans: AtomicUsize::new(0) };
        // Of a huge page that is punched in part the kernel wipes that part, even while it is being sent.
        room.advise(0..length, Advice::LinuxNoHugepage)?;
        // Older kernels cannot say beforehand that there is no memory.
        room.advise(0..page, Advice::LinuxPopulateWrite)?;
        room.punch(&(0..page))?;
        Ok(Arena(Arc::new(room)))
    }

    /// A copy of `bytes` in a slot of its own; `None` when there is no room or no memory.
    pub fn keep(&self, bytes: &[u8]) -> Option<Bytes> {
        let room = &self.0;
        let extent = room.free.lock().take(self.weight(bytes.len()))?;
        let slot = Slot { room: Arc::clone(room), extent, length: bytes.len() };
        if room.advise(slot.extent.clone(), Advice::LinuxPopulateWrite).is_err() {
            // A write to memory that cannot be had would end the process.
            return None;
        }
        // SAFETY: the slot lies within the mapping, is at least this long, and nobody else has it.
        unsafe { room.base.add(slot.extent.start).copy_from_nonoverlapping(NonNull::from(bytes).cast(), bytes.len()) };
        Some(Bytes::from_owner(slot))
    }

    /// Memory that a body of this length takes here: whole pages.
    pub fn weight(&self, length: usize) -> usize {
        length.div_ceil(self.0.page).max(1).saturating_mul(self.0.page)
    }

    /// The file and the offset where these very bytes lie, when they lie here.
    pub fn place(&self, bytes: &[u8]) -> Option<Spot<'_>> {
        if bytes.is_empty() {
            return None;
        }
        let address = bytes.as_ptr().addr();
        let own = address.checked_sub(self.0.base.as_ptr().addr());
        if let Some(at) = own.filter(|at| at.checked_add(bytes.len()).is_some_and(|end| end <= self.0.length)) {
            return Some(Spot { file: Holder::Own(self.0.file.as_fd()), at: at as u64 });
        }
        if self.0.loans.load(Ordering::Acquire) == 0 {
            return None;
        }
        let lent = self.0.lent.read();
        let (start, extent) = lent.range(..=address).next_back()?;
        let within = address - start;
        let inside = within.checked_add(bytes.len()).is_some_and(|end| end <= extent.length);
        inside.then(|| Spot { file: Holder::Other(Arc::clone(&extent.file)), at: extent.at + within as u64 })
    }

    /// An extent of a file, which is not written to any more, as bytes that have an [`Arena::place`]. They are meant to be sent, not
    /// read: reading them is reading the file at that moment, and where the medium fails, or somebody has cut the file, it ends the
    /// process.
    ///
    /// # Errors
    /// When the kernel cannot map it.
    pub fn lend(&self, file: Arc<dyn Lender>, extent: Range<u64>) -> io::Result<Bytes> {
        let room = &self.0;
        if extent.is_empty() {
            return Err(io::ErrorKind::InvalidInput.into());
        }
        let at = extent.start - extent.start % room.page as u64;
        let whole = |bytes: u64| usize::try_from(bytes).map_err(io::Error::other);
        let (skip, length) = (whole(extent.start - at)?, whole(extent.end - at)?);
        // SAFETY: a new mapping at an address of the kernel's choice touches nothing that exists.
        let base = unsafe { rustix::mm::mmap(std::ptr::null_mut(), length, ProtFlags::READ, MapFlags::SHARED, file.fd(), at)? };
        let base = NonNull::new(base.cast::<u8>()).ok_or(io::ErrorKind::OutOfMemory)?;
        room.lent.write().insert(base.as_ptr().addr(), Lent { file, at, length });
        room.loans.fetch_add(1, Ordering::Release);
        Ok(Bytes::from_owner(Loan { room: Arc::clone(room), base, length }).slice(skip..))
    }

    /// Whether all of these bytes, which were lent, are in memory, so that nobody waits for a disk who sends them at once. Reads none of
    /// them. (Of a file that is neither ours nor may be written by us the kernel always says so.)
    pub fn resident(&self, bytes: &[u8]) -> bool {
        let page = self.0.page;
        let (start, end) = (bytes.as_ptr().addr() / page * page, bytes.as_ptr().addr() + bytes.len());
        (start..end).step_by(ASKED * page).all(|from| {
            let mut pages = [0; ASKED];
            let length = (end - from).min(ASKED * page);
            // SAFETY: writes a byte for each page, of which there are at most as many as `pages` has; addresses are only looked at.
            let told = unsafe { libc::mincore(std::ptr::without_provenance_mut(from), length, pages.as_mut_ptr()) };
            told == 0 && pages.iter().take(length.div_ceil(page)).all(|page| page & 1 == 1)
        })
    }
}

/// A lent extent as long as somebody holds a part of it.
struct Loan {
    room: Arc<Room>,
    base: NonNull<u8>,
    length: usize,
}

// SAFETY: the mapping is never written to, and stays where it is until the loan is dropped.
unsafe impl Send for Loan {}
// SAFETY: as above.
unsafe impl Sync for Loan {}

impl AsRef<[u8]> for Loan {
    fn as_ref(&self) -> &[u8] {
        // SAFETY: mapped for reading with this length, and unmapped by nobody but `drop`; who lends says that the extent is not
        // written to any more.
        unsafe { std::slice::from_raw_parts(self.base.as_ptr(), self.length) }
    }
}

impl Drop for Loan {
    fn drop(&mut self) {
        // Before its addresses can be somebody else's.
        self.room.lent.write().remove(&self.base.as_ptr().addr());
        self.room.loans.fetch_sub(1, Ordering::Release);
        // SAFETY: the last who held a part of it has gone.
        if let Err(error) = unsafe { rustix::mm::munmap(self.base.as_ptr().cast(), self.length) } {
            tracing::debug!(%error, "a lent extent stays mapped");
        }
    }
}

impl Room {
    fn advise(&self, extent: Range<usize>, advice: Advice) -> io::Result<()> {
        // SAFETY: the extent lies within the mapping, and none of the advices used here changes a byte of it.
        unsafe { rustix::mm::madvise(self.base.add(extent.start).as_ptr().cast(), extent.len(), advice) }?;
        Ok(())
    }

    /// Takes the pages out of the file: whoever holds them keeps them as they are.
    fn punch(&self, extent: &Range<usize>) -> io::Result<()> {
        let how = FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE;
        Ok(rustix::fs::fallocate(&self.file, how, extent.start as u64, extent.len() as u64)?)
    }
}

impl Drop for Room {
    fn drop(&mut self) {
        // SAFETY: every slot holds the room, so nobody can look at the mapping any more.
        if let Err(error) = unsafe { rustix::mm::munmap(self.base.as_ptr().cast(), self.length) } {
            tracing::debug!(%error, "the room for bodies stays mapped");
        }
    }
}

/// One body's place; given back with its last reader.
struct Slot {
    room: Arc<Room>,
    extent: Range<usize>,
    length: usize,
}

impl AsRef<[u8]> for Slot {
    fn as_ref(&self) -> &[u8] {
        // SAFETY: the slot was filled up to `length` before it was shared, and is not written to while it lives.
        unsafe { std::slice::from_raw_parts(self.room.base.add(self.extent.start).as_ptr(), self.length) }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        match self.room.punch(&self.extent) {
            Ok(()) => self.room.free.lock().give(self.extent.clone()),
            // Its pages may still be on their way to somebody, so it is never used again.
            Err(error) => tracing::warn!(%error, "memory of a body could not be given back"),
        }
    }
}

/// Free extents by where they begin; neighbours are one.
#[derive(Debug)]
struct Free(BTreeMap<usize, usize>);

impl Free {
    /// The first that is large enough, cut to `length`.
    fn take(&mut self, length: usize) -> Option<Range<usize>> {
        let (&at, &size) = self.0.iter().find(|(_, size)| **size >= length)?;
        self.0.remove(&at);
        if size > length {
            self.0.insert(at + length, size - length);
        }
        Some(at..at + length)
    }

    fn give(&mut self, extent: Range<usize>) {
        let (mut at, mut size) = (extent.start, extent.len());
        if let Some(next) = self.0.remove(&extent.end) {
            size += next;
        }
        if let Some((&before, &length)) = self.0.range(..at).next_back().filter(|(before, length)| *before + *length == at) {
            (at, size) = (before, size + length);
        }
        self.0.insert(at, size);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::{Read, Write};
    use std::net::{TcpListener, TcpStream};

    fn arena(pages: usize) -> (Arena, usize) {
        let page = rustix::param::page_size();
        (Arena::new(pages * page).unwrap(), page)
    }

    #[test]
    fn bodies_lie_on_pages_and_are_found_by_address() {
        let (arena, page) = arena(4);
        let one = arena.keep(&vec![1; page + 1]).unwrap();
        let two = arena.keep(b"two").unwrap();
        assert_eq!((one.len(), &two[..]), (page + 1, b"two".as_slice()));
        assert_eq!(arena.place(&one).unwrap().at, 0);
        assert_eq!(arena.place(&two.slice(1..)).unwrap().at, 2 * page as u64 + 1);
        assert!(arena.place(b"elsewhere").is_none() && arena.place(&[]).is_none());
        assert!(arena.keep(&vec![0; 2 * page]).is_none(), "one page is left");
        drop(one);
        let three = arena.keep(&vec![3; 2 * page]).unwrap();
        assert!(three.iter().all(|byte| *byte == 3) && arena.place(&three).unwrap().at == 0);
    }

    #[test]
    fn what_is_given_back_becomes_one_again() {
        let (arena, page) = arena(8);
        let all: Vec<_> = (0..8).map(|n| arena.keep(&vec![n; page]).unwrap()).collect();
        assert!(arena.keep(b"x").is_none());
        // Evens, then odds: every way of meeting a neighbour.
        let (evens, odds): (Vec<_>, Vec<_>) = all.into_iter().enumerate().partition(|(n, _)| n % 2 == 0);
        drop(evens);
        assert!(arena.keep(&vec![0; 2 * page]).is_none());
        drop(odds);
        assert_eq!(arena.0.free.lock().0, BTreeMap::from([(0, 8 * page)]));
    }

    #[test]
    fn a_body_outlives_the_arena() {
        let (arena, page) = arena(2);
        let body = arena.keep(&vec![9; page]).unwrap();
        drop(arena);
        assert!(body.iter().all(|byte| *byte == 9));
    }

    #[test]
    fn what_is_on_its_way_keeps_its_bytes_when_the_slot_gets_new_ones() {
        let (arena, page) = arena(4);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let near = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut far, _) = listener.accept().unwrap();
        let body = arena.keep(&vec![b'a'; 2 * page]).unwrap();
        let spot = arena.place(&body).unwrap();
        let sent = rustix::fs::sendfile(&near, &spot, Some(&mut { spot.at }), body.len()).unwrap();
        drop(body);
        let other = arena.keep(&vec![b'b'; 2 * page]).unwrap();
        assert_eq!(arena.place(&other).unwrap().at, 0, "the same slot");
        (&near).write_all(b"end").unwrap();
        drop(near);
        let mut got = Vec::new();
        far.read_to_end(&mut got).unwrap();
        assert_eq!(got, [vec![b'a'; sent], b"end".to_vec()].concat());
    }

    impl Lender for std::fs::File {
        fn fd(&self) -> BorrowedFd<'_> {
            self.as_fd()
        }
    }

    #[test]
    fn what_is_lent_has_its_place_in_its_own_file() {
        let (arena, page) = arena(1);
        let mut file = tempfile::tempfile().unwrap();
        let wanted: Vec<u8> = (0..5 * page).map(|at| u8::try_from(at % 251).unwrap()).collect();
        file.write_all(&wanted).unwrap();
        let file: Arc<dyn Lender> = Arc::new(file);
        // Neither begins nor ends on a page.
        let (from, to) = (page + 100, 4 * page + 7);
        let lent = arena.lend(Arc::clone(&file), from as u64..to as u64).unwrap();
        assert_eq!(lent, wanted[from..to]);
        assert!(arena.resident(&lent), "just written");
        assert_eq!(arena.place(&lent).unwrap().at, from as u64);
        let other = arena.lend(Arc::clone(&file), 0..3).unwrap();
        let part = lent.slice(5..2000);
        drop(lent);
        assert_eq!((arena.place(&part).unwrap().at, arena.place(&other).unwrap().at), ((from + 5) as u64, 0));
        assert_eq!(part, wanted[from + 5..from + 2000]);
        drop((part, other));
        assert!(arena.0.lent.read().is_empty() && arena.0.loans.load(Ordering::Acquire) == 0);
        assert_eq!(Arc::strong_count(&file), 1, "and lets go of the file");
        // What has left the page cache is not resident. (Of a file in memory nothing can leave.)
        let mut away = tempfile::tempfile().unwrap();
        away.write_all(&wanted).unwrap();
        away.sync_all().unwrap();
        rustix::fs::fadvise(&away, 0, None, rustix::fs::Advice::DontNeed).unwrap();
        let in_memory = rustix::fs::fstatfs(&away).unwrap().f_type == 0x0102_1994;
        let away = arena.lend(Arc::new(away), 0..wanted.len() as u64).unwrap();
        assert_eq!(arena.resident(&away), in_memory);
        for extent in [7..7, u64::MAX - 1..u64::MAX] {
            assert!(arena.lend(Arc::clone(&file), extent).is_err());
        }
    }

    #[test]
    fn memory_is_given_back() {
        let (arena, page) = arena(64);
        drop(arena.keep(&vec![1; 64 * page]).unwrap());
        assert_eq!(rustix::fs::fstat(&arena.0.file).unwrap().st_blocks, 0);
    }
}
