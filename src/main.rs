//! The program: arguments, a runtime, one command, an exit code. Everything else lives in the library.

use std::process::ExitCode;
use std::time::Duration;

#[cfg(feature = "mimalloc")]
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Blocking work (a directory read, a name lookup) that outlives its command is not waited for longer.
const LAST_WAIT: Duration = Duration::from_secs(1);

fn main() -> ExitCode {
    let invocation = match bulak::cli::parse(std::env::args_os()) {
        Ok(invocation) => invocation,
        Err(exit) => return exit.into(),
    };
    let runtime = match tokio::runtime::Builder::new_multi_thread().worker_threads(invocation.threads()).enable_all().build() {
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
