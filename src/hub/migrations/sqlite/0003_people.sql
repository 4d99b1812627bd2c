-- People who sign in on the hub's pages with a password: an argon2id hash in the PHC form, never the password.
CREATE TABLE person (
    name TEXT PRIMARY KEY NOT NULL,
    role TEXT NOT NULL,
    password TEXT NOT NULL,
    changed INTEGER NOT NULL
) STRICT;

-- Who is signed in. Sessions as hashes: who reads this file has none.
CREATE TABLE session (
    hash BLOB PRIMARY KEY NOT NULL,
    person TEXT NOT NULL,
    begun INTEGER NOT NULL,
    seen INTEGER NOT NULL
) STRICT;

CREATE INDEX session_of_person ON session (person);
