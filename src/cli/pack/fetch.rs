//! `bulak pack fetch`: has the node fetch a pack now, and shows how far it is: the numbers of the API, from the API.
//!
//! On a terminal a bar, elsewhere a plain line every ten seconds on stderr. Whoever breaks it off ends the watching, not the fetch.

use crate::base::clock::Clock;
use crate::base::unit::Bytes;
use crate::cli::local::{Local, read};
use crate::cli::pack::{plan, segment};
use crate::cli::{Context, Exit, Failure};
use crate::prefetch::Progress;
use crate::prefetch::api::OnePack;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::json;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

/// How often the node is asked how far it is.
const LOOK: Duration = Duration::from_secs(1);

/// Where no bar can be drawn, one line each so long.
const LINE: Duration = Duration::from_secs(10);

/// How often in a row the node may fail to answer before the watch ends; the fetch itself goes on.
const SILENCE: u32 = 10;

pub(super) async fn run(context: &Context, id: &str) -> Result<Exit, Failure> {
    let local = Local::connect(context).await?;
    if context.dry_run {
        let args = plan::Args { ids: vec![id.to_owned()], no_survey: true, anew: true, ..plan::Args::default() };
        return plan::run(context, &args).await;
    }
    let place = format!("/api/v1/packs/{}", segment(id));
    let job = local.post(&format!("{place}/fetch"), &json!({})).await?;
    let mut teller = Teller::new(context, id);
    let watched = tokio::select! {
        watched = watch(&local, &place, &mut teller) => watched,
        _ = tokio::signal::ctrl_c() => {
            teller.clear();
            let job = job["id"].as_str().unwrap_or_default();
            eprintln!("the node goes on fetching (job {job}); see: bulak pack list");
            return Ok(Exit::Interrupted);
        }
    };
    teller.clear();
    let watched = watched?;
    context.show(&watched, || people(id, &watched))?;
    let progress = &watched.progress;
    let whole = progress.state == "done" && progress.errors == 0 && here(progress) > 0;
    Ok(if whole { Exit::Done } else { Exit::Attention })
}

fn people(id: &str, watched: &OnePack) -> String {
    let OnePack { progress, trouble, .. } = watched;
    let told = trouble.iter().fold(String::new(), |text, one| text + &format!("  {}: {}\n", one.url, one.why));
    let reason = progress.reason.as_deref().map(|reason| format!(" ({reason})")).unwrap_or_default();
    let (size, line) = (Bytes(progress.bytes_done).human(), Bytes(progress.transferred).human());
    let Progress { state, total, errors, skipped, gone, .. } = progress;
    format!(
        "{id} is {state}{reason}: {} of {total} here ({size}), {errors} failed, {skipped} left out, {gone} gone, {line} over the line\n{told}",
        here(progress)
    )
}

/// How many wishes were fulfilled.
fn here(progress: &Progress) -> u64 {
    progress.done.saturating_sub(progress.errors + progress.skipped + progress.gone)
}

/// Asks until the pack is neither queued nor running. A node that is silent for a moment is asked again.
async fn watch(local: &Local, place: &str, teller: &mut Teller) -> Result<OnePack, Failure> {
    let mut silent = 0;
    loop {
        match local.get(place).await {
            Ok(document) => {
                silent = 0;
                let pack: OnePack = read(&document)?;
                if !matches!(pack.progress.state.as_str(), "queued" | "running") {
                    return Ok(pack);
                }
                teller.tell(&pack.progress);
            }
            Err(failure) if failure.exit == Exit::NoAnswer && silent < SILENCE => silent += 1,
            Err(failure) => return Err(failure),
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// A bar on a terminal, a plain line every ten seconds elsewhere.
struct Teller {
    bar: Option<ProgressBar>,
    plain: bool,
    clock: Clock,
    said: Option<Instant>,
    id: String,
}

impl Teller {
    fn new(context: &Context, id: &str) -> Teller {
        let bar = context.progress_bar().then(|| {
            let bar = ProgressBar::new(1000).with_prefix(id.to_owned());
            if let Ok(style) = ProgressStyle::with_template("{prefix} {bar:30} {percent:>3} %  {msg}") {
                bar.set_style(style);
            }
            bar
        });
        Teller { plain: bar.is_none() && context.progress(), bar, clock: Clock::system(), said: None, id: id.to_owned() }
    }

    fn tell(&mut self, progress: &Progress) {
        let now = self.clock.steady();
        if let Some(bar) = &self.bar {
            bar.set_position(permille(progress));
            bar.set_message(sentence(progress));
        } else if self.plain && self.said.is_none_or(|said| now.saturating_duration_since(said) >= LINE) {
            self.said = Some(now);
            eprintln!("{} {} % {}", self.id, permille(progress) / 10, sentence(progress));
        }
    }

    fn clear(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

#[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "a share between 0 and 1")]
fn permille(progress: &Progress) -> u64 {
    (progress.share() * 1000.0) as u64
}

/// `12 of 40, 3.1 MB of 9.8 MB, 1.0 MB/s, 6.7 MB and 7 s left, from a.kz`.
fn sentence(progress: &Progress) -> String {
    let size = |bytes: u64| Bytes(bytes).human();
    if progress.state == "queued" {
        return String::from("waits for its turn");
    }
    let mut text = format!("{} of {}, {} of {}", progress.done, progress.total, size(progress.bytes_done), size(progress.bytes_total));
    // Writing to memory cannot fail.
    if let Some(rate) = progress.rate_bytes_per_second {
        let _ = write!(text, ", {}/s", size(rate));
    }
    let _ = match progress.eta_s {
        Some(left) => write!(text, ", {} and {} left", size(progress.bytes_left), span(left)),
        None => write!(text, ", {} left", size(progress.bytes_left)),
    };
    if let Some(host) = &progress.current_host {
        let _ = write!(text, ", from {host}");
    }
    match &progress.reason {
        Some(reason) => text + " – " + reason,
        None => text,
    }
}

/// `7 s`, `3 min 20 s`, `2 h 5 min`.
fn span(seconds: u64) -> String {
    match (seconds / 3600, seconds / 60 % 60, seconds % 60) {
        (0, 0, seconds) => format!("{seconds} s"),
        (0, minutes, seconds) => format!("{minutes} min {seconds} s"),
        (hours, minutes, _) => format!("{hours} h {minutes} min"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_in_a_sentence() {
        let progress = Progress {
            done: 12,
            total: 40,
            bytes_done: 3_100_000,
            bytes_total: 9_800_000,
            bytes_left: 6_700_000,
            rate_bytes_per_second: Some(1_000_000),
            eta_s: Some(7),
            current_host: Some("a.kz".into()),
            ..Progress::default()
        };
        assert_eq!(sentence(&progress), "12 of 40, 3.1 MB of 9.8 MB, 1.0 MB/s, 6.7 MB and 7 s left, from a.kz");
        assert_eq!(permille(&progress), 316);
        let unknown = Progress { rate_bytes_per_second: None, eta_s: None, reason: Some("the line is down".into()), ..progress };
        assert_eq!(sentence(&unknown), "12 of 40, 3.1 MB of 9.8 MB, 6.7 MB left, from a.kz – the line is down");
        assert_eq!(sentence(&Progress { state: "queued".into(), ..Progress::default() }), "waits for its turn");
        assert_eq!([7, 200, 7500].map(span), ["7 s", "3 min 20 s", "2 h 5 min"]);
    }
}
