//! How the system's allocator shares memory out among threads. The third room where `unsafe` may live.
//!
//! # Why
//! glibc gives up to eight heaps a core to the threads, and mimalloc one to each. What is kept for long, a body in the hot tier, holds the
//! heap of whichever thread brought it, so each heap comes to be as large as all of them need together. With one heap for each of two
//! workers ten minutes of mixed load keep 23 MiB instead of 38 with mimalloc, 100,000 objects 93 MB instead of 117, for the same CPU a
//! hit: what is small comes from a thread's own cache in both. One heap for both holds 2.5 MB of holes where two hold 5.5, and an hour ends
//! with 21 MiB instead of 23, again for the same CPU a hit (1, 10 and 30 kB, two workers, both busy). jemalloc with one arena held 26 after
//! nine minutes, this 20.
//!
//! Left alone, glibc takes the largest block that was ever given back for what belongs into a heap from then on. A snapshot's megabyte then
//! finds a hole or makes the heap longer, and small things that stay move into the hole: a fixed bound saved 1 to 2 MiB of an hour's 26.
//!
//! What is left are holes: whatever comes and goes, the pages between two things that stay are the process's, full or not. After 5,000
//! connections that had gone 72 MB stayed, of which 67 were whole free pages, which the kernel can have back. While a load goes on little is
//! won: of an hour of mixed load 3.5 of 25 MiB, which are needed again within two minutes.
#![expect(unsafe_code, reason = "mallopt and malloc_trim have no safe form")]

use std::time::Duration;

/// Blocks from here on are mapped and given back each by itself: twice a piece of a film, so that none of those costs page faults.
#[cfg(target_env = "gnu")]
const MAPPED: libc::c_int = 512 << 10;
/// A heap's free end is given back when it is longer.
#[cfg(target_env = "gnu")]
const END: libc::c_int = 2 << 20;

/// How often free pages within heaps are given back: 2 ms for each 10 MB that are free, in which whoever needs that heap waits; to have them
/// anew takes 8 to 18 ms.
const TIDY: Duration = Duration::from_mins(5);

/// Lets all threads share this many heaps, from now on, in which nothing large lies: to be called before there are threads. Whether the
/// allocator is one that can be told, which is glibc's (mallopt(3): `M_ARENA_MAX`, `M_MMAP_THRESHOLD`, `M_TRIM_THRESHOLD`).
#[must_use]
pub fn share(heaps: usize) -> bool {
    #[cfg(target_env = "gnu")]
    {
        let heaps = libc::c_int::try_from(heaps).unwrap_or(libc::c_int::MAX).max(1);
        let settings = [(libc::M_ARENA_MAX, heaps), (libc::M_MMAP_THRESHOLD, MAPPED), (libc::M_TRIM_THRESHOLD, END)];
        // SAFETY: takes two numbers, and changes only how later allocations choose a heap, or none.
        settings.into_iter().all(|(what, value)| unsafe { libc::mallopt(what, value) == 1 })
    }
    #[cfg(not(target_env = "gnu"))]
    {
        let _ = heaps;
        false
    }
}

/// Gives the kernel all whole pages that are free, in every heap, again and again, on a thread for blocking work (malloc_trim(3)). Ends with
/// the runtime; another allocator than glibc's keeps house in its own way.
pub async fn tidy() {
    loop {
        tokio::time::sleep(TIDY).await;
        #[cfg(target_env = "gnu")]
        // SAFETY: takes a number; glibc locks each heap while it looks through what is free in it.
        if tokio::task::spawn_blocking(|| unsafe { libc::malloc_trim(0) }).await.is_err() {
            return;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Heaps beside the first: each is a mapping that begins at a multiple of its greatest size (glibc's `HEAP_MAX_SIZE`, 64 MiB).
    fn heaps() -> usize {
        let maps = std::fs::read_to_string("/proc/self/maps").expect("Linux");
        let begins = maps.lines().filter_map(|line| u64::from_str_radix(line.split('-').next()?, 16).ok());
        begins.filter(|begin| begin % (64 << 20) == 0).count()
    }

    #[cfg(all(target_env = "gnu", target_pointer_width = "64"))]
    #[test]
    fn threads_make_no_heaps_beyond_their_share() {
        assert!(share(1));
        let (before, meet) = (heaps(), std::sync::Barrier::new(8));
        std::thread::scope(|scope| {
            for _ in 0..8 {
                scope.spawn(|| {
                    // More than a thread's own cache holds, less than is mapped by itself.
                    let held = std::hint::black_box(vec![1_u8; 50_000]);
                    meet.wait();
                    drop(held);
                });
            }
        });
        assert_eq!(heaps(), before);
    }

    #[cfg(all(target_env = "gnu", target_pointer_width = "64"))]
    #[test]
    fn what_is_large_lies_in_no_heap_however_often_it_is_given_back() {
        assert!(share(2));
        // A mapped block begins on a page, behind its own two words (glibc's `malloc_chunk`).
        let is_mapped = |length| {
            let block = std::hint::black_box(vec![1_u8; length]);
            block.as_ptr().addr() % 4096 == 16
        };
        let large = usize::try_from(MAPPED).expect("positive");
        assert!((0..3).all(|_| is_mapped(large) && is_mapped(4 * large)));
    }

    /// Resident memory that is no file's, bytes.
    fn resident() -> usize {
        let status = std::fs::read_to_string("/proc/self/status").expect("Linux");
        let line = status.lines().find_map(|line| line.strip_prefix("RssAnon:")).expect("a figure");
        line.trim().trim_end_matches(" kB").parse::<usize>().expect("a number") << 10
    }

    #[cfg(target_env = "gnu")]
    #[tokio::test(start_paused = true)]
    async fn holes_are_given_back_in_time() {
        const BLOCK: usize = 16 << 10;
        assert!(share(1));
        let mut blocks: Vec<Vec<u8>> = (0..4_000).map(|_| vec![1; BLOCK]).collect();
        // One of twenty stays: no heap gets shorter by itself.
        let mut number = 0;
        blocks.retain(|_| {
            number += 1;
            number % 20 == 0
        });
        let before = resident();
        assert!(tokio::time::timeout(TIDY / 2, tidy()).await.is_err());
        assert!(before.saturating_sub(resident()) < 100 * BLOCK, "not by itself");
        assert!(tokio::time::timeout(TIDY * 3 / 2, tidy()).await.is_err(), "for ever");
        let gone = before.saturating_sub(resident());
        assert!(gone > 3_000 * BLOCK, "{gone} bytes");
        assert!(blocks.iter().flatten().all(|byte| *byte == 1));
    }

    #[test]
    fn how_many_is_for_the_allocator_to_judge() {
        assert_eq!(share(usize::MAX), cfg!(target_env = "gnu"));
    }
}
