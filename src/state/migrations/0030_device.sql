-- Devices that proved to trust the school's CA, and where they lately did not. kept: JSON of tls::device. Never leaves the node.
CREATE TABLE device (
    address TEXT PRIMARY KEY NOT NULL,
    kept    TEXT NOT NULL
) STRICT, WITHOUT ROWID;
