//! Ranges of what is not here, and the rest of what is partly here (RFC 9110 section 14, RFC 9111 section 3.3 and 3.4).
//!
//! A range of a large file fetches that range, not the file, and is kept. What is missing of a kept answer is asked for with
//! `If-Range` and a strong validator, so pieces of different versions never meet.

/// The requests for parts.
mod ask;

use crate::base::body::Body;
use crate::base::clock::Time;
use crate::cache::coding::{self, Coded};
use crate::cache::fill::{Broken, Judged, Order};
use crate::cache::flight::{Ground, Live, Outcome, Pilot, Readers, Stage};
use crate::cache::hit::{Said, part_of};
use crate::cache::partial::ask::{range_request, request_again, rest_request};
use crate::cache::pieces::{PIECE, strong_validator};
use crate::cache::prepared::storable_fields;
use crate::cache::serve::{Answered, first_hand};
use crate::cache::told::{begins, simple_range, told_part, told_total};
use crate::cache::voyage::{CONDITIONS, Given, bare, is_failure, is_nothing, readable};
use crate::cache::{Asked, Found, Inner, stream};
use crate::link::foreground::Raise;
use crate::policy::{self, Admit, Ask, Failure, Part, Why};
use crate::store::{Draft, Epoch, Meta};
use crate::upstream;
use futures_util::StreamExt;
use futures_util::future::BoxFuture;
use http::header::{ACCEPT_ENCODING, AUTHORIZATION, CONTENT_RANGE, CONTENT_TYPE, COOKIE, ETAG, IF_RANGE, RANGE};
use http::{HeaderValue, Method, Request, Response, StatusCode};
use std::ops::Range;
use std::sync::Arc;
use tokio::sync::oneshot;

/// What of a partly kept answer this request needs, when not all of that is here: the whole range it needs. HEAD needs no byte of it.
pub(crate) fn missing(ask: &Ask<'_>, found: &Found) -> Option<Range<u64>> {
    if found.entry.object.is_some() || *ask.method == Method::HEAD {
        return None;
    }
    let wanted = match part_of(ask, &found.prepared) {
        Part::One(range) => range,
        Part::Unsatisfiable => return None,
        Part::Many(ranges) if ranges.iter().all(|range| stream::gaps(&found.entry.have, range).is_empty()) => return None,
        Part::Whole | Part::Many(_) => 0..found.entry.length,
    };
    (!stream::gaps(&found.entry.have, &wanted).is_empty()).then_some(wanted)
}

impl Inner {
    /// Forgets parts that may be of an earlier version, where only a date would tell: since something was changed under their URL, the
    /// same date says nothing (RFC 9110 section 8.8.2.2 takes clocks and origins to be careful). Whether they were such.
    pub(crate) async fn let_go_of_hearsay(&self, found: &Found) -> bool {
        if found.entry.object.is_some() || !found.is_outdated() || found.entry.meta.headers.contains_key(ETAG) {
            return false;
        }
        if let Err(error) = self.store.forget_entry(&found.entry).await {
            tracing::warn!(%error, "parts of an earlier version could not be forgotten");
        }
        true
    }
}

/// How often a request waits for others that fetch a part of what it wants. Each wait brings some of it, so few are needed; after as many
/// as this something is odd, and it asks for itself.
const WAITS: u8 = 8;

/// A flight that fetches parts.
struct Stitch {
    asked: Arc<Asked>,
    order: Order,
    /// What is kept already.
    found: Option<Found>,
    /// What the asker needs; the end is open while the total is unknown.
    wanted: Range<u64>,
    request: Request<Body>,
}

impl Inner {
    /// A range of something of which nothing is stored: forwarded as a range, kept as a part.
    pub(crate) async fn fetch_range(self: &Arc<Inner>, asked: &Arc<Asked>, request: Request<Body>, order: Order, why: Why) -> Answered {
        // A client's own conditions make the answer his alone.
        let own = asked.headers.contains_key(IF_RANGE) || CONDITIONS.iter().any(|name| asked.headers.contains_key(name));
        let simple = asked.headers.get(RANGE).and_then(simple_range).filter(|_| !own);
        let stitch = |wanted: Range<u64>, request| Stitch { asked: Arc::clone(asked), order: order.clone(), found: None, wanted, request };
        let mut request = request;
        request.headers_mut().insert(ACCEPT_ENCODING, HeaderValue::from_static("identity"));
        match simple {
            Some(wanted) => self.fly_parts(asked, stitch(wanted, request), why, true).await,
            // Suffixes, several ranges, conditions: one request's own affair, forwarded as it is.
            None => self.fly_parts(asked, stitch(0..u64::MAX, request), why, false).await,
        }
    }

    /// The rest of what is partly here, up to what this request needs.
    pub(crate) async fn complete(
        self: &Arc<Inner>,
        asked: &Arc<Asked>,
        request: Request<Body>,
        order: Order,
        found: Found,
        wanted: Range<u64>,
        why: Why,
    ) -> Answered {
        // For a few ranges nobody fetches the whole: they are his alone.
        let many = matches!(part_of(&asked.ask(), &found.prepared), Part::Many(_));
        let Some((request, _)) = rest_request(request, &found, &wanted).filter(|_| !many) else {
            return self.fetch_range(asked, request_again(asked), order, why).await;
        };
        let stitch = Stitch { asked: Arc::clone(asked), order, found: Some(found), wanted, request };
        self.fly_parts(asked, stitch, why, true).await
    }

    async fn fly_parts(self: &Arc<Inner>, asked: &Arc<Asked>, stitch: Stitch, why: Why, shared: bool) -> Answered {
        let key = self.flight_key(asked, Some(stitch.wanted.clone()));
        let cookie = asked.headers.contains_key(COOKIE);
        // With a cookie that sets one apart from those without he does not ask for them.
        let barred = cookie && self.board.is_apart(&key.url, true) && !self.board.is_apart(&key.url, false);
        let shared = shared && !barred && !asked.headers.contains_key(AUTHORIZATION);
        if shared
            && stitch.order.waits < WAITS
            && !self.board.is_apart(&key.url, cookie)
            && let Some(flight) = self.board.in_the_way(&key)
        {
            // A part of this is on its way already: what is missing then is asked for then, and nothing comes twice.
            flight.raise();
            if !flight.has_come()
                && let Some(Stage::Live(live)) = flight.head().await
                && live.part.is_none()
                && let Some(answered) = self.along(asked, stitch.found.as_ref(), &live, why).await
            {
                self.counters.collapsed.inc();
                return answered;
            }
            flight.end().await;
            let order = Order { waits: stitch.order.waits + 1, ..stitch.order };
            return self.anew(asked, order).await;
        }
        let (flight, pilot) = if shared {
            self.board.join(key, true)
        } else {
            let (flight, pilot) = self.board.alone(key, true);
            (flight, Some(pilot))
        };
        let collapsed = pilot.is_none();
        if collapsed && stitch.order.waits < WAITS && flight.has_come() {
            flight.end().await;
            let order = Order { waits: stitch.order.waits + 1, ..stitch.order };
            return self.anew(asked, order).await;
        }
        let (found, order, wanted) = (stitch.found.clone(), stitch.order.clone(), stitch.wanted.clone());
        let lead = pilot.map(|pilot| self.launch_parts(pilot, stitch));
        if collapsed {
            self.counters.collapsed.inc();
        }
        let alone = || {
            let (wanted, request) = (wanted.clone(), request_again(asked));
            let stitch = Stitch { asked: Arc::clone(asked), order: order.clone(), found: None, wanted, request };
            Box::pin(self.fly_parts(asked, stitch, why, false))
        };
        let said = Said { why, age: None, ttl: None, forwarded: Some(StatusCode::PARTIAL_CONTENT), stored: true, collapsed };
        match flight.head().await {
            Some(Stage::Live(live)) if collapsed => match self.along(asked, found.as_ref(), &live, why).await {
                Some(answered) => answered,
                // Less than was asked for, as the origin likes it: so is the first one's.
                None if found.is_none() && is_start_of(&live, &wanted) && self.suits(asked, &live, true) => {
                    (self.live_as(asked, &live, said), why)
                }
                None => alone().await,
            },
            Some(Stage::Live(live)) if self.suits(asked, &live, false) => {
                first_hand(&flight, true, (self.live_as(asked, &live, said), why))
            }
            Some(Stage::Stored(entry, outcome)) => match self.arrived(asked, &entry, outcome, why, collapsed).await {
                Some(answered) => first_hand(&flight, !collapsed, answered),
                None if collapsed => alone().await,
                None => self.passed(asked, order, why).await,
            },
            // It was for somebody with a cookie: those without may still ask together.
            Some(Stage::Apart(Ground::Asker)) if collapsed && !cookie && order.waits < WAITS => {
                let waits = order.waits + 1;
                self.anew(asked, Order { waits, ..order }).await
            }
            Some(Stage::Failed(_, Some(upstream::Error::Crowded(_)))) if collapsed => alone().await,
            Some(Stage::Failed(failure, error)) => self.no_answer(asked, found.as_ref(), failure, error).await,
            stage => match lead {
                None => alone().await,
                Some(lead) => match lead.await {
                    Ok(Given::Answer(given)) => self.given(given, why),
                    // What was kept does not fit any more and is forgotten: the request starts anew.
                    Err(_) if matches!(stage, Some(Stage::Apart(_))) => self.anew(asked, order).await,
                    // The origin gets the client's own question, ranges and all. One that broke off would break off again, without end:
                    // so this is the last try.
                    _ => self.passed(asked, order, why).await,
                },
            },
        }
    }

    /// What a flight for a range brings of what this request wants: all of that, or, where the origin sent another answer or one of
    /// unknown length, that answer.
    pub(crate) async fn along(&self, asked: &Asked, found: Option<&Found>, live: &Live, why: Why) -> Option<Answered> {
        if let Some(answered) = self.beside(asked, found, live, why).await {
            return Some(answered);
        }
        let as_it_is = live.part.is_none() && (live.total.is_none() || live.meta.status != StatusCode::OK);
        (as_it_is && self.suits(asked, live, true)).then(|| (self.live(asked, live, why, true), why))
    }

    /// [`Inner::pass`], made here: in the frame of whoever waits it would take room, and those who wait for parts nest.
    fn passed<'a>(self: &'a Arc<Inner>, asked: &'a Arc<Asked>, order: Order, why: Why) -> BoxFuture<'a, Answered> {
        Box::pin(self.pass(asked, bare(asked), order, why))
    }

    /// The request from its beginning, made here for the same reason.
    fn anew<'a>(self: &'a Arc<Inner>, asked: &'a Arc<Asked>, order: Order) -> BoxFuture<'a, Answered> {
        Box::pin(self.decide_and_act(asked, bare(asked), order))
    }

    fn launch_parts(self: &Arc<Inner>, pilot: Pilot, stitch: Stitch) -> oneshot::Receiver<Given> {
        let (lead, given) = oneshot::channel();
        let inner = Arc::clone(self);
        self.life.spawn(async move { Box::pin(inner.stitch(&pilot, lead, stitch)).await });
        given
    }

    /// For an errand: fetches what is missing of an entry, from the first gap to the end, as a flight that devices can come along
    /// with: they have the beginning out of the store.
    pub(crate) fn launch_rest(
        self: &Arc<Inner>,
        pilot: Pilot,
        asked: &Arc<Asked>,
        found: Found,
        order: Order,
    ) -> Option<oneshot::Receiver<Given>> {
        let (request, gap) = rest_request(bare(asked), &found, &(0..found.entry.length))?;
        let wanted = gap.start..found.entry.length;
        Some(self.launch_parts(pilot, Stitch { asked: Arc::clone(asked), order, found: Some(found), wanted, request }))
    }

    async fn stitch(self: Arc<Inner>, pilot: &Pilot, lead: oneshot::Sender<Given>, stitch: Stitch) {
        let (requested, since) = (self.clock.now(), self.store.epoch());
        let Stitch { asked, order, found, wanted, request } = stitch;
        let request = order.raised_by(request, &pilot.urgent);
        let mut response = match self.upstream.send(&asked.target, request, order.class).await {
            Ok(sent) => sent.response,
            Err(error) => return pilot.publish(Stage::Failed(Failure::Unreachable, Some(error))),
        };
        policy::header::strip_hop_by_hop(response.headers_mut());
        let first = Gap { found: found.as_ref(), wanted: &wanted };
        let misfit = match self.part_head(&asked, &order, &response, &first, (requested, since)) {
            Err(misfit) => misfit,
            Ok(head) => {
                let most = order.most(response.headers().get(CONTENT_TYPE).and_then(|value| value.to_str().ok()));
                if let Some(most) = most.filter(|most| head.total > *most && pilot.stop()) {
                    return pilot.publish(Broken::TooLong(most).stage());
                }
                pilot.withhold(policy::header::withheld(response.headers()));
                if let Ok(draft) = self.store.begin_for(order.source, Some(head.wanted.end - head.wanted.start), None) {
                    return self.gather(pilot, &asked, &order, found.as_ref(), head, draft, response.into_body()).await;
                }
                // With a part of it here, this answer is only the rest.
                let given = if found.is_some() { Given::NoRoom } else { self.alone(response, Why::StoreFull) };
                drop(lead.send(given));
                return pilot.publish(Stage::Apart(Ground::Answer));
            }
        };
        if response.status() == StatusCode::PARTIAL_CONTENT || response.status() == StatusCode::RANGE_NOT_SATISFIABLE {
            match found {
                None => drop(lead.send(self.alone(response, Why::Partial))),
                // The file has changed: our parts are of no use. Other variants are.
                Some(found) if misfit == Misfit::Other => {
                    if let Err(error) = self.store.forget_entry(&found.entry).await {
                        tracing::warn!(%error, "parts that do not fit could not be forgotten");
                        drop(lead.send(Given::OwnCoding));
                    }
                }
                Some(_) if response.status() == StatusCode::RANGE_NOT_SATISFIABLE => drop(lead.send(Given::NotNow)),
                // What one client may not share, or one server leaves unsaid, says nothing about what is kept for all.
                Some(_) => drop(lead.send(Given::OwnCoding)),
            }
            return pilot.publish(Stage::Apart(self.cause(&asked)));
        }
        // The origin sent the whole: it ignores ranges, or there is a new version. A failure says nothing of what is kept.
        let nothing = is_nothing(response.status()) && self.is_pinned_here(&asked.target.key()).await;
        if nothing {
            self.outdate(&asked.target.key()).await;
        }
        // Whoever has come along asks without what is kept.
        let fails = is_failure(response.status()) && (found.is_some() || self.find(&asked.ask()).await.0.is_some());
        let judged = if nothing || fails {
            Judged::Apart(response, Why::Stale)
        } else {
            self.judge(&asked.ask(), &order, response, (requested, since))
        };
        match judged {
            Judged::Keep(arrival) => {
                pilot.list_whole();
                drop(self.land(*arrival, &order, pilot).await);
            }
            Judged::Apart(response, why) => {
                drop(lead.send(readable(&asked, self.counters.relayed(response), why)));
                pilot.publish(Stage::Apart(self.cause(&asked)));
            }
        }
    }

    /// An answer for the one who asked, as it came.
    fn alone(&self, response: Response<Body>, why: Why) -> Given {
        Given::Answer((self.counters.relayed(response), why))
    }

    /// Whether a 206 is the part that was asked for, may be kept, and fits what is kept already.
    fn part_head(
        &self,
        asked: &Asked,
        order: &Order,
        response: &Response<Body>,
        gap: &Gap<'_>,
        (requested, since): (Time, Epoch),
    ) -> Result<PartHead, Misfit> {
        if response.status() == StatusCode::RANGE_NOT_SATISFIABLE {
            // One that lies within what is kept: by a server of many that has not got it yet, or because it is shorter now.
            let kept = gap.found.map(|found| found.entry.length);
            let same = told_total(response.headers()).is_none_or(|total| Some(total) == kept);
            return Err(if same { Misfit::Vague } else { Misfit::Other });
        }
        if response.status() != StatusCode::PARTIAL_CONTENT {
            return Err(Misfit::Other);
        }
        if coding::coded(response.headers(), true) != Coded::Plain {
            return Err(Misfit::Vague);
        }
        // To a client's own condition an origin may answer without the fields that the client knows (RFC 9110 section 15.3.7).
        if gap.found.is_none() && asked.headers.contains_key(IF_RANGE) {
            return Err(Misfit::Vague);
        }
        let (Some((start, end, total)), Some(strong)) = (told_part(response.headers()), strong_validator(response.headers())) else {
            return Err(Misfit::Vague);
        };
        let received = self.clock.now();
        let Admit::Store { mut vary } = policy::admit(&self.rules, &asked.ask(), StatusCode::PARTIAL_CONTENT, response.headers(), received)
        else {
            return Err(Misfit::NotForAll);
        };
        policy::key::forget_coding(&mut vary);
        let mut headers = storable_fields(response.headers(), received);
        headers.remove(CONTENT_RANGE);
        let wanted = match gap.found {
            Some(found) => {
                let same = found.entry.length == total && strong_validator(&found.entry.meta.headers).as_ref() == Some(&strong);
                if !same {
                    return Err(Misfit::Other);
                }
                if !stream::gaps(&found.entry.have, gap.wanted).first().is_some_and(|gap| begins(gap, &(start..end))) {
                    return Err(Misfit::Vague);
                }
                headers = policy::freshen(&found.entry.meta.headers, &headers);
                gap.wanted.clone()
            }
            None => start..end,
        };
        let meta = Meta {
            key: policy::key::entry_key(&asked.target.key(), &vary),
            url: asked.target.url().into(),
            status: StatusCode::OK,
            headers,
            vary,
            requested,
            received,
            coding: None,
            was_coded: None,
            source: order.source,
            way: order.way,
            flags: 0,
        };
        Ok(PartHead { since, meta, total, wanted, first: start..end, strong })
    }

    /// Puts kept and fetched pieces one behind the other into `draft`, which everyone reads from, and keeps the fetched ones.
    #[expect(clippy::too_many_arguments, reason = "one place gathers what a flight of parts knows")]
    async fn gather(
        self: &Arc<Inner>,
        pilot: &Pilot,
        asked: &Asked,
        order: &Order,
        found: Option<&Found>,
        head: PartHead,
        mut draft: Draft,
        body: Body,
    ) {
        let whole = head.wanted == (0..head.total);
        // Where If-Range does not hold the whole was wanted, though it is put together of parts.
        let one = |found: &Found| matches!(part_of(&asked.ask(), &found.prepared), Part::One(_));
        let asked_for_part = asked.headers.contains_key(RANGE) && found.is_none_or(one);
        let part = (!whole || asked_for_part).then(|| head.wanted.clone());
        let readers = Readers::default();
        pilot.publish(Stage::Live(Arc::new(Live {
            meta: head.meta.clone(),
            total: Some(head.total),
            part,
            in_order: false,
            tail: draft.tail(),
            readers: readers.clone(),
            landing: pilot.landing(),
        })));
        match self.gather_all((pilot, &readers), asked, order, found, &head, &mut draft, body).await {
            Ok(()) => {
                draft.finish().await;
                self.outdate_if_overtaken(asked, pilot).await;
                // An older whole may stand in the way of these parts: it is not what was fetched.
                let (now, _) = self.find(&asked.ask()).await;
                if let Some(now) = now.filter(|now| strong_validator(&now.entry.meta.headers).as_ref() == Some(&head.strong)) {
                    pilot.publish(Stage::Stored(now.entry, Outcome::Filled));
                }
            }
            Err(broken) => {
                draft.fail(&broken.to_string());
                self.outdate_if_overtaken(asked, pilot).await;
                pilot.publish(broken.stage());
            }
        }
    }

    #[expect(clippy::too_many_arguments, reason = "as for gather")]
    async fn gather_all(
        self: &Arc<Inner>,
        (pilot, readers): (&Pilot, &Readers),
        asked: &Asked,
        order: &Order,
        found: Option<&Found>,
        head: &PartHead,
        draft: &mut Draft,
        body: Body,
    ) -> Result<(), Broken> {
        let gaps = found.map_or_else(|| vec![head.first.clone()], |found| stream::gaps(&found.entry.have, &head.wanted));
        let mut at = head.wanted.start;
        let mut next = Some((body, head.first.end));
        for gap in gaps {
            if let Some(found) = found.filter(|_| at < gap.start) {
                copy(self.store.read(&found.entry, Some(at..gap.start)).await?, draft, pilot).await?;
            }
            at = gap.start;
            // Many servers of films send at most a megabyte at once (RFC 9110 section 15.3.7): then it is asked for again.
            while at < gap.end {
                let (body, end) = match next.take() {
                    Some(first) => first,
                    None => self.gap_body(asked, order, &pilot.urgent, head, &(at..gap.end)).await?,
                };
                self.take_in(order, (pilot, readers), head, &(at..end), body, draft).await?;
                at = end;
            }
        }
        if let Some(found) = found.filter(|_| at < head.wanted.end) {
            copy(self.store.read(&found.entry, Some(at..head.wanted.end)).await?, draft, pilot).await?;
        }
        Ok(())
    }

    /// One more missing piece, of the same version as the first, and where it ends.
    async fn gap_body(
        &self,
        asked: &Asked,
        order: &Order,
        urgent: &Raise,
        head: &PartHead,
        gap: &Range<u64>,
    ) -> Result<(Body, u64), Broken> {
        let request = order.raised_by(range_request(bare(asked), gap, &head.strong), urgent);
        let sent = self.upstream.send(&asked.target, request, order.class).await.map_err(|error| Broken::Origin(error.into()))?;
        let told = told_part(sent.response.headers());
        let same = strong_validator(sent.response.headers()).as_ref() == Some(&head.strong);
        // The first piece was for everybody; so must every other be.
        let kept = policy::admit(&self.rules, &asked.ask(), sent.response.status(), sent.response.headers(), self.clock.now());
        if let Admit::No(why) = kept {
            return Err(Broken::Origin(format!("a further piece may not be kept ({})", why.word()).into()));
        }
        let Some((start, end, _)) = told.filter(|(_, _, total)| *total == head.total && same) else {
            return Err(Broken::Origin("the origin changed the file while it was being fetched".into()));
        };
        if !begins(gap, &(start..end)) {
            return Err(Broken::Origin("the origin sent another part than the one that was asked for, or a crumb of it".into()));
        }
        Ok((sent.response.into_body(), end))
    }

    async fn take_in(
        &self,
        order: &Order,
        (pilot, readers): (&Pilot, &Readers),
        head: &PartHead,
        gap: &Range<u64>,
        body: Body,
        draft: &mut Draft,
    ) -> Result<(), Broken> {
        let mut pieces = stream::pieces(body);
        let (mut kept, mut came) = (gap.start, gap.start);
        let broken = loop {
            let next = tokio::select! {
                next = pieces.next() => next,
                () = order.stopped(&pilot.urgent) => if pilot.stop() { break Some(Broken::Left) } else { continue },
            };
            let bytes = match next {
                None => break None,
                Some(Err(error)) => break Some(Broken::Origin(error)),
                Some(Ok(bytes)) => bytes,
            };
            order.came(bytes.len() as u64);
            self.counters.upstream.inc_by(bytes.len() as u64);
            if came + bytes.len() as u64 > gap.end {
                break Some(Broken::Origin("the origin sent more than it said".into()));
            }
            came += bytes.len() as u64;
            draft.write(bytes).await?;
            pilot.lead_alone(draft);
            if order.is_left(head.wanted.end - came, readers, pilot) {
                break Some(Broken::Left);
            }
            while came - kept >= PIECE {
                kept = self.keep_part(pilot, head, kept..kept + PIECE, draft).await;
            }
        };
        if broken.is_some() {
            // Keeping the rest takes a while, in which nobody is to come along.
            pilot.unlist();
        }
        self.keep_part(pilot, head, kept..came, draft).await;
        match broken {
            Some(broken) => Err(broken),
            None if came != gap.end => Err(Broken::Origin(format!("{} of {} bytes arrived", came - gap.start, gap.end - gap.start).into())),
            None => Ok(()),
        }
    }

    /// Keeps a piece and says where the next one starts. A store that takes nothing ends no download.
    async fn keep_part(&self, pilot: &Pilot, head: &PartHead, part: Range<u64>, draft: &Draft) -> u64 {
        let in_draft = part.start - head.wanted.start..part.end - head.wanted.start;
        if !part.is_empty()
            && let Err(error) =
                self.keep_piece((head.since, &head.meta, head.total), part.start, (draft.tail(), in_draft), pilot.doubt()).await
        {
            tracing::warn!(%error, "a part of a body could not be kept");
        }
        part.end
    }
}

/// What the first 206 must answer.
struct Gap<'a> {
    found: Option<&'a Found>,
    wanted: &'a Range<u64>,
}

/// Why an answer to a range is not the part that was asked for.
#[derive(PartialEq)]
enum Misfit {
    /// Another version: what is kept is of no use.
    Other,
    /// Another part, or it does not say of which version it is, or is none of the plain body.
    Vague,
    /// Not to be kept for others.
    NotForAll,
}

/// Whether what arrives is what was asked for, or the beginning of it.
fn is_start_of(live: &Live, wanted: &Range<u64>) -> bool {
    live.part.as_ref().is_some_and(|part| part.start == wanted.start && part.end <= wanted.end)
}

/// The head of a part that is being fetched.
struct PartHead {
    /// The store's epoch when it was asked for.
    since: Epoch,
    meta: Meta,
    total: u64,
    /// What readers get.
    wanted: Range<u64>,
    /// What the first answer carries.
    first: Range<u64>,
    strong: HeaderValue,
}

async fn copy(body: Body, draft: &mut Draft, pilot: &Pilot) -> Result<(), Broken> {
    let mut pieces = stream::pieces(body);
    while let Some(piece) = pieces.next().await {
        draft.write(piece.map_err(Broken::Origin)?).await?;
        pilot.lead_alone(draft);
    }
    Ok(())
}
