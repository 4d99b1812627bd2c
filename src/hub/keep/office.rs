//! What both databases are asked alike of the register: nodes, codes, tokens, people. A macro, as in `shared`.
//!
//! What belongs together is one transaction: a code is used up, its node accepted and the school's other nodes revoked, or nothing of it
//! has happened. Where several could do so at once (PostgreSQL), each holds the school's name and then those of the nodes meanwhile.

/// The register.
macro_rules! office {
    ($kind:ident, $database:ty) => {
        impl $kind {
            async fn use_code(
                &self,
                code: Digest,
                (node, key): (&str, &str),
                file: &[Listed],
                now: Time,
            ) -> Result<Enrolment, Error> {
                let mut work = self.begin().await?;
                let first: Option<(String, bool)> = sqlx::query_as(
                    "UPDATE code SET used = $1, node = $2 WHERE hash = $3 AND used IS NULL AND expires > $1 RETURNING school, replaces",
                )
                .bind(now.micros())
                .bind(node)
                .bind(code.0.as_slice())
                .fetch_optional(&mut *work)
                .await?;
                let again = first.is_none();
                let of_this_node: Option<(String, bool)> = match first {
                    Some(first) => Some(first),
                    None => {
                        let used = sqlx::query_as("SELECT school, replaces FROM code WHERE hash = $1 AND node = $2");
                        used.bind(code.0.as_slice()).bind(node).fetch_optional(&mut *work).await?
                    }
                };
                let Some((school, replaces)) = of_this_node else { return Ok(Enrolment::NoCode) };
                Self::hold(&mut work, &school).await?;
                // And the key: two copies of a card may come at once, each with a code of another school.
                Self::hold(&mut work, node).await?;
                let row: Option<NodeRow> =
                    sqlx::query_as("SELECT * FROM node WHERE id = $1").bind(node).fetch_optional(&mut *work).await?;
                let of_file = file.iter().find(|listed| listed.node == node);
                match row {
                    // An answer that was lost; but a code that was used up brings no revoked node back.
                    Some(row) if again && row.revoked.is_some() => return Ok(Enrolment::NoCode),
                    Some(row) if row.revoked.is_none() && row.school != school => return Ok(Enrolment::Taken(row.school)),
                    _ => {}
                }
                // The file wins over rows, also over one that was revoked.
                if let Some(listed) = of_file.filter(|listed| listed.school != school) {
                    return Ok(Enrolment::Taken(listed.school.clone()));
                }
                sqlx::query(
                    "INSERT INTO node (id, key, school, added, revoked) VALUES ($1, $2, $3, $4, NULL)
                     ON CONFLICT (id) DO UPDATE SET key = excluded.key, school = excluded.school, revoked = NULL",
                )
                .bind(node)
                .bind(key)
                .bind(&school)
                .bind(now.micros())
                .execute(&mut *work)
                .await?;
                if replaces && !again {
                    let rows: Vec<(String,)> = sqlx::query_as("SELECT id FROM node WHERE school = $1 AND id <> $2 AND revoked IS NULL")
                        .bind(&school)
                        .bind(node)
                        .fetch_all(&mut *work)
                        .await?;
                    // Those of the hub's file may be in no row yet. In order, so that two who hold several never wait for each other.
                    let of_file = file.iter().filter(|listed| listed.school == school && listed.node != node);
                    let others: BTreeSet<String> =
                        rows.into_iter().map(|(id,)| id).chain(of_file.map(|listed| listed.node.clone())).collect();
                    for other in &others {
                        Self::end_node(&mut work, other, &school, now).await?;
                    }
                }
                let about: Option<SchoolRow> =
                    sqlx::query_as("SELECT * FROM school WHERE id = $1").bind(&school).fetch_optional(&mut *work).await?;
                work.commit().await?;
                let school = about.unwrap_or_else(|| SchoolRow { id: school, ..SchoolRow::default() });
                Ok(Enrolment::Done { school, replaces: replaces && !again })
            }

            /// Ends a node's right to report. Whether it had one.
            async fn end_node(
                work: &mut sqlx::Transaction<'static, $database>,
                node: &str,
                school: &str,
                now: Time,
            ) -> Result<bool, Error> {
                // An upload of its own that is being taken comes before.
                Self::hold(work, node).await?;
                let done = sqlx::query(
                    "INSERT INTO node (id, key, school, added, revoked) VALUES ($1, '', $2, $3, $3)
                     ON CONFLICT (id) DO UPDATE SET revoked = excluded.revoked WHERE node.revoked IS NULL",
                )
                .bind(node)
                .bind(school)
                .bind(now.micros())
                .execute(&mut **work)
                .await?;
                // With a new key or a new code it is no twin any more.
                sqlx::query("DELETE FROM twin WHERE node = $1").bind(node).execute(&mut **work).await?;
                Ok(done.rows_affected() > 0)
            }

            /// Whether a node may report no more, as this transaction sees it.
            async fn is_out(work: &mut sqlx::Transaction<'static, $database>, node: &str) -> Result<bool, Error> {
                let row: Option<(Option<i64>,)> =
                    sqlx::query_as("SELECT revoked FROM node WHERE id = $1").bind(node).fetch_optional(&mut **work).await?;
                Ok(row.is_some_and(|(revoked,)| revoked.is_some()))
            }

            /// Forgets codes that nobody can ask about any more, and sessions that have ended.
            async fn forget(&self, cutoffs: Cutoffs) -> Result<(), Error> {
                sqlx::query("DELETE FROM code WHERE expires < $1").bind(cutoffs.codes.micros()).execute(&self.pool).await?;
                sqlx::query("DELETE FROM session WHERE seen < $1 OR begun < $2")
                    .bind(cutoffs.sessions.0.micros())
                    .bind(cutoffs.sessions.1.micros())
                    .execute(&self.pool)
                    .await?;
                Ok(())
            }

            async fn begin_session(&self, session: &SessionRow, password: &str, each: u32) -> Result<bool, Error> {
                let mut work = self.begin().await?;
                Self::hold(&mut work, &session.person).await?;
                // The password may have been changed since it was looked at.
                let done = sqlx::query(
                    "INSERT INTO session (hash, person, begun, seen) SELECT $1, name, $3, $4 FROM person WHERE name = $2 AND password = $5",
                )
                .bind(&session.hash)
                .bind(&session.person)
                .bind(session.begun)
                .bind(session.seen)
                .bind(password)
                .execute(&mut *work)
                .await?;
                // Whoever signs in everywhere and never out: the oldest end.
                sqlx::query(
                    "DELETE FROM session WHERE person = $1 AND hash NOT IN
                     (SELECT hash FROM session WHERE person = $1 ORDER BY seen DESC, begun DESC, hash LIMIT $2)",
                )
                .bind(&session.person)
                .bind(i64::from(each))
                .execute(&mut *work)
                .await?;
                work.commit().await?;
                Ok(done.rows_affected() > 0)
            }

            async fn write_person(&self, person: &PersonRow) -> Result<(), Error> {
                let mut work = self.begin().await?;
                Self::hold(&mut work, &person.name).await?;
                sqlx::query(
                    "INSERT INTO person (name, role, password, changed) VALUES ($1, $2, $3, $4)
                     ON CONFLICT (name) DO UPDATE SET role = excluded.role, password = excluded.password, changed = excluded.changed",
                )
                .bind(&person.name)
                .bind(&person.role)
                .bind(&person.password)
                .bind(person.changed)
                .execute(&mut *work)
                .await?;
                sqlx::query("DELETE FROM session WHERE person = $1").bind(&person.name).execute(&mut *work).await?;
                work.commit().await?;
                Ok(())
            }
        }

        impl Register for $kind {
            fn nodes(&self) -> BoxFuture<'_, Result<Vec<NodeRow>, Error>> {
                Box::pin(async move { Ok(sqlx::query_as("SELECT * FROM node ORDER BY id").fetch_all(&self.pool).await?) })
            }

            fn schools(&self) -> BoxFuture<'_, Result<Vec<SchoolRow>, Error>> {
                Box::pin(async move { Ok(sqlx::query_as("SELECT * FROM school ORDER BY id").fetch_all(&self.pool).await?) })
            }

            fn sizes(&self) -> BoxFuture<'_, Result<Sizes, Error>> {
                Box::pin(async move {
                    let sizes = sqlx::query_as(
                        "SELECT (SELECT count(*) FROM code) AS codes, (SELECT count(*) FROM node) AS nodes,
                         (SELECT count(*) FROM school) AS schools, (SELECT count(*) FROM token) AS tokens,
                         (SELECT count(*) FROM person) AS people",
                    );
                    Ok(sizes.fetch_one(&self.pool).await?)
                })
            }

            fn has_people(&self) -> BoxFuture<'_, Result<bool, Error>> {
                Box::pin(async move {
                    Ok(sqlx::query("SELECT 1 FROM person LIMIT 1").fetch_optional(&self.pool).await?.is_some())
                })
            }

            fn enrol<'a>(
                &'a self,
                code: Digest,
                node: (&'a str, &'a str),
                file: &'a [Listed],
                now: Time,
            ) -> BoxFuture<'a, Result<Enrolment, Error>> {
                Box::pin(self.use_code(code, node, file, now))
            }

            fn revoke<'a>(&'a self, node: &'a str, school: &'a str, now: Time) -> BoxFuture<'a, Result<bool, Error>> {
                Box::pin(async move {
                    let mut work = self.begin().await?;
                    let had = Self::end_node(&mut work, node, school, now).await?;
                    work.commit().await?;
                    Ok(had)
                })
            }

            fn codes(&self) -> BoxFuture<'_, Result<Vec<CodeRow>, Error>> {
                Box::pin(async move { Ok(sqlx::query_as("SELECT * FROM code ORDER BY made DESC, id").fetch_all(&self.pool).await?) })
            }

            fn add_code<'a>(&'a self, code: &'a CodeRow, school: &'a SchoolRow) -> BoxFuture<'a, Result<(), Error>> {
                Box::pin(async move {
                    let mut work = self.begin().await?;
                    sqlx::query(
                        "INSERT INTO school (id, name, provider, contract_bps) VALUES ($1, $2, $3, $4)
                         ON CONFLICT (id) DO UPDATE SET
                             name = CASE WHEN excluded.name = '' THEN school.name ELSE excluded.name END,
                             provider = CASE WHEN excluded.provider = '' THEN school.provider ELSE excluded.provider END,
                             contract_bps = COALESCE(excluded.contract_bps, school.contract_bps)",
                    )
                    .bind(&school.id)
                    .bind(&school.name)
                    .bind(&school.provider)
                    .bind(school.contract_bps)
                    .execute(&mut *work)
                    .await?;
                    sqlx::query("INSERT INTO code (id, hash, school, replaces, made, expires) VALUES ($1, $2, $3, $4, $5, $6)")
                        .bind(&code.id)
                        .bind(&code.hash)
                        .bind(&code.school)
                        .bind(code.replaces)
                        .bind(code.made)
                        .bind(code.expires)
                        .execute(&mut *work)
                        .await?;
                    work.commit().await?;
                    Ok(())
                })
            }

            fn drop_code<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<bool, Error>> {
                Box::pin(async move {
                    let done = sqlx::query("DELETE FROM code WHERE id = $1 AND used IS NULL").bind(id).execute(&self.pool).await?;
                    Ok(done.rows_affected() > 0)
                })
            }

            fn tokens(&self) -> BoxFuture<'_, Result<Vec<TokenRow>, Error>> {
                Box::pin(async move { Ok(sqlx::query_as("SELECT * FROM token ORDER BY name").fetch_all(&self.pool).await?) })
            }

            fn token<'a>(&'a self, id: &'a str) -> BoxFuture<'a, Result<Option<TokenRow>, Error>> {
                Box::pin(async move {
                    Ok(sqlx::query_as("SELECT * FROM token WHERE id = $1").bind(id).fetch_optional(&self.pool).await?)
                })
            }

            fn add_token<'a>(&'a self, token: &'a TokenRow) -> BoxFuture<'a, Result<bool, Error>> {
                Box::pin(async move {
                    let done = sqlx::query(
                        "INSERT INTO token (id, name, role, hash, created, expires) VALUES ($1, $2, $3, $4, $5, $6) ON CONFLICT DO NOTHING",
                    )
                    .bind(&token.id)
                    .bind(&token.name)
                    .bind(&token.role)
                    .bind(&token.hash)
                    .bind(token.created)
                    .bind(token.expires)
                    .execute(&self.pool)
                    .await?;
                    Ok(done.rows_affected() > 0)
                })
            }

            fn drop_token<'a>(&'a self, which: &'a str) -> BoxFuture<'a, Result<Option<TokenRow>, Error>> {
                Box::pin(async move {
                    let gone = sqlx::query_as("DELETE FROM token WHERE id = $1 OR name = $1 RETURNING *");
                    Ok(gone.bind(which).fetch_optional(&self.pool).await?)
                })
            }

            fn token_used<'a>(&'a self, id: &'a str, now: Time) -> BoxFuture<'a, Result<(), Error>> {
                Box::pin(async move {
                    sqlx::query("UPDATE token SET used = $2 WHERE id = $1").bind(id).bind(now.micros()).execute(&self.pool).await?;
                    Ok(())
                })
            }

            fn people(&self) -> BoxFuture<'_, Result<Vec<PersonRow>, Error>> {
                Box::pin(async move { Ok(sqlx::query_as("SELECT * FROM person ORDER BY name").fetch_all(&self.pool).await?) })
            }

            fn person<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<Option<PersonRow>, Error>> {
                Box::pin(async move {
                    Ok(sqlx::query_as("SELECT * FROM person WHERE name = $1").bind(name).fetch_optional(&self.pool).await?)
                })
            }

            fn put_person<'a>(&'a self, person: &'a PersonRow) -> BoxFuture<'a, Result<(), Error>> {
                Box::pin(self.write_person(person))
            }

            fn drop_person<'a>(&'a self, name: &'a str) -> BoxFuture<'a, Result<bool, Error>> {
                Box::pin(async move {
                    let mut work = self.begin().await?;
                    Self::hold(&mut work, name).await?;
                    let done = sqlx::query("DELETE FROM person WHERE name = $1").bind(name).execute(&mut *work).await?;
                    sqlx::query("DELETE FROM session WHERE person = $1").bind(name).execute(&mut *work).await?;
                    work.commit().await?;
                    Ok(done.rows_affected() > 0)
                })
            }

            fn add_session<'a>(&'a self, session: &'a SessionRow, password: &'a str, each: u32) -> BoxFuture<'a, Result<bool, Error>> {
                Box::pin(self.begin_session(session, password, each))
            }

            fn session<'a>(&'a self, hash: &'a [u8]) -> BoxFuture<'a, Result<Option<(SessionRow, String)>, Error>> {
                Box::pin(async move {
                    let row: Option<(String, i64, i64, String)> = sqlx::query_as(
                        "SELECT session.person, session.begun, session.seen, person.role FROM session
                         JOIN person ON person.name = session.person WHERE session.hash = $1",
                    )
                    .bind(hash)
                    .fetch_optional(&self.pool)
                    .await?;
                    Ok(row.map(|(person, begun, seen, role)| (SessionRow { hash: hash.to_vec(), person, begun, seen }, role)))
                })
            }

            fn session_seen<'a>(&'a self, hash: &'a [u8], now: Time) -> BoxFuture<'a, Result<(), Error>> {
                Box::pin(async move {
                    sqlx::query("UPDATE session SET seen = $2 WHERE hash = $1").bind(hash).bind(now.micros()).execute(&self.pool).await?;
                    Ok(())
                })
            }

            fn drop_session<'a>(&'a self, hash: &'a [u8]) -> BoxFuture<'a, Result<(), Error>> {
                Box::pin(async move {
                    sqlx::query("DELETE FROM session WHERE hash = $1").bind(hash).execute(&self.pool).await?;
                    Ok(())
                })
            }
        }
    };
}

#[cfg(test)]
mod tests;
