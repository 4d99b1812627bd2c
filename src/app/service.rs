//! What systemd is told: ready, stopping, and, where the unit has a watchdog, that the node still runs.
//!
//! The sign of life comes from a task of the runtime that carries requests. A runtime whose threads are stuck stops sending it and
//! the service is started anew; a flood of connections, a dead line or a slow disk do not stop it: a restart would mend none of them.

use crate::life::{Life, Next, Worker, supervise};
use sd_notify::NotifyState;
use std::time::Duration;

/// Signs of life in each time that systemd waits for one: `sd_watchdog_enabled(3)` asks for two; one may be late.
const SIGNS: u32 = 3;

/// Says that everything listens, and goes on to say that the node runs when the unit asks for it (`WatchdogSec=`).
pub fn ready(life: &Life) {
    tell(NotifyState::Ready);
    if let Some(patience) = sd_notify::watchdog_enabled() {
        supervise(life, Alive { every: patience / SIGNS });
    }
}

/// Says that the end is wanted and will take a moment.
pub fn stopping() {
    tell(NotifyState::Stopping);
}

/// Without systemd there is nobody to tell, and nothing is lost.
fn tell(state: NotifyState<'_>) {
    if let Err(error) = sd_notify::notify(&[state]) {
        tracing::debug!(%error, "systemd could not be told");
    }
}

struct Alive {
    every: Duration,
}

impl Worker for Alive {
    fn name(&self) -> &'static str {
        "signs of life"
    }

    async fn work(&mut self) -> anyhow::Result<Next> {
        tell(NotifyState::Watchdog);
        Ok(Next::Wait(self.every))
    }
}
