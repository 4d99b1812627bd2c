//! A node's day told to its hub, at both ends: records sealed, packed, unpacked, opened, read and judged.

use crate::pieces::Operation;
use crate::said;
use bulak::report::sign::{self, Key};
use bulak::report::{batch, schema};
use ed25519_dalek::SigningKey;
use ed25519_dalek::pkcs8::EncodePrivateKey;
use ed25519_dalek::pkcs8::spki::der::pem::LineEnding;
use serde_json::Value;
use std::fs::{self, Permissions};
use std::os::unix::fs::PermissionsExt;

/// The secret of a node that nobody has: the same every time.
const SECRET: [u8; 32] = [7; 32];

pub(super) fn day(_: u64) -> Operation {
    let key = key();
    let public = sign::public(&key.public()).expect("its own");
    let records: Vec<Vec<u8>> = said::records(&key.node(), 0).into_iter().map(|(.., record)| record.to_string().into_bytes()).collect();
    Box::new(move || {
        let sealed: Vec<Vec<u8>> = records.iter().map(|record| key.seal(record)).collect();
        let body = batch::pack(sealed.iter().map(Vec::as_slice)).expect("memory");
        for sealed in batch::unpack(&body).expect("our own") {
            let record: Value = serde_json::from_slice(sign::open(&sealed, &public).expect("its signature")).expect("JSON");
            assert!(schema::complaints(&record).is_empty());
        }
    })
}

/// As a node keeps it.
fn key() -> Key {
    let folder = tempfile::tempdir().expect("a folder");
    let file = folder.path().join("key");
    fs::write(&file, SigningKey::from_bytes(&SECRET).to_pkcs8_pem(LineEnding::LF).expect("a key")).expect("a file");
    fs::set_permissions(&file, Permissions::from_mode(0o600)).expect("its owner's");
    Key::open(&file).expect("a key")
}
