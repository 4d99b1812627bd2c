//! Every decoder of bytes from outside, by name, and what must hold of it whatever it is given. Used by `cargo test --test fuzz` and
//! by the wrapper for cargo-fuzz in `cargo/`.
//!
//! A target panics when something does not hold: no panic of the decoder itself, what is written is read back the same, what is done
//! twice is done once, how bytes are cut into pieces does not matter, what comes out is bounded by what went in.

use bulak::base::target::Target;
use bulak::hub::Enrolled;
use bulak::hub::accept;
use bulak::hub::roll::Roll;
use bulak::report::sign::Key;
use bulak::report::{batch, schema};
use bulak::site::discover::media::Policy;
use bulak::site::discover::{self, Kind, dash, feed, hls, list, sitemap};
use bulak::site::rewrite::{self, Form, Map, Place, Rewriter};
use bulak::site::{pack, robots, zim};
use bulak::{base, meter, policy, store, tls};
use std::hint::black_box;
use std::sync::{Arc, OnceLock};

/// A decoder and words that its inputs are made of.
pub(crate) struct Decoder {
    /// Its name, and that of its corpus.
    pub(crate) name: &'static str,
    /// Gives it bytes.
    pub(crate) run: fn(&[u8]),
    /// What a fuzzer should know.
    pub(crate) words: &'static [&'static str],
}

const fn decoder(name: &'static str, run: fn(&[u8]), words: &'static [&'static str]) -> Decoder {
    Decoder { name, run, words }
}

/// All of them.
pub(crate) const DECODERS: &[Decoder] = &[
    decoder("record", store::record::fuzz, &["\u{0}\u{0}\u{0}\u{0}", "BR\u{1}", "BULAKSEG"]),
    decoder(
        "bundle",
        store::bundle::fuzz,
        &["\"files\":[", "\"name\":\"../00000001.seg\"", "18446744073709551615", "null", "00000001.seg"],
    ),
    decoder("pack", a_pack, &["[[seed]]", "[scope]", "url = ", "[[class]]", "'''", "\"2 GiB\"", "depth = 99", "*."]),
    decoder("signature", a_signature, &["untrusted comment: ", "trusted comment: ", "RUS", "\n"]),
    decoder(
        "fields",
        policy::fuzz,
        &["cache-control:", "max-age=", "s-maxage=", "\"", "vary:*", "age:", "expires:0", "range:bytes=", "if-range:"],
    ),
    decoder("cdn", policy::fuzz, &["cdn-cache-control:", "max-age=", ";", "?1", ":Zg==:", "(a b)", "-999999999999999", "1.5", ","]),
    decoder(
        "wire",
        base::wire::fuzz,
        &["\r\n", "Content-Length: ", "Transfer-Encoding: chunked", "HTTP/1.1 200 OK\r\n", "0\r\n\r\n", "GET / HTTP/1.1\r\n"],
    ),
    decoder("target", a_target, &["http://", "https://", "[::1]", "@", ":80", "%2e%2e", "#", "?", "//"]),
    decoder("hello", tls::hello::fuzz, &["\u{16}\u{3}\u{1}", "\u{0}\u{0}", "\u{0}\u{10}", "h2", "\u{3}\u{4}"]),
    decoder(
        "html",
        html,
        &["<base href=", "<img srcset='", "<link rel=preload href=", "<script type=module>", "<!--", "</", "<svg ", " src=//a.kz/"],
    ),
    decoder("css", css, &["url(", "@import ", "image-set(", "\\", "/*", "*/", "{", "}", "\"", "src:"]),
    decoder(
        "script",
        script,
        &["import(", "import x from '", "new Worker(", "`", "webpackChunk", "importScripts(", "new URL('", "import.meta.url"],
    ),
    decoder("manifest", manifest, &["\"icons\":[", "\"src\":", "\"start_url\":", "[[[[", "{\"", "\\u0000"]),
    decoder(
        "sitemap",
        a_sitemap,
        &["<url><loc>", "</loc>", "<sitemapindex>", "<![CDATA[", "&#x0;", "&amp;", "<!DOCTYPE x [<!ENTITY a 'b'>]>", "\u{1f}\u{8b}"],
    ),
    decoder("feed", a_feed, &["<item>", "<enclosure url=", "<link href=", "<entry>", "]]>", "<rss>"]),
    decoder("list", list::fuzz, &["url;title\n", ",", "\"\"", "http://a.kz/", "\t", "\u{feff}"]),
    decoder(
        "hls",
        an_hls,
        &["#EXTM3U\n", "#EXT-X-STREAM-INF:", "#EXT-X-MEDIA:", "URI=\"", "BANDWIDTH=", "#EXTINF:", "#EXT-X-BYTERANGE:", "\n"],
    ),
    decoder(
        "dash",
        a_dash,
        &[
            "<MPD",
            "<Period>",
            "<SegmentTemplate media='$Number%09d$'",
            "$Time$",
            "<SegmentTimeline><S t='0' d='1' r='-1'/>",
            "<BaseURL>",
            "PT1H",
        ],
    ),
    decoder("robots", robots::fuzz, &["User-agent: *\n", "Disallow: /", "Allow: *$", "Crawl-delay: ", "Sitemap: "]),
    decoder(
        "rewrite",
        a_rewrite,
        &["<a href=//a.kz/x>", "url(", "import '", "<meta http-equiv=refresh content='0;url=", "integrity=", "<base ", "srcset="],
    ),
    decoder("zim", zim::fuzz, &["ZIM\u{4}", "\u{0}", "text/html\u{0}", "C\u{0}"]),
    decoder("ndt7", meter::ndt7::fuzz, &["\u{2}", "\u{1}\u{7e}", "\u{7f}", "{\"TCPInfo\":{", "\"ElapsedTime\":", "9007199254740993"]),
    decoder("locate", meter::ndt7::fuzz, &["{\"results\":[", "\"urls\":{", "wss:///ndt/v7/download", "\"error\":{\"status\":", "null"]),
    decoder("batch", a_batch, &["(\u{0}", "\u{1}\u{0}\u{0}\u{0}"]),
    decoder("accept", an_upload, &["NODE", "\"seq\":", "\"epoch\":-1", "\"payload\":{", "\"start\":\"", "\n", "1e999"]),
    decoder("schema", a_record, &["\"payload\":{", "\"line\":{", "\"kind\":\"hour\"", "http://a.kz/", "\"{way}\"", "null", "[[]]"]),
];

fn base() -> Target {
    Target::parse("http://a.kz/b/c").expect("a valid address")
}

fn a_pack(bytes: &[u8]) {
    pack::fuzz(bytes);
    if let Err(complaints) = pack::Pack::parse(&String::from_utf8_lossy(bytes)) {
        assert!(!complaints.is_empty() && complaints.iter().all(|one| !one.remedy.is_empty()), "a complaint without a remedy");
    }
}

/// What nobody signed is never believed.
fn a_signature(bytes: &[u8]) {
    const KEY: &str = "RWRidWxha2Z6eorN234yYURKD4vPq0Mhw3NQCK0Wa++0y92F4ly/Ptvl";
    let text = String::from_utf8_lossy(bytes).into_owned();
    assert!(pack::sign::verify(b"id = \"a\"\n", Some(&text), &[KEY.to_owned()]).is_err(), "believed");
    // The corpus holds a sound signature of this text: without it nothing would be refused but nonsense.
    black_box(pack::sign::verify(b"id = \"b\"\n", Some(&text), &[KEY.to_owned()]).is_ok());
    assert!(pack::sign::verify(b"id = \"a\"\n", Some(&text), std::slice::from_ref(&text)).is_err(), "believed by itself");
    black_box(pack::sign::public(&text).is_ok());
}

/// What is read is canonical: read again it is the same.
fn a_target(bytes: &[u8]) {
    let text = String::from_utf8_lossy(bytes);
    if let Ok(target) = Target::parse(&text) {
        assert_eq!(Target::parse(target.url()).as_ref(), Ok(&target), "not canonical");
        assert!(!target.host().is_empty() && target.port() != 0 && !target.url().contains(['\r', '\n', ' ']), "{}", target.url());
    }
    if let Some(joined) = base().join(&text) {
        assert_eq!(Target::parse(joined.url()).as_ref(), Ok(&joined), "not canonical when joined");
    }
}

/// Not more is found than could be written there.
fn found(content_type: &str, bytes: &[u8]) {
    let found = discover::of(Kind::Page, Some(content_type), &base(), bytes);
    assert!(found.needs.len() + found.links.len() <= bytes.len(), "{} addresses in {} bytes", found.needs.len(), bytes.len());
}

fn html(bytes: &[u8]) {
    found("text/html", bytes);
    found("image/svg+xml", bytes);
}

fn css(bytes: &[u8]) {
    found("text/css", bytes);
}

fn script(bytes: &[u8]) {
    // The bundle's table may name more files than it has bytes: its own bound holds.
    black_box(discover::of(Kind::Script, Some("text/javascript"), &base(), bytes));
}

fn manifest(bytes: &[u8]) {
    found("application/manifest+json", bytes);
}

fn a_sitemap(bytes: &[u8]) {
    black_box(sitemap::read(&base(), bytes));
}

fn a_feed(bytes: &[u8]) {
    feed::fuzz(bytes);
}

/// What is left out once is left out: doing it again changes nothing.
fn an_hls(bytes: &[u8]) {
    hls::fuzz(bytes);
    let (base, text) = (base(), String::from_utf8_lossy(bytes));
    let keep = |target: &Target| target.url().len().is_multiple_of(2);
    if let Some(once) = hls::reduce(&base, &text, keep) {
        assert!(hls::reduce(&base, &once, keep).is_none_or(|twice| twice == once), "reduced anew");
    }
    let (seconds, _) = (hls::seconds(bytes), hls::bitrate(bytes, &Policy::default()));
    assert!(seconds >= 0.0, "{seconds} seconds");
}

fn a_dash(bytes: &[u8]) {
    dash::fuzz(bytes);
    let (base, text) = (base(), String::from_utf8_lossy(bytes));
    let keep = |target: &Target| target.url().len().is_multiple_of(2);
    if let Some(once) = dash::reduce(&base, &text, keep) {
        assert!(once.len() <= text.len(), "a reduced manifest grew");
        assert!(dash::reduce(&base, &once, keep).is_none_or(|twice| twice == once), "reduced anew");
    }
    if let Some(weight) = dash::weight(&base, bytes, &Policy::default()) {
        assert!(weight >= 0.0, "a weight of {weight}");
    }
}

/// Pieces do not matter, and a text does not swell: an address grows by the school's zone at most.
fn a_rewrite(bytes: &[u8]) {
    rewrite::fuzz(bytes);
    let place = Place { zone: "m.a.internal".into(), secure: false, port: 8082 };
    let map = Arc::new(Map::new(Arc::default(), Form::Names, place));
    for kind in [rewrite::Kind::Html, rewrite::Kind::Style, rewrite::Kind::Script] {
        let whole = rewritten(&map, kind, bytes, bytes.len());
        let pieces = rewritten(&map, kind, bytes, 7);
        if let (Some(whole), Some(pieces)) = (whole, pieces) {
            assert!(whole == pieces, "{kind:?} is a matter of pieces:\n{}\n{}", whole.escape_ascii(), pieces.escape_ascii());
            assert!(whole.len() <= 64 * bytes.len() + 4096, "{} bytes became {}", bytes.len(), whole.len());
        }
    }
}

fn rewritten(map: &Arc<Map>, kind: rewrite::Kind, bytes: &[u8], step: usize) -> Option<Vec<u8>> {
    let (mut rewriter, mut out) = (Rewriter::new(map, kind, &base()), Vec::new());
    for piece in bytes.chunks(step.max(1)) {
        rewriter.write(piece, &mut out).ok()?;
    }
    rewriter.finish(&mut out).ok()?;
    Some(out)
}

fn a_batch(bytes: &[u8]) {
    batch::fuzz(bytes);
    if let Ok(records) = batch::unpack(bytes) {
        let again = batch::pack(records.iter().map(Vec::as_slice)).expect("memory does not fail");
        assert_eq!(batch::unpack(&again).as_ref(), Ok(&records), "what is packed is unpacked the same");
    }
    assert!(batch::digest_fits(&batch::digest(bytes), bytes), "its own digest");
    black_box(batch::digest_fits(&String::from_utf8_lossy(bytes), b"body"));
}

/// Lines of JSON, signed by a node that the hub knows: what lies behind signature and packing is read too. `NODE` is its name.
fn an_upload(bytes: &[u8]) {
    static KNOWN: OnceLock<(Key, Roll)> = OnceLock::new();
    let (key, roll) = KNOWN.get_or_init(|| {
        let key = Key::make();
        let file = [Enrolled { key: key.public(), school: "aksu-7".into(), ..Enrolled::default() }];
        let roll = Roll::new(&file, &[], &[]).expect("a key");
        (key, roll)
    });
    let node = key.node();
    let sealed: Vec<Vec<u8>> = bytes.split(|byte| *byte == b'\n').map(|line| key.seal(&replaced(line, b"NODE", node.as_bytes()))).collect();
    let Ok(body) = batch::pack(sealed.iter().map(Vec::as_slice)) else { return };
    if let Ok(judged) = accept::judge(Some(&batch::digest(&body)), &body, roll) {
        assert!(judged.node == node && judged.school == "aksu-7", "for another school");
        assert!(judged.fresh.len() + judged.reject.len() <= sealed.len(), "more records than were sent");
    }
    black_box(accept::judge(Some(&batch::digest(bytes)), bytes, roll).is_ok());
}

fn replaced(line: &[u8], old: &[u8], new: &[u8]) -> Vec<u8> {
    match line.windows(old.len()).position(|part| part == old) {
        Some(at) => [&line[..at], new, &line[at + old.len()..]].concat(),
        None => line.to_vec(),
    }
}

/// What the allow-list says of a record.
fn a_record(bytes: &[u8]) {
    if let Ok(value) = serde_json::from_slice(bytes) {
        black_box(schema::complaints(&value));
    }
    black_box(schema::is_label(&String::from_utf8_lossy(bytes)));
}
