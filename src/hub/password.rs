//! Passwords of people: argon2id, off the async threads, a few at a time.
//!
//! Each hash takes 19 MiB and some tens of milliseconds of a processor, which is what makes guessing dear, and what a flood of sign-ins
//! would exhaust: so two at once, some more waiting, and whoever comes then is told that the hub is busy. Who does not exist costs as
//! much as who does.

use crate::base::problem::Problem;
use argon2::password_hash::phc::PasswordHash;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use argon2::{Algorithm, Argon2, Params, Version};
use http::StatusCode;
use std::sync::{Arc, LazyLock};
use tokio::sync::Semaphore;

/// Memory of one hash, KiB; with two passes and one lane what OWASP's Password Storage Cheat Sheet recommends.
const MEMORY: u32 = 19 << 10;

/// Passes over it.
const PASSES: u32 = 2;

/// Hashes at once: 38 MiB.
const AT_ONCE: usize = 2;

/// Waiting for them: two seconds' worth.
const MOST_WAITING: usize = 32;

/// Letters of a password at least (NIST SP 800-63B: 8 at least, and longer is better than odder).
const SHORTEST: usize = 10;

/// Bytes of a password at most.
const LONGEST: usize = 256;

/// What came of a look at a password.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Look {
    /// It is the one.
    Fits,
    /// It is not, or there is none.
    Wrong,
    /// Too many want to know at once.
    Busy,
}

/// Who hashes. Cheap to clone.
#[derive(Clone, Debug)]
pub(crate) struct Hasher {
    room: Arc<Semaphore>,
    hands: Arc<Semaphore>,
}

impl Default for Hasher {
    fn default() -> Hasher {
        Hasher { room: Arc::new(Semaphore::new(AT_ONCE + MOST_WAITING)), hands: Arc::new(Semaphore::new(AT_ONCE)) }
    }
}

impl Hasher {
    /// Whether a password is the one of this hash. Without a hash the same work is done for nothing.
    pub(crate) async fn look(&self, kept: Option<String>, password: String) -> Look {
        let Ok(room) = Arc::clone(&self.room).try_acquire_owned() else { return Look::Busy };
        let Ok(hand) = Arc::clone(&self.hands).acquire_owned().await else { return Look::Busy };
        let work = move || {
            // Held by the work: a client that hangs up ends the request and not the thread.
            let _held = (room, hand);
            if verify(kept.as_deref().unwrap_or(&NOBODY), &password) && kept.is_some() { Look::Fits } else { Look::Wrong }
        };
        tokio::task::spawn_blocking(work).await.unwrap_or(Look::Busy)
    }
}

/// The hash of a new password. Blocking.
///
/// # Errors
/// When it is too short or too long.
pub(crate) fn hash(password: &str) -> Result<String, Problem> {
    let letters = password.chars().count();
    if letters < SHORTEST || password.len() > LONGEST || password.chars().any(char::is_control) {
        let title = format!("this is no password: {letters} letters");
        let remedy = format!("choose at least {SHORTEST} letters, such as four words, and at most {LONGEST} bytes");
        return Err(Problem::new(StatusCode::BAD_REQUEST, "people.bad_password", title, remedy));
    }
    make(password)
        .ok_or_else(|| Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "people.failed", "the password could not be hashed", "try again"))
}

/// A hash that no password has.
static NOBODY: LazyLock<String> = LazyLock::new(|| make(&format!("{:032x}", rand::random::<u128>())).unwrap_or_default());

fn make(password: &str) -> Option<String> {
    let parameters = Params::new(MEMORY, PASSES, 1, None).ok()?;
    let salt: [u8; 16] = rand::random();
    let argon = Argon2::new(Algorithm::Argon2id, Version::V0x13, parameters);
    Some(argon.hash_password_with_salt(password.as_bytes(), &salt).ok()?.to_string())
}

fn verify(kept: &str, password: &str) -> bool {
    if password.len() > LONGEST {
        return false;
    }
    // The parameters are those of the hash: older ones go on counting when ours grow.
    PasswordHash::new(kept).is_ok_and(|kept| Argon2::default().verify_password(password.as_bytes(), &kept).is_ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_password_fits_its_own_hash_alone() {
        let kept = hash("төрт сөз жеткілікті").expect("long enough");
        assert!(kept.starts_with("$argon2id$v=19$m=19456,t=2,p=1$"), "{kept}");
        assert_ne!(kept, hash("төрт сөз жеткілікті").expect("long enough"), "each has its salt");
        let hasher = Hasher::default();
        let look = async |kept: Option<&str>, password: &str| hasher.look(kept.map(str::to_owned), password.to_owned()).await;
        assert_eq!(look(Some(&kept), "төрт сөз жеткілікті").await, Look::Fits);
        for (kept, password) in [(Some(kept.as_str()), "төрт сөз жеткілікті "), (Some(&kept), ""), (None, "төрт сөз жеткілікті")]
        {
            assert_eq!(look(kept, password).await, Look::Wrong);
        }
        assert_eq!(look(Some("rubbish"), "төрт сөз жеткілікті").await, Look::Wrong);
        assert_eq!(look(Some(&kept), &"x".repeat(LONGEST + 1)).await, Look::Wrong);
        for bad in ["", "123456789", "123456789\n", &"x".repeat(257)] {
            assert_eq!(hash(bad).expect_err("no password").id, "people.bad_password");
        }
    }

    #[tokio::test]
    async fn a_flood_finds_its_limit_and_leaves_nothing_behind() {
        let (hasher, kept) = (Hasher::default(), hash("four words are enough").expect("long enough"));
        let one = |_| hasher.look(Some(kept.clone()), "four words are enough".into());
        let looks = futures_util::future::join_all((0..100).map(one)).await;
        let count = |wanted: Look| looks.iter().filter(|look| **look == wanted).count();
        assert_eq!((count(Look::Fits), count(Look::Busy)), (AT_ONCE + MOST_WAITING, 100 - AT_ONCE - MOST_WAITING));
        assert_eq!(one(0).await, Look::Fits, "the room is free again");
        assert_eq!(hasher.hands.available_permits(), AT_ONCE);
    }
}
