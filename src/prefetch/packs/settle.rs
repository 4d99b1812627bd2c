//! What stays in force: the newest version of each publisher's pack, whatever becomes of its file; and what has been replaced.
//!
//! # Why
//!
//! A pack's signature says who wrote it, not that it is his last word: whoever can put a file into the folder could bring back last
//! year's, with hosts that have changed hands since. So the node remembers the newest version of each (id, publisher) and its text. A
//! file that goes back, is damaged or loses its signature is refused in words, and what was in force stays. A file that is taken away
//! takes its pack along, and so does a key that is no longer trusted: those are an administrator's deeds.

use crate::base::clock::Time;
use crate::prefetch::Settings;
use crate::prefetch::packs::{Held, Origin, Replaced, Shelf, resolve};
use crate::site::pack::{Pack, version};
use crate::state::pack::Kept;
use crate::state::{Error, State};
use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// Settles what the folders hold by what is remembered, and remembers it.
///
/// # Errors
/// The database's.
pub async fn settle(state: &State, settings: &Settings, mut shelf: Shelf, now: Time) -> Result<Shelf, Error> {
    let kept = state.kept_packs().await?;
    let newer = shelf.hold_versions(&kept, &settings.trusted_keys, now);
    if !newer.is_empty() {
        state.keep_packs(&newer).await?;
    }
    resolve::resolve(&mut shelf, &settings.refused);
    shelf.sort();
    // For this alone they were read.
    shelf.texts.clear();
    let all = shelf.by_id();
    for row in state.replaced_packs().await? {
        let holds = all.get(&row.by).is_some_and(|new| new.replaces.as_deref() == Some(row.id.as_str()) && resolve::may_replace(new, &all));
        // A successor whose folder cannot be read was not taken away.
        let unseen = !all.contains_key(&row.by) && shelf.is_unseen(&row.by, &kept);
        if !holds && !unseen {
            // Its successor was taken away: the old pack counts again.
            state.restore_pack(&row.id).await?;
            continue;
        }
        shelf.held.retain(|held| held.pack.id != row.id);
        for held in shelf.held.iter_mut().filter(|held| held.pack.id == row.by) {
            held.notes.retain(|note| !note.starts_with("takes the place"));
        }
        shelf.replaced.push(Replaced { id: row.id, by: row.by, since: row.at.to_rfc3339() });
    }
    Ok(shelf)
}

impl Shelf {
    /// The packs in force by id.
    pub fn by_id(&self) -> BTreeMap<String, Arc<Pack>> {
        self.held.iter().map(|held| (held.pack.id.clone(), Arc::clone(&held.pack))).collect()
    }

    /// Whether a pack may lie where nothing could be read: where it lay, if that is known, else anywhere.
    fn is_unseen(&self, id: &str, kept: &[Kept]) -> bool {
        let lay = |path: &PathBuf| kept.iter().any(|kept| kept.id == id && Path::new(&kept.file).starts_with(path));
        self.hidden || self.unread.iter().any(lay)
    }

    /// Whether this pack may take the place that it wants.
    pub fn may_replace(&self, pack: &Pack) -> bool {
        resolve::may_replace(pack, &self.by_id())
    }

    /// Puts remembered packs in the place of older ones and of damaged files; gives what is to be remembered now.
    fn hold_versions(&mut self, kept: &[Kept], trusted: &[String], now: Time) -> Vec<Kept> {
        let mut newer = Vec::new();
        let mut back = Vec::new();
        for held in &mut self.held {
            let Origin::Signed(publisher) = &held.origin else { continue };
            let known = kept.iter().find(|kept| kept.id == held.pack.id && kept.publisher == *publisher);
            let text = self.texts.get(&held.pack.id).cloned().unwrap_or_default();
            match known {
                Some(known) if version::compare(&held.pack.version, &known.version) == Ordering::Less => {
                    let why = format!(
                        "version {} is older than {}, which the same key signed and which stays in force; publish it under a newer version",
                        held.pack.version, known.version
                    );
                    back.push((held.file.clone(), why));
                    if let Some(old) = restored(known) {
                        *held = old;
                    }
                }
                Some(known) if known.text == text && known.file == held.file.display().to_string() => {}
                _ => newer.push(Kept {
                    id: held.pack.id.clone(),
                    publisher: publisher.clone(),
                    version: held.pack.version.clone(),
                    file: held.file.display().to_string(),
                    text,
                    taken: now,
                }),
            }
        }
        for (file, why) in back {
            self.refuse(&file, vec![why]);
        }
        self.hold_damaged(kept, trusted);
        newer
    }

    /// What lay in a file that is refused now stays in force, as long as its key is trusted.
    fn hold_damaged(&mut self, kept: &[Kept], trusted: &[String]) {
        for refused in &mut self.refused {
            let known =
                kept.iter().filter(|kept| kept.file == refused.file && trusted.contains(&kept.publisher)).max_by_key(|kept| kept.taken);
            let Some(known) = known.filter(|known| !self.held.iter().any(|held| held.pack.id == known.id)) else { continue };
            if let Some(held) = restored(known) {
                refused.why.push(format!("version {} of \"{}\", which lay there before, stays in force", known.version, known.id));
                self.held.push(held);
            }
        }
    }
}

/// A remembered pack. Its signature was checked when it was taken; an older program's text may no longer be one.
fn restored(kept: &Kept) -> Option<Held> {
    let pack = Pack::parse(&kept.text).ok().filter(|pack| pack.id == kept.id)?;
    Some(Held {
        pack: Arc::new(pack),
        file: PathBuf::from(&kept.file),
        origin: Origin::Signed(kept.publisher.clone()),
        notes: vec![String::from("its file is refused; the version that was in force before stays")],
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prefetch::packs::{load, signature_of};
    use crate::site::pack::sign;

    /// A publisher with a folder.
    struct Desk {
        folder: tempfile::TempDir,
        secret: String,
        settings: Settings,
        state: State,
    }

    impl Desk {
        async fn new() -> Desk {
            let folder = tempfile::tempdir().expect("a folder");
            let pair = minisign::KeyPair::generate_unencrypted_keypair().expect("random bits");
            let settings =
                Settings { paths: vec![folder.path().to_owned()], trusted_keys: vec![pair.pk.to_base64()], ..Settings::default() };
            let secret = pair.sk.to_box(None).expect("a key").into_string();
            Desk { folder, secret, settings, state: State::open(None).await.expect("opens") }
        }

        fn file(&self) -> std::path::PathBuf {
            self.folder.path().join("a.toml")
        }

        fn publish(&self, version: &str) {
            let text = format!(
                "id = \"a\"\nversion = \"{version}\"\nlicence = \"CC0\"\n[title]\nen = \"T\"\n[[seed]]\nurl = \"http://a.kz/{version}\"\n[scope]\nhosts = [\"a.kz\"]\n"
            );
            std::fs::write(self.file(), &text).expect("writes");
            std::fs::write(signature_of(&self.file()), sign::sign(text.as_bytes(), &self.secret, "a").expect("signs")).expect("writes");
        }

        /// The version in force, and what was refused.
        async fn settled(&self) -> (Option<String>, Vec<String>) {
            let now = Time::from_secs(1_800_000_000);
            let shelf = settle(&self.state, &self.settings, load(&self.settings), now).await.expect("reads");
            (shelf.held.first().map(|held| held.pack.version.clone()), shelf.refused.into_iter().flat_map(|refused| refused.why).collect())
        }
    }

    #[tokio::test]
    async fn a_version_never_goes_back() {
        let mut desk = Desk::new().await;
        desk.publish("2026-11-02");
        assert_eq!(desk.settled().await, (Some("2026-11-02".into()), vec![]));
        desk.publish("2026-11-01");
        for _ in 0..2 {
            let (version, why) = desk.settled().await;
            assert_eq!(version.as_deref(), Some("2026-11-02"));
            assert!(why.len() == 1 && why[0].contains("2026-11-01 is older than 2026-11-02"), "{why:?}");
        }
        desk.publish("2026-11-03");
        assert_eq!(desk.settled().await, (Some("2026-11-03".into()), vec![]));
        // Damaged, then unsigned: what was in force stays, and it is told.
        for damage in [
            |file: &Path| std::fs::write(file, "id = \"a\"").expect("writes"),
            |file: &Path| {
                std::fs::remove_file(signature_of(file)).expect("removes");
            },
        ] {
            desk.publish("2026-11-04");
            damage(&desk.file());
            let (version, why) = desk.settled().await;
            assert_eq!(version.as_deref(), Some("2026-11-03"), "{why:?}");
            assert!(why.iter().any(|why| why.contains("stays in force")), "{why:?}");
        }
        // A key that is no longer trusted takes its packs along; so does whoever takes the file away.
        desk.publish("2026-11-04");
        let trusted = std::mem::take(&mut desk.settings.trusted_keys);
        assert_eq!(desk.settled().await.0, None);
        desk.settings.trusted_keys = trusted;
        std::fs::remove_file(desk.file()).expect("removes");
        assert_eq!(desk.settled().await, (None, vec![]));
        // Somebody else's pack of the same name has a count of its own.
        let other = minisign::KeyPair::generate_unencrypted_keypair().expect("random bits");
        desk.settings.trusted_keys.push(other.pk.to_base64());
        desk.secret = other.sk.to_box(None).expect("a key").into_string();
        desk.publish("1");
        assert_eq!(desk.settled().await, (Some("1".into()), vec![]));
    }
}
