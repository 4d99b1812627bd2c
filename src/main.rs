//! The program: arguments, a runtime, one command, an exit code. Everything else lives in the library.

use bulak::app::threads;
use bulak::base::heap;
use std::process::ExitCode;
use std::time::Duration;

/// Blocking work (a directory read, a name lookup) that outlives its command is not waited for longer.
const LAST_WAIT: Duration = Duration::from_secs(1);

/// Threads for blocking work: what the store runs at a time, and a few for names and streams. tokio's 512 would let a burst make
/// a thread, with caches of its own, for every body that arrives.
const BLOCKING: usize = 16;

/// Of these, so many are there from the start: a machine that has no thread to give later would leave the store without hands.
const HANDS: usize = 2;

/// So many workers share a heap (`heap.rs`).
const WORKERS_A_HEAP: usize = 4;

/// And those that are there stay: for ever, as a process goes.
const STAY: Duration = Duration::from_hours(24 * 365);

fn main() -> ExitCode {
    let invocation = match bulak::cli::parse(std::env::args_os()) {
        Ok(invocation) => invocation,
        Err(exit) => return exit.into(),
    };
    let (workers, hands) = (invocation.threads(), invocation.hands());
    // Another allocator keeps house in its own way.
    let _few = heap::share(workers.div_ceil(WORKERS_A_HEAP));
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(workers).max_blocking_threads(BLOCKING).thread_keep_alive(STAY).enable_all();
    // The runtime panics where it cannot have a thread, so that is tried first.
    let runtime = match threads::can_be_had(workers + hands).and_then(|()| builder.build()) {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!(
                "error: {} threads are needed and cannot be started ({error}); raise TasksMax= and LimitNPROC= of the service, or \"ulimit -u\"",
                workers + hands
            );
            return ExitCode::FAILURE;
        }
    };
    threads::keep(&runtime, HANDS);
    drop(runtime.spawn(heap::tidy()));
    let exit = runtime.block_on(invocation.run());
    runtime.shutdown_timeout(LAST_WAIT);
    exit.into()
}
