//! How a node gets onto the roll: a code that a person made for a school, used once, by whoever holds the key that he names.
//!
//! A code is twelve letters and digits that nobody mistakes for another (Crockford's base 32 without U), 60 random bits, good for some
//! days: too many to guess, however fast. Whoever is wrong ten times hears so, but is looked at all the same: behind one address there may
//! be many schools. The node signs what it sends, so a code cannot be used for somebody else's key.

use crate::base::clock::{Clock, Time};
use crate::base::digest::Digest;
use crate::base::limit::Failures;
use crate::base::problem::Problem;
use crate::hub::Enrolled;
use crate::hub::keep::Keep;
use crate::hub::keep::register::{CodeRow, Enrolment, Listed as OfFile, SchoolRow};
use crate::hub::roll::Roll;
use crate::report::enrol::{Asks, Told};
use crate::report::schema::is_label;
use crate::report::sign;
use arc_swap::ArcSwap;
use http::StatusCode;
use parking_lot::Mutex;
use serde::{Deserialize, Serialize};
use std::collections::HashSet;
use std::net::IpAddr;
use std::sync::Arc;
use std::time::{Duration, Instant};
use utoipa::ToSchema;

/// Without I, L, O and U.
const LETTERS: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// Letters of a code.
const LENGTH: usize = 12;

/// Letters by which lists show it.
const SHOWN: usize = 3;

/// How long a code counts: until the next visit to the school.
pub const GOOD_FOR: Duration = Duration::from_hours(14 * 24);

/// How long a code is remembered after its end: what a school asks about is in the list.
pub const REMEMBERED: Duration = Duration::from_hours(90 * 24);

/// Codes of every state: each of 10^5 schools enrols twice within the time that a code is remembered.
const MOST_CODES: i64 = 200_000;

/// Nodes that enrolled or were revoked, and schools of codes: 10^5 schools whose boxes are replaced nine times. All are in memory.
const MOST_NODES: i64 = 1_000_000;

/// A stranger makes the roll be read anew so often at most.
const PAUSE: Duration = Duration::from_secs(2);

/// A new code: the only time that it is shown.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = NewCode)]
pub struct Made {
    /// What the school types in.
    #[schema(example = "7KQ2MPX4W9TC")]
    pub code: String,
    /// What is kept of it.
    #[serde(flatten)]
    pub listed: Listed,
}

/// A code as lists show it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = Code)]
pub struct Listed {
    /// How it begins, and a number.
    pub id: String,
    /// For which school.
    pub school: String,
    /// Whether the school's other nodes are revoked when it is used.
    pub replaces: bool,
    /// When it was made (RFC 3339).
    pub made: String,
    /// Until when it counts.
    pub expires: String,
    /// `open`, `used` or `expired`.
    pub state: String,
    /// Who used it.
    pub node: Option<String>,
}

/// An order for a code.
#[derive(Clone, Debug, Default, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
#[schema(as = CodeOrder, example = json!({ "school": "aksukent-7", "name": "№ 7 орта мектебі, Ақсукент" }))]
pub struct Order {
    /// The school's id on pages and in addresses: letters, digits, `-`, `_` and spaces.
    pub school: String,
    /// Its name for people; left out: as it is.
    #[serde(default)]
    pub name: String,
    /// Who provides its line.
    #[serde(default)]
    pub provider: String,
    /// What the line's contract says, bit/s.
    #[serde(default)]
    pub contract_bps: Option<i64>,
    /// Whether the school's other nodes are revoked when it is used: a box that was replaced.
    #[serde(default)]
    pub replaces: bool,
}

/// A node as lists show it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[schema(as = Node)]
pub struct Node {
    /// Its id.
    pub id: String,
    /// Its school.
    pub school: String,
    /// `file`, `code` or `revoked`.
    pub state: String,
    /// Two boxes use its key: a card was copied.
    pub twin: bool,
}

/// The roll and the codes that lead onto it. Cheap to clone.
#[derive(Clone)]
pub struct Book(Arc<Inner>);

struct Inner {
    file: Vec<Enrolled>,
    /// The file's nodes by their ids.
    listed: Vec<OfFile>,
    keep: Arc<dyn Keep>,
    clock: Clock,
    roll: ArcSwap<Roll>,
    read: Mutex<Option<Instant>>,
    failures: Mutex<Failures>,
}

impl Book {
    /// Reads the roll.
    ///
    /// # Errors
    /// A key of the file that is none, and the database's.
    pub async fn open(file: Vec<Enrolled>, keep: Arc<dyn Keep>, clock: Clock) -> Result<Book, crate::hub::Error> {
        let roll = read(&file, &*keep).await?;
        let of_file = |node: &Enrolled| Some(OfFile { node: sign::node_of(&sign::public(&node.key)?), school: node.school.clone() });
        let listed = file.iter().filter_map(of_file).collect();
        let inner =
            Inner { file, listed, keep, clock, roll: ArcSwap::from_pointee(roll), read: Mutex::default(), failures: Mutex::default() };
        Ok(Book(Arc::new(inner)))
    }

    /// The roll as it was read last.
    pub fn roll(&self) -> Arc<Roll> {
        self.0.roll.load_full()
    }

    /// Reads the roll anew: another program (`bulak hub code`) may have changed it.
    ///
    /// # Errors
    /// The database's.
    pub async fn refresh(&self) -> Result<(), crate::hub::Error> {
        self.0.roll.store(Arc::new(read(&self.0.file, &*self.0.keep).await?));
        Ok(())
    }

    /// The same for a stranger's sake, not at his pleasure. Whether it was read.
    pub async fn refresh_for_stranger(&self) -> bool {
        let now = self.0.clock.steady();
        {
            let mut last = self.0.read.lock();
            if last.is_some_and(|last| now.saturating_duration_since(last) < PAUSE) {
                return false;
            }
            *last = Some(now);
        }
        self.refresh().await.is_ok()
    }

    /// A node asks to be enrolled.
    ///
    /// # Errors
    /// No such code, a signature that does not fit, a key of another school's, too many wrong codes, and the database's.
    pub async fn enrol(&self, asks: &Asks, client: Option<IpAddr>) -> Result<Told, Problem> {
        let key = asks.key().ok_or_else(|| {
            problem(StatusCode::BAD_REQUEST, "hub.bad_signature", "the request is not signed by the key that it names", "send it again")
        })?;
        let node = sign::node_of(&key);
        let now = self.0.clock.now();
        let done = self.0.keep.enrol(hash(&asks.code), (&node, &asks.key), &self.0.listed, now).await.map_err(|error| unwell(&error))?;
        let (school, replaces) = match done {
            Enrolment::Done { school, replaces } => (school, replaces),
            Enrolment::NoCode => return Err(self.wrong(client)),
            Enrolment::Taken(school) => {
                tracing::warn!(node, school, "a key that belongs to a school asks to be another's: a copied card?");
                let title = format!("this key belongs to the school \"{school}\" already; the card of its box was copied");
                let remedy = "give this box a key of its own: stop it, move node.key out of its state folder, start it and enrol again";
                return Err(problem(StatusCode::CONFLICT, "hub.key_taken", &title, remedy));
            }
        };
        self.refresh().await.map_err(|error| unwell(&error))?;
        tracing::info!(node, school = school.id, replaces, "a node has enrolled");
        Ok(Told { node, school: school.id, name: school.name })
    }

    fn wrong(&self, client: Option<IpAddr>) -> Problem {
        let noted = client.map_or(Ok(()), |client| self.0.failures.lock().note(client, self.0.clock.steady()));
        match noted {
            Ok(()) => problem(
                StatusCode::NOT_FOUND,
                "hub.no_code",
                "there is no such code, or it was used, or it has expired",
                "look for a letter that was mistaken, or ask for a new one (bulak hub code SCHOOL)",
            ),
            Err(wait) => {
                let title = format!("too many wrong codes; come again in {} s", wait.as_secs() + 1);
                problem(StatusCode::TOO_MANY_REQUESTS, "hub.too_many_codes", &title, "wait, then type it carefully")
            }
        }
    }

    /// Makes a code.
    ///
    /// # Errors
    /// A school's id that is none, and the database's.
    pub async fn make(&self, order: &Order) -> Result<Made, Problem> {
        let school = order.school.trim();
        if !is_label(school) {
            let title = format!("\"{school}\" is no id of a school");
            let remedy = "use at most 64 letters, digits, '-', '_' and spaces";
            return Err(problem(StatusCode::BAD_REQUEST, "hub.bad_school", &title, remedy));
        }
        let plain = |text: &str| text.trim().chars().filter(|letter| !letter.is_control()).take(200).collect::<String>();
        let code: String = (0..LENGTH).map(|_| char::from(LETTERS[rand::random_range(0..LETTERS.len())])).collect();
        let now = self.0.clock.now();
        self.room().await?;
        let row = CodeRow {
            id: format!("{}-{:04}", &code[..SHOWN], rand::random_range(0..10_000)),
            hash: hash(&code).0.to_vec(),
            school: school.to_owned(),
            replaces: order.replaces,
            made: now.micros(),
            expires: now.plus(GOOD_FOR).micros(),
            used: None,
            node: None,
        };
        let about = SchoolRow {
            id: school.to_owned(),
            name: plain(&order.name),
            provider: plain(&order.provider),
            contract_bps: order.contract_bps.filter(|rate| *rate > 0),
        };
        self.0.keep.add_code(&row, &about).await.map_err(|error| unwell(&error))?;
        self.refresh().await.map_err(|error| unwell(&error))?;
        tracing::info!(school, "a code was made");
        Ok(Made { code, listed: listed(&row, now) })
    }

    /// Whether one more school, code and node find room.
    async fn room(&self) -> Result<(), Problem> {
        let sizes = self.0.keep.sizes().await.map_err(|error| unwell(&error))?;
        let full = [("codes", sizes.codes, MOST_CODES), ("nodes", sizes.nodes, MOST_NODES), ("schools", sizes.schools, MOST_NODES)];
        let Some((what, _, most)) = full.into_iter().find(|(_, count, most)| count >= most) else { return Ok(()) };
        let title = format!("there are {most} {what} already");
        let remedy = "withdraw codes that nobody needs, or wait until old ones are forgotten";
        Err(problem(StatusCode::CONFLICT, "hub.too_many", &title, remedy))
    }

    /// All codes, newest first.
    ///
    /// # Errors
    /// The database's.
    pub async fn codes(&self) -> Result<Vec<Listed>, Problem> {
        let now = self.0.clock.now();
        Ok(self.0.keep.codes().await.map_err(|error| unwell(&error))?.iter().map(|row| listed(row, now)).collect())
    }

    /// Withdraws a code that nobody used.
    ///
    /// # Errors
    /// When there is none, and the database's.
    pub async fn withdraw(&self, id: &str) -> Result<(), Problem> {
        if self.0.keep.drop_code(id).await.map_err(|error| unwell(&error))? {
            return Ok(());
        }
        let title = format!("there is no open code \"{id}\"");
        Err(problem(StatusCode::NOT_FOUND, "hub.no_code", &title, "\"bulak hub codes\" shows which there are"))
    }

    /// All nodes.
    ///
    /// # Errors
    /// The database's.
    pub async fn nodes(&self) -> Result<Vec<Node>, Problem> {
        let rows = self.0.keep.nodes().await.map_err(|error| unwell(&error))?;
        let twins = self.0.keep.twins().await.map_err(|error| unwell(&error))?;
        let roll = self.roll();
        let is_twin = |id: &str| twins.iter().any(|twin| twin.node == id);
        let of_file: HashSet<&str> = self.0.listed.iter().map(|listed| listed.node.as_str()).collect();
        let mut nodes: Vec<Node> = rows
            .iter()
            .filter(|row| row.revoked.is_some())
            .map(|row| Node { id: row.id.clone(), school: row.school.clone(), state: "revoked".into(), twin: false })
            .collect();
        nodes.extend(roll.nodes().map(|(id, known)| Node {
            id: id.to_owned(),
            school: known.school.clone(),
            state: if of_file.contains(id) { "file" } else { "code" }.into(),
            twin: is_twin(id),
        }));
        nodes.sort_by(|a, b| (&a.school, &a.id).cmp(&(&b.school, &b.id)));
        Ok(nodes)
    }

    /// Ends a node's right to report, at once.
    ///
    /// # Errors
    /// When there is none, and the database's.
    pub async fn revoke(&self, node: &str) -> Result<(), Problem> {
        let unknown = || {
            let title = format!("there is no node \"{node}\" that may report");
            problem(StatusCode::NOT_FOUND, "hub.unknown_node", &title, "\"bulak hub nodes\" shows which there are")
        };
        self.refresh().await.map_err(|error| unwell(&error))?;
        let school = self.roll().node(node).map(|known| known.school.clone()).ok_or_else(unknown)?;
        if !self.0.keep.revoke(node, &school, self.0.clock.now()).await.map_err(|error| unwell(&error))? {
            return Err(unknown());
        }
        self.refresh().await.map_err(|error| unwell(&error))?;
        tracing::info!(node, school, "a node was revoked");
        Ok(())
    }
}

async fn read(file: &[Enrolled], keep: &dyn Keep) -> Result<Roll, crate::hub::Error> {
    Roll::new(file, &keep.nodes().await?, &keep.schools().await?).map_err(crate::hub::Error::Key)
}

/// What is kept of a code. Small letters, spaces and dashes are no mistake, and O is a zero.
fn hash(code: &str) -> Digest {
    let plain: String = code
        .chars()
        .filter(|letter| !letter.is_whitespace() && *letter != '-')
        .map(|letter| match letter.to_ascii_uppercase() {
            'O' => '0',
            'I' | 'L' => '1',
            letter => letter,
        })
        .take(64)
        .collect();
    Digest::of(plain.as_bytes())
}

fn listed(row: &CodeRow, now: Time) -> Listed {
    let state = match row.used {
        Some(_) => "used",
        None if row.expires <= now.micros() => "expired",
        None => "open",
    };
    Listed {
        id: row.id.clone(),
        school: row.school.clone(),
        replaces: row.replaces,
        made: Time::from_micros(row.made).to_rfc3339(),
        expires: Time::from_micros(row.expires).to_rfc3339(),
        state: state.into(),
        node: row.node.clone(),
    }
}

fn problem(status: StatusCode, id: &str, title: &str, remedy: &str) -> Problem {
    Problem::new(status, id, title, remedy)
}

/// The hub's own trouble.
pub(crate) fn unwell(error: &dyn std::fmt::Display) -> Problem {
    tracing::error!(why = %error, "the hub cannot answer");
    problem(StatusCode::SERVICE_UNAVAILABLE, "hub.unwell", "the hub cannot do this now", "try again in some minutes; its log says why")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_are_read_as_people_write_them() {
        for text in ["7KQ2MPX0", "7kq2 mpxo", " 7KQ2-MPX0 "] {
            assert_eq!(hash(text), hash("7KQ2MPX0"), "{text}");
        }
        assert_eq!(hash("1I"), hash("lL"));
        assert_ne!(hash("7KQ2MPX0"), hash("7KQ2MPX1"));
        let mut letters = LETTERS.to_vec();
        letters.dedup();
        assert!(letters.len() == 32 && !LETTERS.iter().any(|letter| b"ILOU".contains(letter)));
    }
}
