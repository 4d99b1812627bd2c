-- People who sign in on the hub's pages, and who is signed in: see the migration of SQLite, `../sqlite/0003_people.sql`.
CREATE TABLE person (
    name TEXT PRIMARY KEY,
    role TEXT NOT NULL,
    password TEXT NOT NULL,
    changed BIGINT NOT NULL
);

CREATE TABLE session (
    hash BYTEA PRIMARY KEY,
    person TEXT NOT NULL,
    begun BIGINT NOT NULL,
    seen BIGINT NOT NULL
);

CREATE INDEX session_of_person ON session (person);
