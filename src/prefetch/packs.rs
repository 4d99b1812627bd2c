//! The packs of this node: where they lie, who signed them, which are refused and why.
//!
//! A pack from outside needs a signature by a trusted key, `NAME.toml.minisig` beside it. The node's own folder
//! (`<state>/packs.d`, where the page and `bulak pack record` write) needs none: whoever can write there is the node.

/// What stays in force when a file goes back, and what has been replaced.
pub mod settle;

/// Packs within packs, and what an operator refuses of them.
mod resolve;

use crate::cache::Lies;
use crate::prefetch::Settings;
use crate::prefetch::wish::TONIGHT;
use crate::site::pack::{Archive, MAX_BYTES, Pack, sign};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Most packs of a node.
const MANY: usize = 1000;

/// Whose word a pack is.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(as = PackOrigin)]
#[serde(rename_all = "snake_case")]
pub enum Origin {
    /// Made on this node.
    Own,
    /// Signed by this trusted key.
    Signed(String),
    /// Unsigned, and the configuration says that this is wanted.
    Unsigned,
}

/// A pack in force.
#[derive(Clone, Debug)]
pub struct Held {
    /// What it says.
    pub pack: Arc<Pack>,
    /// Where it lies.
    pub file: PathBuf,
    /// Whose word it is.
    pub origin: Origin,
    /// What people should know of it, in plain words.
    pub notes: Vec<String>,
}

/// A file that is no pack for us.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(as = RefusedPack)]
pub struct Refused {
    /// Where it lies; told to others, its name alone.
    pub file: String,
    /// All reasons.
    pub why: Vec<String>,
}

/// What the folders hold.
#[derive(Clone, Debug, Default)]
pub struct Shelf {
    /// In force, the most important first.
    pub held: Vec<Held>,
    /// Refused.
    pub refused: Vec<Refused>,
    /// Out of force: others have taken their place.
    pub replaced: Vec<Replaced>,
    /// What was signed, as it was read, by id: to be kept for the day on which the file goes back.
    texts: BTreeMap<String, String>,
    /// Folders and files that could not be read, or are not there.
    unread: Vec<PathBuf>,
    /// Whether one of them is there, so that nobody knows what lies in it.
    hidden: bool,
}

/// A pack whose place another has taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, utoipa::ToSchema)]
#[schema(as = ReplacedPack)]
pub struct Replaced {
    /// The old one.
    pub id: String,
    /// The new one.
    pub by: String,
    /// Since when (RFC 3339).
    pub since: String,
}

/// Reads all folders. Blocking.
pub fn load(settings: &Settings) -> Shelf {
    let mut shelf = Shelf::default();
    let own = settings.own.iter().map(|path| (path, true));
    for (path, is_own) in own.chain(settings.paths.iter().map(|path| (path, false))) {
        match files(path) {
            Ok(files) => files.into_iter().for_each(|file| shelf.take(&file, is_own, settings)),
            // A folder that nobody has made yet holds no packs.
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => shelf.unread.push(path.clone()),
            Err(error) => {
                shelf.refuse(path, vec![error.to_string()]);
                shelf.unread.push(path.clone());
                shelf.hidden = true;
            }
        }
    }
    shelf.sort();
    shelf
}

impl Shelf {
    fn sort(&mut self) {
        self.held.sort_by(|a, b| b.pack.priority.cmp(&a.pack.priority).then_with(|| a.pack.id.cmp(&b.pack.id)));
    }

    fn take(&mut self, file: &Path, is_own: bool, settings: &Settings) {
        match read(file, is_own, settings) {
            Ok((held, text)) => match self.held.iter().find(|other| other.pack.id == held.pack.id) {
                Some(other) => {
                    let why = format!("the id \"{}\" is taken by {}; give one of them another id", held.pack.id, name(&other.file));
                    self.refuse(file, vec![why]);
                }
                None if self.held.len() >= MANY => self.refuse(file, vec![format!("more than {MANY} packs; take some away")]),
                None => {
                    self.texts.insert(held.pack.id.clone(), text);
                    self.held.push(held);
                }
            },
            Err(why) => self.refuse(file, why),
        }
    }

    fn refuse(&mut self, file: &Path, why: Vec<String>) {
        self.refused.push(Refused { file: file.display().to_string(), why });
    }
}

impl Refused {
    /// As others may see it: the folders of a machine are nobody's business who asks from afar.
    #[must_use]
    pub fn shown(&self) -> Refused {
        Refused { file: name(Path::new(&self.file)), why: self.why.clone() }
    }
}

/// A file's name without its folders.
pub fn name(file: &Path) -> String {
    file.file_name().unwrap_or(file.as_os_str()).to_string_lossy().into_owned()
}

/// The `.toml` files of a folder by name, or the file itself.
fn files(path: &Path) -> std::io::Result<Vec<PathBuf>> {
    if std::fs::metadata(path)?.is_file() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files = Vec::new();
    for entry in std::fs::read_dir(path)? {
        let file = entry?.path();
        if file.extension().is_some_and(|ending| ending == "toml") {
            files.push(file);
        }
    }
    files.sort();
    Ok(files)
}

/// The ZIM files of the packs in force, by host.
pub fn archives(shelf: &Shelf) -> Vec<(String, Lies)> {
    let lies = |archive: &Archive| match &archive.source {
        Some(target) => Lies::Stored(target.key()),
        None => Lies::File(archive.path.clone()),
    };
    shelf.held.iter().flat_map(|held| &held.pack.archives).map(|archive| (archive.host.clone(), lies(archive))).collect()
}

/// Reads, verifies and checks one pack; with its text. The error is every reason, for people.
fn read(file: &Path, is_own: bool, settings: &Settings) -> Result<(Held, String), Vec<String>> {
    let bytes = slurp(file).map_err(|error| vec![format!("cannot be read: {error}")])?;
    let origin = if is_own { Origin::Own } else { origin(file, &bytes, settings).map_err(|error| vec![error.to_string()])? };
    let text = String::from_utf8(bytes).map_err(|_| vec![String::from("is not UTF-8; save it as UTF-8")])?;
    let pack = Pack::parse(&text).map_err(|complaints| complaints.iter().map(ToString::to_string).collect::<Vec<_>>())?;
    if pack.id == TONIGHT {
        return Err(vec![format!("the id \"{TONIGHT}\" is that of what people wish for; give the pack another id")]);
    }
    Ok((Held { pack: Arc::new(pack), file: file.to_owned(), origin, notes: Vec::new() }, text))
}

/// The signature is checked before the text is looked at.
fn origin(file: &Path, bytes: &[u8], settings: &Settings) -> Result<Origin, sign::Bad> {
    let signature = slurp(&signature_of(file)).ok().map(|bytes| String::from_utf8_lossy(&bytes).into_owned());
    match sign::verify(bytes, signature.as_deref(), &settings.trusted_keys) {
        Ok(key) => Ok(Origin::Signed(key.to_owned())),
        // Only a missing signature is forgiven: one that is there must be good.
        Err(sign::Bad::Missing) if settings.unsigned => Ok(Origin::Unsigned),
        Err(bad) => Err(bad),
    }
}

/// `NAME.toml.minisig`.
pub fn signature_of(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".minisig");
    PathBuf::from(name)
}

/// A file of at most the size of a pack, and one byte to see that it is longer.
fn slurp(file: &Path) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let limit = u64::try_from(MAX_BYTES).unwrap_or(u64::MAX) + 1;
    std::fs::File::open(file)?.take(limit).read_to_end(&mut bytes)?;
    Ok(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "id = \"ID\"\nversion = \"1\"\nlicence = \"CC0\"\n[title]\nen = \"T\"\n[[seed]]\nurl = \"http://a.kz/\"\n[scope]\nhosts = [\"a.kz\"]\n";

    fn put(folder: &Path, name: &str, text: &str) -> PathBuf {
        let file = folder.join(name);
        std::fs::write(&file, text).expect("writes");
        file
    }

    #[test]
    fn own_signed_unsigned_forged_and_damaged_packs() {
        let (own, other) = (tempfile::tempdir().expect("a folder"), tempfile::tempdir().expect("a folder"));
        let pair = minisign::KeyPair::generate_unencrypted_keypair().expect("random bits");
        let secret = pair.sk.to_box(None).expect("a key").into_string();
        let of = |id: &str| TEXT.replace("ID", id);
        put(own.path(), "mine.toml", &of("mine"));
        put(own.path(), "notes.txt", "no pack");
        let good = put(other.path(), "good.toml", &of("good"));
        std::fs::write(signature_of(&good), sign::sign(of("good").as_bytes(), &secret, "good").expect("signs")).expect("writes");
        let forged = put(other.path(), "forged.toml", &of("forged"));
        std::fs::write(signature_of(&forged), sign::sign(b"other bytes", &secret, "forged").expect("signs")).expect("writes");
        put(other.path(), "naked.toml", &of("naked"));
        put(own.path(), "twin.toml", &of("mine"));
        put(own.path(), "wrong.toml", "id = 5\nodd = 1");
        let mut settings = Settings {
            own: Some(own.path().to_owned()),
            paths: vec![other.path().to_owned(), other.path().join("absent")],
            trusted_keys: vec![pair.pk.to_base64()],
            ..Settings::default()
        };
        let told = |shelf: &Shelf| {
            let held: Vec<String> = shelf.held.iter().map(|held| held.pack.id.clone()).collect();
            let refused: Vec<String> =
                shelf.refused.iter().map(|one| Path::new(&one.file).file_name().expect("a name").to_string_lossy().into_owned()).collect();
            (held, refused)
        };
        let shelf = load(&settings);
        let (held, refused) = told(&shelf);
        assert_eq!(held, ["good", "mine"]);
        assert_eq!(refused, ["twin.toml", "wrong.toml", "forged.toml", "naked.toml"]);
        assert!(shelf.refused[1].why.len() >= 4, "{:?}", shelf.refused[1]);
        assert!(shelf.refused[2].why[0].contains("changed after signing"));
        assert!(shelf.refused[3].why[0].contains("not signed"));
        assert_eq!(shelf.held[0].origin, Origin::Signed(pair.pk.to_base64()));
        settings.unsigned = true;
        let (held, refused) = told(&load(&settings));
        assert_eq!((held.len(), refused), (3, vec!["twin.toml".to_owned(), "wrong.toml".into(), "forged.toml".into()]));
    }
}
