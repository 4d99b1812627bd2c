//! Who may do what: nodes that enrolled, codes by which they may, tokens, people and who of them is signed in. Secrets are kept as hashes.

use crate::base::clock::Time;
use crate::base::digest::Digest;
use crate::hub::keep::Error;
use futures_util::future::BoxFuture;
use sqlx::FromRow;
use std::fmt;

/// A node that enrolled by a code, or was revoked.
#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub struct NodeRow {
    /// Node id.
    pub id: String,
    /// Public key, 64 hex digits; empty for a node of the hub's file that was revoked.
    pub key: String,
    /// Its school's id.
    pub school: String,
    /// When (µs since 1970).
    pub added: i64,
    /// When it was revoked.
    pub revoked: Option<i64>,
}

/// A school as it was named with a code.
#[derive(Clone, Debug, Default, PartialEq, Eq, FromRow)]
pub struct SchoolRow {
    /// Its id on pages and in addresses.
    pub id: String,
    /// For people.
    pub name: String,
    /// Who provides its line.
    pub provider: String,
    /// What the line's contract says, bit/s.
    pub contract_bps: Option<i64>,
}

/// A code by which one node may enrol. The code itself is not kept.
#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub struct CodeRow {
    /// Its first letters, by which people know it again.
    pub id: String,
    /// blake3 of the code.
    pub hash: Vec<u8>,
    /// The school of the node that uses it.
    pub school: String,
    /// Whether the school's other nodes are revoked then: a box that was replaced.
    pub replaces: bool,
    /// When it was made (µs since 1970).
    pub made: i64,
    /// Until when it counts.
    pub expires: i64,
    /// When it was used.
    pub used: Option<i64>,
    /// By which node.
    pub node: Option<String>,
}

/// A token of a person or a program.
#[derive(Clone, Debug, PartialEq, Eq, FromRow)]
pub struct TokenRow {
    /// How it begins.
    pub id: String,
    /// What people call it.
    pub name: String,
    /// What it may do.
    pub role: String,
    /// blake3 of the token.
    pub hash: Vec<u8>,
    /// When it was made (µs since 1970).
    pub created: i64,
    /// Until when it counts.
    pub expires: Option<i64>,
    /// When it was last used, to the minute.
    pub used: Option<i64>,
}

/// A node of the hub's file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listed {
    /// Its id.
    pub node: String,
    /// Its school's.
    pub school: String,
}

/// A person who signs in with a password.
#[derive(Clone, PartialEq, Eq, FromRow)]
pub struct PersonRow {
    /// By which he signs in.
    pub name: String,
    /// What he may do.
    pub role: String,
    /// argon2id in the PHC form.
    pub password: String,
    /// When it was set (µs since 1970).
    pub changed: i64,
}

impl fmt::Debug for PersonRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PersonRow").field("role", &self.role).finish_non_exhaustive()
    }
}

/// Somebody who is signed in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionRow {
    /// blake3 of what the browser shows.
    pub hash: Vec<u8>,
    /// Who.
    pub person: String,
    /// Since when (µs since 1970).
    pub begun: i64,
    /// Seen last, to the minute.
    pub seen: i64,
}

/// How many rows there are.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromRow)]
pub struct Sizes {
    /// Codes of every state.
    pub codes: i64,
    /// Nodes that enrolled or were revoked.
    pub nodes: i64,
    /// Schools that codes were made for.
    pub schools: i64,
    /// Tokens.
    pub tokens: i64,
    /// People with a password.
    pub people: i64,
}

/// What came of an enrolment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Enrolment {
    /// The node may report now, or could already by this code.
    Done {
        /// Its school.
        school: SchoolRow,
        /// Whether the school's other nodes were revoked for it.
        replaces: bool,
    },
    /// No such code, or it has expired, or another node used it.
    NoCode,
    /// The key belongs to a node of another school.
    Taken(String),
}

/// Rows of the register.
pub trait Register: Send + Sync + 'static {
    /// Nodes that enrolled or were revoked.
    fn nodes(&self) -> BoxFuture<'_, Result<Vec<NodeRow>, Error>>;

    /// Schools that codes were made for.
    fn schools(&self) -> BoxFuture<'_, Result<Vec<SchoolRow>, Error>>;

    /// How many there are of each.
    fn sizes(&self) -> BoxFuture<'_, Result<Sizes, Error>>;

    /// Whether anybody has a password: a row at most is looked at, for strangers ask.
    fn has_people(&self) -> BoxFuture<'_, Result<bool, Error>>;

    /// Uses a code for a node (id and key), all or nothing: with its acceptance the nodes that it replaces are revoked, those of the
    /// hub's `file` too.
    fn enrol<'a>(
        &'a self,
        code: Digest,
        node: (&'a str, &'a str),
        file: &'a [Listed],
        now: Time,
    ) -> BoxFuture<'a, Result<Enrolment, Error>>;

    /// Ends a node's right to report; `school`: for a node that is not kept yet. Whether it had one.
    fn revoke<'a>(&'a self, node: &'a str, school: &'a str, now: Time) -> BoxFuture<'a, Result<bool, Error>>;

    /// All codes, newest first.
    fn codes(&self) -> BoxFuture<'_, Result<Vec<CodeRow>, Error>>;

    /// Keeps a code and what it says of its school.
    fn add_code<'a>(&'a self, code: &'a CodeRow, school: &'a SchoolRow) -> BoxFuture<'a, Result<(), Error>>;

    /// Lets go of a code that nobody used. Whether there was one.
    fn drop_code<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<bool, Error>>;

    /// All tokens, by name.
    fn tokens(&self) -> BoxFuture<'_, Result<Vec<TokenRow>, Error>>;

    /// The token that begins like this.
    fn token<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<Option<TokenRow>, Error>>;

    /// Keeps a token. Whether its name was free.
    fn add_token<'a>(&'a self, token: &'a TokenRow) -> BoxFuture<'a, Result<bool, Error>>;

    /// Ends a token, by how it begins or by its name. The one that was ended.
    fn drop_token<'a>(&'a self, which: &'a str) -> BoxFuture<'a, Result<Option<TokenRow>, Error>>;

    /// Notes that a token was used.
    fn token_used<'a>(&'a self, id: &'a str, now: Time) -> BoxFuture<'a, Result<(), Error>>;

    /// All people, by name.
    fn people(&self) -> BoxFuture<'_, Result<Vec<PersonRow>, Error>>;

    /// One of them.
    fn person<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Option<PersonRow>, Error>>;

    /// Keeps a person, new or changed; whoever was signed in under this name is no more.
    fn put_person<'a>(&'a self, person: &'a PersonRow) -> BoxFuture<'a, Result<(), Error>>;

    /// Ends a person and his sessions. Whether there was one.
    fn drop_person<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<bool, Error>>;

    /// Keeps a session of a person who has still this `password` (hash); of more than `each` the oldest end. Whether it was kept.
    fn add_session<'a>(&'a self, session: &'a SessionRow, password: &'a str, each: u32) -> BoxFuture<'a, Result<bool, Error>>;

    /// A session and its person's role.
    fn session<'a>(&'a self, hash: &'a [u8]) -> BoxFuture<'a, Result<Option<(SessionRow, String)>, Error>>;

    /// Notes that a session was used.
    fn session_seen<'a>(&'a self, hash: &'a [u8], now: Time) -> BoxFuture<'a, Result<(), Error>>;

    /// Ends a session.
    fn drop_session<'a>(&'a self, hash: &'a [u8]) -> BoxFuture<'a, Result<(), Error>>;
}
