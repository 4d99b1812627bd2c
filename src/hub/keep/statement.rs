//! The text of SQL where the two databases speak differently. Pure: tables and columns are names of ours, values are always bound.
//!
//! Many rows come as one JSON array in one parameter: one round trip an upload and table, whatever its size, and one statement text a
//! table, so that it is prepared once.

use crate::hub::figures::{OUTAGE, PING, TEST, day_columns, hour_columns};
use std::sync::LazyLock;

/// Which database.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    /// SQLite from 3.38.
    Sqlite,
    /// PostgreSQL from 13.
    Postgres,
}

/// Statements that write many rows.
#[derive(Debug)]
pub(super) struct Writes {
    pub(super) hour: String,
    pub(super) ping: String,
    pub(super) test: String,
    pub(super) outage: String,
    pub(super) day: String,
}

impl Writes {
    fn of(dialect: Dialect) -> Writes {
        let day = day_columns();
        let renew: Vec<String> =
            day.iter().filter(|name| !["school", "day"].contains(name)).map(|name| format!("{name} = excluded.{name}")).collect();
        Writes {
            hour: insert(dialect, "hour", &hour_columns(), "(node, started) DO NOTHING"),
            ping: insert(dialect, "ping", PING, "(node, started) DO NOTHING"),
            test: insert(dialect, "test", TEST, "(node, epoch, seq) DO NOTHING"),
            // Told when it began and again when it was over, in any order: the longer one is the later one.
            outage: insert(
                dialect,
                "outage",
                OUTAGE,
                "(node, what, started) DO UPDATE SET ended = excluded.ended, seconds = excluded.seconds, open = excluded.open \
                 WHERE (outage.open AND NOT excluded.open) OR (outage.open = excluded.open AND excluded.seconds > outage.seconds)",
            ),
            day: insert(dialect, "day", &day, &format!("(school, day) DO UPDATE SET {}", renew.join(", "))),
        }
    }

    /// The statements of one database.
    pub(super) fn get(dialect: Dialect) -> &'static Writes {
        static SQLITE: LazyLock<Writes> = LazyLock::new(|| Writes::of(Dialect::Sqlite));
        static POSTGRES: LazyLock<Writes> = LazyLock::new(|| Writes::of(Dialect::Postgres));
        match dialect {
            Dialect::Sqlite => &SQLITE,
            Dialect::Postgres => &POSTGRES,
        }
    }
}

fn insert(dialect: Dialect, table: &str, columns: &[&str], conflict: &str) -> String {
    let names = columns.join(", ");
    match dialect {
        Dialect::Sqlite => {
            let values: Vec<String> = columns.iter().map(|name| format!("value ->> '{name}'")).collect();
            format!("INSERT INTO {table} ({names}) SELECT {} FROM json_each($1) WHERE true ON CONFLICT {conflict}", values.join(", "))
        }
        Dialect::Postgres => format!(
            "INSERT INTO {table} ({names}) SELECT {names} FROM jsonb_populate_recordset(NULL::{table}, $1::jsonb) ON CONFLICT {conflict}"
        ),
    }
}

/// Whether a column is one of the texts in a parameter that holds a JSON array. PostgreSQL has an array of it first: then an index on the
/// column can be used whatever else is asked, where a set to join with makes it guess.
pub(super) fn one_of(dialect: Dialect, column: &str, parameter: &str) -> String {
    match dialect {
        Dialect::Sqlite => format!("{column} IN (SELECT value FROM json_each({parameter}))"),
        Dialect::Postgres => format!("{column} = ANY(ARRAY(SELECT jsonb_array_elements_text({parameter}::jsonb)))"),
    }
}

/// Days of the schools in `$3`, from `$1` to `$2`: what the region's page asks for its strips.
pub(super) fn days(dialect: Dialect) -> String {
    let schools = one_of(dialect, "school", "$3");
    format!("SELECT * FROM day WHERE {schools} AND day BETWEEN $1 AND $2 ORDER BY school, day")
}
