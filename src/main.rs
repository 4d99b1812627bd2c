//! The program: arguments, a runtime, one command, an exit code. Everything else lives in the library.

use std::process::ExitCode;
use std::time::Duration;

#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Blocking work (a directory read, a name lookup) that outlives its command is not waited for longer.
const LAST_WAIT: Duration = Duration::from_secs(1);

/// Threads for blocking work: what the store runs at a time, and a few for names and streams. tokio's 512 would let a burst make
/// a thread, with caches of its own, for every body that arrives.
const BLOCKING: usize = 16;

fn main() -> ExitCode {
    let invocation = match bulak::cli::parse(std::env::args_os()) {
        Ok(invocation) => invocation,
        Err(exit) => return exit.into(),
    };
    let mut builder = tokio::runtime::Builder::new_multi_thread();
    builder.worker_threads(invocation.threads()).max_blocking_threads(BLOCKING).enable_all();
    let runtime = match builder.build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("error: no threads can be started ({error}); see the limits of this user and service");
            return ExitCode::FAILURE;
        }
    };
    let exit = runtime.block_on(invocation.run());
    runtime.shutdown_timeout(LAST_WAIT);
    exit.into()
}
