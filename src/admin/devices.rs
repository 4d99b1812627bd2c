//! Routes for devices: PAC and WPAD, how to connect, the CA's downloads, the check, the sheet, privacy, the captive portal API.
//! Everybody on the LAN may read them. They only choose and label: what the pages say is the portal's.

use crate::admin::Parts;
use crate::admin::told::{self, Told, failed};
use crate::base::problem::Problem;
use crate::portal::check::{Check, Enrolled, cache_sign, trust_sign};
use crate::portal::connect::{Connect, Sheet};
use crate::portal::fleet::{Files, Fleet};
use crate::portal::pac::{self, Pac};
use crate::portal::privacy::Privacy;
use crate::portal::{Arrival, Door, Frame, Place, Signs, System, profile};
use axum::Router;
use axum::extract::{FromRequestParts, Path, Query, State};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use http::request::Parts as Head;
use http::{HeaderValue, StatusCode, header};
use serde::Deserialize;
use serde_json::json;
use std::convert::Infallible;

/// The routes.
pub(super) fn routes() -> Router<Parts> {
    Router::new()
        .route("/proxy.pac", get(pac_file))
        .route("/wpad.dat", get(pac_file))
        .route("/connect", get(connect))
        .route("/connect/{system}", get(connect_system))
        .route("/ca.crt", get(ca_der))
        .route("/ca.pem", get(ca_pem))
        .route("/ca.mobileconfig", get(ca_profile))
        .route("/sheet", get(sheet))
        .route("/fleet", get(fleet))
        .route("/fleet/{file}", get(fleet_file))
        .route("/check", get(check))
        .route("/check.svg", get(check_sign))
        .route("/enrolled", get(enrolled))
        .route("/enrolled.svg", get(enrolled_sign))
        .route("/privacy", get(privacy))
        .route("/captive", get(captive))
}

/// By which door a request came. None is known where no listener told: then it is that of the web port.
#[derive(Clone, Copy)]
struct Came(Option<Arrival>);

impl<S: Send + Sync> FromRequestParts<S> for Came {
    type Rejection = Infallible;

    async fn from_request_parts(head: &mut Head, _: &S) -> Result<Came, Infallible> {
        Ok(Came(head.extensions.get::<Arrival>().copied()))
    }
}

impl Came {
    fn door(self) -> Door {
        self.0.map(|arrival| arrival.door).unwrap_or_default()
    }
}

/// Where a device that came so reaches us.
pub(super) fn place(parts: &Parts, arrival: Option<Arrival>) -> Place {
    let local = arrival.map(|arrival| arrival.local);
    Place { proxy: parts.doors.proxy_for(local), web: parts.doors.web_for(local), name: parts.reach.local.best() }
}

async fn pac_file(State(parts): State<Parts>, came: Came) -> Response {
    let enrol = parts.reach.enrol.load();
    let secure = enrol.secure_for(came.0.map(|arrival| arrival.client.ip()));
    let proxy = place(&parts, came.0).proxy;
    let text = Pac { proxy, secure, zone: &parts.reach.zone, names: &parts.reach.names }.text();
    ([(header::CONTENT_TYPE, pac::CONTENT_TYPE)], text).into_response()
}

async fn connect(State(parts): State<Parts>, came: Came, told: Told) -> Result<Response, Problem> {
    let system = System::detect(told.agent());
    let mut answer = connect_page(&parts, came, &told, "/connect", system)?;
    answer.headers_mut().insert(header::VARY, HeaderValue::from_static("Cookie, Accept-Language, User-Agent"));
    Ok(answer)
}

async fn connect_system(State(parts): State<Parts>, came: Came, told: Told, Path(slug): Path<String>) -> Result<Response, Problem> {
    let system = System::from_slug(&slug).ok_or_else(|| {
        Problem::new(StatusCode::NOT_FOUND, "portal.unknown_system", "there are no steps for this system", "see /connect")
    })?;
    connect_page(&parts, came, &told, &format!("/connect/{slug}"), Some(system))
}

fn connect_page(parts: &Parts, came: Came, told: &Told, path: &str, system: Option<System>) -> Result<Response, Problem> {
    let (place, enrol, renamed) = (place(parts, came.0), parts.reach.enrol.load(), parts.reach.local.renamed());
    let page = Connect {
        frame: Frame::new(told.language, path, &parts.reach.title),
        system,
        place: &place,
        authority: enrol.authority.as_deref(),
        renamed: renamed.as_deref(),
    };
    Ok(told.page(page.render().map_err(failed)?))
}

async fn sheet(State(parts): State<Parts>, came: Came, told: Told) -> Result<Response, Problem> {
    let (place, enrol) = (place(&parts, came.0), parts.reach.enrol.load());
    let frame = Frame::new(told.language, "/sheet", &parts.reach.title);
    Ok(told.page(Sheet { frame, place: &place, authority: enrol.authority.as_deref() }.render().map_err(failed)?))
}

async fn privacy(State(parts): State<Parts>, told: Told) -> Result<Response, Problem> {
    let (enrol, frame) = (parts.reach.enrol.load(), Frame::new(told.language, "/privacy", &parts.reach.title));
    Ok(told.page(Privacy { frame, opened: &enrol.opened }.render().map_err(failed)?))
}

fn files(parts: &Parts, came: Came) -> Option<Files> {
    let enrol = parts.reach.enrol.load();
    Files::new(&place(parts, came.0), &parts.reach.zone, enrol.authority.as_ref().map(|authority| authority.fingerprint()))
}

async fn fleet(State(parts): State<Parts>, came: Came, told: Told) -> Result<Response, Problem> {
    let files = files(&parts, came);
    let frame = Frame::new(told.language, "/fleet", &parts.reach.title);
    Ok(told.page(Fleet { frame, files: files.as_ref() }.render().map_err(failed)?))
}

async fn fleet_file(State(parts): State<Parts>, came: Came, Path(name): Path<String>) -> Result<Response, Problem> {
    let missing = || Problem::new(StatusCode::NOT_FOUND, "portal.no_file", "there is no such file", "see /fleet");
    let files = files(&parts, came).ok_or_else(missing)?;
    let (kind, text) = match name.as_str() {
        "bulak.json" => ("application/json", files.policy),
        "bulak.ps1" => ("text/plain; charset=utf-8", files.powershell),
        "bulak.sh" => ("text/plain; charset=utf-8", files.environment.ok_or_else(missing)?),
        "wpad.txt" => ("text/plain; charset=utf-8", files.wpad),
        _ => return Err(missing()),
    };
    Ok(([(header::CONTENT_TYPE, kind.to_owned()), (header::CONTENT_DISPOSITION, format!("attachment; filename=\"{name}\""))], text)
        .into_response())
}

fn no_ca() -> Problem {
    Problem::new(StatusCode::NOT_FOUND, "portal.no_ca", "this school has no certificate of its own", "none is needed to use the cache")
}

async fn ca_der(State(parts): State<Parts>) -> Result<Response, Problem> {
    let authority = parts.reach.enrol.load().authority.clone().ok_or_else(no_ca)?;
    Ok(([(header::CONTENT_TYPE, "application/x-x509-ca-cert")], authority.certificate_der().to_vec()).into_response())
}

async fn ca_pem(State(parts): State<Parts>) -> Result<Response, Problem> {
    let authority = parts.reach.enrol.load().authority.clone().ok_or_else(no_ca)?;
    let fields = [(header::CONTENT_TYPE, "application/x-pem-file"), (header::CONTENT_DISPOSITION, "attachment; filename=\"ca.pem\"")];
    Ok((fields, authority.certificate_pem()).into_response())
}

async fn ca_profile(State(parts): State<Parts>, came: Came, told: Told) -> Result<Response, Problem> {
    let authority = parts.reach.enrol.load().authority.clone().ok_or_else(no_ca)?;
    let pac = place(&parts, came.0).by_number("/proxy.pac");
    let text = profile::text(&authority, &parts.reach.title, pac.as_deref(), told.language);
    let fields =
        [(header::CONTENT_TYPE, profile::CONTENT_TYPE), (header::CONTENT_DISPOSITION, "attachment; filename=\"bulak.mobileconfig\"")];
    Ok((fields, text).into_response())
}

/// What the check's pages and pictures carry along.
#[derive(Deserialize)]
struct Look {
    /// The page's number, 16 hex digits.
    v: Option<String>,
    /// How often it has looked.
    n: Option<u8>,
}

impl Look {
    fn page(&self) -> Option<u64> {
        self.v.as_deref().filter(|text| text.len() == 16).and_then(|text| u64::from_str_radix(text, 16).ok())
    }
}

async fn check(State(parts): State<Parts>, came: Came, told: Told, Query(look): Query<Look>) -> Result<Response, Problem> {
    let (enrol, page) = (parts.reach.enrol.load(), look.page().unwrap_or_else(rand::random));
    let known = came.0.is_some_and(|arrival| (enrol.enrolled)(arrival.client.ip().to_canonical()));
    let (seen, door) = (parts.reach.seen.of(page), came.door());
    let signs = Signs { proxy: seen.proxy || door != Door::Web, trusted: seen.trusted || door == Door::Trusted };
    let check = Check {
        frame: Frame::new(told.language, "/check", &parts.reach.title),
        page,
        looks: look.n.unwrap_or_default(),
        signs,
        known,
        trust_zone: enrol.authority.is_some().then_some(parts.reach.zone.as_str()),
    };
    let policy = told::policy(&check.pictures());
    let mut answer = told.page(check.render().map_err(failed)?);
    if let Ok(policy) = HeaderValue::from_str(&policy) {
        answer.headers_mut().insert(header::CONTENT_SECURITY_POLICY, policy);
    }
    Ok(answer)
}

async fn check_sign(State(parts): State<Parts>, came: Came, told: Told, Query(look): Query<Look>) -> Response {
    if let Some(page) = look.page().filter(|_| came.door() != Door::Web) {
        parts.reach.seen.note(page, Signs { proxy: true, trusted: false });
    }
    picture(cache_sign(came.door(), told.language))
}

async fn enrolled_sign(State(parts): State<Parts>, came: Came, told: Told, Query(look): Query<Look>) -> Response {
    if let Some(page) = look.page().filter(|_| came.door() == Door::Trusted) {
        parts.reach.seen.note(page, Signs { proxy: true, trusted: true });
    }
    picture(trust_sign(came.door(), told.language))
}

/// Whoever reads this under our CA trusts it. The connection's own end takes note of that (`proxy`); here it is only said.
async fn enrolled(State(parts): State<Parts>, came: Came, told: Told) -> Result<Response, Problem> {
    let trusted = came.door() == Door::Trusted;
    let frame = Frame::new(told.language, "/enrolled", &parts.reach.title);
    let mut answer = told.page(Enrolled { frame, trusted }.render().map_err(failed)?);
    if !trusted {
        // A script that asks must not take the page for a proof.
        *answer.status_mut() = StatusCode::FORBIDDEN;
    }
    Ok(answer)
}

fn picture(text: String) -> Response {
    ([(header::CONTENT_TYPE, "image/svg+xml")], text).into_response()
}

/// RFC 8908: nobody is held captive; the page about this network is the one that connects a device.
async fn captive(State(parts): State<Parts>, came: Came) -> Response {
    let page = match came.door() {
        Door::Trusted => Some(format!("https://proxy.{}/connect", parts.reach.zone)),
        Door::Web | Door::Proxy => place(&parts, came.0).by_number("/connect"),
    };
    let mut document = json!({ "captive": false });
    if let Some(page) = page {
        document["venue-info-url"] = json!(page);
    }
    let fields = [(header::CONTENT_TYPE, "application/captive+json"), (header::CACHE_CONTROL, "private")];
    (fields, document.to_string()).into_response()
}
