//! Threads before they are needed: whether they can be had at all, and a few that are there when no more can be.
//!
//! tokio makes threads for blocking work when they are asked for, and lets them go. On a machine that has run out of them (a limit of the
//! service, a container, a fork bomb next door) a store without a thread would wait for ever.

use std::io;
use std::thread;
use std::time::Duration;

/// A thread's start takes microseconds; on a busy card a few milliseconds.
const START: Duration = Duration::from_millis(20);

/// Whether so many can be had at once: they are started, and end.
///
/// # Errors
/// The system's, for the first that is refused.
pub fn can_be_had(count: usize) -> io::Result<()> {
    thread::scope(|scope| {
        let mut parked = Vec::with_capacity(count);
        let mut refused = None;
        for _ in 0..count {
            match thread::Builder::new().stack_size(64 << 10).spawn_scoped(scope, thread::park) {
                Ok(thread) => parked.push(thread),
                Err(error) => {
                    refused = Some(error);
                    break;
                }
            }
        }
        for thread in &parked {
            thread.thread().unpark();
        }
        refused.map_or(Ok(()), Err)
    })
}

/// Has the runtime make so many threads for blocking work now: each is given something to do while the others are.
pub fn keep(runtime: &tokio::runtime::Runtime, count: usize) {
    for _ in 0..count {
        // Nobody waits for them.
        drop(runtime.spawn_blocking(|| thread::sleep(START)));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Barrier;

    #[test]
    fn a_few_threads_can_be_had_and_stay() {
        can_be_had(3).expect("threads");
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).build().expect("a runtime");
        keep(&runtime, 2);
        let both = std::sync::Arc::new(Barrier::new(2));
        let meet = || {
            let both = std::sync::Arc::clone(&both);
            runtime.spawn_blocking(move || both.wait())
        };
        let (one, other) = (meet(), meet());
        runtime.block_on(async { (one.await.expect("met"), other.await.expect("met")) });
    }
}
