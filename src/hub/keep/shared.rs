//! What both databases are asked alike of reports and figures, in the same words (the register is in `office`): `$1` is a parameter in either, many rows come as one JSON array.
//!
//! A macro rather than a type with a database as parameter: sqlx's bounds for that would be longer than the questions.

/// Everything but what a database does in its own way: taking the records themselves, letting go, weighing.
macro_rules! shared {
    ($kind:ident, $database:ty, $dialect:expr) => {
        impl $kind {
            /// Writes what an upload changes beside its records.
            async fn write(
                work: &mut sqlx::Transaction<'static, $database>,
                judged: &Judged,
                fates: &[Fate],
                calendar: &Calendar,
                at: Moment,
            ) -> Result<bool, Error> {
                let columns = Columns::of(judged, fates, calendar, at);
                let Some(newest) = columns.newest else { return Ok(false) };
                let writes = Writes::get($dialect);
                let all = [
                    (&writes.hour, columns.hours.is_empty(), serde_json::to_string(&columns.hours)?),
                    (&writes.ping, columns.pings.is_empty(), serde_json::to_string(&columns.pings)?),
                    (&writes.test, columns.tests.is_empty(), serde_json::to_string(&columns.tests)?),
                    (&writes.outage, columns.outages.is_empty(), serde_json::to_string(&columns.outages)?),
                ];
                for (statement, _, rows) in all.iter().filter(|(_, empty, _)| !empty) {
                    sqlx::query(statement.as_str()).bind(rows).execute(&mut **work).await?;
                }
                for day in &columns.days {
                    sqlx::query(
                        "INSERT INTO stale (school, day, mark) VALUES ($1, $2, 1) ON CONFLICT (school, day) DO UPDATE SET mark = stale.mark + 1",
                    )
                    .bind(&judged.school)
                    .bind(day)
                    .execute(&mut **work)
                    .await?;
                }
                let known: Option<(i64,)> =
                    sqlx::query_as("SELECT epoch FROM latest WHERE node = $1").bind(&judged.node).fetch_optional(&mut **work).await?;
                let twin = known.is_some_and(|(epoch,)| is_twin(judged, fates, epoch));
                if twin {
                    sqlx::query(
                        "INSERT INTO twin (node, found, seen, times) VALUES ($1, $2, $2, 1)
                         ON CONFLICT (node) DO UPDATE SET seen = excluded.seen, times = twin.times + 1",
                    )
                    .bind(&judged.node)
                    .bind(at.now.micros())
                    .execute(&mut **work)
                    .await?;
                }
                let (told_epoch, told_seq, record, glance) = match &columns.told {
                    Some(told) => (judged.epoch, told.seq, told.record.as_str(), serde_json::to_string(&told.glance)?),
                    // Below every number.
                    None => (-1, -1, "", String::new()),
                };
                sqlx::query(
                    "INSERT INTO latest (node, epoch, seq, heard, records, record, told_epoch, told_seq, glance)
                     VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9)
                     ON CONFLICT (node) DO UPDATE SET
                         records = latest.records + excluded.records,
                         heard = CASE WHEN (excluded.epoch, excluded.seq) > (latest.epoch, latest.seq)
                             AND (excluded.heard > latest.heard OR latest.heard > $10) THEN excluded.heard ELSE latest.heard END,
                         seq = CASE WHEN (excluded.epoch, excluded.seq) > (latest.epoch, latest.seq) THEN excluded.seq ELSE latest.seq END,
                         epoch = CASE WHEN excluded.epoch > latest.epoch THEN excluded.epoch ELSE latest.epoch END,
                         record = CASE WHEN (excluded.told_epoch, excluded.told_seq) > (latest.told_epoch, latest.told_seq)
                             THEN excluded.record ELSE latest.record END,
                         glance = CASE WHEN (excluded.told_epoch, excluded.told_seq) > (latest.told_epoch, latest.told_seq)
                             THEN excluded.glance ELSE latest.glance END,
                         told_seq = CASE WHEN (excluded.told_epoch, excluded.told_seq) > (latest.told_epoch, latest.told_seq)
                             THEN excluded.told_seq ELSE latest.told_seq END,
                         told_epoch = CASE WHEN excluded.told_epoch > latest.told_epoch THEN excluded.told_epoch ELSE latest.told_epoch END",
                )
                .bind(&judged.node)
                .bind(judged.epoch)
                .bind(newest)
                .bind(at.now.micros())
                .bind(columns.stored)
                .bind(record)
                .bind(told_epoch)
                .bind(told_seq)
                .bind(glance)
                // Heard later than that was heard by a clock that was ahead.
                .bind(at.now.plus(AHEAD).micros())
                .execute(&mut **work)
                .await?;
                Ok(twin)
            }

            async fn read_kept(&self, school: &str, from: Time, until: Time) -> Result<Kept, Error> {
                let (from, until) = (from.micros(), until.micros());
                let hours = sqlx::query_as("SELECT * FROM hour WHERE school = $1 AND ended >= $2 AND started < $3");
                let pings = sqlx::query_as("SELECT * FROM ping WHERE school = $1 AND started >= $2 AND started < $3");
                let tests = sqlx::query_as("SELECT * FROM test WHERE school = $1 AND started >= $2 AND started < $3");
                let outages = sqlx::query_as("SELECT * FROM outage WHERE school = $1 AND ended >= $2 AND started < $3");
                Ok(Kept {
                    hours: hours.bind(school).bind(from).bind(until).fetch_all(&self.pool).await?,
                    pings: pings.bind(school).bind(from).bind(until).fetch_all(&self.pool).await?,
                    tests: tests.bind(school).bind(from).bind(until).fetch_all(&self.pool).await?,
                    outages: outages.bind(school).bind(from).bind(until).fetch_all(&self.pool).await?,
                })
            }

            async fn write_days(&self, days: &[Day], done: &[Stale]) -> Result<(), Error> {
                let mut work = self.begin().await?;
                if !days.is_empty() {
                    let rows = serde_json::to_string(days)?;
                    sqlx::query(Writes::get($dialect).day.as_str()).bind(rows).execute(&mut *work).await?;
                }
                for stale in done {
                    sqlx::query("DELETE FROM stale WHERE school = $1 AND day = $2 AND mark = $3")
                        .bind(&stale.school)
                        .bind(stale.day)
                        .bind(stale.mark)
                        .execute(&mut *work)
                        .await?;
                }
                work.commit().await?;
                Ok(())
            }

            async fn read_days(&self, schools: Option<&[String]>, from: i32, to: i32) -> Result<Vec<Day>, Error> {
                static TEXT: LazyLock<String> = LazyLock::new(|| days($dialect));
                let Some(schools) = schools else {
                    let all = sqlx::query_as("SELECT * FROM day WHERE day BETWEEN $1 AND $2 ORDER BY school, day");
                    return Ok(all.bind(from).bind(to).fetch_all(&self.pool).await?);
                };
                let some = sqlx::query_as(TEXT.as_str());
                Ok(some.bind(from).bind(to).bind(serde_json::to_string(schools)?).fetch_all(&self.pool).await?)
            }

            async fn read_latest(&self) -> Result<Vec<Latest>, Error> {
                let rows: Vec<(String, i64, i64, String, String)> = sqlx::query_as(
                    "SELECT node, heard, records, glance, CASE WHEN glance = '' THEN record ELSE '' END FROM latest",
                )
                .fetch_all(&self.pool)
                .await?;
                let latest = |(node, heard, records, glance, record): (String, i64, i64, String, String)| Latest {
                    glance: serde_json::from_str(&glance).ok().or_else(|| older(&record)),
                    node,
                    heard: Time::from_micros(heard),
                    records,
                };
                Ok(rows.into_iter().map(latest).collect())
            }

            async fn read_told(&self, nodes: &[String]) -> Result<Vec<(String, String)>, Error> {
                static TEXT: LazyLock<String> = LazyLock::new(|| {
                    format!("SELECT node, record FROM latest WHERE record <> '' AND {}", one_of($dialect, "node", "$1"))
                });
                Ok(sqlx::query_as(TEXT.as_str()).bind(serde_json::to_string(nodes)?).fetch_all(&self.pool).await?)
            }

            async fn read_recent(&self, node: &str, most: u32) -> Result<Vec<String>, Error> {
                let rows: Vec<(i32, Vec<u8>)> = sqlx::query_as(
                    "SELECT coding, sealed FROM record WHERE node = $1 AND kind = 'hour' ORDER BY epoch DESC, seq DESC LIMIT $2",
                )
                .bind(node)
                .bind(i64::from(most))
                .fetch_all(&self.pool)
                .await?;
                let sealed = rows.iter().filter_map(|(coding, bytes)| unpack(*coding, bytes, batch::MOST_RECORD));
                let text = |sealed: Vec<u8>| String::from_utf8_lossy(sign::peel(&sealed).unwrap_or_default()).into_owned();
                Ok(sealed.map(text).collect())
            }
        }

        impl Keep for $kind {
            fn take<'a>(&'a self, judged: &'a Judged, calendar: &'a Calendar, at: Moment) -> BoxFuture<'a, Result<Uptake, Error>> {
                Box::pin(self.store(judged, calendar, at))
            }

            fn latest(&self) -> BoxFuture<'_, Result<Vec<Latest>, Error>> {
                Box::pin(self.read_latest())
            }

            fn told<'a>(&'a self, nodes: &'a [String]) -> BoxFuture<'a, Result<Vec<(String, String)>, Error>> {
                Box::pin(self.read_told(nodes))
            }

            fn recent<'a>(&'a self, node: &'a str, most: u32) -> BoxFuture<'a, Result<Vec<String>, Error>> {
                Box::pin(self.read_recent(node, most))
            }

            fn twins(&self) -> BoxFuture<'_, Result<Vec<Twin>, Error>> {
                Box::pin(async move { Ok(sqlx::query_as("SELECT * FROM twin ORDER BY node").fetch_all(&self.pool).await?) })
            }

            fn leads(&self) -> BoxFuture<'_, Result<bool, Error>> {
                Box::pin(self.looks_after())
            }

            fn stale(&self, most: u32) -> BoxFuture<'_, Result<Vec<Stale>, Error>> {
                Box::pin(async move {
                    let stale = sqlx::query_as("SELECT * FROM stale ORDER BY school, day LIMIT $1");
                    Ok(stale.bind(i64::from(most)).fetch_all(&self.pool).await?)
                })
            }

            fn kept<'a>(&'a self, school: &'a str, from: Time, until: Time) -> BoxFuture<'a, Result<Kept, Error>> {
                Box::pin(self.read_kept(school, from, until))
            }

            fn put_days<'a>(&'a self, days: &'a [Day], done: &'a [Stale]) -> BoxFuture<'a, Result<(), Error>> {
                Box::pin(self.write_days(days, done))
            }

            fn days<'a>(&'a self, schools: Option<&'a [String]>, from: i32, to: i32) -> BoxFuture<'a, Result<Vec<Day>, Error>> {
                Box::pin(self.read_days(schools, from, to))
            }

            fn days_after<'a>(&'a self, after: (&'a str, i32), span: (i32, i32), most: u32) -> BoxFuture<'a, Result<Vec<Day>, Error>> {
                Box::pin(async move {
                    let some = sqlx::query_as(
                        "SELECT * FROM day WHERE (school, day) > ($1, $2) AND day BETWEEN $3 AND $4 ORDER BY school, day LIMIT $5",
                    );
                    let bound = some.bind(after.0).bind(after.1).bind(span.0).bind(span.1).bind(i64::from(most));
                    Ok(bound.fetch_all(&self.pool).await?)
                })
            }

            fn tests<'a>(&'a self, asked: Asked<'a>) -> BoxFuture<'a, Result<Vec<Test>, Error>> {
                Box::pin(async move {
                    let tests = sqlx::query_as(match asked.school {
                        Some(_) => "SELECT * FROM test WHERE started >= $1 AND started < $2 AND school = $4 ORDER BY started DESC LIMIT $3",
                        None => "SELECT * FROM test WHERE started >= $1 AND started < $2 AND $4 = '' ORDER BY started DESC LIMIT $3",
                    });
                    let bound = tests.bind(asked.from.micros()).bind(asked.until.micros()).bind(i64::from(asked.most));
                    Ok(bound.bind(asked.school.unwrap_or_default()).fetch_all(&self.pool).await?)
                })
            }

            fn outages<'a>(&'a self, asked: Asked<'a>) -> BoxFuture<'a, Result<Vec<Outage>, Error>> {
                Box::pin(async move {
                    let outages = sqlx::query_as(match asked.school {
                        Some(_) => "SELECT * FROM outage WHERE started >= $1 AND started < $2 AND school = $4 ORDER BY started DESC LIMIT $3",
                        None => "SELECT * FROM outage WHERE started >= $1 AND started < $2 AND $4 = '' ORDER BY started DESC LIMIT $3",
                    });
                    let bound = outages.bind(asked.from.micros()).bind(asked.until.micros()).bind(i64::from(asked.most));
                    Ok(bound.bind(asked.school.unwrap_or_default()).fetch_all(&self.pool).await?)
                })
            }

            fn prune(&self, cutoffs: Cutoffs) -> BoxFuture<'_, Result<bool, Error>> {
                Box::pin(async move {
                    let more = self.let_go(cutoffs).await?;
                    // Few rows, all at once.
                    self.forget(cutoffs).await?;
                    Ok(more)
                })
            }

            fn weigh(&self) -> BoxFuture<'_, Result<Vec<Weight>, Error>> {
                Box::pin(self.weights())
            }
        }
    };
}

/// The glance of a record that an older program kept without one.
pub(super) fn older(record: &str) -> Option<crate::hub::figures::Glance> {
    use crate::base::clock::Time;
    use crate::hub::facts::{Frame, glance};
    let value: serde_json::Value = serde_json::from_str(record).ok()?;
    let end = value["end"].as_str()?.parse::<jiff::Timestamp>().ok()?;
    let end = Time::from_micros(end.as_microsecond());
    let clock_ok = value["clock_ok"].as_bool()?;
    Some(glance(Frame { node: "", school: "", epoch: 0, seq: 0, start: end, end, clock_ok }, &value["payload"]))
}
