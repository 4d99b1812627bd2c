//! Bearer tokens: made, shown once, kept as a hash, checked from memory, revoked at once.
//!
//! A token begins with `bulak_`; its shape is that of `base::bearer`. The database is the truth and a kill loses nothing; what was made
//! in the database beside a running node counts from its next start.

use crate::admin::api::role::Role;
use crate::base::bearer::{self, Mark};
use crate::base::clock::{Clock, Time};
use crate::base::count::Metrics;
use crate::base::limit::Failures;
use crate::base::problem::Problem;
use crate::life::Life;
use crate::prefetch::api::state_failed;
use crate::state::State;
use crate::state::token::{Added, Row, TokenTable};
use http::StatusCode;
use parking_lot::{Mutex, RwLock};
use prometheus::IntCounterVec;
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use utoipa::ToSchema;

/// What every token begins with, so that scanners and people know one when they see it.
const MARK: Mark = Mark("bulak_");

/// When a token was last used is written down so often at most: flash wears.
const MINUTE: Duration = Duration::from_mins(1);

/// That somebody fails too often is logged so often at most.
const HUSH: Duration = Duration::from_mins(10);

/// A token as lists show it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = Token)]
pub struct Listed {
    /// How it begins; nothing can be done with that alone.
    #[schema(example = "bulak_5f3a90c1")]
    pub id: String,
    /// What people call it.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// When it was made (RFC 3339).
    pub created: String,
    /// From when on it does not count; null: never.
    pub expires: Option<String>,
    /// Whether that has come.
    pub expired: bool,
    /// When it was last used, to the minute; null: not yet.
    pub used: Option<String>,
}

/// A new token: the only time that it is shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = NewToken)]
pub struct Made {
    /// The token itself: for the field `Authorization: Bearer`.
    pub token: String,
    /// What is kept of it.
    #[serde(flatten)]
    pub listed: Listed,
}

/// What a shown token is worth.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Worth {
    /// It counts.
    Good {
        /// Its visible part.
        id: String,
        /// What it may do.
        role: Role,
    },
    /// It counted once.
    Expired,
    /// There is none like it, or no more.
    Unknown,
}

/// The tokens of a node. Cheap to clone.
#[derive(Clone)]
pub struct Tokens(Arc<Inner>);

struct Inner {
    table: TokenTable,
    clock: Clock,
    life: Life,
    kept: RwLock<BTreeMap<String, Kept>>,
    failures: Mutex<Failures>,
    hushed: Mutex<Option<Instant>>,
    refused: IntCounterVec,
}

#[derive(Clone, Debug)]
struct Kept {
    name: String,
    role: Role,
    hash: blake3::Hash,
    created: Time,
    expires: Option<Time>,
    used: Option<Time>,
}

impl Tokens {
    /// Reads the tokens that are kept.
    ///
    /// # Errors
    /// The database's.
    pub async fn load(state: &State, clock: Clock, life: &Life, metrics: &Metrics) -> Result<Tokens, crate::state::Error> {
        let table = state.tokens();
        let mut kept = BTreeMap::new();
        for row in table.all().await? {
            if let Ok(role) = row.role.parse() {
                kept.insert(row.id.clone(), Kept::of(&row, role));
            } else {
                tracing::warn!(token = row.id, role = row.role, "a token with a role of a newer program does not count");
            }
        }
        let refused = metrics.counters("bulak_api_refused_total", "Requests to the API that were refused.", &["reason"]);
        for reason in ["client", "no_token", "bad_token", "expired", "role", "too_many"] {
            refused.with_label_values(&[reason]);
        }
        Ok(Tokens(Arc::new(Inner {
            table,
            clock,
            life: life.clone(),
            kept: RwLock::new(kept),
            failures: Mutex::default(),
            hushed: Mutex::default(),
            refused,
        })))
    }

    /// Makes a token, kept before it is shown. `expires`: RFC 3339.
    ///
    /// # Errors
    /// A name that is no name or taken, a moment that has passed, too many tokens, and the database's.
    pub async fn add(&self, name: &str, role: Role, expires: Option<&str>) -> Result<Made, Problem> {
        let now = self.0.clock.now();
        let name = MARK.named(name)?;
        let expires = expires.map(|text| bearer::expiry(text, now)).transpose()?;
        let (id, token) = MARK.mint(rand::random(), rand::random());
        let hash = blake3::hash(token.as_bytes());
        let (hash_bytes, role_name) = (*hash.as_bytes(), role.name().to_owned());
        let row = Row { id: id.clone(), name: name.clone(), role: role_name, hash: hash_bytes, created: now, expires, used: None };
        match self.0.table.add(&row).await.map_err(|error| state_failed(&error))? {
            Added::Kept => {}
            Added::Taken => {
                let title = format!("there is a token \"{name}\" already");
                return Err(Problem::new(StatusCode::CONFLICT, "token.taken", title, "choose another name, or revoke that one first"));
            }
            Added::Full => {
                let title = format!("there are {} tokens already", crate::state::token::MOST);
                return Err(Problem::new(StatusCode::CONFLICT, "token.too_many", title, "revoke what nobody uses any more"));
            }
        }
        let kept = Kept::of(&row, role);
        let listed = kept.listed(&id, now);
        self.0.kept.write().insert(id.clone(), kept);
        tracing::info!(token = id, %role, "an API token was made");
        Ok(Made { token, listed })
    }

    /// All tokens, by name.
    pub fn list(&self) -> Vec<Listed> {
        let now = self.0.clock.now();
        let mut list: Vec<Listed> = self.0.kept.read().iter().map(|(id, kept)| kept.listed(id, now)).collect();
        list.sort_by(|a, b| a.name.cmp(&b.name));
        list
    }

    /// Ends a token, by its visible part or its name: what it began ends too.
    ///
    /// # Errors
    /// When there is none, and the database's.
    pub async fn revoke(&self, which: &str) -> Result<Listed, Problem> {
        let found = self.list().into_iter().find(|listed| listed.id == which || listed.name == which);
        let found = found.ok_or_else(|| {
            let title = format!("there is no token \"{which}\"");
            Problem::new(StatusCode::NOT_FOUND, "token.unknown", title, "\"bulak user token list\" shows which there are")
        })?;
        self.0.table.remove(&found.id).await.map_err(|error| state_failed(&error))?;
        self.0.kept.write().remove(&found.id);
        tracing::info!(token = found.id, "an API token was revoked");
        Ok(found)
    }

    /// What a token is worth that somebody shows.
    pub fn judge(&self, shown: &str) -> Worth {
        let now = self.0.clock.now();
        let Some((id, kept)) = MARK.visible(shown).and_then(|id| Some((id, self.0.kept.read().get(id)?.clone()))) else {
            return Worth::Unknown;
        };
        if !bearer::is_same(kept.hash, shown) {
            return Worth::Unknown;
        }
        if kept.is_expired(now) {
            return Worth::Expired;
        }
        self.note_use(id, &kept, now);
        Worth::Good { id: id.to_owned(), role: kept.role }
    }

    /// Whether a token that was good still is; for what lasts longer than a request.
    pub fn still_counts(&self, id: &str) -> bool {
        let now = self.0.clock.now();
        self.0.kept.read().get(id).is_some_and(|kept| !kept.is_expired(now))
    }

    fn note_use(&self, id: &str, kept: &Kept, now: Time) {
        if kept.used.is_some_and(|used| now.since(used) < MINUTE) {
            return;
        }
        if let Some(kept) = self.0.kept.write().get_mut(id) {
            kept.used = Some(now);
        }
        let (table, id) = (self.0.table.clone(), id.to_owned());
        self.0.life.spawn(async move {
            if let Err(error) = table.used(&id, now).await {
                tracing::debug!(%error, "when a token was last used was not written down");
            }
        });
    }

    /// Notes that somebody showed no token that counts. `Err`: he fails too often; how long until he is answered again.
    ///
    /// # Errors
    /// See above: it is the outcome, not a fault.
    pub fn failed(&self, client: Option<IpAddr>, reason: &'static str) -> Result<(), Duration> {
        let now = self.0.clock.steady();
        let noted = client.map_or(Ok(()), |client| self.0.failures.lock().note(client, now));
        self.refused(if noted.is_ok() { reason } else { "too_many" });
        if noted.is_err() {
            let mut hushed = self.0.hushed.lock();
            if hushed.is_none_or(|last| now.saturating_duration_since(last) >= HUSH) {
                *hushed = Some(now);
                tracing::warn!("a client shows no token that counts, again and again; a script with an old token?");
            }
        }
        noted
    }

    /// Counts a refusal.
    pub fn refused(&self, reason: &'static str) {
        self.0.refused.with_label_values(&[reason]).inc();
    }
}

impl Kept {
    fn of(row: &Row, role: Role) -> Kept {
        let hash = blake3::Hash::from_bytes(row.hash);
        Kept { name: row.name.clone(), role, hash, created: row.created, expires: row.expires, used: row.used }
    }

    fn is_expired(&self, now: Time) -> bool {
        self.expires.is_some_and(|expires| now >= expires)
    }

    fn listed(&self, id: &str, now: Time) -> Listed {
        Listed {
            id: id.to_owned(),
            name: self.name.clone(),
            role: self.role,
            created: self.created.to_rfc3339(),
            expires: self.expires.map(Time::to_rfc3339),
            expired: self.is_expired(now),
            used: self.used.map(Time::to_rfc3339),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn tokens(state: &State, clock: &Clock) -> Tokens {
        Tokens::load(state, clock.clone(), &Life::default(), &Metrics::default()).await.expect("loads")
    }

    #[tokio::test]
    async fn a_token_counts_until_it_expires_or_is_revoked() {
        let (state, clock) = (State::open(None).await.expect("opens"), Clock::manual(Time::BUILT));
        let all = tokens(&state, &clock).await;
        let later = Time::BUILT.plus(Duration::from_hours(1)).to_rfc3339();
        let made = all.add(" Director ", Role::Operate, Some(&later)).await.expect("made");
        let forever = all.add("script", Role::Read, None).await.expect("made");
        assert_eq!(made.listed.name, "Director");
        assert!(made.token.starts_with(&format!("{}_", made.listed.id)) && made.token.len() == 6 + 8 + 1 + 64);
        assert_eq!(all.judge(&made.token), Worth::Good { id: made.listed.id.clone(), role: Role::Operate });
        // After a kill there is the database alone, and in it no token.
        let again = tokens(&state, &clock).await;
        assert_eq!(again.judge(&forever.token), Worth::Good { id: forever.listed.id.clone(), role: Role::Read });
        let rows = format!("{:?}", state.tokens().all().await.expect("reads"));
        assert!(rows.contains(&made.listed.id) && !rows.contains(&made.token[15..]), "{rows}");
        clock.advance(Duration::from_hours(1));
        assert_eq!((all.judge(&made.token), all.still_counts(&made.listed.id)), (Worth::Expired, false));
        assert!(all.list().iter().any(|listed| listed.expired && listed.name == "Director"));
        assert_eq!(all.revoke("script").await.expect("revoked").id, forever.listed.id);
        assert_eq!((all.judge(&forever.token), all.still_counts(&forever.listed.id)), (Worth::Unknown, false));
        assert_eq!(all.revoke("script").await.expect_err("gone").id, "token.unknown");
        all.revoke(&made.listed.id).await.expect("by its visible part");
        assert!(all.list().is_empty() && tokens(&state, &clock).await.list().is_empty());
    }

    #[tokio::test]
    async fn what_is_not_quite_a_token_is_none() {
        let (state, clock) = (State::open(None).await.expect("opens"), Clock::manual(Time::BUILT));
        let all = tokens(&state, &clock).await;
        let good = all.add("a", Role::Admin, None).await.expect("made").token;
        let flipped = |at: usize| {
            let mut bytes = good.clone().into_bytes();
            bytes[at] = if bytes[at] == b'0' { b'1' } else { b'0' };
            String::from_utf8(bytes).expect("text")
        };
        let mut wrong: Vec<String> = (6..14).chain(15..good.len()).map(flipped).collect();
        wrong.extend([
            String::new(),
            "bulak_".into(),
            good[..good.len() - 1].into(),
            format!("{good}0"),
            good.to_uppercase(),
            "ö".repeat(80),
        ]);
        for text in wrong {
            assert_eq!(all.judge(&text), Worth::Unknown, "{text}");
        }
    }

    #[tokio::test]
    async fn names_and_moments_are_looked_at() {
        let (state, clock) = (State::open(None).await.expect("opens"), Clock::manual(Time::BUILT));
        let all = tokens(&state, &clock).await;
        all.add("taken", Role::Read, None).await.expect("made");
        let table = [
            ("taken", None, "token.taken"),
            ("", None, "token.bad_name"),
            ("a\nb", None, "token.bad_name"),
            ("bulak_12345678", None, "token.bad_name"),
            ("x", Some("tomorrow"), "token.bad_expiry"),
            ("x", Some("2020-01-01T00:00:00Z"), "token.bad_expiry"),
        ];
        for (name, expires, id) in table {
            assert_eq!(all.add(name, Role::Read, expires).await.expect_err(name).id, id, "{name:?} {expires:?}");
        }
        assert_eq!(all.add(&"ж".repeat(65), Role::Read, None).await.expect_err("long").id, "token.bad_name");
        all.add(&"ж".repeat(64), Role::Read, None).await.expect("not too long");
    }

    #[tokio::test]
    async fn when_it_was_used_is_kept_to_the_minute() {
        let (state, clock, life) = (State::open(None).await.expect("opens"), Clock::manual(Time::BUILT), Life::default());
        let all = Tokens::load(&state, clock.clone(), &life, &Metrics::default()).await.expect("loads");
        let made = all.add("a", Role::Read, None).await.expect("made");
        for _ in 0..5 {
            clock.advance(Duration::from_secs(20));
            all.judge(&made.token);
        }
        assert!(life.end(Duration::from_secs(5)).await);
        let used = state.tokens().all().await.expect("reads")[0].used;
        assert_eq!(used, Some(Time::BUILT.plus(Duration::from_secs(80))));
    }

    #[tokio::test]
    async fn a_thousand_bad_tokens_are_counted_and_hardly_answered() {
        let (state, clock, metrics) = (State::open(None).await.expect("opens"), Clock::manual(Time::BUILT), Metrics::default());
        let all = Tokens::load(&state, clock.clone(), &Life::default(), &metrics).await.expect("loads");
        let client = Some(IpAddr::from([10, 0, 0, 7]));
        let answered = (0..1000).filter(|_| all.failed(client, "bad_token").is_ok()).count();
        assert_eq!(answered, 10);
        assert!(metrics.print().contains("bulak_api_refused_total{reason=\"too_many\"} 990"));
    }
}
