//! `bulak pack plan`: has the node ask around a little, then says what fetching will take: bytes, hours, whether it fits, what is left
//! out; and with `--record` how right earlier plans were. A guess carries a tilde and its bounds.

use crate::base::unit::Bytes;
use crate::cli::local::{Local, read};
use crate::cli::pack::segment;
use crate::cli::{Context, Exit, Failure};
use crate::life::job::View;
use crate::prefetch::api::plan::One;
use crate::prefetch::plan::guess::Basis;
use crate::prefetch::plan::record::Record;
use crate::prefetch::plan::tonight::Tonight;
use crate::prefetch::plan::{Figure, Plan};
use clap::Args as Arguments;
use serde_json::{Value, json};
use std::fmt::Write as _;
use std::time::Duration;

/// How often the node is asked how far its survey is.
const LOOK: Duration = Duration::from_millis(500);

/// What to plan.
#[derive(Debug, Default, Arguments)]
pub(in crate::cli) struct Args {
    /// The packs; none: all, and the next window as a whole
    pub(super) ids: Vec<String>,
    /// Ask nobody: plan by what is known here
    #[arg(long)]
    pub(super) no_survey: bool,
    /// How right earlier plans were
    #[arg(long)]
    pub(super) record: bool,
    /// As if it were fetched now, by "bulak pack fetch".
    #[arg(skip)]
    pub(super) anew: bool,
}

/// Carries the command out.
///
/// # Errors
/// Exit 1 when something failed, 4 when the node does not answer.
pub(super) async fn run(context: &Context, args: &Args) -> Result<Exit, Failure> {
    let local = Local::connect(context).await?;
    if args.record {
        return records(context, &local, &args.ids).await;
    }
    if !args.no_survey && !context.dry_run {
        let ids =
            if args.ids.is_empty() { super::listed(&local).await?.1.into_iter().map(|pack| pack.id).collect() } else { args.ids.clone() };
        survey(context, &local, &ids).await?;
    }
    if args.ids.is_empty() {
        let tonight: Tonight = read(&local.get("/api/v1/plan").await?)?;
        context.show(&tonight, || whole(&tonight))?;
        return Ok(if tonight.fits == Some(false) { Exit::Attention } else { Exit::Done });
    }
    let mut plans: Vec<Plan> = Vec::new();
    for id in &args.ids {
        let place = format!("/api/v1/packs/{}/plan{}", segment(id), if args.anew { "?anew=true" } else { "" });
        plans.push(read::<One>(&local.get(&place).await?)?.plan);
    }
    context.show(&json!({ "plans": plans }), || plans.iter().map(people).collect::<Vec<_>>().join("\n"))?;
    Ok(if plans.iter().any(|plan| plan.fits == Some(false)) { Exit::Attention } else { Exit::Done })
}

/// Has each pack surveyed and waits for it; what keeps the node from it is told by the plan.
async fn survey(context: &Context, local: &Local, ids: &[String]) -> Result<(), Failure> {
    let mut jobs: Vec<View> = Vec::new();
    for id in ids {
        jobs.push(read(&local.post(&format!("/api/v1/packs/{}/plan", segment(id)), &json!({})).await?)?);
    }
    for (id, mut job) in ids.iter().zip(jobs) {
        let mut said = String::new();
        while !job.state.is_over() {
            let now = format!("{id}: asking around, {} {} of {}", job.phase, job.done, job.total);
            // Off a terminal one line for each part of the work, not for each look.
            if context.progress() && said != job.phase && !job.phase.is_empty() {
                said.clone_from(&job.phase);
                eprintln!("{now}");
            }
            tokio::time::sleep(LOOK).await;
            job = read(&local.get(&job.job).await?)?;
        }
        if let Some(problem) = job.problem {
            return Err(Failure::new("pack.survey", format!("{id} could not be surveyed: {}", problem.title), problem.remedy));
        }
    }
    Ok(())
}

fn whole(tonight: &Tonight) -> String {
    let plans: Vec<String> = tonight.plans.iter().map(people).collect();
    format!("next window: {}\n{}", tonight.sentence, plans.join("\n"))
}

fn people(plan: &Plan) -> String {
    let size = |figure: &Figure| figure.told(|bytes| Bytes(bytes).human());
    let mut text = format!("{}: {}\n", plan.id, plan.sentence);
    // Writing to memory cannot fail.
    for part in plan.parts.iter().take(8) {
        let host = if part.host.is_empty() { "other hosts" } else { &part.host };
        let many = part.wishes.told(|many| many.to_string());
        let _ = writeln!(text, "  {host}, {}: {many}, {}, {}", part.sort.plural(), size(&part.bytes), basis(part.basis));
    }
    if plan.parts.len() > 8 {
        let _ = writeln!(text, "  and {} more (--json)", plan.parts.len() - 8);
    }
    for left in &plan.left_out {
        let many = left.wishes.map_or_else(String::new, |many| format!(" {}", many.told(|many| many.to_string())));
        let bytes = left.bytes.map_or_else(String::new, |bytes| format!(" {}", size(&bytes)));
        let _ = writeln!(text, "  {}{many}{bytes}: {}", if left.later { "for later" } else { "left out" }, left.why);
    }
    for unknown in &plan.unknown {
        let _ = writeln!(text, "  not known: {unknown}");
    }
    text.trim_end().to_owned()
}

/// What a figure rests on, for people.
fn basis(basis: Basis) -> &'static str {
    match basis {
        Basis::Known => "as the origin says",
        Basis::LastRun => "by the last run",
        Basis::Sampled => "by samples",
        Basis::Claimed => "by the film's own word",
        Basis::Learned => "by what is here of the kind",
        Basis::Guess => "a mere guess",
        Basis::Cap => "the most it can be",
    }
}

async fn records(context: &Context, local: &Local, ids: &[String]) -> Result<Exit, Failure> {
    let mut all: Vec<Record> = Vec::new();
    if ids.is_empty() {
        all = read::<Tonight>(&local.get("/api/v1/plan").await?)?.records;
    }
    for id in ids {
        all.extend(read::<One>(&local.get(&format!("/api/v1/packs/{}/plan", segment(id))).await?)?.records);
    }
    let document: Value = json!({ "records": all });
    context.show(&document, || {
        if all.is_empty() {
            return String::from("no run has begun since plans are kept");
        }
        all.iter().map(|one| format!("{}: {}", one.pack, one.sentence())).collect::<Vec<_>>().join("\n")
    })?;
    Ok(Exit::Done)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::prefetch::plan::sort::Sort;
    use crate::prefetch::plan::{LeftOut, Part};

    #[test]
    fn a_plan_in_lines() {
        let guess = |value| Figure { value, guess: true, low: value / 2, high: value * 2 };
        let plan = Plan {
            id: "docs".into(),
            sentence: "~1.0 MB".into(),
            parts: vec![Part {
                host: "a.kz".into(),
                sort: Sort::Page,
                wishes: Figure::known(12),
                bytes: guess(1_000_000),
                basis: Basis::Sampled,
            }],
            left_out: vec![LeftOut { why: "robots.txt forbids them".into(), wishes: Some(Figure::known(3)), bytes: None, later: false }],
            unknown: vec!["the line's rate".into()],
            ..Plan::default()
        };
        assert_eq!(
            people(&plan),
            "docs: ~1.0 MB\n  a.kz, pages: 12, ~1.0 MB (500.0 kB to 2.0 MB), by samples\n  left out 3: robots.txt forbids them\n  not known: the line's rate"
        );
    }
}
