//! The node's plans: what is known is put together, surveys are made when people ask for them, and what a run took is written down
//! beside the plan that stood at its beginning.

use crate::base::clock::Time;
use crate::base::unit::BitRate;
use crate::life::job::{Cancel, Outcome, Step, View};
use crate::prefetch::crawl::End;
use crate::prefetch::plan::findings::Findings;
use crate::prefetch::plan::guess::{Learned, Road, real, whole};
use crate::prefetch::plan::record::{Planned, Record};
use crate::prefetch::plan::sort::Sort;
use crate::prefetch::plan::tonight::{Tonight, tonight};
use crate::prefetch::plan::{self, Given, Plan, Surveyed};
use crate::prefetch::survey::{Budget, Survey};
use crate::prefetch::web::Web;
use crate::prefetch::window::Windows;
use crate::prefetch::{Error, Night, progress, schedule};
use crate::site::pack::Pack;
use crate::state::frontier::{self, Count, Run};
use crate::state::plan::Planned as Row;
use futures_util::FutureExt;
use parking_lot::Mutex;
use serde_json::json;
use std::cmp::Reverse;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;

/// The job's name.
const WHAT: &str = "pack.survey";
/// Records that are told.
const RECORDS: u32 = 30;
/// Seconds of a request that nobody measured: a round trip of a satellite.
const WAIT: f64 = 0.6;
/// Fewer things tell nothing about the time of one.
const MANY: u64 = 20;
/// A survey that waits longer than this for the crawl to make way is left out.
const TURN: Duration = Duration::from_secs(30);

/// Surveys that people asked for.
#[derive(Default)]
pub(super) struct Orders {
    /// Pack and job; the first may be at work.
    queue: Mutex<VecDeque<(String, String)>>,
    wake: Notify,
    /// Ends the one at work.
    stop: Notify,
}

impl<W: Web> Night<W> {
    /// What fetching a pack will take. `anew`: as if a person asked for it now.
    ///
    /// # Errors
    /// When there is no such pack, and the database's.
    pub async fn plan(&self, id: &str, anew: bool) -> Result<Plan, Error> {
        let pack = self.pack(id)?;
        let learned = self.learned().await?;
        self.plan_of(&pack, anew, learned).await
    }

    /// All plans, and the night as one of them.
    ///
    /// # Errors
    /// The database's.
    pub async fn tonight(&self) -> Result<Tonight, Error> {
        let (now, windows) = (self.0.clock.now(), self.0.settings.load().windows.clone());
        let window = window(&windows, now);
        let closes = window.map_or(now, |(_, closes)| closes);
        let mut turns = self.candidates(now).await?;
        turns.sort_by_key(|one| {
            let at = schedule::at(one, now);
            (at > closes, Reverse(one.priority), at)
        });
        let due = turns.iter().filter(|one| schedule::at(one, now) <= closes && window.is_some()).count();
        let learned = self.learned().await?;
        let mut plans = Vec::with_capacity(turns.len());
        for one in &turns {
            // It may have been taken away meanwhile.
            if let Ok(pack) = self.pack(&one.id) {
                plans.push(self.plan_of(&pack, false, learned.clone()).await?);
            }
        }
        let room = window.map(|(opens, closes)| closes.since(opens.unwrap_or(now)).as_secs());
        let left = self.caps_left(&windows, now, window).map(|(left, _)| left);
        let mut all = tonight(plans, due, room, left);
        all.window_opens = window.and_then(|(opens, _)| opens).map(Time::to_rfc3339);
        all.window_closes = window.map(|(_, closes)| closes.to_rfc3339());
        all.records = self.records(None).await?;
        Ok(all)
    }

    /// How right plans were, the newest first; of one pack or of all.
    ///
    /// # Errors
    /// The database's.
    pub async fn records(&self, pack: Option<&str>) -> Result<Vec<Record>, Error> {
        let rows = self.0.state.plan_records(pack, RECORDS).await?;
        Ok(rows.into_iter().map(record).collect())
    }

    fn pack(&self, id: &str) -> Result<Arc<Pack>, Error> {
        let held = self.0.board.lock().shelf.held.iter().find(|held| held.pack.id == id).map(|held| Arc::clone(&held.pack));
        held.ok_or_else(|| Error::Unknown(id.to_owned()))
    }

    async fn learned(&self) -> Result<Learned, Error> {
        let mut learned = Learned::default();
        for (origin, kind, many, bytes) in self.0.state.lengths().await? {
            // Without an address the kind alone counts.
            learned.add(frontier::host(&origin), Sort::of(&kind, ""), many, bytes);
        }
        Ok(learned)
    }

    async fn plan_of(&self, pack: &Pack, anew: bool, mut learned: Learned) -> Result<Plan, Error> {
        let (id, now, settings) = (pack.id.as_str(), self.0.clock.now(), self.0.settings.load_full());
        let (run, digest) = (self.0.state.run(id).await?, pack.digest.to_string());
        // A run for an older text of the pack is no guide to what is under way.
        let same = run.as_ref().filter(|run| run.digest == digest);
        let under_way = same.is_some_and(|run| run.finished.is_none());
        let count = match &run {
            Some(run) => self.0.state.count(id, run.run).await?,
            None => Count::default(),
        };
        let failed = same.is_some_and(|run| !under_way && run.failed > 0 && !anew && !run.is_old(pack.refresh, now));
        let next = run.as_ref().map_or(1, |run| if under_way { run.run } else { run.run + 1 });
        let findings = self.findings(id).await?.filter(|found| plan::is_current(found, &digest, next));
        let (rate, rate_basis) = self.rate(run.as_ref());
        let rows = self.0.state.plan_records(Some(id), RECORDS).await?;
        learned.change = change(&rows);
        let (road, request_basis) = self.road(rate, findings.as_ref(), &rows);
        let window = window(&settings.windows, now);
        let sites = |host: &str| pack.site(host).map(|(name, most)| (name.to_owned(), most));
        let given = Given {
            count,
            under_way,
            transferred: if under_way { run.as_ref().map_or(0, |run| run.transferred) } else { 0 },
            failed,
            seeds: u64::try_from(crate::prefetch::aim::seeds(pack).len()).unwrap_or(u64::MAX),
            max_bytes: pack.scope.max_bytes,
            sites: &sites,
            findings: findings.as_ref(),
            learned: &learned,
            anew,
            road,
            window,
            now,
            left: self.caps_left(&settings.windows, now, window),
            room: self.0.web.room(),
        };
        let plan = plan::plan(&given);
        let survey = findings.as_ref().map(|found| Surveyed {
            at: Time::from_micros(found.at).to_rfc3339(),
            requests: found.requests,
            bytes: found.bytes,
            seconds: found.seconds,
            pages_read: found.read,
            whole: found.whole && found.unread == 0,
        });
        Ok(Plan {
            id: pack.id.clone(),
            version: pack.version.clone(),
            rate_basis: rate_basis.into(),
            request_milliseconds: whole(road.wait * 1000.0),
            request_basis: request_basis.into(),
            seeds_not_fetched: progress::not_fetched(pack),
            unknown: self.unknown(findings.as_ref(), under_way, rate),
            survey,
            ..plan
        })
    }

    /// What nobody knows, and why.
    fn unknown(&self, found: Option<&Findings>, under_way: bool, rate: Option<BitRate>) -> Vec<String> {
        let mut told = Vec::new();
        match found {
            None if under_way => told.push(String::from("a run is under way: planned by what it has found so far")),
            None => {
                let why = self.objection().map_or_else(
                    || String::from("no survey was made: \"bulak pack plan\" makes one"),
                    |why| format!("no survey can be made now: {why}"),
                );
                told.push(why);
            }
            Some(found) => {
                if found.unread > 0 {
                    told.push(format!("{} lists or addresses were not read: there is more than is planned", found.unread));
                }
                if !found.whole {
                    told.push(String::from("the survey could not ask all that it wanted to"));
                }
                told.extend(found.notes.iter().cloned());
            }
        }
        if rate.is_none() {
            told.push(String::from("the line's rate: nothing was fetched lately"));
        }
        told
    }

    /// Why the line may not be asked now, if so.
    fn objection(&self) -> Option<String> {
        if self.0.web.is_down() {
            return Some(String::from("the line is down"));
        }
        let settings = self.0.settings.load();
        if settings.metered {
            return Some(String::from("the line is metered (night.metered)"));
        }
        let now = self.0.clock.now();
        self.permits(now).1.map(|rest| rest.sentence(&settings.windows, &self.0.purse.view(now)))
    }

    async fn findings(&self, pack: &str) -> Result<Option<Findings>, Error> {
        // What another version wrote and cannot be read was never found.
        Ok(self.0.state.survey(pack).await?.and_then(|text| serde_json::from_str(&text).ok()))
    }

    /// The way to the hosts, and where the time of a request is known from.
    fn road(&self, rate: Option<BitRate>, found: Option<&Findings>, rows: &[Row]) -> (Road, &'static str) {
        let settings = self.0.settings.load();
        let line = self.0.link.as_ref().and_then(|link| link.view().first_byte_seconds);
        let (rate, transfers) = (rate.map(|rate| real(rate.0) / 8.0), real(settings.max_transfers.max(1) as u64));
        let asked = found.and_then(|found| found.wait).map(|wait| (wait, "survey"));
        // What it took on our side is in what nights took.
        let took = wait_of(rows, rate, transfers).map(|wait| (wait, "last_night"));
        let known = asked.into_iter().chain(took).max_by(|one, two| one.0.total_cmp(&two.0));
        let (wait, basis) = known.or(line.map(|wait| (wait, "line"))).unwrap_or((WAIT, "guess"));
        let connections = real(settings.manners.connections.max(1) as u64);
        (Road { rate, wait, measured: rate.is_some(), transfers, connections }, basis)
    }

    /// The rate to reckon with: what the line was measured at, else what the last run reached; never above the cap.
    fn rate(&self, run: Option<&Run>) -> (Option<BitRate>, &'static str) {
        let line = self.0.link.as_ref().and_then(|link| link.view().download).filter(|rate| rate.0 > 0);
        // Less than a second of fetching tells nothing about the line.
        let past = run.filter(|run| run.busy >= Duration::from_secs(1) && run.transferred > 0);
        let past =
            past.map(|run| BitRate(u64::try_from(u128::from(run.transferred) * 8_000 / run.busy.as_millis().max(1)).unwrap_or(u64::MAX)));
        let (rate, basis) = match (line, past) {
            (Some(line), _) => (Some(line), "line"),
            (None, Some(past)) => (Some(past), "last_night"),
            (None, None) => (None, "unknown"),
        };
        match (rate, self.0.settings.load().rate) {
            (Some(rate), Some(cap)) if cap < rate => (Some(cap), "cap"),
            (None, Some(cap)) => (Some(cap), "cap"),
            _ => (rate, basis),
        }
    }

    /// Bytes that the caps leave for the window, and the tighter cap's name. A window of another night has that night's own cap.
    fn caps_left(&self, windows: &Windows, now: Time, window: Option<(Option<Time>, Time)>) -> Option<(u64, &'static str)> {
        let view = self.0.purse.view(now);
        let opens = window.and_then(|(opens, _)| opens).unwrap_or(now);
        let left = |cap: Option<u64>, spent: u64, same: bool| cap.map(|cap| cap.saturating_sub(if same { spent } else { 0 }));
        let night = left(view.caps.night, view.night, windows.night(now) == windows.night(opens)).map(|left| (left, "night_cap"));
        let month = left(view.caps.month, view.month, windows.month(now) == windows.month(opens)).map(|left| (left, "month_cap"));
        night.into_iter().chain(month).min()
    }

    /// Orders a survey of a pack; its job. Who asks twice gets the same one.
    ///
    /// # Errors
    /// When there is no such pack.
    pub fn survey(&self, id: &str) -> Result<View, Error> {
        self.pack(id)?;
        let unknown = || Error::Unknown(id.to_owned());
        let orders = &self.0.surveys;
        let job = {
            let mut queue = orders.queue.lock();
            if let Some((_, job)) = queue.iter().find(|(pack, _)| pack == id) {
                job.clone()
            } else {
                let (night, own) = (Arc::downgrade(&self.0), id.to_owned());
                let cancel: Cancel = Arc::new(move || {
                    if let Some(inner) = night.upgrade() {
                        Night(inner).end_survey(&own);
                    }
                    Box::pin(async {})
                });
                let job = self.0.jobs.queue(WHAT, Some(id), "questions", cancel);
                queue.push_back((id.to_owned(), job.clone()));
                job
            }
        };
        orders.wake.notify_one();
        self.0.jobs.look(&job).ok_or_else(unknown)
    }

    fn end_survey(&self, id: &str) {
        let mut queue = self.0.surveys.queue.lock();
        match queue.iter().position(|(pack, _)| pack == id) {
            Some(0) => self.0.surveys.stop.notify_one(),
            Some(at) => {
                if let Some((_, job)) = queue.remove(at) {
                    drop(queue);
                    self.0.jobs.end(&job, Outcome::Cancelled);
                }
            }
            None => {}
        }
    }

    /// Makes the surveys that people ask for, one after the other, until dropped.
    pub(super) async fn survey_all(&self) {
        let orders = &self.0.surveys;
        loop {
            let next = orders.queue.lock().front().cloned();
            let Some((pack, job)) = next else {
                orders.wake.notified().await;
                continue;
            };
            let outcome = tokio::select! {
                outcome = self.survey_one(&pack, &job) => outcome,
                () = orders.stop.notified() => Outcome::Cancelled,
            };
            {
                let mut queue = orders.queue.lock();
                queue.pop_front();
                // Whoever ended it just as it ended must not end the next one; whoever ends that one waits for this lock.
                let _stale = orders.stop.notified().now_or_never();
            }
            self.0.jobs.end(&job, outcome);
        }
    }

    /// Makes one survey now.
    pub(super) async fn survey_one(&self, id: &str, job: &str) -> Outcome {
        match self.ask_around(id, job).await {
            Ok(Ok(found)) => Outcome::Done(json!({
                "pack": id, "surveyed": true, "requests": found.requests, "bytes": found.bytes, "seconds": found.seconds, "whole": found.whole,
            })),
            // Nobody's fault: the plan rests on what is here.
            Ok(Err(why)) => Outcome::Done(json!({ "pack": id, "surveyed": false, "why": why })),
            Err(error) => Outcome::Failed(error.problem()),
        }
    }

    async fn ask_around(&self, id: &str, job: &str) -> Result<Result<Findings, String>, Error> {
        let inner = &*self.0;
        let pack = self.pack(id)?;
        if let Some(run) = inner.state.run(id).await?
            && run.finished.is_none()
            && run.digest == pack.digest.to_string()
            && inner.state.count(id, run.run).await?.done > 0
        {
            return Ok(Err(String::from("a run is under way: planned by what it has found so far")));
        }
        if let Some(why) = self.objection() {
            return Ok(Err(why));
        }
        // The schedule makes way, as for whatever people ask for; what people asked for does not.
        self.make_way(&inner.board.lock());
        let Ok(turn) = tokio::time::timeout(TURN, inner.turn.acquire()).await else {
            return Ok(Err(String::from("another pack is being fetched, as somebody asked")));
        };
        let _turn = turn.expect("the semaphore is never closed");
        inner.halt.clear();
        // It may have changed while this waited.
        if let Some(why) = self.objection() {
            return Ok(Err(why));
        }
        inner.jobs.run(job);
        let settings = inner.settings.load_full();
        let survey = Survey {
            web: &inner.web,
            state: &inner.state,
            clock: &inner.clock,
            pack: &pack,
            book: &inner.book,
            manners: &settings.manners,
            windows: &settings.windows,
            media: &settings.media,
            ledger: &inner.tally.ledger,
            max_transfers: settings.max_transfers,
            budget: Budget { bytes: settings.survey.bytes.min(inner.purse.left(inner.clock.now())), ..settings.survey },
        };
        let tell = |phase: &'static str, done: u64, total: u64| {
            inner.jobs.tell(job, Step { phase: phase.to_owned(), done, total, unit: "questions", ..Step::default() });
        };
        // A person's pause and a cap end it, as they end a night.
        let found = tokio::select! {
            biased;
            _ = inner.halt.due(&inner.clock, &inner.purse, None) => {
                return Ok(Err(self.objection().unwrap_or_else(|| String::from("another pack goes first"))));
            }
            found = survey.run(&tell) => found?,
        };
        inner.transferred.inc_by(found.bytes);
        let text = serde_json::to_string(&found).map_err(crate::state::Error::from)?;
        inner.state.keep_survey(id, &text).await?;
        inner.purse.save(&inner.state).await?;
        tracing::info!(pack = id, requests = found.requests, bytes = found.bytes, whole = found.whole, "surveyed");
        Ok(Ok(found))
    }

    /// A run is about to begin or to go on: one that begins is noted with its plan.
    pub(super) async fn note_plan(&self, pack: &Pack, anew: bool) -> Result<(), Error> {
        let (run, digest) = (self.0.state.run(&pack.id).await?, pack.digest.to_string());
        if run.as_ref().is_some_and(|run| run.finished.is_none() && run.digest == digest) {
            return Ok(());
        }
        let plan = self.plan(&pack.id, anew).await?;
        if plan.night == plan::Which::Failed {
            // The same run is taken up again, and its plan stands.
            return Ok(());
        }
        let count = match &run {
            Some(run) => self.0.state.count(&pack.id, run.run).await?,
            None => Count::default(),
        };
        let planned =
            Planned { bytes: plan.bytes, wishes: plan.wishes, seconds: plan.seconds, basis: plan.basis, surveyed: plan.survey.is_some() };
        let row = Row {
            pack: pack.id.clone(),
            run: run.map_or(1, |run| run.run + 1),
            began: self.0.clock.now(),
            first: plan.night == plan::Which::First,
            here_bytes: count.done_bytes,
            planned: serde_json::to_string(&planned).map_err(crate::state::Error::from)?,
            took_bytes: 0,
            took_wishes: 0,
            took: Duration::ZERO,
            ended: None,
        };
        Ok(self.0.state.note_plan(&row).await?)
    }

    /// So much time was spent on a run, which ended so.
    pub(super) async fn note_took(&self, id: &str, spent: Duration, end: &End) -> Result<(), Error> {
        let Some(run) = self.0.state.run(id).await? else { return Ok(()) };
        let count = self.0.state.count(id, run.run).await?;
        let ended = matches!(end, End::Done(_)).then(|| self.0.clock.now());
        Ok(self.0.state.note_took(id, run.run, (run.transferred, count.ended), spent, run.busy, ended).await?)
    }
}

/// The window in question: open now, or the next.
fn window(windows: &Windows, now: Time) -> Option<(Option<Time>, Time)> {
    match windows.open_at(now) {
        Some(until) => Some((None, until)),
        None => windows.next_open(now).and_then(|opens| Some((Some(opens), windows.open_at(opens)?))),
    }
}

/// The share of a pack that came anew in its last recorded night.
fn change(rows: &[Row]) -> Option<f64> {
    let last = rows.iter().find(|row| !row.first && row.ended.is_some() && row.here_bytes > 0)?;
    Some((real(last.took_bytes) / real(last.here_bytes)).min(1.0))
}

/// Seconds that a request took in the last recorded night that was made of requests and not of bytes.
fn wait_of(rows: &[Row], rate: Option<f64>, transfers: f64) -> Option<f64> {
    let line = |row: &Row| rate.filter(|rate| *rate > 0.0).map_or(0.0, |rate| real(row.took_bytes) / rate);
    let light = |row: &&Row| row.ended.is_some() && row.took_wishes >= MANY && line(row) < row.took.as_secs_f64() / 2.0;
    rows.iter().find(light).map(|row| (row.took.as_secs_f64() - line(row)) * transfers / real(row.took_wishes))
}

/// A row as people see it.
fn record(row: Row) -> Record {
    let planned: Planned = serde_json::from_str(&row.planned).unwrap_or_default();
    let record = Record {
        pack: row.pack,
        run: row.run,
        first: row.first,
        began: row.began.to_rfc3339(),
        ended: row.ended.map(Time::to_rfc3339),
        took_bytes: row.took_bytes,
        took_wishes: row.took_wishes,
        took_seconds: whole(row.took.as_secs_f64()),
        ..Record::default()
    };
    record.against(&planned)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nights_made_of_requests_tell_how_long_one_takes() {
        let row = |first, took_bytes, took_wishes, secs, ended: bool| Row {
            pack: "a".into(),
            run: 1,
            began: Time::from_secs(0),
            first,
            here_bytes: 1000,
            planned: String::new(),
            took_bytes,
            took_wishes,
            took: Duration::from_secs(secs),
            ended: ended.then_some(Time::from_secs(9)),
        };
        let (heavy, light, open) = (row(true, 1000, 100, 11, true), row(false, 100, 200, 11, true), row(false, 0, 200, 50, false));
        let wait = |rows: &[Row]| wait_of(rows, Some(100.0), 4.0).map(|wait| whole(wait * 1000.0));
        // Ten seconds without the line's one, four at a time.
        assert_eq!(wait(&[open.clone(), light.clone(), heavy.clone()]), Some(200));
        assert_eq!((wait(&[open.clone(), heavy.clone()]), wait(&[])), (None, None));
        assert_eq!(change(&[open, light.clone(), heavy.clone()]).map(|share| whole(share * 100.0)), Some(10));
        assert_eq!(change(&[heavy]), None);
    }
}
