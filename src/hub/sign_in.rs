//! People who sign in with a password: who they are, how often one may try, and who of them is signed in.
//!
//! Whoever is unknown costs as much time as whoever is known and hears the same words. Tries are counted by address and by name. A name
//! alone could be held up by a stranger for ever; so whoever has signed in from somewhere is counted there apart from the rest of the
//! world.

use crate::base::bearer::Mark;
use crate::base::clock::{Clock, Time};
use crate::base::count::Metrics;
use crate::base::digest::Digest;
use crate::base::limit::{Failures, household};
use crate::base::problem::Problem;
use crate::hub::enrol::unwell;
use crate::hub::keep::register::{PersonRow, SessionRow};
use crate::hub::keep::{self, Keep};
use crate::hub::password::{self, Hasher, Look};
use crate::hub::people::Role;
use crate::hub::session::is_over;
use http::StatusCode;
use parking_lot::Mutex;
use prometheus::IntCounterVec;
use serde::{Deserialize, Serialize};
use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};

/// People with a password: every school's director, and the ministry.
const MOST: i64 = 20_000;

/// Sessions of one person: a desk, a telephone, and those that were never signed out of.
const MOST_SESSIONS: u32 = 10;

/// Places from which somebody has signed in that are remembered.
const MOST_PLACES: usize = 4_096;

/// When a session was last used is written down so often at most.
const MINUTE: Duration = Duration::from_mins(1);

/// A person as lists show him.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Listed {
    /// By which he signs in.
    pub name: String,
    /// What he may look at.
    pub role: Role,
    /// When the password was set (RFC 3339).
    pub changed: String,
}

/// Somebody who is signed in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Person {
    pub(crate) name: String,
    pub(crate) role: Role,
}

/// Why somebody is not signed in.
#[derive(Debug)]
pub(crate) enum Denied {
    /// No such name, or not its password.
    Wrong,
    /// Too many tries; how long until the next is looked at.
    Held(Duration),
    /// Too many at once.
    Busy,
    /// The database's trouble.
    Trouble(keep::Error),
}

/// Name and household, as far as is needed to know them again.
type Place = (Digest, IpAddr);

fn place(name: Digest, client: Option<IpAddr>) -> Place {
    (name, client.map_or(IpAddr::from([0; 4]), household))
}

/// Who tried how often.
#[derive(Default)]
struct Tries {
    by_client: Failures,
    by_name: Failures<Digest>,
    by_place: Failures<Place>,
    /// From where whom was let in, and when last.
    places: HashMap<Place, Instant>,
}

impl Tries {
    /// Notes a try before it is looked at; a right one is taken back by [`Tries::forgive`].
    fn note(&mut self, name: Digest, client: Option<IpAddr>, now: Instant) -> Result<(), Duration> {
        let place = place(name, client);
        if self.places.contains_key(&place) {
            return self.by_place.note_as(place, now);
        }
        if let Some(client) = client {
            self.by_client.note(client, now)?;
        }
        self.by_name.note_as(name, now)
    }

    /// Takes a noted try back.
    fn take_back(&mut self, name: Digest, client: Option<IpAddr>) {
        let place = place(name, client);
        if self.places.contains_key(&place) {
            self.by_place.take_back(&place);
            return;
        }
        self.by_name.take_back(&name);
        if let Some(client) = client {
            self.by_client.take_back(&household(client));
        }
    }

    fn forgive(&mut self, name: Digest, client: Option<IpAddr>, now: Instant) {
        let place = place(name, client);
        self.by_place.forgive(&place);
        let known = self.places.contains_key(&place);
        if !known {
            // It was counted there. Only it is taken back: a stranger with a password of his own has as many tries as before.
            self.take_back(name, client);
        }
        if self.places.len() >= MOST_PLACES
            && !known
            && let Some(oldest) = self.places.iter().min_by_key(|(_, at)| **at).map(|(place, _)| *place)
        {
            self.places.remove(&oldest);
        }
        self.places.insert(place, now);
    }
}

/// People and their sessions. Cheap to clone.
#[derive(Clone)]
pub struct SignIn(Arc<Inner>);

struct Inner {
    keep: Arc<dyn Keep>,
    clock: Clock,
    hasher: Hasher,
    tries: Mutex<Tries>,
    tried: IntCounterVec,
}

impl SignIn {
    /// Over the hub's database, which is asked each time.
    pub fn new(keep: Arc<dyn Keep>, clock: Clock, metrics: &Metrics) -> SignIn {
        let tried = metrics.counters("bulak_hub_sign_ins_total", "Tries to sign in with a password, by how they ended.", &["end"]);
        SignIn(Arc::new(Inner { keep, clock, hasher: Hasher::default(), tries: Mutex::default(), tried }))
    }

    /// Sets a person's password, and his role where one is named; whoever is signed in under the name is no more. Hashing blocks for
    /// some tens of milliseconds.
    ///
    /// # Errors
    /// A name that is none, a password that is too short, too many people, and the database's.
    pub async fn set(&self, name: &str, role: Option<Role>, password: &str) -> Result<Listed, Problem> {
        // The rules of names are those of tokens.
        let name = Mark("hub_").named(name)?;
        let known = self.0.keep.person(&name).await.map_err(|error| unwell(&error))?;
        let sizes = self.0.keep.sizes().await.map_err(|error| unwell(&error))?;
        if known.is_none() && sizes.people >= MOST {
            let title = format!("there are {MOST} people already");
            return Err(Problem::new(StatusCode::CONFLICT, "people.too_many", title, "remove who does not need it any more"));
        }
        let kept = known.and_then(|known| known.role.parse().ok());
        let role = role.or(kept).unwrap_or(Role::Viewer);
        let password = password::hash(password)?;
        let row = PersonRow { name, role: role.name().into(), password, changed: self.0.clock.now().micros() };
        self.0.keep.put_person(&row).await.map_err(|error| unwell(&error))?;
        tracing::info!(%role, "a password was set");
        Ok(listed(&row, role))
    }

    /// All people, by name.
    ///
    /// # Errors
    /// The database's.
    pub async fn list(&self) -> Result<Vec<Listed>, Problem> {
        let rows = self.0.keep.people().await.map_err(|error| unwell(&error))?;
        Ok(rows.iter().filter_map(|row| Some(listed(row, row.role.parse().ok()?))).collect())
    }

    /// Removes a person and ends his sessions.
    ///
    /// # Errors
    /// When there is none, and the database's.
    pub async fn remove(&self, name: &str) -> Result<(), Problem> {
        if self.0.keep.drop_person(name).await.map_err(|error| unwell(&error))? {
            tracing::info!("a person was removed");
            return Ok(());
        }
        let title = format!("there is nobody called \"{name}\"");
        Err(Problem::new(StatusCode::NOT_FOUND, "people.unknown", title, "\"bulak hub people list\" shows who there is"))
    }

    /// Whether anybody can sign in.
    pub(crate) async fn is_open(&self) -> Result<bool, keep::Error> {
        self.0.keep.has_people().await
    }

    /// Signs somebody in; what his browser is to show.
    pub(crate) async fn sign_in(&self, name: &str, password: &str, client: Option<IpAddr>) -> Result<String, Denied> {
        let done = self.try_in(name.trim(), password, client).await;
        let end = match &done {
            Ok(_) => "done",
            Err(Denied::Wrong) => "wrong",
            Err(Denied::Held(_)) => "held",
            Err(Denied::Busy) => "busy",
            Err(Denied::Trouble(_)) => "failed",
        };
        self.0.tried.with_label_values(&[end]).inc();
        done
    }

    async fn try_in(&self, name: &str, password: &str, client: Option<IpAddr>) -> Result<String, Denied> {
        let inner = &*self.0;
        let (called, steady) = (Digest::of(name.as_bytes()), inner.clock.steady());
        inner.tries.lock().note(called, client, steady).map_err(Denied::Held)?;
        // What was not looked at was no try.
        let no_try = |denied| {
            inner.tries.lock().take_back(called, client);
            denied
        };
        // PostgreSQL takes no text with a zero in it, and nobody is called so.
        let nobody = name.chars().any(char::is_control);
        let person = if nobody { None } else { inner.keep.person(name).await.map_err(|error| no_try(Denied::Trouble(error)))? };
        let kept = person.map(|person| person.password);
        match inner.hasher.look(kept.clone(), password.to_owned()).await {
            Look::Fits => {}
            Look::Wrong => return Err(Denied::Wrong),
            Look::Busy => return Err(no_try(Denied::Busy)),
        }
        let secret: [u8; 32] = rand::random();
        let shown = blake3::Hash::from_bytes(secret).to_hex().to_string();
        let now = inner.clock.now().micros();
        let session = SessionRow { hash: hash(&shown), person: name.to_owned(), begun: now, seen: now };
        let begun = inner.keep.add_session(&session, &kept.unwrap_or_default(), MOST_SESSIONS).await.map_err(Denied::Trouble)?;
        if !begun {
            return Err(Denied::Wrong);
        }
        inner.tries.lock().forgive(called, client, steady);
        Ok(shown)
    }

    /// Who shows this; `None`: nobody who is signed in.
    pub(crate) async fn who(&self, shown: &str) -> Result<Option<Person>, keep::Error> {
        let (inner, hash) = (&*self.0, hash(shown));
        let Some((session, role)) = inner.keep.session(&hash).await? else { return Ok(None) };
        let (now, seen) = (inner.clock.now(), Time::from_micros(session.seen));
        let Ok(role) = role.parse() else { return Ok(None) };
        if is_over(Time::from_micros(session.begun), seen, now) {
            noted(inner.keep.drop_session(&hash).await);
            return Ok(None);
        }
        if now.since(seen) >= MINUTE {
            noted(inner.keep.session_seen(&hash, now).await);
        }
        Ok(Some(Person { name: session.person, role }))
    }

    /// Ends a session.
    pub(crate) async fn sign_out(&self, shown: &str) -> Result<(), keep::Error> {
        self.0.keep.drop_session(&hash(shown)).await
    }
}

/// A database that takes nothing (a full disk) keeps nobody out who is signed in.
fn noted(done: Result<(), keep::Error>) {
    if let Err(error) = done {
        tracing::warn!(%error, "a session could not be noted");
    }
}

/// What is kept of a session: nothing that could be shown.
fn hash(shown: &str) -> Vec<u8> {
    Digest::of(shown.as_bytes()).0.to_vec()
}

fn listed(row: &PersonRow, role: Role) -> Listed {
    Listed { name: row.name.clone(), role, changed: Time::from_micros(row.changed).to_rfc3339() }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A ministry stands behind one address.
    #[test]
    fn colleagues_who_sign_in_one_after_another_are_all_let_in() {
        let (mut tries, clock) = (Tries::default(), Clock::manual(Time::BUILT));
        let office = Some(IpAddr::from([203, 0, 113, 7]));
        for number in 0..100_u32 {
            let name = Digest::of(&number.to_be_bytes());
            assert!(tries.note(name, office, clock.steady()).is_ok(), "{number}");
            tries.forgive(name, office, clock.steady());
        }
        let guesses = (100..200_u32).filter(|number| tries.note(Digest::of(&number.to_be_bytes()), office, clock.steady()).is_ok()).count();
        assert_eq!(guesses, 10, "who guesses there is held up all the same");
    }

    #[test]
    fn a_try_that_was_not_looked_at_is_none() {
        let (mut tries, clock) = (Tries::default(), Clock::manual(Time::BUILT));
        let (name, desk) = (Digest::of(b"aigul"), Some(IpAddr::from([203, 0, 113, 7])));
        for known in [false, true] {
            for number in 0..100 {
                assert!(tries.note(name, desk, clock.steady()).is_ok(), "{number}, known: {known}");
                tries.take_back(name, desk);
            }
            tries.forgive(name, desk, clock.steady());
        }
    }

    #[test]
    fn a_stranger_cannot_hold_up_somebody_at_his_own_desk() {
        let (mut tries, clock) = (Tries::default(), Clock::manual(Time::BUILT));
        let (name, desk) = (Digest::of(b"aigul"), Some(IpAddr::from([203, 0, 113, 7])));
        assert!(tries.note(name, desk, clock.steady()).is_ok());
        tries.forgive(name, desk, clock.steady());
        // A botnet guesses, each address once.
        let guess = |tries: &mut Tries, number: u8| tries.note(name, Some(IpAddr::from([198, 51, 100, number])), clock.steady());
        let let_through = (0..100).filter(|number| guess(&mut tries, *number).is_ok()).count();
        assert_eq!(let_through, 10, "his own was right and does not count");
        for number in 0..12 {
            assert_eq!(tries.note(name, desk, clock.steady()).is_ok(), number < 10, "{number}");
        }
        assert!(tries.note(Digest::of(b"other"), Some(IpAddr::from([198, 51, 100, 1])), clock.steady()).is_ok());
        for number in 0..u32::try_from(2 * MOST_PLACES).expect("few") {
            clock.advance(Duration::from_secs(1));
            tries.forgive(Digest::of(&number.to_be_bytes()), desk, clock.steady());
        }
        assert_eq!(tries.places.len(), MOST_PLACES);
        assert!(!tries.places.contains_key(&(name, IpAddr::from([203, 0, 113, 7]))), "the oldest are forgotten");
    }
}
