//! `bulak store export` and `import`: bundles, with progress, and signatures in minisign's format over their manifest.

use crate::base::digest::Digest;
use crate::base::unit::Bytes;
use crate::cli::store::{Reach, here, job, wished};
use crate::cli::{Context, Exit, Failure};
use crate::site::pack::sign;
use crate::store::bundle::{Exported, Imported, MANIFEST, Orders, Selection};
use serde_json::json;
use std::path::{Path, PathBuf};

/// What the signature's file is called.
const SIGNATURE: &str = "MANIFEST.minisig";

/// `bulak store export`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  bulak store export --to /media/stick/lessons\n  bulak store export --to /media/stick/wiki --pack kk-wiki --sign packs.key\n\nWhat devices asked for stays here, unless --all is given."
)]
pub(super) struct Export {
    /// A new or empty folder
    #[arg(long, value_name = "FOLDER")]
    to: PathBuf,
    /// What this pack keeps
    #[arg(long, value_name = "ID", conflicts_with = "host")]
    pack: Option<String>,
    /// This host
    #[arg(long)]
    host: Option<String>,
    /// And its subdomains
    #[arg(long, requires = "host")]
    subdomains: bool,
    /// Only what came since this day (2026-09-01)
    #[arg(long, value_name = "DATE", value_parser = day)]
    since: Option<i64>,
    /// Also what devices asked for: whoever gets the folder sees what was read here
    #[arg(long)]
    all: bool,
    /// Sign with this secret key ("bulak pack keygen" makes one)
    #[arg(long, value_name = "KEY")]
    sign: Option<PathBuf>,
}

/// `bulak store import`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  bulak store import /media/stick/lessons --dry-run\n  bulak store import /media/stick/wiki --trust packs.pub\n\nBroken off, it goes on where it was when it is run again."
)]
pub(super) struct Import {
    /// The folder that "export" wrote
    folder: PathBuf,
    /// Take it in only with a signature of this public key (or file); may be given several times
    #[arg(long, short, value_name = "KEY")]
    trust: Vec<String>,
    /// Do not keep it as the pack's: it may be evicted like everything else
    #[arg(long)]
    no_pins: bool,
}

pub(super) async fn export(context: &Context, args: Export) -> Result<Exit, Failure> {
    let folder = absolute(&args.to)?;
    // A key that is no key is told before an hour of copying.
    let secret = args.sign.as_ref().map(|key| read(key, "make a key with: bulak pack keygen")).transpose()?;
    if let Some(secret) = &secret {
        sign::sign(b"", secret, "").map_err(|bad| Failure::new("bundle.key", bad.to_string(), ""))?;
    }
    if args.all {
        wished(context, "the folder will hold addresses that devices asked for; go on?")?;
    }
    let Export { pack, host, subdomains, since, all, .. } = args;
    let what = Selection { pack, host, subdomains, since, browsed: all };
    let left = format!("{} is no bundle: remove it", folder.display());
    let done: Exported = match Reach::find(context, false).await? {
        Reach::Node(local) => {
            let order = json!({ "folder": folder, "what": what, "dry_run": context.dry_run });
            let done = job(context, &local, "/api/v1/store/export", &order, &left).await?;
            // The node writes; a service has folders for temporary files of its own, in which nobody else finds anything.
            if !context.dry_run && matches!(folder.join(MANIFEST).try_exists(), Ok(false)) {
                return Err(Failure::new(
                    "bundle.elsewhere",
                    format!("the node has written it, but {} is not there for you: a service has a /tmp of its own", folder.display()),
                    "name a folder outside /tmp and /var/tmp that the node may write, such as one below node.state",
                ));
            }
            done
        }
        Reach::Files(store) => {
            here(context, &left, async |teller| store.export(&folder, what, context.dry_run, |step| teller.tell(&step)).await).await?
        }
    };
    let signed = match secret.filter(|_| !context.dry_run) {
        Some(secret) => Some(sign_manifest(&folder, &secret)?),
        None => None,
    };
    let mut document = json!(done);
    document["signature"] = json!(signed);
    document["dry_run"] = json!(context.dry_run);
    context.show(&document, || exported(&done, context.dry_run))?;
    Ok(if done.damaged == 0 { Exit::Done } else { Exit::Attention })
}

fn exported(done: &Exported, trial: bool) -> String {
    let verb = if trial { "would write" } else { "wrote" };
    let mut out = format!("{verb} {} answers with {} bodies, {}", done.answers, done.objects, Bytes(done.bytes).human());
    if done.pins > 0 {
        out = format!("{out}, {} of them kept by the pack", done.pins);
    }
    if done.browsed > 0 {
        out = format!("{out}\n{} of them devices asked for: whoever gets the folder sees what was read here", done.browsed);
    }
    if done.left_out > 0 {
        out = format!("{out}\nleft out: {} answers that devices asked for; --all takes them too", done.left_out);
    }
    if done.damaged > 0 {
        out = format!("{out}\nleft out: {} answers whose body is damaged; see: bulak store check --deep", done.damaged);
    }
    if trial { out } else { out + &format!("\nnext, where it is taken to: bulak store import {}", done.folder.display()) }
}

pub(super) async fn import(context: &Context, args: Import) -> Result<Exit, Failure> {
    let folder = absolute(&args.folder)?;
    let manifest = if args.trust.is_empty() { None } else { Some(verified(&folder, &args.trust)?) };
    let orders = Orders { trial: context.dry_run, no_pins: args.no_pins, manifest };
    let left = "what was taken in stays; run the same command again and it goes on";
    let done: Imported = match Reach::find(context, !context.dry_run).await? {
        Reach::Node(local) => {
            let order = json!({ "folder": folder, "orders": orders });
            job(context, &local, "/api/v1/store/import", &order, left).await?
        }
        Reach::Files(store) => {
            let done = here(context, left, async |teller| store.import(&folder, orders, |step| teller.tell(&step)).await).await;
            let closed = if context.dry_run { Ok(()) } else { store.close().await };
            let done = done?;
            closed.map_err(|error| super::failed(&error))?;
            done
        }
    };
    let mut document = json!(done);
    document["dry_run"] = json!(context.dry_run);
    context.show(&document, || imported(&done, context.dry_run))?;
    Ok(if done.damaged + done.pins_left == 0 { Exit::Done } else { Exit::Attention })
}

fn imported(done: &Imported, trial: bool) -> String {
    let verb = if trial { "would take in" } else { "took in" };
    let mut out = format!("{verb} {} answers with {} new bodies, {}", done.answers, done.objects, Bytes(done.bytes).human());
    for (number, what) in [
        (done.here, "were here already"),
        (done.older, "are older than what is here, which stays"),
        (done.browsed, "of them devices asked for where it comes from"),
        (done.pins, "addresses are now kept by the pack"),
        (done.pins_left, "addresses could not be kept by the pack: its share of the store is full (they may be evicted)"),
        (done.purged, "were purged here meanwhile"),
        (done.damaged, "were left out: their body is not what its name says"),
    ] {
        if number > 0 {
            out = format!("{out}\n{number} {what}");
        }
    }
    let named = done.damaged_urls.iter().fold(String::new(), |text, url| text + "\n  " + url);
    let next = if trial { "" } else { "\nnext: bulak store stat --by pack" };
    out + &named + next
}

/// The node does not know where this command was typed.
fn absolute(folder: &Path) -> Result<PathBuf, Failure> {
    std::path::absolute(folder).map_err(|error| {
        Failure::new("bundle.folder", format!("{} is no folder ({error})", folder.display()), "name a folder").exit(Exit::Misuse)
    })
}

fn read(file: &Path, remedy: &str) -> Result<String, Failure> {
    std::fs::read_to_string(file)
        .map_err(|error| Failure::new("bundle.read", format!("{} cannot be read ({error})", file.display()), remedy))
}

fn sign_manifest(folder: &Path, secret: &str) -> Result<PathBuf, Failure> {
    let body = read(&folder.join(MANIFEST), "run this as a user that may read the folder")?;
    let comment = format!("file:{MANIFEST}\tbundle of stored answers");
    let signature = sign::sign(body.as_bytes(), secret, &comment).map_err(|bad| Failure::new("bundle.key", bad.to_string(), ""))?;
    let place = folder.join(SIGNATURE);
    std::fs::write(&place, signature).map_err(|error| {
        Failure::new(
            "bundle.write",
            format!("{} cannot be written ({error})", place.display()),
            "run this as a user that may write the folder",
        )
    })?;
    Ok(place)
}

/// Checks the signature over the manifest; the manifest's blake3, so that the same one is taken in.
fn verified(folder: &Path, trust: &[String]) -> Result<String, Failure> {
    let mut keys = Vec::new();
    for key in trust {
        let body = std::fs::read_to_string(key).unwrap_or_else(|_| key.clone());
        let public = sign::public(&body);
        let public = public.map_err(|bad| Failure::new("bundle.key", bad.to_string(), "give a key or the .pub file").exit(Exit::Misuse))?;
        keys.push(public.to_base64());
    }
    let body = read(&folder.join(MANIFEST), "give the folder that \"bulak store export\" wrote")?;
    let signature = std::fs::read_to_string(folder.join(SIGNATURE)).ok();
    match sign::verify(body.as_bytes(), signature.as_deref(), &keys) {
        Ok(_) => Ok(Digest::of(body.as_bytes()).to_string()),
        Err(bad) => {
            let (why, remedy) = match bad {
                sign::Bad::Missing => {
                    ("is not signed", "have it exported with --sign, or import it without --trust if you know where it comes from")
                }
                sign::Bad::Stranger => ("is signed by another key", "give the key of whoever made it with --trust"),
                sign::Bad::Forged => ("was changed after it was signed", "copy the bundle again"),
                _ => ("has a signature that cannot be read", "copy the bundle again"),
            };
            let message = format!("{} {why}; nothing was taken in", folder.join(MANIFEST).display());
            Err(Failure::new("bundle.signature", message, remedy))
        }
    }
}

/// A day, from its first moment here, or an RFC 3339 moment; in seconds since 1970.
fn day(text: &str) -> Result<i64, String> {
    if let Ok(moment) = text.parse::<jiff::Timestamp>() {
        return Ok(moment.as_second());
    }
    let day: jiff::civil::Date = text.parse().map_err(|_| "write a day as 2026-09-01".to_owned())?;
    let start = day.to_zoned(jiff::tz::TimeZone::system()).map_err(|error| error.to_string())?;
    Ok(start.timestamp().as_second())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_and_moments() {
        assert_eq!(day("2026-09-01T00:00:00Z"), Ok(1_788_220_800));
        assert!(day("2026-09-01").is_ok_and(|second| second.abs_diff(1_788_220_800) <= 14 * 3600));
        assert!(day("yesterday").is_err());
    }

    #[test]
    fn what_came_of_it_is_told_in_full() {
        let done = Exported { answers: 3, objects: 2, bytes: 5_000_000, left_out: 4, folder: "/stick/b".into(), ..Exported::default() };
        let text = exported(&done, false);
        assert!(
            text.starts_with("wrote 3 answers with 2 bodies, 5.0 MB\nleft out: 4 answers") && text.ends_with("bulak store import /stick/b"),
            "{text}"
        );
        let taken = Imported { answers: 1, here: 2, damaged: 1, damaged_urls: vec!["http://a.kz/".into()], ..Imported::default() };
        let text = imported(&taken, true);
        assert!(
            text.starts_with("would take in 1 answers") && text.contains("2 were here already") && text.ends_with("http://a.kz/"),
            "{text}"
        );
    }

    #[test]
    fn a_signature_counts_only_for_the_manifest_it_was_made_for() {
        let folder = tempfile::tempdir().expect("a folder");
        let pair = minisign::KeyPair::generate_unencrypted_keypair().expect("a key pair");
        let secret = pair.sk.to_box(None).expect("a key").into_string();
        let other = minisign::KeyPair::generate_unencrypted_keypair().expect("a key pair").pk.to_base64();
        std::fs::write(folder.path().join(MANIFEST), "{}").expect("writes");
        let key = [pair.pk.to_base64()];
        let bad = |trust: &[String]| verified(folder.path(), trust).expect_err("refused").message;
        assert!(bad(&key).contains("is not signed"));
        sign_manifest(folder.path(), &secret).expect("signs");
        assert_eq!(verified(folder.path(), &key), Ok(Digest::of(b"{}").to_string()));
        assert!(bad(&[other]).contains("another key"));
        std::fs::write(folder.path().join(MANIFEST), "{ }").expect("writes");
        assert!(bad(&key).contains("changed after it was signed"));
    }
}
