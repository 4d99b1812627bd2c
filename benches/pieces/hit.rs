//! A hit from memory: the address read, the store asked, the policy asked, the head made. What is left out is the socket and HTTP's
//! framing.

use crate::kit;
use crate::pieces::{Operation, decide};
use crate::stock::{self, Stock};
use bulak::base::body::Body;
use bulak::base::target::Target;
use bulak::base::unit::Bytes as Size;
use bulak::cache::{Cache, Query, Settings, Way};
use bulak::link::{self, Link};
use bulak::store;
use bulak::upstream::{self, Upstream};
use http::{HeaderMap, HeaderName, HeaderValue, Request, StatusCode, header};
use std::hint::black_box;

const URL: &str = "http://assets.school.test/media/cover.0123456789ab.png";
const LENGTH: usize = 10 << 10;
const TAG: HeaderValue = HeaderValue::from_static("\"v1\"");
/// Largest decoded body; nothing here is coded.
const DECODED_MAX: u64 = 1 << 20;

pub(super) fn whole(_: u64) -> Operation {
    hit(None, StatusCode::OK)
}

pub(super) fn range(_: u64) -> Operation {
    hit(Some((header::RANGE, HeaderValue::from_static("bytes=1024-2047"))), StatusCode::PARTIAL_CONTENT)
}

pub(super) fn unmodified(_: u64) -> Operation {
    hit(Some((header::IF_NONE_MATCH, TAG)), StatusCode::NOT_MODIFIED)
}

fn hit(more: Option<(HeaderName, HeaderValue)>, wanted: StatusCode) -> Operation {
    let folder = stock::folder();
    let settings = store::Settings { index_cache: Size(0), ..stock::settings(folder.path().join("store"), Size::gib(1)) };
    let stock = Stock::open_still(settings);
    let cache = cache(&stock);
    let mut meta = stock::meta(URL, "image/png", stock.clock.now());
    meta.headers.insert(header::ETAG, TAG);
    let body = kit::noise(1, LENGTH);
    stock.runtime.block_on(stock::put(&stock.store, meta, [body.into()], LENGTH as u64)).expect("room");
    let mut asked = decide::asked();
    asked.extend(more);
    // Into memory, if it is not there.
    let first = stock.runtime.block_on(cache.answer(query(&asked)));
    assert_eq!(first.status(), wanted);
    Box::new(move || {
        // The folder is kept as long as it is used.
        let _here = (&folder, &stock);
        let answer = cache.answer_now(query(black_box(&asked))).expect("it is in memory");
        assert_eq!(black_box(answer).status(), wanted);
    })
}

fn query(asked: &HeaderMap) -> Query {
    let mut request = Request::new(Body::Empty);
    *request.headers_mut() = asked.clone();
    Query { target: Target::parse(URL).expect("a URL"), request, way: Way::Http }
}

fn cache(stock: &Stock) -> Cache {
    let _within = stock.runtime.enter();
    let Stock { store, clock, metrics, life, .. } = stock;
    let link = Link::new(link::Settings::default(), clock.clone(), life, metrics);
    let upstream = Upstream::new(upstream::Settings::default(), clock.clone(), link.clone(), life, metrics).expect("the system's roots");
    let settings = Settings {
        rules: decide::rules(),
        banner: false,
        gzip: false,
        name: String::from("bulak"),
        decoded_max: DECODED_MAX,
        look_ahead: false,
    };
    Cache::new(settings, clock.clone(), life, metrics, store.clone(), upstream, link)
}
