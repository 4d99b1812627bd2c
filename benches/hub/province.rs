//! Many schools from the rows of one, made in SQL: what a province's tables look like after its uploads, without waiting for them.
//!
//! Rows come in order of time and not of schools, as uploads come: the rows of one school lie far apart, which is what its page pays for.

use bulak::hub::figures::{OUTAGE, PING, TEST, day_columns, hour_columns};
use bulak::hub::keep::Place;
use sqlx::{AssertSqlSafe, ConnectOptions, Connection, PgConnection, SqliteConnection};

/// Names in one statement: a text of some 40 kB.
const MOST_NAMES: usize = 500;

const RECORD: &[&str] =
    &["node", "epoch", "seq", "school", "kind", "started", "ended", "clock_ok", "received", "digest", "sealed", "coding"];
const LATEST: &[&str] = &["node", "epoch", "seq", "heard", "records", "record", "told_epoch", "told_seq", "glance"];

/// One connection, which speaks either database's words.
enum Desk {
    Sqlite(SqliteConnection),
    Postgres(PgConnection),
}

impl Desk {
    async fn open(place: &Place) -> Desk {
        match place {
            Place::Postgres(url) => Desk::Postgres(PgConnection::connect(url).await.expect("connects")),
            Place::File(file) => {
                let options = sqlx::sqlite::SqliteConnectOptions::new().filename(file);
                Desk::Sqlite(options.connect().await.expect("opens"))
            }
            Place::Memory => panic!("the bench fills files"),
        }
    }

    async fn run(&mut self, text: String) {
        let done = match self {
            Desk::Sqlite(desk) => sqlx::raw_sql(AssertSqlSafe(text)).execute(desk).await.map(drop),
            Desk::Postgres(desk) => sqlx::raw_sql(AssertSqlSafe(text)).execute(desk).await.map(drop),
        };
        done.expect("a statement of ours");
    }

    async fn count(&mut self, text: String) -> i64 {
        let told: Result<(i64,), sqlx::Error> = match self {
            Desk::Sqlite(desk) => sqlx::query_as(AssertSqlSafe(text)).fetch_one(desk).await,
            Desk::Postgres(desk) => sqlx::query_as(AssertSqlSafe(text)).fetch_one(desk).await,
        };
        told.expect("a statement of ours").0
    }
}

/// Gives `others` (node, school) every row that `model` has. How many rows were made.
pub(crate) async fn spread(place: &Place, model: (&str, &str), others: &[(String, String)]) -> i64 {
    let mut desk = Desk::open(place).await;
    let sqlite = matches!(desk, Desk::Sqlite(_));
    if sqlite {
        // What is lost with the power is made anew by the next bench.
        desk.run("PRAGMA synchronous = OFF; PRAGMA cache_size = -400000; PRAGMA temp_store = MEMORY".into()).await;
    }
    desk.run("CREATE TEMP TABLE others (place INTEGER PRIMARY KEY, node TEXT NOT NULL, school TEXT NOT NULL)".into()).await;
    for (chunk, begin) in others.chunks(MOST_NAMES).zip((0..).step_by(MOST_NAMES)) {
        let rows: Vec<String> = chunk.iter().zip(begin..).map(|((node, school), at)| format!("({at}, '{node}', '{school}')")).collect();
        desk.run(format!("INSERT INTO others VALUES {}", rows.join(", "))).await;
    }
    let (hour, day) = (hour_columns(), day_columns());
    let tables: [(&str, &[&str], &str); 7] = [
        ("record", RECORD, "seq"),
        ("ping", PING, "started"),
        ("hour", &hour, "started"),
        ("test", TEST, "started"),
        ("outage", OUTAGE, "started"),
        ("day", &day, "day"),
        ("latest", LATEST, "seq"),
    ];
    let mut made = 0;
    for (table, columns, order) in tables {
        let (key, whose) = if columns.contains(&"school") { ("school", model.1) } else { ("node", model.0) };
        let names = columns.join(", ");
        desk.run(format!(
            "CREATE TEMP TABLE model AS SELECT {names}, row_number() OVER (ORDER BY {order}) AS place FROM {table} WHERE {key} = '{whose}'"
        ))
        .await;
        let rows = desk.count("SELECT count(*) FROM model".into()).await;
        assert!(rows > 0, "{table} of the model is empty");
        let values: Vec<String> = columns
            .iter()
            .map(|name| if ["node", "school"].contains(name) { format!("others.{name}") } else { format!("model.{name}") })
            .collect();
        desk.run("BEGIN".into()).await;
        for place in 1..=rows {
            let values = values.join(", ");
            let each = format!("SELECT {values} FROM model CROSS JOIN others WHERE model.place = {place} ORDER BY others.place");
            desk.run(format!("INSERT INTO {table} ({names}) {each}")).await;
        }
        desk.run("COMMIT; DROP TABLE model".into()).await;
        made += rows * i64::try_from(others.len()).expect("some schools");
    }
    // What a hub's database has by itself after some days: a log that was taken over, and PostgreSQL's statistics (autovacuum).
    desk.run(if sqlite { "PRAGMA wal_checkpoint(TRUNCATE)" } else { "VACUUM ANALYZE" }.into()).await;
    made
}
