//! How the system's allocator shares memory out among threads. The third room where `unsafe` may live.
//!
//! # Why
//! glibc gives up to eight heaps a core to the threads, and mimalloc one to each. What is kept for long, a body in the hot tier, holds the
//! heap of whichever thread brought it, so each heap comes to be as large as all of them need together. With one heap for each worker ten
//! minutes of mixed load keep 23 MiB instead of 38 with mimalloc, an hour 28 instead of 44, 100,000 objects 93 MB instead of 117, for the
//! same CPU a hit: what is small comes from a thread's own cache in both.
#![expect(unsafe_code, reason = "mallopt has no safe form")]

/// Lets all threads share this many heaps, from now on: to be called before there are threads. Whether the allocator is one that can be
/// told, which is glibc's (mallopt(3), `M_ARENA_MAX`).
#[must_use]
pub fn share(heaps: usize) -> bool {
    #[cfg(target_env = "gnu")]
    {
        let heaps = libc::c_int::try_from(heaps).unwrap_or(libc::c_int::MAX).max(1);
        // SAFETY: takes two numbers, and changes only how later allocations choose a heap.
        unsafe { libc::mallopt(libc::M_ARENA_MAX, heaps) == 1 }
    }
    #[cfg(not(target_env = "gnu"))]
    {
        let _ = heaps;
        false
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

    #[test]
    fn how_many_is_for_the_allocator_to_judge() {
        assert_eq!(share(usize::MAX), cfg!(target_env = "gnu"));
    }
}
