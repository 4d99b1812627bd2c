//! `bulak pack`: make keys, sign, check, plan, fetch, list, record.
//!
//! Keys, signatures and checks need no node; plan, fetch, list and record ask the running one through its socket.

/// `bulak pack fetch`.
mod fetch;

/// `bulak pack plan`.
mod plan;

/// `bulak pack record`.
mod record;

use crate::base::unit::Bytes;
use crate::cli::local::{Local, read};
use crate::cli::table::moment;
use crate::cli::{Context, Exit, Failure};
use crate::prefetch::packs::{Replaced, signature_of};
use crate::prefetch::{Listed, Progress, Refused, Worth};
use crate::site::pack::{MAX_BYTES, Pack, sign};
use clap::Subcommand;
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::io::Write as _;
use std::path::{Path, PathBuf};

/// What to do with packs.
#[derive(Debug, Subcommand)]
#[command(after_help = "Examples:\n  bulak pack list\n  bulak pack fetch kk-wiki")]
pub(super) enum PackCommand {
    /// Make a key pair for signing packs: NAME.key (keep it secret) and NAME.pub
    #[command(after_help = "Examples:\n  bulak pack keygen\n  bulak pack keygen /root/school-packs")]
    Keygen {
        /// Where to write, without ending
        #[arg(default_value = "packs")]
        name: PathBuf,
    },
    /// Sign packs: writes FILE.minisig beside each
    #[command(after_help = "Examples:\n  bulak pack sign kk-wiki.toml\n  bulak pack sign --key /root/school-packs.key *.toml")]
    Sign {
        /// The secret key that "pack keygen" made
        #[arg(long, short, default_value = "packs.key")]
        key: PathBuf,
        /// The packs
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
    /// Check packs: every mistake at once, and the signature
    #[command(after_help = "Examples:\n  bulak pack check kk-wiki.toml\n  bulak pack check --trust packs.pub *.toml")]
    Check {
        /// Public key (or file) whose signature is asked for, beside the configuration's; may be given several times
        #[arg(long, short)]
        trust: Vec<String>,
        /// The packs
        #[arg(required = true)]
        files: Vec<PathBuf>,
    },
    /// What fetching will take: bytes, hours, whether it fits the window, what is left out; asks the origins a little
    #[command(after_help = "Examples:\n  bulak pack plan\n  bulak pack plan kk-wiki --no-survey\n  bulak pack plan --record")]
    Plan(plan::Args),
    /// Fetch a pack now, whatever the windows say, and show how far it is
    #[command(after_help = "Examples:\n  bulak pack fetch kk-wiki\n  bulak pack fetch kk-wiki --dry-run")]
    Fetch {
        /// The pack
        id: String,
    },
    /// The packs of the node, and what of their bytes was used
    #[command(after_help = "Examples:\n  bulak pack list\n  bulak pack list --json")]
    List,
    /// Browse a lesson once through the proxy: everything public that it needed becomes a pack
    Record(record::Args),
}

/// Carries the command out.
///
/// # Errors
/// Exit 1 when something failed, 4 when the node does not answer.
pub(super) async fn run(context: &Context, command: PackCommand) -> Result<Exit, Failure> {
    match command {
        PackCommand::Keygen { name } => keygen(context, &name),
        PackCommand::Sign { key, files } => sign_all(context, &key, &files),
        PackCommand::Check { trust, files } => check(context, &trust, &files),
        PackCommand::Plan(args) => plan::run(context, &args).await,
        PackCommand::Fetch { id } => fetch::run(context, &id).await,
        PackCommand::List => list(context).await,
        PackCommand::Record(args) => record::run(context, &args).await,
    }
}

fn keygen(context: &Context, name: &Path) -> Result<Exit, Failure> {
    let with = |ending: &str| {
        let mut path = name.as_os_str().to_owned();
        path.push(ending);
        PathBuf::from(path)
    };
    let (secret_file, public_file) = (with(".key"), with(".pub"));
    if context.dry_run {
        let text = format!("would write {} and {}", secret_file.display(), public_file.display());
        context.show(&json!({ "would_write": [secret_file, public_file] }), || text)?;
        return Ok(Exit::Done);
    }
    let odd = |error: minisign::PError| Failure::new("pack.keygen", format!("no key could be made ({error})"), "try again");
    let pair = minisign::KeyPair::generate_unencrypted_keypair().map_err(odd)?;
    let secret = pair.sk.to_box(Some("secret key for Bulak packs")).map_err(odd)?.into_string();
    let public = pair.pk.to_box().map_err(odd)?.into_string();
    create(&secret_file, secret.as_bytes(), 0o600)?;
    create(&public_file, public.as_bytes(), 0o644)?;
    let key = pair.pk.to_base64();
    context.show(&json!({ "public_key": key, "secret_file": secret_file, "public_file": public_file }), || {
        format!(
            "wrote {} (keep it secret) and {}\nput this into packs.trusted_keys: {key}\nnext: bulak pack sign --key {} FILE.toml",
            secret_file.display(),
            public_file.display(),
            secret_file.display()
        )
    })?;
    Ok(Exit::Done)
}

/// A new file; an existing key is never overwritten.
fn create(file: &Path, bytes: &[u8], mode: u32) -> Result<(), Failure> {
    use std::os::unix::fs::OpenOptionsExt;
    let opened = std::fs::OpenOptions::new().write(true).create_new(true).mode(mode).open(file);
    opened.and_then(|mut out| out.write_all(bytes).and_then(|()| out.sync_all())).map_err(|error| {
        let remedy = if error.kind() == std::io::ErrorKind::AlreadyExists {
            "choose another name; keys are never overwritten"
        } else {
            "see that the folder can be written"
        };
        Failure::new("pack.write", format!("{} cannot be written ({error})", file.display()), remedy)
    })
}

fn sign_all(context: &Context, key: &Path, files: &[PathBuf]) -> Result<Exit, Failure> {
    let secret = text(key, "make a key with: bulak pack keygen")?;
    let mut done = Vec::new();
    for file in files {
        let body = text(file, "see that the path is right")?;
        // A pack that nobody would take is not worth a signature.
        let pack = Pack::parse(&body).map_err(|complaints| wrong(file, &complaints))?;
        let name = file.file_name().unwrap_or_default().to_string_lossy().into_owned();
        let comment = format!("file:{name}\tid:{}\tversion:{}", pack.id, pack.version);
        let signature = sign::sign(body.as_bytes(), &secret, &comment).map_err(|bad| Failure::new("pack.key", bad.to_string(), ""))?;
        let place = signature_of(file);
        if !context.dry_run {
            std::fs::write(&place, signature).map_err(|error| {
                Failure::new("pack.write", format!("{} cannot be written ({error})", place.display()), "see that the folder can be written")
            })?;
        }
        done.push(place);
    }
    context.show(&json!({ "signed": done, "dry_run": context.dry_run }), || {
        let verb = if context.dry_run { "would write" } else { "wrote" };
        done.iter().fold(String::new(), |told, place| told + &format!("{verb} {}\n", place.display()))
    })?;
    Ok(Exit::Done)
}

fn check(context: &Context, trust: &[String], files: &[PathBuf]) -> Result<Exit, Failure> {
    let mut keys = trust.iter().map(|key| trusted(key)).collect::<Result<Vec<_>, _>>()?;
    // Without a readable configuration only the keys given here count: a pack can be checked on any machine.
    keys.extend(
        crate::config::load(context.config.as_deref(), crate::config::environment())
            .map(|config| config.packs.trusted_keys)
            .unwrap_or_default(),
    );
    let (mut told, mut documents, mut bad) = (String::new(), Vec::new(), false);
    for file in files {
        let body = text(file, "see that the path is right")?;
        let mut lines: Vec<String> = Vec::new();
        let mut notes: Vec<String> = Vec::new();
        match Pack::parse(&body) {
            Ok(pack) => {
                let later: Vec<&str> = pack.seeds.iter().filter(|seed| !seed.kind.is_fetched()).map(|seed| seed.target.url()).collect();
                if !later.is_empty() {
                    notes.push(format!("{} seed(s) of a kind that this version does not fetch", later.len()));
                }
                if !pack.near().is_empty() {
                    notes.push(format!("names the school's own network ({}): fetched only where a node allows it", pack.near().join(", ")));
                }
                if pack.status == crate::site::pack::Status::Unverified {
                    notes.push(String::from("status is \"unverified\": try it against the live hosts before publishing"));
                }
            }
            Err(complaints) => lines.extend(complaints.iter().map(ToString::to_string)),
        }
        let signature = std::fs::read_to_string(signature_of(file)).ok();
        match (sign::verify(body.as_bytes(), signature.as_deref(), &keys), keys.is_empty()) {
            (Ok(key), _) => notes.push(format!("signed by {key}")),
            (Err(sign::Bad::Missing), true) => notes.push(String::from("not signed")),
            (Err(sign::Bad::NoKeys), true) => notes.push(String::from("signed; by whom was not asked (--trust KEY)")),
            (Err(error), _) => lines.push(format!("signature: {error}")),
        }
        bad |= !lines.is_empty();
        documents.push(json!({ "file": file, "ok": lines.is_empty(), "complaints": lines, "notes": notes }));
        let verdict = if lines.is_empty() { String::from("no errors found") } else { format!("{} error(s)", lines.len()) };
        // Writing to memory cannot fail.
        let _ = writeln!(told, "{}: {verdict}", file.display());
        for line in lines.iter().chain(&notes) {
            let _ = writeln!(told, "  {line}");
        }
    }
    context.show(&json!({ "packs": documents }), || told)?;
    Ok(if bad { Exit::Failed } else { Exit::Done })
}

/// A key as written, or the file that holds it.
fn trusted(key: &str) -> Result<String, Failure> {
    let body = std::fs::read_to_string(key).unwrap_or_else(|_| key.to_owned());
    let public =
        sign::public(&body).map_err(|bad| Failure::new("pack.key", bad.to_string(), "give a key or the .pub file").exit(Exit::Misuse))?;
    Ok(public.to_base64())
}

fn text(file: &Path, remedy: &str) -> Result<String, Failure> {
    let told = |why: String| Failure::new("pack.read", format!("{} cannot be read ({why})", file.display()), remedy);
    let length = std::fs::metadata(file).map_err(|error| told(error.to_string()))?.len();
    if length > u64::try_from(MAX_BYTES).unwrap_or(u64::MAX) {
        return Err(told(String::from("longer than 1 MiB")));
    }
    std::fs::read_to_string(file).map_err(|error| told(error.to_string()))
}

fn wrong(file: &Path, complaints: &[crate::site::pack::Complaint]) -> Failure {
    let mut failure = Failure::new("pack.invalid", format!("{} has {} error(s)", file.display(), complaints.len()), "mend what is listed");
    failure.detail = Some(complaints.iter().fold(String::new(), |text, one| text + &format!("{one}\n")).into());
    failure.more = Some(Box::new(json!({ "complaints": complaints })));
    failure
}

async fn listed(local: &Local) -> Result<(Value, Vec<Listed>, Vec<Refused>), Failure> {
    let document = local.get("/api/v1/packs").await?;
    Ok((document.clone(), read(&document["packs"])?, read(&document["refused"])?))
}

async fn list(context: &Context) -> Result<Exit, Failure> {
    let (document, packs, refused) = listed(&Local::connect(context).await?).await?;
    context.show(&document, || {
        let zone = context.zone();
        let mut table = crate::cli::table::table(&["id", "version", "title", "state", "done", "here", "last run", "brought", "used"]);
        for pack in &packs {
            let Progress { state, done, total, bytes_done, .. } = &pack.progress;
            let last = pack.last_run.as_deref().map_or_else(|| String::from("never"), |stamp| moment(&zone, stamp));
            let title = pack.title.any().to_owned();
            let (brought, used) = worth(&pack.worth);
            let (whole, here) = (format!("{done}/{total}"), Bytes(*bytes_done).human());
            table.add_row([&pack.id, &pack.version, &title, state, &whole, &here, &last, &brought, &used]);
        }
        let bad = refused.iter().fold(String::new(), |text, one| text + &format!("\nrefused {}:\n  {}", one.file, one.why.join("\n  ")));
        let notes = packs.iter().flat_map(|pack| pack.notes.iter().map(|note| (pack.id.as_str(), note.as_str())));
        let notes = notes.fold(String::new(), |text, (id, note)| text + &format!("\n{id}: {note}"));
        let replaced: Vec<Replaced> = read(&document["replaced"]).unwrap_or_default();
        let notes = replaced
            .iter()
            .fold(notes, |text, one| text + &format!("\n{}: replaced by {} on {}", one.id, one.by, moment(&zone, &one.since)));
        if packs.is_empty() {
            format!("no packs; put one into packs.d{notes}{bad}")
        } else {
            format!("{table}{}{notes}{bad}", wasted(&document["worth"]))
        }
    })?;
    Ok(if refused.is_empty() { Exit::Done } else { Exit::Attention })
}

/// Bytes over the line in four weeks, and the share that a device has used since.
fn worth(worth: &Worth) -> (String, String) {
    let share = |used: u64, of: u64| (used.saturating_mul(100) + of / 2).checked_div(of);
    let used = share(worth.used_bytes, worth.brought_bytes).map_or_else(String::new, |percent| format!("{percent} %"));
    (Bytes(worth.brought_bytes).human(), used)
}

/// The sum under the table; packs that are no more are in it.
fn wasted(document: &Value) -> String {
    let Ok(sum) = read::<Worth>(document) else { return String::new() };
    let human = |bytes| Bytes(bytes).human();
    format!(
        "\nin four weeks the night brought {}: {} used, {} not used so far",
        human(sum.brought_bytes),
        human(sum.used_bytes),
        human(sum.unused_bytes)
    )
}

/// An id as a path segment: ids are small letters, digits and dashes, anything else cannot be one.
fn segment(id: &str) -> String {
    id.bytes().map(|byte| if byte.is_ascii_alphanumeric() || byte == b'-' { char::from(byte) } else { '_' }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "id = \"a\"\nversion = \"1\"\nlicence = \"CC0\"\n[title]\nen = \"T\"\n[[seed]]\nurl = \"http://a.kz/\"\n[scope]\nhosts = [\"a.kz\"]\n";

    #[tokio::test]
    async fn keys_signatures_and_checks_fit_together() {
        let folder = tempfile::tempdir().expect("a folder");
        let at = |name: &str| folder.path().join(name);
        let context = Context { quiet: true, ..Context::default() };
        assert_eq!(run(&context, PackCommand::Keygen { name: at("k") }).await, Ok(Exit::Done));
        let again = run(&context, PackCommand::Keygen { name: at("k") }).await.expect_err("never overwritten");
        assert_eq!(again.id, "pack.write");
        std::fs::write(at("a.toml"), TEXT).expect("writes");
        let check = |key: &str| PackCommand::Check { trust: vec![at(key).display().to_string()], files: vec![at("a.toml")] };
        assert_eq!(run(&context, check("k.pub")).await, Ok(Exit::Failed), "not signed yet");
        assert_eq!(run(&context, PackCommand::Check { trust: vec![], files: vec![at("a.toml")] }).await, Ok(Exit::Done));
        assert_eq!(run(&context, PackCommand::Sign { key: at("k.key"), files: vec![at("a.toml")] }).await, Ok(Exit::Done));
        assert_eq!(run(&context, check("k.pub")).await, Ok(Exit::Done));
        std::fs::write(at("a.toml"), TEXT.replace("\"1\"", "\"2\"")).expect("writes");
        assert_eq!(run(&context, check("k.pub")).await, Ok(Exit::Failed), "changed after signing");
        std::fs::write(at("a.toml"), "id = 1\nodd = 2").expect("writes");
        let refused = run(&context, PackCommand::Sign { key: at("k.key"), files: vec![at("a.toml")] }).await.expect_err("not worth it");
        assert!(refused.detail.is_some_and(|detail| detail.lines().count() >= 4));
    }

    #[test]
    fn an_id_stays_one_segment() {
        assert_eq!(segment("a-1/../b"), "a-1____b");
    }

    /// The packs that come with the program are good ones.
    #[test]
    fn shipped_packs_have_no_errors() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("config/packs");
        let mut seen = 0;
        for entry in std::fs::read_dir(folder).expect("the packs") {
            let file = entry.expect("a file").path();
            if file.extension().is_some_and(|ending| ending == "toml") {
                let body = std::fs::read_to_string(&file).expect("reads");
                if let Err(complaints) = Pack::parse(&body) {
                    panic!("{}: {complaints:?}", file.display());
                }
                seen += 1;
            }
        }
        assert!(seen >= 5, "{seen}");
    }
}
