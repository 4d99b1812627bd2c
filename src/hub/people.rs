//! Who may look and who may change: tokens of people and programs, made, shown once, kept as a hash, revoked at once.
//!
//! A token begins with `hub_`; its shape is that of `base::bearer`. It is shown as `Authorization: Bearer`, or as the password of a
//! browser's own sign-in (Basic, any name), so that pages need no script. What a browser sends by itself changes nothing: that takes Bearer,
//! which no form of another site can send. People with a password are in `sign_in`.

use crate::base::bearer::{self, Mark};
use crate::base::clock::{Clock, Time};
use crate::base::digest::Digest;
use crate::base::limit::Failures;
use crate::base::problem::Problem;
use crate::hub::Viewers;
use crate::hub::enrol::unwell;
use crate::hub::keep::Keep;
use crate::hub::keep::register::TokenRow;
use axum::response::{IntoResponse, Response};
use http::{HeaderMap, HeaderValue, StatusCode, header};
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use std::fmt;
use std::net::IpAddr;
use std::str::FromStr;
use std::sync::Arc;
use std::time::Duration;
use utoipa::ToSchema;

/// What every token begins with, so that scanners and people know one when they see it.
const MARK: Mark = Mark("hub_");

/// Most tokens: every school's director may have one.
const MOST: i64 = 20_000;

/// When a token was last used is written down so often at most.
const MINUTE: Duration = Duration::from_mins(1);

/// What a token may do.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
#[schema(as = HubRole)]
pub enum Role {
    /// Look at pages and figures.
    Viewer,
    /// And make codes, revoke nodes, make and revoke tokens.
    Admin,
}

impl Role {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Role::Viewer => "viewer",
            Role::Admin => "admin",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// It names no role.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("write viewer or admin")]
pub struct NoRole;

impl FromStr for Role {
    type Err = NoRole;

    fn from_str(text: &str) -> Result<Role, NoRole> {
        [Role::Viewer, Role::Admin].into_iter().find(|role| role.name() == text).ok_or(NoRole)
    }
}

/// A token as lists show it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = HubToken)]
pub struct Listed {
    /// How it begins; nothing can be done with that alone.
    #[schema(example = "hub_5f3a90c1")]
    pub id: String,
    /// What people call it.
    pub name: String,
    /// What it may do.
    pub role: Role,
    /// When it was made (RFC 3339).
    pub created: String,
    /// From when on it does not count; null: never.
    pub expires: Option<String>,
    /// When it was last used, to the minute; null: not yet.
    pub used: Option<String>,
}

/// A new token: the only time that it is shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = NewHubToken)]
pub struct Made {
    /// The token itself.
    pub token: String,
    /// What is kept of it.
    #[serde(flatten)]
    pub listed: Listed,
}

/// The tokens of a hub. Cheap to clone.
#[derive(Clone)]
pub struct People(Arc<Inner>);

struct Inner {
    keep: Arc<dyn Keep>,
    clock: Clock,
    viewers: Viewers,
    failures: Mutex<Failures>,
}

impl People {
    /// Over the hub's database, which is asked each time: what another program revoked counts no more.
    pub fn new(keep: Arc<dyn Keep>, clock: Clock, viewers: Viewers) -> People {
        People(Arc::new(Inner { keep, clock, viewers, failures: Mutex::default() }))
    }

    /// Makes a token, kept before it is shown. `expires`: RFC 3339.
    ///
    /// # Errors
    /// A name that is no name or taken, a moment that has passed, too many tokens, and the database's.
    pub async fn add(&self, name: &str, role: Role, expires: Option<&str>) -> Result<Made, Problem> {
        let now = self.0.clock.now();
        let name = MARK.named(name)?;
        let expires = expires.map(|text| bearer::expiry(text, now)).transpose()?;
        if self.0.keep.sizes().await.map_err(|error| unwell(&error))?.tokens >= MOST {
            let title = format!("there are {MOST} tokens already");
            return Err(Problem::new(StatusCode::CONFLICT, "token.too_many", title, "revoke what nobody uses any more"));
        }
        let (id, token) = MARK.mint(rand::random(), rand::random());
        let row = TokenRow {
            id,
            name,
            role: role.name().into(),
            hash: Digest::of(token.as_bytes()).0.to_vec(),
            created: now.micros(),
            expires: expires.map(Time::micros),
            used: None,
        };
        if !self.0.keep.add_token(&row).await.map_err(|error| unwell(&error))? {
            let title = format!("there is a token \"{}\" already", row.name);
            return Err(Problem::new(StatusCode::CONFLICT, "token.taken", title, "choose another name, or revoke that one first"));
        }
        tracing::info!(token = row.id, %role, "a token was made");
        Ok(Made { token, listed: listed(&row, role) })
    }

    /// All tokens, by name.
    ///
    /// # Errors
    /// The database's.
    pub async fn list(&self) -> Result<Vec<Listed>, Problem> {
        let rows = self.0.keep.tokens().await.map_err(|error| unwell(&error))?;
        Ok(rows.iter().filter_map(|row| Some(listed(row, row.role.parse().ok()?))).collect())
    }

    /// Ends a token, by its visible part or its name.
    ///
    /// # Errors
    /// When there is none, and the database's.
    pub async fn revoke(&self, which: &str) -> Result<Listed, Problem> {
        let gone = self.0.keep.drop_token(which).await.map_err(|error| unwell(&error))?.ok_or_else(|| {
            let title = format!("there is no token \"{which}\"");
            Problem::new(StatusCode::NOT_FOUND, "token.unknown", title, "\"bulak hub token list\" shows which there are")
        })?;
        tracing::info!(token = gone.id, "a token was revoked");
        Ok(listed(&gone, gone.role.parse().unwrap_or(Role::Viewer)))
    }

    /// Whether whoever shows these fields may do what needs this role; else what he is told.
    ///
    /// # Errors
    /// See above: the answer.
    pub async fn may(&self, needed: Role, headers: &HeaderMap, client: Option<IpAddr>) -> Result<(), Response> {
        let shown = shown(headers);
        if shown.is_none() && needed == Role::Viewer && self.0.viewers == Viewers::Anyone {
            return Ok(());
        }
        // Not counted: a browser begins without one, and must be asked for it whatever an old program does behind the same address.
        let Some(shown) = shown else { return Err(self.refused(None, "hub.no_token", "this needs a token")) };
        let role = match self.judge(&shown).await {
            Ok(Some(role)) => role,
            Ok(None) => return Err(self.refused(client, "hub.bad_token", "this token is unknown, has expired or was revoked")),
            Err(problem) => return Err(problem.into_response()),
        };
        if role >= needed {
            return Ok(());
        }
        let title = format!("this needs a token with the role {needed}, and this one has {role}");
        let remedy = format!("make one: bulak hub token add NAME --role {needed}");
        Err(Problem::new(StatusCode::FORBIDDEN, "hub.not_allowed", title, remedy).into_response())
    }

    /// What a shown token may do; `None`: it does not count.
    async fn judge(&self, shown: &str) -> Result<Option<Role>, Problem> {
        let now = self.0.clock.now();
        let Some(id) = MARK.visible(shown) else { return Ok(None) };
        let Some(row) = self.0.keep.token(id).await.map_err(|error| unwell(&error))? else { return Ok(None) };
        let same = <[u8; 32]>::try_from(row.hash.as_slice()).is_ok_and(|kept| bearer::is_same(kept.into(), shown));
        if !same || row.expires.is_some_and(|expires| now.micros() >= expires) {
            return Ok(None);
        }
        if row.used.is_none_or(|used| now.since(Time::from_micros(used)) >= MINUTE)
            && let Err(error) = self.0.keep.token_used(id, now).await
        {
            tracing::warn!(%error, "when a token was used could not be written down");
        }
        Ok(row.role.parse().ok())
    }

    fn refused(&self, client: Option<IpAddr>, id: &str, title: &str) -> Response {
        let noted = client.map_or(Ok(()), |client| self.0.failures.lock().note(client, self.0.clock.steady()));
        if let Err(wait) = noted {
            let title = "too many requests without a token that counts";
            let problem =
                Problem::new(StatusCode::TOO_MANY_REQUESTS, "hub.too_many_failures", title, "look which program sends an old token");
            let mut answer = problem.into_response();
            answer.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(wait.as_secs() + 1));
            return answer;
        }
        let remedy = "make one (bulak hub token add NAME --role viewer); a browser asks for it as the password, the name may be anything";
        let mut answer = Problem::new(StatusCode::UNAUTHORIZED, id, title, remedy).into_response();
        // Both ways: a browser takes the one it can show a window for.
        answer.headers_mut().append(header::WWW_AUTHENTICATE, HeaderValue::from_static("Bearer realm=\"bulak hub\""));
        answer.headers_mut().append(header::WWW_AUTHENTICATE, HeaderValue::from_static("Basic realm=\"bulak hub\", charset=\"UTF-8\""));
        answer
    }
}

/// The token in `Authorization`; `None` without exactly one field of a kind that is known here.
fn shown(headers: &HeaderMap) -> Option<String> {
    let (scheme, rest) = bearer::shown(headers)?;
    if scheme.eq_ignore_ascii_case("bearer") {
        return Some(rest.to_owned());
    }
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    // RFC 7617 in base 64, which a byte sequence of a structured field (RFC 9651) is between colons.
    let wrapped = format!(":{rest}:");
    let item = sfv::Parser::new(&wrapped).parse::<sfv::Item>().ok()?;
    let sfv::BareItem::ByteSequence(bytes) = item.bare_item else { return None };
    String::from_utf8(bytes).ok()?.split_once(':').map(|(_, password)| password.to_owned())
}

fn listed(row: &TokenRow, role: Role) -> Listed {
    let told = |micros: i64| Time::from_micros(micros).to_rfc3339();
    Listed {
        id: row.id.clone(),
        name: row.name.clone(),
        role,
        created: told(row.created),
        expires: row.expires.map(told),
        used: row.used.map(told),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::hub::keep::Sqlite;

    fn fields(values: &[&str]) -> HeaderMap {
        let mut headers = HeaderMap::new();
        for value in values {
            headers.append(header::AUTHORIZATION, value.parse().expect("a value"));
        }
        headers
    }

    #[tokio::test]
    async fn tokens_let_in_by_role_until_they_expire_or_are_revoked() {
        let clock = Clock::manual(Time::BUILT);
        let keep: Arc<dyn Keep> = Arc::new(Sqlite::open(None).await.expect("opens"));
        let people = People::new(keep.clone(), clock.clone(), Viewers::Tokens);
        let later = Time::BUILT.plus(Duration::from_hours(1)).to_rfc3339();
        let viewer = people.add(" Ministry ", Role::Viewer, Some(&later)).await.expect("made");
        let admin = people.add("engineer", Role::Admin, None).await.expect("made");
        assert!(people.add("engineer", Role::Viewer, None).await.is_err());
        let basic = |token: &str| {
            let wrapped = sfv::ItemSerializer::new().bare_item(format!("any: {token}").replace(": ", ":").as_bytes()).finish();
            format!("Basic {}", wrapped.trim_matches(':'))
        };
        let (bearer, best) = (format!("Bearer {}", viewer.token), format!("bearer {}", admin.token));
        let table: [(&[&str], Role, Option<u16>); 9] = [
            (&[&bearer], Role::Viewer, None),
            (&[&basic(&viewer.token)], Role::Viewer, None),
            (&[&bearer], Role::Admin, Some(403)),
            (&[&best], Role::Admin, None),
            (&[&best], Role::Viewer, None),
            (&[], Role::Viewer, Some(401)),
            (&[&bearer, &bearer], Role::Viewer, Some(401)),
            (&["Basic !!!"], Role::Viewer, Some(401)),
            (&[&format!("{bearer}0")], Role::Viewer, Some(401)),
        ];
        for (values, role, wanted) in table {
            let told = people.may(role, &fields(values), None).await.err().map(|answer| answer.status().as_u16());
            assert_eq!(told, wanted, "{values:?} {role}");
        }
        let open = People::new(keep.clone(), clock.clone(), Viewers::Anyone);
        assert!(open.may(Role::Viewer, &fields(&[]), None).await.is_ok() && open.may(Role::Admin, &fields(&[]), None).await.is_err());
        clock.advance(Duration::from_hours(1));
        assert!(people.may(Role::Viewer, &fields(&[&bearer]), None).await.is_err(), "expired");
        assert_eq!(people.revoke("engineer").await.expect("revoked").id, admin.listed.id);
        assert!(people.may(Role::Viewer, &fields(&[&best]), None).await.is_err(), "revoked");
        let kept = format!("{:?}", keep.tokens().await.expect("reads"));
        assert!(kept.contains(&viewer.listed.id) && !kept.contains(&viewer.token));
        for number in 0..12 {
            let from = Some(IpAddr::from([10, 0, 0, 7]));
            let told = people.may(Role::Viewer, &fields(&["Bearer old"]), from).await.expect_err("refused");
            assert_eq!(told.status().as_u16(), if number < 10 { 401 } else { 429 }, "{number}");
            let told = people.may(Role::Viewer, &fields(&[]), from).await.expect_err("refused");
            assert!(told.status().as_u16() == 401 && told.headers().contains_key(header::WWW_AUTHENTICATE), "a browser is asked");
        }
    }
}
