//! `bulak store repack`: what the nights do in days, now and to the end. Flash wears by it once.

use crate::base::unit::Bytes;
use crate::cli::store::{Reach, failed, here, job};
use crate::cli::{Context, Exit, Failure};
use crate::store::{Repacked, Shrunk};
use serde_json::json;
use std::collections::BTreeMap;

/// What holds when it is broken off.
const LEFT: &str = "what was made smaller by then stays so; the nights or the same command go on from there";

/// `bulak store repack`.
#[derive(Debug, clap::Args)]
#[command(
    after_help = "Examples:\n  bulak store repack\n  bulak store repack --json\n\nThe nights do the same by themselves, a bit each day (store.repack_daily)."
)]
pub(super) struct Args {}

pub(super) async fn run(context: &Context, _args: &Args) -> Result<Exit, Failure> {
    let reach = Reach::find(context, !context.dry_run).await?;
    let done: Repacked = match &reach {
        Reach::Node(local) => job(context, local, "/api/v1/store/repack", &json!({ "dry_run": context.dry_run }), LEFT).await?,
        Reach::Files(store) => {
            let done = here(context, LEFT, async |teller| store.repack(context.dry_run, |step| teller.tell(&step)).await).await;
            let closed = if context.dry_run { Ok(()) } else { store.close().await };
            let done = done?;
            closed.map_err(|error| failed(&error))?;
            done
        }
    };
    let mut document = json!(done);
    document["through"] = json!(reach.name());
    document["dry_run"] = json!(context.dry_run);
    context.show(&document, || people(&done, context.dry_run))?;
    Ok(Exit::Done)
}

fn people(done: &Repacked, trial: bool) -> String {
    let size = |bytes: u64| Bytes(bytes).human();
    let Repacked { before_bytes, after_bytes, codecs_before, codecs_after, shrunk } = done;
    let mut out = vec![format!("on disk: {} before, {} after", size(*before_bytes), size(*after_bytes))];
    let none = (0, 0);
    let of = |codecs: &BTreeMap<String, (u64, u64)>, name: &str| *codecs.get(name).unwrap_or(&none);
    for name in codecs_after.keys() {
        let (old, new) = (of(codecs_before, name), of(codecs_after, name));
        if old != none || new != none {
            out.push(format!("  {name}: {} objects, {} before; {} objects, {} after", old.0, size(old.1), new.0, size(new.1)));
        }
    }
    let Shrunk { tried, dictionaries, written_bytes, .. } = shrunk;
    out.push(match (trial, tried) {
        (true, _) => "nothing was done".to_owned(),
        (false, 0) => "there was nothing more to be made smaller".to_owned(),
        (false, _) => format!("{tried} bodies tried, {dictionaries} dictionaries made, {} written for it", size(*written_bytes)),
    });
    out.push("next: bulak store stat --by codec".to_owned());
    out.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn before_and_after_are_told_by_codec() {
        let codecs = |raw, dict| BTreeMap::from([("raw".to_owned(), raw), ("zstd_dict".to_owned(), dict), ("zstd".to_owned(), (0, 0))]);
        let done = Repacked {
            before_bytes: 4_000_000,
            after_bytes: 1_000_000,
            codecs_before: codecs((9, 3_000_000), (0, 0)),
            codecs_after: codecs((1, 1000), (8, 500_000)),
            shrunk: Shrunk { tried: 9, dictionaries: 1, ..Shrunk::default() },
        };
        let text = people(&done, false);
        assert!(text.starts_with("on disk: 4.0 MB before, 1.0 MB after\n"), "{text}");
        assert!(text.contains("zstd_dict: 0 objects") && text.contains("8 objects") && !text.contains(" zstd:"), "{text}");
        assert!(text.contains("9 bodies tried, 1 dictionaries made"), "{text}");
        assert!(people(&Repacked::default(), false).contains("nothing more") && people(&done, true).contains("nothing was done"));
    }
}
