//! Moments that a clock which was ahead has written down: they lie further ahead than any wait that was ever meant, so they are not
//! believed and count as due now. Who slept until then would sleep for years.

use crate::base::clock::Time;
use crate::state::frontier::ends::{DOUBLINGS, PAUSE};
use crate::state::{Error, State};
use std::time::Duration;

/// The longest wait but that of a wish that was given up: until the next day, which has 25 hours where clocks are set back.
pub const LONGEST: Duration = Duration::from_hours(25);

impl State {
    /// Forgets waits that no right clock has begun: of hosts, queues, robots.txt and wishes. How many.
    pub async fn forget_ahead(&self, now: Time) -> Result<u64, Error> {
        let (far, given_up) = (now.plus(LONGEST).micros(), now.plus(PAUSE.saturating_mul(1 << DOUBLINGS)).micros());
        // The states are written out: only so does SQLite use the small indexes.
        let forgotten = [
            ("UPDATE host SET until = ?1 WHERE until > ?2", far),
            ("UPDATE queue SET until = ?1 WHERE until > ?2", far),
            ("DELETE FROM robots WHERE until > ?2 OR since > ?2", far),
            ("UPDATE wish SET next_try = ?1 WHERE state = 1 AND next_try > ?2", far),
            ("UPDATE wish SET next_try = ?1 WHERE why IS NOT NULL AND state = 4 AND next_try > ?2", given_up),
        ];
        let mut change = self.pool().begin_with("BEGIN IMMEDIATE").await?;
        let mut many = 0;
        for (sql, most) in forgotten {
            many += sqlx::query(sql).bind(now.micros()).bind(most).execute(&mut *change).await?.rows_affected();
        }
        change.commit().await?;
        Ok(many)
    }
}
