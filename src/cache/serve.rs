//! A device's request, from lookup to answer: the one place that acts on a decision.

use crate::base::body::Body;
use crate::cache::company::Company;
use crate::cache::fill::{Judged, Order};
use crate::cache::flight::{Flight, FlightKey, Live, Outcome, Stage};
use crate::cache::hit::Said;
use crate::cache::voyage::{CONDITIONS, Given, Voyage, bare, outgoing};
use crate::cache::{Asked, Cause, Found, Inner, Query, Trouble, coding, partial, prepared, stream};
use crate::link;
use crate::policy::directive::Directives;
use crate::policy::{self, Condition, Decision, Failure, Line, Part, Why};
use crate::site::canonical;
use crate::store::{Entry, Source, Way};
use crate::upstream;
use http::header::{AGE, AUTHORIZATION, COOKIE, HeaderName, RANGE};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use http_body::Body as _;
use std::ops::Range;
use std::pin::pin;
use std::sync::Arc;

/// An answer and why it is what it is.
pub(crate) type Answered = (Response<Body>, Why);

/// `Proxy-Status` (RFC 9209).
const PROXY_STATUS: HeaderName = HeaderName::from_static("proxy-status");

/// What a flight's company hears first.
enum Word {
    /// This.
    Of(Stage),
    /// Nothing yet, and what is stored does.
    Stale(Answered),
    /// Nothing, and nothing will come.
    Silence,
}

/// How often a request meets a transfer that had ended when it came, until it asks for itself: where many poll what is new each time, one
/// follows the other, and who came along with each would wait for all of them, each within the one before.
pub(crate) const ENDED: u8 = 2;

impl Inner {
    pub(crate) async fn serve(self: &Arc<Inner>, query: Query) -> Answered {
        let Query { target, request, way } = query;
        let place = self.place(&target, false);
        let asker = request.extensions().get().copied();
        let asked = Arc::new(Asked { method: request.method().clone(), target, headers: request.headers().clone(), place, asker });
        if let Some(archive) = self.archive(asked.target.host()) {
            return Box::pin(self.read_archive(&asked.ask(), &archive)).await;
        }
        if policy::goes_bare(&self.rules, &asked.ask()) && request.body().is_end_stream() {
            return self.serve_bare(&asked, request, way).await;
        }
        self.decide_and_act(&asked, request, Order::for_client(way)).await
    }

    /// Answers with what a path class names, asked for without the client's cookie; when that brings a sign-in or a refusal, the
    /// client asks with his own fields, for himself alone.
    async fn serve_bare(self: &Arc<Inner>, asked: &Arc<Asked>, mut request: Request<Body>, way: Way) -> Answered {
        request.headers_mut().remove(COOKIE);
        // On a host with accounts only what the node fetched itself is ever looked at again.
        let source = if asked.place.account { Source::Prefetch } else { Source::Client };
        let order = Order { source, ..Order::for_client(way) };
        let answered = self.decide_and_act(&Arc::new(asked.without_cookie()), request, order).await;
        let ours = answered.0.extensions().get::<Trouble>().is_some();
        if ours || policy::bare_suffices(answered.0.status(), answered.0.headers()) {
            return answered;
        }
        let why = if asked.place.account { Why::Account } else { Why::Cookie };
        self.pass(asked, bare(asked), Order::for_client(way), why).await
    }

    pub(crate) async fn decide_and_act(self: &Arc<Inner>, asked: &Arc<Asked>, request: Request<Body>, order: Order) -> Answered {
        if asked.method != Method::GET && asked.method != Method::HEAD {
            return self.pass(asked, request, order, Why::Method).await;
        }
        if !request.body().is_end_stream() {
            // What a GET with a body means is the origin's secret (RFC 9110 section 9.3.1): nobody else's answer, and no one's copy.
            return self.pass(asked, request, order, Why::Bypass).await;
        }
        let (found, known) = self.find(&asked.ask()).await;
        if found.is_none()
            && !known
            && let Some(answered) = self.serve_without_marks(asked).await
        {
            return answered;
        }
        let decision = self.decide(&asked.ask(), found.as_ref());
        match (decision, found) {
            (Decision::Serve { age, ttl, why, refresh_behind }, Some(found)) => {
                if refresh_behind {
                    self.refresh_behind(asked, &found, &order);
                }
                self.from_store(asked, request, order, found, Said::hit(why, age, ttl)).await
            }
            (Decision::Pass { why }, _) => self.pass(asked, request, order, why).await,
            (Decision::Refuse { why }, _) => self.refuse(asked, why),
            (Decision::Revalidate { conditions, why }, Some(found)) if self.is_for_all(asked) => {
                self.ask_for_all(asked, request, order, (found, conditions), why).await
            }
            (Decision::Revalidate { conditions, why }, Some(found)) => {
                self.ask_origin(asked, request, order, Some((found, Some(conditions))), why).await
            }
            (Decision::Fetch { why }, found) => {
                self.ahead.learn(&asked.headers);
                let why = if why == Why::UriMiss && known { Why::VaryMiss } else { why };
                self.ask_origin(asked, request, order, found.map(|found| (found, None)), why).await
            }
            // Decisions about a stored answer come only with one.
            (Decision::Serve { .. } | Decision::Revalidate { .. }, None) => {
                self.ask_origin(asked, request, order, None, Why::UriMiss).await
            }
        }
    }

    /// What a pack keeps of the same address without a campaign's marks or a session number (`site::canonical`, # Why). Only what can be
    /// served as it is: what must be asked is asked as the client wrote it.
    async fn serve_without_marks(&self, asked: &Asked) -> Option<Answered> {
        let target = canonical::canonical(&asked.target)?;
        let place = self.place(&target, false);
        let plain = Asked { target, place, ..asked.clone() };
        let found = self.find(&plain.ask()).await.0.filter(|found| found.entry.pinned && found.entry.object.is_some())?;
        let Decision::Serve { age, ttl, why, refresh_behind: false } = self.decide(&plain.ask(), Some(&found)) else { return None };
        match self.hit(&plain.ask(), &found.entry, &found.prepared, Said::hit(why, age, ttl)).await {
            Ok(response) => {
                self.uses.mark(&plain.target.key());
                Some((response, why))
            }
            Err(error) => {
                tracing::warn!(%error, "a stored answer could not be read, asking the origin");
                None
            }
        }
    }

    /// Whether what is stored here is to be asked about in nobody's name: a path class says that it is the same for everybody.
    fn is_for_all(&self, asked: &Asked) -> bool {
        let place = asked.place;
        let named = asked.headers.contains_key(COOKIE) || (place.account && !place.own);
        policy::is_guarded(&self.rules, place) && place.class && named
    }

    /// Asks without the client's cookie whether the stored answer still holds; a refusal is no answer for him.
    async fn ask_for_all(
        self: &Arc<Inner>,
        asked: &Arc<Asked>,
        mut request: Request<Body>,
        order: Order,
        (found, conditions): (Found, HeaderMap),
        why: Why,
    ) -> Answered {
        request.headers_mut().remove(COOKIE);
        let (plain, in_no_name) = in_no_name(asked, &order, &found);
        let answered = self.ask_origin(&plain, request, in_no_name, Some((found, Some(conditions))), why).await;
        self.or_in_his_name(asked, order, answered).await
    }

    /// What was asked for in nobody's name, or, where that was refused, what the client gets himself.
    async fn or_in_his_name(self: &Arc<Inner>, asked: &Arc<Asked>, order: Order, answered: Answered) -> Answered {
        let ours = answered.0.extensions().get::<Trouble>().is_some();
        if ours || matches!(answered.0.status().as_u16(), 200 | 206 | 304 | 404 | 410 | 412 | 416) {
            return answered;
        }
        self.pass(asked, bare(asked), order, if asked.place.account { Why::Account } else { Why::Cookie }).await
    }

    /// Serves what is stored, fetching what of it is missing; bytes that turn out to be damaged are fetched again.
    async fn from_store(
        self: &Arc<Inner>,
        asked: &Arc<Asked>,
        mut request: Request<Body>,
        order: Order,
        found: Found,
        said: Said,
    ) -> Answered {
        if let Some(wanted) = partial::missing(&asked.ask(), &found) {
            // Whoever has it already needs no byte of it.
            if let Some(early) = self.unmodified(&asked.ask(), &found.prepared, said, None) {
                return (early, said.why);
            }
            if Directives::read(&asked.headers).only_if_cached {
                return self.refuse(asked, Why::OnlyIfCached);
            }
            if let Some(answered) = self.come_along(asked, Some(&found), Why::Partial).await {
                return answered;
            }
            if self.is_for_all(asked) {
                request.headers_mut().remove(COOKIE);
                let (plain, in_no_name) = in_no_name(asked, &order, &found);
                let answered = self.complete(&plain, request, in_no_name, found, wanted, Why::Partial).await;
                return self.or_in_his_name(asked, order, answered).await;
            }
            return self.complete(asked, request, order, found, wanted, Why::Partial).await;
        }
        match self.hit(&asked.ask(), &found.entry, &found.prepared, said).await {
            Ok(response) => (response, said.why),
            Err(error) => {
                tracing::warn!(%error, "a stored answer could not be read, asking the origin");
                self.ask_origin(asked, request, order, None, Why::UriMiss).await
            }
        }
    }

    /// Asks the origin: for a range, for the rest of what is partly here, or for the whole.
    async fn ask_origin(
        self: &Arc<Inner>,
        asked: &Arc<Asked>,
        request: Request<Body>,
        order: Order,
        found: Option<(Found, Option<HeaderMap>)>,
        why: Why,
    ) -> Answered {
        let found = match found {
            Some((found, _)) if self.let_go_of_hearsay(&found).await => None,
            found => found,
        };
        if asked.method == Method::GET {
            match &found {
                // Whether the client's own copy still holds takes a question and no byte of the body.
                Some((found, Some(_))) if policy::condition(&asked.ask(), &found.prepared.kept) == Condition::NotModified => {}
                Some((found, _)) if found.entry.object.is_none() => {
                    if let Some(wanted) = partial::missing(&asked.ask(), found) {
                        if let Some(answered) = self.come_along(asked, Some(found), why).await {
                            return answered;
                        }
                        return self.complete(asked, request, order, found.clone(), wanted, why).await;
                    }
                }
                None if asked.headers.contains_key(RANGE) => {
                    if let Some(answered) = self.come_along(asked, None, why).await {
                        return answered;
                    }
                    return self.fetch_range(asked, request, order, why).await;
                }
                _ => {}
            }
        }
        let company = self.company(asked, found.is_some());
        Box::pin(self.fetch(asked, request, order, found, why, company)).await
    }

    /// The whole, for this client alone, in the codings that he named, past the store.
    pub(crate) async fn fetch_alone(self: &Arc<Inner>, asked: &Arc<Asked>, order: Order, why: Why) -> Answered {
        Box::pin(self.fetch(asked, bare(asked), order, None, why, Company::OwnCoding)).await
    }

    /// Whether this request may share a fetch with others.
    fn company(&self, asked: &Asked, stored: bool) -> Company {
        let own_conditions = !stored && CONDITIONS.iter().any(|name| asked.headers.contains_key(name));
        let alone = asked.method != Method::GET
            || own_conditions
            || asked.headers.contains_key(AUTHORIZATION)
            || self.board.is_apart(&asked.target.key(), asked.headers.contains_key(COOKIE));
        if self.board.is_unkeepable(&asked.target.key()) {
            Company::OwnCoding
        } else if alone {
            Company::Alone
        } else {
            Company::Shared
        }
    }

    /// Which fetch this request may come along with.
    pub(crate) fn flight_key(&self, asked: &Asked, range: Option<Range<u64>>) -> FlightKey {
        let personal = asked.headers.contains_key(COOKIE) && !policy::is_guarded(&self.rules, asked.place);
        FlightKey { url: asked.target.key(), range, personal, kin: None }
    }

    async fn fetch(
        self: &Arc<Inner>,
        asked: &Arc<Asked>,
        request: Request<Body>,
        order: Order,
        found: Option<(Found, Option<HeaderMap>)>,
        why: Why,
        company: Company,
    ) -> Answered {
        let (found, conditions) = found.unzip();
        let conditions = conditions.flatten();
        let kin = if let Company::Kin(kin) = company { Some(kin) } else { None };
        let key = FlightKey { kin, ..self.flight_key(asked, None) };
        let url = key.url;
        // Another's fetch may have ended since nothing was found.
        let has_landed = || found.is_none() && why == Why::UriMiss && order.waits < ENDED && self.store.may_have(&url);
        let (flight, pilot) = match company {
            Company::Shared | Company::Again | Company::Kin(_) => {
                let Some(joined) = self.board.join_unless(key, true, has_landed) else {
                    let order = Order { waits: order.waits + 1, ..order };
                    return Box::pin(self.decide_and_act(asked, bare(asked), order)).await;
                };
                joined
            }
            Company::Alone | Company::OwnCoding => {
                let (flight, pilot) = self.board.alone(key, true);
                (flight, Some(pilot))
            }
        };
        let collapsed = pilot.is_none();
        let late = collapsed && flight.has_come();
        let lead = pilot.map(|pilot| {
            let own = found.is_none() && !company.is_shared();
            let request = outgoing(request, conditions.as_ref(), own, company == Company::OwnCoding);
            let validating = conditions.is_some();
            let keep = company != Company::OwnCoding;
            self.launch(pilot, Voyage { asked: Arc::clone(asked), request, found: found.clone(), order: order.clone(), validating, keep })
        });
        if collapsed {
            self.counters.collapsed.inc();
        }
        let stage = match self.word_or_stale(asked, &flight, found.as_ref()).await {
            Word::Of(stage) => stage,
            Word::Stale(answered) => return answered,
            Word::Silence => return self.no_answer(asked, found.as_ref(), Failure::Unreachable, None).await,
        };
        let again = |company| {
            Box::pin(self.fetch(asked, bare(asked), order.clone(), found.clone().map(|found| (found, conditions.clone())), why, company))
        };
        match stage {
            Stage::Live(_) | Stage::Stored(..) if late => {
                // What it brought is judged like any stored answer.
                flight.end().await;
                if order.waits >= ENDED {
                    return again(Company::Alone).await;
                }
                let order = Order { waits: order.waits + 1, ..order.clone() };
                Box::pin(self.decide_and_act(asked, bare(asked), order)).await
            }
            Stage::Live(live) if !self.suits(asked, &live, collapsed) => {
                let readable = live.meta.coding.as_ref().is_none_or(|names| coding::accepts(&asked.headers, names));
                if readable { again(company.after(asked, &live.meta)).await } else { self.fetch_alone(asked, order, why).await }
            }
            Stage::Live(live) => first_hand(&flight, !collapsed, (self.live(asked, &live, why, collapsed), why)),
            Stage::Stored(entry, outcome) => match self.arrived(asked, &entry, outcome, why, collapsed).await {
                Some(answered) => first_hand(&flight, !collapsed, answered),
                // Not to be shared, or not readable here: one more try, and then past the store.
                None if company.is_shared() => again(company.after(asked, &entry.meta)).await,
                None => self.fetch_alone(asked, order, why).await,
            },
            // It was the other one's device that asked for too much.
            Stage::Failed(_, Some(upstream::Error::Crowded(_))) if collapsed => again(Company::Alone).await,
            Stage::Failed(failure, error) => {
                if let Some(stale) = self.stale(asked, found.as_ref(), failure).await {
                    return stale;
                }
                match (lead, error) {
                    (Some(lead), None) => match lead.await {
                        Ok(Given::Answer(given)) => self.given(given, why),
                        Ok(_) => self.fetch_alone(asked, order, why).await,
                        Err(_) => self.no_answer(asked, None, failure, None).await,
                    },
                    (None, None) => again(Company::Alone).await,
                    (_, error) => self.no_answer(asked, None, failure, error).await,
                }
            }
            Stage::Broken(detail, _) if !company.is_shared() => {
                self.error(StatusCode::BAD_GATEWAY, "http_response_incomplete", &detail, false, why)
            }
            // Broken before this client got anything: one more try, on its own.
            Stage::Apart(_) | Stage::Asking | Stage::Broken(..) => match lead {
                Some(lead) => match lead.await {
                    Ok(Given::Answer(given)) => self.given(given, why),
                    Ok(_) => self.fetch_alone(asked, order, why).await,
                    Err(_) => Box::pin(self.fetch(asked, bare(asked), order, None, why, Company::Alone)).await,
                },
                None => again(company.apart(asked, &stage)).await,
            },
        }
    }

    /// The flight's first word, or what is stored where even a connection takes long and the rules allow it; the flight goes on.
    async fn word_or_stale(&self, asked: &Asked, flight: &Flight, found: Option<&Found>) -> Word {
        let mut word = pin!(self.first_word(asked, flight, found.is_some()));
        let early = tokio::select! {
            biased;
            word = word.as_mut() => Some(word),
            () = flight.approach.is_long(), if found.is_some() => None,
        };
        let word = match early {
            Some(word) => word,
            None => match self.stale(asked, found, Failure::Unreachable).await {
                Some(stale) => return Word::Stale(stale),
                None => word.await,
            },
        };
        word.map_or(Word::Silence, Word::Of)
    }

    /// The flight's first word; `None` when there is none, or when the line to it goes down while a stored answer is at hand.
    pub(crate) async fn first_word(&self, asked: &Asked, flight: &Flight, stored: bool) -> Option<Stage> {
        if !stored || self.upstream.is_in_house(&asked.target) {
            return flight.head().await;
        }
        tokio::select! {
            biased;
            stage = flight.head() => stage,
            () = self.link.becomes(link::State::Down) => None,
        }
    }

    /// Forwards without looking at the store; unsafe methods invalidate what they may have changed.
    pub(crate) async fn pass(self: &Arc<Inner>, asked: &Arc<Asked>, request: Request<Body>, order: Order, why: Why) -> Answered {
        let (requested, since) = (self.clock.now(), self.store.epoch());
        let mut response = match self.upstream.send(&asked.target, request, order.class).await {
            Ok(sent) => sent.response,
            Err(error) => return self.no_answer(asked, None, Failure::Unreachable, Some(error)).await,
        };
        policy::header::strip_hop_by_hop(response.headers_mut());
        for outdated in policy::invalidates(&asked.method, &asked.target, response.status(), response.headers()) {
            self.board.unlist(&outdated.key());
            self.outdate(&outdated.key()).await;
        }
        let mut said = Said { why, age: None, ttl: None, forwarded: Some(response.status()), stored: false, collapsed: false };
        if asked.method != Method::POST {
            self.say(response.headers_mut(), said);
            return (self.counters.relayed(response), why);
        }
        // POST may say that its answer is what a later GET would get (RFC 9110 section 9.3.3).
        match self.judge(&asked.ask(), &order, response, (requested, since)) {
            Judged::Apart(mut response, _) => {
                self.say(response.headers_mut(), said);
                (self.counters.relayed(response), why)
            }
            Judged::Keep(arrival) => {
                said.stored = true;
                let (flight, pilot) = self.board.alone(self.flight_key(asked, None), true);
                let inner = Arc::clone(self);
                // Its reader learns of a break by the tail.
                self.life.spawn(async move { drop(inner.land(*arrival, &order, &pilot).await) });
                match flight.head().await {
                    Some(Stage::Live(live)) => first_hand(&flight, true, (self.live_as(asked, &live, said), why)),
                    Some(Stage::Stored(entry, outcome)) => match self.arrived(asked, &entry, outcome, why, false).await {
                        Some(answered) => first_hand(&flight, true, answered),
                        None => {
                            self.error(StatusCode::BAD_GATEWAY, "proxy_internal_error", "the stored answer could not be read", false, why)
                        }
                    },
                    _ => self.error(StatusCode::BAD_GATEWAY, "http_response_incomplete", "the origin broke off", false, why),
                }
            }
        }
    }

    /// Whether an answer that is arriving is right for this request: its variant, in a coding that the client takes, and for a
    /// follower one that may be shared with it.
    pub(crate) fn suits(&self, asked: &Asked, live: &Live, follows: bool) -> bool {
        let readable = live.meta.coding.as_ref().is_none_or(|names| coding::accepts(&asked.headers, names));
        readable && (!follows || policy::may_share(&self.rules, &asked.ask(), &prepared::of_live(live, &self.rules).kept, &live.meta.vary))
    }

    /// The answer that is just arriving.
    pub(crate) fn live(&self, asked: &Asked, live: &Live, why: Why, collapsed: bool) -> Response<Body> {
        let said = Said { why, age: None, ttl: None, forwarded: Some(live.meta.status), stored: true, collapsed };
        self.live_as(asked, live, said)
    }

    pub(crate) fn live_as(&self, asked: &Asked, live: &Live, said: Said) -> Response<Body> {
        let prepared = prepared::of_live(live, &self.rules);
        let ask = asked.ask();
        let whole = live.part.as_ref().is_some_and(|part| live.total == Some(part.end - part.start)) && !asked.headers.contains_key(RANGE);
        let aged = live.meta.headers.contains_key(AGE).then(|| prepared.kept.age(self.clock.now()));
        let said = Said { age: aged, ..said };
        // What was to be of another version is not given of this one. (That it is what the client has already costs only bytes.)
        if let Some(failed) = self.failed(&ask, &prepared, said) {
            return failed;
        }
        let follow = |start, end| stream::follow(live, start, end);
        if let Some(part) = live.part.as_ref().filter(|_| !whole) {
            return self.one_part(&ask, &prepared, said, part.clone(), follow(0, Some(part.end - part.start)));
        }
        let known = live.total.is_some() && live.meta.status == StatusCode::OK;
        match if known { policy::part(&ask, &prepared.ready, prepared.kept.length) } else { Part::Whole } {
            Part::One(range) => self.one_part(&ask, &prepared, said, range.clone(), follow(range.start, Some(range.end))),
            _ => self.whole(&ask, &prepared, said, follow(0, live.total)),
        }
    }

    /// A stored answer that a flight has confirmed or brought. `None` when it does not fit this request.
    pub(crate) async fn arrived(&self, asked: &Asked, entry: &Arc<Entry>, outcome: Outcome, why: Why, collapsed: bool) -> Option<Answered> {
        let ask = asked.ask();
        let prepared = prepared::prepared(entry, &self.rules);
        let shared = collapsed && !policy::may_share(&self.rules, &ask, &prepared.kept, &entry.meta.vary);
        if shared || entry.meta.coding.as_ref().is_some_and(|names| !coding::accepts(ask.headers, names)) {
            return None;
        }
        let now = self.clock.now();
        let (age, ttl) = prepared.kept.age_and_ttl(now);
        let said = match outcome {
            Outcome::Confirmed => Said {
                why: Why::Revalidated,
                age: Some(age),
                ttl: Some(ttl),
                forwarded: Some(StatusCode::NOT_MODIFIED),
                stored: true,
                collapsed,
            },
            Outcome::Filled => Said { why, age: Some(age), ttl: None, forwarded: Some(entry.meta.status), stored: true, collapsed },
        };
        let answer = self.hit(&ask, entry, &prepared, said).await.ok()?;
        Some((answer, said.why))
    }

    /// What the origin sent for this request alone.
    pub(crate) fn given(&self, (mut response, reason): Answered, why: Why) -> Answered {
        let reason = if matches!(reason, Why::UriMiss | Why::Stale) { why } else { reason };
        let forwarded = Some(response.status());
        self.say(response.headers_mut(), Said { why: reason, age: None, ttl: None, forwarded, stored: false, collapsed: false });
        (response, reason)
    }

    /// The stored answer although asking failed, where the rules allow it.
    pub(crate) async fn stale(&self, asked: &Asked, found: Option<&Found>, failure: Failure) -> Option<Answered> {
        let found = found?;
        let line = self.line_to(&asked.target);
        let (age, ttl, why) = policy::on_failure(&self.rules, &asked.ask(), &found.prepared.kept, failure, line, self.clock.now())?;
        if found.is_outdated() && why != Why::Offline {
            return None;
        }
        if partial::missing(&asked.ask(), found).is_some() {
            return None;
        }
        let answer = self.hit(&asked.ask(), &found.entry, &found.prepared, Said::hit(why, age, ttl)).await.ok()?;
        Some((answer, why))
    }

    /// Nothing to give: a stale answer if the rules allow one, else an error that says whose side it was.
    pub(crate) async fn no_answer(
        &self,
        asked: &Asked,
        found: Option<&Found>,
        failure: Failure,
        error: Option<upstream::Error>,
    ) -> Answered {
        if let Some(stale) = self.stale(asked, found, failure).await {
            return stale;
        }
        let offline = self.line_to(&asked.target) == Line::Down;
        match error {
            Some(error) => {
                let mut answered = self.error(error.status(), error.proxy_status(), &error.to_string(), offline, Why::UriMiss);
                if let Some(trouble) = answered.0.extensions_mut().get_mut::<Trouble>() {
                    trouble.cause = Cause::Origin(error);
                }
                answered
            }
            None => self.error(
                StatusCode::GATEWAY_TIMEOUT,
                "destination_unavailable",
                "the line is down and the stored copy may not be shown",
                offline,
                Why::UriMiss,
            ),
        }
    }

    fn refuse(&self, asked: &Asked, why: Why) -> Answered {
        let mut response = Response::new(Body::Empty);
        *response.status_mut() = StatusCode::GATEWAY_TIMEOUT;
        self.say(response.headers_mut(), Said { why, age: None, ttl: None, forwarded: None, stored: false, collapsed: false });
        let detail = "only a stored copy was asked for, and there is none".into();
        response.extensions_mut().insert(Trouble { detail, cause: Cause::Unstored, offline: self.line_to(&asked.target) == Line::Down });
        (response, why)
    }

    pub(crate) fn error(&self, status: StatusCode, kind: &str, detail: &str, offline: bool, why: Why) -> Answered {
        let mut response = Response::new(Body::Empty);
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(PROXY_STATUS, policy::header::proxy_status(&self.name, kind, Some(detail)));
        self.say(headers, Said { why, age: None, ttl: None, forwarded: None, stored: false, collapsed: false });
        response.extensions_mut().insert(Trouble { detail: detail.into(), cause: Cause::Status, offline });
        (response, why)
    }
}

/// The request without what tells who asks, and whose order it is then.
fn in_no_name(asked: &Asked, order: &Order, found: &Found) -> (Arc<Asked>, Order) {
    let source = if asked.place.account { found.entry.meta.source } else { order.source };
    (Arc::new(asked.without_cookie()), Order { source, ..order.clone() })
}

/// An answer with the fields of it that are not kept, where it is for the one who asked for it.
pub(crate) fn first_hand(flight: &Flight, leads: bool, mut answered: Answered) -> Answered {
    if leads {
        answered.0.headers_mut().extend(flight.withheld());
    }
    answered
}
