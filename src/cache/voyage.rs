//! One flight's errand at the origin: what is asked, what the answer means for the store, and who gets it.
//!
//! Runs as a task of its own. What may be kept is landed for everybody; what belongs to the one who asked goes back to him
//! alone; what is stored and has become doubtful is marked, not removed: it is asked about before it is used again, and the
//! class still has it when the line is down.

use crate::base::body::Body;
use crate::base::clock::Time;
use crate::base::crowd::Asker;
use crate::base::target::UrlKey;
use crate::base::wire::Interim;
use crate::cache::coding::{self, Coded};
use crate::cache::fill::{Judged, Order, Toll};
use crate::cache::flight::{Cut, Ground, Outcome, Pilot, Stage};
use crate::cache::serve::Answered;
use crate::cache::{Asked, Found, Inner, OUTDATED, prepared, stream};
use crate::link::foreground::Raise;
use crate::link::{self, Class};
use crate::policy::directive::Directives;
use crate::policy::freshen::HeadEffect;
use crate::policy::{self, Failure, Kind, Why};
use crate::store::{Entry, Error, Meta, Source, Way};
use crate::upstream::{self, Approach};
use http::header::{
    ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_LENGTH, COOKIE, DATE, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_RANGE,
    IF_UNMODIFIED_SINCE, RANGE,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use std::sync::Arc;
use tokio::sync::oneshot;
use tokio_util::sync::CancellationToken;

/// The client's own conditions.
pub(crate) const CONDITIONS: [HeaderName; 4] = [IF_NONE_MATCH, IF_MODIFIED_SINCE, IF_MATCH, IF_UNMODIFIED_SINCE];

/// What a flight is to do.
pub(crate) struct Voyage {
    pub(crate) asked: Arc<Asked>,
    pub(crate) request: Request<Body>,
    pub(crate) found: Option<Found>,
    pub(crate) order: Order,
    /// What goes upstream is a question about `found`, not about the client's copy.
    pub(crate) validating: bool,
    /// May the answer be kept?
    pub(crate) keep: bool,
}

/// What belongs to the one who asked.
pub(crate) enum Given {
    /// The origin's answer.
    Answer(Answered),
    /// Nothing that is for this client: his own question is to go to the origin, past the store.
    OwnCoding,
    /// The same, where the rest of what is kept came and there is no room for it.
    NoRoom,
    /// The same, where the rest of what is kept is not to be had this time.
    NotNow,
}

impl Inner {
    /// Starts a flight's task; what belongs to the one who asked comes back by the channel.
    pub(crate) fn launch(self: &Arc<Inner>, pilot: Pilot, voyage: Voyage) -> oneshot::Receiver<Given> {
        let (lead, given) = oneshot::channel();
        let inner = Arc::clone(self);
        self.life.spawn(async move { inner.fly(&pilot, lead, voyage).await });
        given
    }

    async fn fly(self: Arc<Inner>, pilot: &Pilot, lead: oneshot::Sender<Given>, voyage: Voyage) {
        let Voyage { asked, request, found, order, validating, keep } = voyage;
        let (requested, since) = (self.clock.now(), self.store.epoch());
        let mut request = order.raised_by(request, &pilot.urgent);
        request.extensions_mut().insert(pilot.approach.clone());
        let sent = match self.send(&asked, request, &order, found.is_some()).await {
            Ok(sent) => sent,
            Err(error) => return pilot.publish(Stage::Failed(Failure::Unreachable, Some(error))),
        };
        let mut response = sent.response;
        policy::header::strip_hop_by_hop(response.headers_mut());
        let status = response.status();
        if let (StatusCode::NOT_MODIFIED, true, Some(found)) = (status, validating, &found) {
            if !policy::freshen::confirms(&found.entry.meta.headers, response.headers()) {
                // It speaks of another version than ours: whoever waits asks again, without conditions.
                self.outdate(&asked.target.key()).await;
                return pilot.publish(Stage::Apart(Ground::Answer));
            }
            return match self.confirm(&asked, &found.entry, response.headers(), (requested, pilot)).await {
                Ok(entry) => {
                    self.outdate_if_overtaken(&asked, pilot).await;
                    pilot.publish(Stage::Stored(entry, Outcome::Confirmed));
                }
                Err(error) => pilot.publish(Stage::Broken(error.to_string().into(), Cut::Store)),
            };
        }
        // Whoever asked may have gone; then nobody needs this answer.
        let give = |response, why| drop(lead.send(readable(&asked, self.counters.relayed(response), why)));
        if let (Some(_), true) = (&found, is_failure(status)) {
            give(response, Why::Stale);
            return pilot.publish(Stage::Failed(Failure::ServerError(status), None));
        }
        if asked.method == Method::HEAD {
            self.head_updates(&asked, found.as_ref(), status, &response.headers().clone(), (requested, pilot)).await;
            self.outdate_if_overtaken(&asked, pilot).await;
            give(response, Why::UriMiss);
            return pilot.publish(Stage::Apart(Ground::Answer));
        }
        if !keep || matches!(status, StatusCode::NOT_MODIFIED | StatusCode::PARTIAL_CONTENT) {
            give(response, Why::UriMiss);
            return pilot.publish(Stage::Apart(Ground::Answer));
        }
        if is_nothing(status) && self.is_pinned_here(&asked.target.key()).await {
            self.outdate(&asked.target.key()).await;
            give(response, Why::UriMiss);
            return pilot.publish(Stage::Apart(Ground::Answer));
        }
        match self.judge(&asked.ask(), &order, response, (requested, since)) {
            // Told by `land`: readers by the tail, the rest by the stage.
            Judged::Keep(arrival) => {
                self.look_ahead(&asked, &order, &arrival);
                drop(self.land(*arrival, &order, pilot).await);
            }
            Judged::Apart(response, why) => {
                // A personal answer to one device says nothing about the copy that everybody may have, nor does a failure.
                let cause = self.cause(&asked);
                let personal = matches!(why, Why::Cookie | Why::SetCookie | Why::Authorization | Why::Personal | Why::Account)
                    || cause == Ground::Asker;
                if found.is_some() && !personal && !status.is_server_error() && status != StatusCode::TOO_MANY_REQUESTS {
                    self.outdate(&asked.target.key()).await;
                }
                give(response, why);
                pilot.publish(Stage::Apart(cause));
            }
        }
    }

    /// Where it lies that an answer is one asker's alone. What somebody is told who has a cookie says nothing about the others.
    pub(crate) fn cause(&self, asked: &Asked) -> Ground {
        let cookie = asked.headers.contains_key(COOKIE) && policy::is_guarded(&self.rules, asked.place);
        if cookie { Ground::Asker } else { Ground::Answer }
    }

    /// Sends, and sends once more when the line may be at fault and a stored answer waits: two failures make a verdict.
    async fn send(&self, asked: &Asked, request: Request<Body>, order: &Order, stored: bool) -> Result<upstream::Sent, upstream::Error> {
        let repeatable = stored && self.rules.kind == Kind::School && matches!(request.body(), Body::Empty);
        let again = repeatable.then(|| copy_head(&request));
        let error = match self.upstream.send(&asked.target, request, order.class).await {
            Ok(sent) => return Ok(sent),
            Err(error) => error,
        };
        match again {
            Some(request) if error.is_line() && self.link.state() != link::State::Down => {
                self.upstream.send(&asked.target, request, order.class).await
            }
            _ => Err(error),
        }
    }

    /// A stored answer was confirmed: its fields are brought up to date (RFC 9111 section 4.3.4). When they say that it is not to
    /// be kept any more, this request still gets what was confirmed, and from then on it is asked about.
    async fn confirm(
        &self,
        asked: &Asked,
        entry: &Arc<Entry>,
        newer: &HeaderMap,
        (requested, pilot): (Time, &Pilot),
    ) -> Result<Arc<Entry>, Error> {
        let guarded = policy::is_guarded(&self.rules, asked.place);
        let mut meta = entry.meta.clone();
        meta.headers = policy::freshen::freshen_for(guarded, &meta.headers, newer);
        meta.requested = requested;
        meta.received = self.clock.now();
        if !newer.contains_key(DATE) {
            meta.headers.remove(DATE);
        }
        prepared::date(&mut meta.headers, meta.received);
        // A doubt that arose since it was asked is not taken away, not even for a moment.
        meta.flags = if pilot.is_overtaken() { meta.flags | OUTDATED } else { meta.flags & !OUTDATED };
        let admitted = policy::admit(&self.rules, &asked.as_get().ask(), meta.status, &meta.headers, meta.received);
        // Another Vary than the one it was filed under: it answers this request, and whom else must be asked each time.
        let refiled = match &admitted {
            policy::Admit::Store { vary } => !same_names(vary, &meta.vary),
            policy::Admit::No(why) => *why == Why::VaryStar,
        };
        match admitted {
            // What one person was told is written down for nobody.
            policy::Admit::No(_) if guarded => {
                self.outdate(&asked.target.key()).await;
                Ok(Arc::clone(entry))
            }
            policy::Admit::No(Why::NoStore | Why::Private) => self.renew_outdated(entry, meta, asked).await,
            _ if refiled => self.renew_outdated(entry, meta, asked).await,
            _ => self.store.renew(entry, meta).await,
        }
    }

    /// Writes new fields, and with them that they must be asked about before they are used again: not for a moment is it otherwise.
    async fn renew_outdated(&self, entry: &Arc<Entry>, meta: Meta, asked: &Asked) -> Result<Arc<Entry>, Error> {
        let entry = self.store.renew(entry, Meta { flags: meta.flags | OUTDATED, ..meta }).await?;
        self.outdate(&asked.target.key()).await;
        Ok(entry)
    }

    /// HEAD may confirm a stored GET, or tell that it is outdated (RFC 9111 section 4.3.5).
    async fn head_updates(&self, asked: &Asked, found: Option<&Found>, status: StatusCode, newer: &HeaderMap, asking: (Time, &Pilot)) {
        let Some(found) = found else { return };
        // A page that is there again says nothing about the 410 of yesterday but that it is over.
        let stored = found.entry.meta.status;
        let effect = if status == StatusCode::OK && !matches!(stored, StatusCode::OK | StatusCode::PARTIAL_CONTENT) {
            HeadEffect::Forget
        } else {
            policy::freshen::on_head(&found.entry.meta.headers, status, newer, Some(found.entry.length))
        };
        let done = match effect {
            HeadEffect::Update => self.confirm(asked, &found.entry, newer, asking).await.map(drop),
            HeadEffect::Forget => {
                self.outdate(&UrlKey::of(&found.entry.meta.url)).await;
                Ok(())
            }
            HeadEffect::Nothing => Ok(()),
        };
        if let Err(error) = done {
            tracing::warn!(%error, "a stored answer could not be updated from HEAD");
        }
    }

    /// What is stored under a URL may be outdated: it is asked about before it is used again. Pins stay, and so does the copy for
    /// the day when the line is down.
    pub(crate) async fn outdate(&self, url: &UrlKey) {
        self.board.note(*url);
        if let Err(error) = self.mark(url).await {
            tracing::warn!(%error, "an outdated answer could not be marked");
        }
    }

    /// An answer that was asked for before its URL became doubtful takes no doubt away (RFC 9111 section 4.4).
    pub(crate) async fn outdate_if_overtaken(&self, asked: &Asked, pilot: &Pilot) {
        if pilot.is_overtaken() {
            self.outdate(&asked.target.key()).await;
        }
    }

    /// Whether a pack keeps a variant of this: an answer that there is nothing does not take its place. A site may say so for one bad
    /// night, and the copy is for the day when the line is down; when it is really gone, the pack lets it go.
    pub(crate) async fn is_pinned_here(&self, url: &UrlKey) -> bool {
        self.store.may_have(url)
            && self.store.find(url).await.is_ok_and(|all| all.iter().any(|entry| entry.pinned && entry.meta.status.is_success()))
    }

    async fn mark(&self, url: &UrlKey) -> Result<(), Error> {
        if !self.store.may_have(url) {
            return Ok(());
        }
        for entry in self.store.find(url).await?.iter().filter(|entry| entry.meta.flags & OUTDATED == 0) {
            let mut meta = entry.meta.clone();
            meta.flags |= OUTDATED;
            self.store.renew(entry, meta).await?;
        }
        Ok(())
    }

    /// Refreshes a stale answer behind the one that was just served (RFC 5861 section 3).
    pub(crate) fn refresh_behind(self: &Arc<Inner>, asked: &Arc<Asked>, found: &Found, order: &Order) {
        // The node asks in its own name: what comes back is for everybody.
        let guarded = policy::is_guarded(&self.rules, asked.place);
        let asked = Arc::new(if guarded { asked.as_get().without_cookie() } else { asked.as_get() });
        let (_, pilot) = self.board.join(self.flight_key(&asked, None), false);
        let Some(pilot) = pilot else { return };
        let source = if asked.place.account { found.entry.meta.source } else { order.source };
        let conditions = policy::freshen::conditions(&found.prepared.kept);
        let request = outgoing(bare(&asked), Some(&conditions), false, false);
        drop(self.launch(
            pilot,
            Voyage {
                asked,
                request,
                found: Some(found.clone()),
                order: Order { class: Class::Background, source, ..order.clone() },
                validating: true,
                keep: true,
            },
        ));
    }
}

/// An answer for one client alone, in a coding that he can read: we asked for more codings than he may know.
pub(crate) fn readable(asked: &Asked, mut response: Response<Body>, why: Why) -> Given {
    let Coded::Undo(how) = coding::coded(response.headers(), false) else { return Given::Answer((response, why)) };
    let names = response.headers().get(CONTENT_ENCODING).and_then(|value| value.to_str().ok()).unwrap_or_default();
    if coding::accepts(&asked.headers, &names.to_ascii_lowercase()) || asked.method == Method::HEAD {
        return Given::Answer((response, why));
    }
    if Directives::read(response.headers()).no_transform {
        return Given::OwnCoding;
    }
    let body = std::mem::take(response.body_mut());
    let headers = response.headers_mut();
    headers.remove(CONTENT_ENCODING);
    headers.remove(CONTENT_LENGTH);
    crate::cache::prepared::weaken(headers);
    *response.body_mut() = stream::decoded(body, how);
    Given::Answer((response, why))
}

impl Order {
    /// For a device that waits.
    pub(crate) fn for_client(way: Way) -> Order {
        Order {
            source: Source::Client,
            way,
            class: Class::Interactive,
            toll: Toll::default(),
            max_bytes: None,
            moved: Arc::default(),
            cancel: CancellationToken::new(),
            waits: 0,
        }
    }
}

pub(crate) fn is_failure(status: StatusCode) -> bool {
    matches!(status.as_u16(), 500 | 502 | 503 | 504)
}

/// Whether an answer says that there is nothing.
pub(crate) fn is_nothing(status: StatusCode) -> bool {
    matches!(status, StatusCode::NOT_FOUND | StatusCode::GONE)
}

/// The request as it goes to the origin. `conditions`: about the stored answer; `own`: the client's conditions go along.
pub(crate) fn outgoing(request: Request<Body>, conditions: Option<&HeaderMap>, own: bool, own_coding: bool) -> Request<Body> {
    let (mut head, body) = request.into_parts();
    head.headers.remove(RANGE);
    head.headers.remove(IF_RANGE);
    if !own {
        for name in CONDITIONS {
            head.headers.remove(name);
        }
    }
    if let Some(conditions) = conditions {
        head.headers.extend(conditions.clone());
    }
    if own_coding {
        head.headers.entry(ACCEPT_ENCODING).or_insert(HeaderValue::from_static("identity"));
    } else {
        head.headers.insert(ACCEPT_ENCODING, coding::ASKED);
    }
    Request::from_parts(head, body)
}

/// The same request once more, without body and listeners.
pub(crate) fn bare(asked: &Asked) -> Request<Body> {
    let mut request = Request::new(Body::Empty);
    *request.method_mut() = asked.method.clone();
    *request.headers_mut() = asked.headers.clone();
    request.headers_mut().remove(CONTENT_LENGTH);
    if let Some(asker) = asked.asker {
        request.extensions_mut().insert(asker);
    }
    request
}

/// Whether two answers vary by the same fields. By the coding a body that is kept decoded does not vary any more.
fn same_names(one: &[(Box<str>, Box<[u8]>)], other: &[(Box<str>, Box<[u8]>)]) -> bool {
    let names = |vary: &[(Box<str>, Box<[u8]>)]| {
        vary.iter().map(|(name, _)| name.to_ascii_lowercase()).filter(|name| name != ACCEPT_ENCODING.as_str()).collect::<Vec<_>>()
    };
    names(one) == names(other)
}

fn copy_head(request: &Request<Body>) -> Request<Body> {
    let mut copy = Request::new(Body::Empty);
    *copy.method_mut() = request.method().clone();
    *copy.headers_mut() = request.headers().clone();
    if let Some(interim) = request.extensions().get::<Interim>() {
        copy.extensions_mut().insert(interim.clone());
    }
    if let Some(raise) = request.extensions().get::<Raise>() {
        copy.extensions_mut().insert(raise.clone());
    }
    if let Some(asker) = request.extensions().get::<Asker>() {
        copy.extensions_mut().insert(*asker);
    }
    if let Some(approach) = request.extensions().get::<Approach>() {
        copy.extensions_mut().insert(approach.clone());
    }
    copy
}
