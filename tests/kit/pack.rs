//! A pack of a test's content, signed as a publisher would, with a key of its own.

use crate::kit::node::Setup;
use std::fs;
use std::io::Cursor;
use std::path::Path;

/// Writes `NAME.toml` and its signature into a node's folder of packs, and has the node trust the signer.
pub(crate) fn publish(setup: Setup, folder: &Path, name: &str, text: &str) -> Setup {
    let pair = minisign::KeyPair::generate_unencrypted_keypair().expect("a key pair");
    let signature = minisign::sign(Some(&pair.pk), &pair.sk, Cursor::new(text), Some("a test's pack"), None).expect("a signature");
    let packs = folder.join("packs");
    fs::create_dir_all(&packs).expect("a folder");
    fs::write(packs.join(format!("{name}.toml")), text).expect("a file");
    fs::write(packs.join(format!("{name}.toml.minisig")), signature.into_string()).expect("a file");
    setup.set("packs.trusted_keys", &format!("[\"{}\"]", pair.pk.to_base64()))
}

/// A pack's text: one list of URLs, these hosts.
pub(crate) fn text(id: &str, list: &str, hosts: &[&str]) -> String {
    let hosts: Vec<String> = hosts.iter().map(|host| format!("\"{host}\"")).collect();
    format!(
        "id = \"{id}\"\nversion = \"1\"\nstatus = \"verified\"\nlicence = \"PSF-2.0, Apache-2.0, MIT\"\nrefresh = \"7 days\"\npriority = 5\n\
         [title]\nkk = \"Сынақ\"\nru = \"Проба\"\nen = \"Trial\"\n[[seed]]\nlist = \"{list}\"\n\
         [scope]\nhosts = [{}]\ndepth = 0\nmax_bytes = \"1 GiB\"\n",
        hosts.join(", ")
    )
}
