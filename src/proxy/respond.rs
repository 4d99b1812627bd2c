//! The last thing done to an answer: hop-by-hop fields gone, Via added; and the pages that say in plain words, in Kazakh,
//! Russian and English, what went wrong and whose side it was (RFC 9209 for the programs that read it).

use crate::base::body::Body;
use crate::cache::trouble::{Cause, Trouble};
use crate::policy::Why;
use crate::policy::header::{add_via, cache_status, strip_hop_by_hop};
use crate::proxy::classify::Refusal;
use crate::upstream::Error;
use http::{HeaderName, HeaderValue, Response, StatusCode, Version, header};

/// RFC 9211.
const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");
/// RFC 9209.
const PROXY_STATUS: HeaderName = HeaderName::from_static("proxy-status");

/// What the proxy calls itself, made ready once.
#[derive(Clone, Debug)]
pub(crate) struct Signature {
    name: String,
    /// `1.1 name`: Via where no other hop has written one.
    pub(crate) via: HeaderValue,
}

impl Signature {
    /// `name` is cut to what a Via pseudonym may hold (a token).
    pub(crate) fn new(name: &str) -> Signature {
        let mut clean: String = name.chars().filter(|letter| letter.is_ascii_alphanumeric() || "-._".contains(*letter)).collect();
        if !clean.starts_with(|first: char| first.is_ascii_alphabetic()) {
            clean.insert_str(0, "bulak-");
        }
        let via = HeaderValue::from_str(&format!("1.1 {clean}")).unwrap_or(HeaderValue::from_static("1.1 bulak"));
        Signature { name: clean, via }
    }

    /// The name itself.
    pub(crate) fn name(&self) -> &str {
        &self.name
    }

    /// Makes an answer of the cache ready for the client. `fresh`: straight from the store, whose entries are clean already.
    pub(crate) fn finish(&self, response: Response<Body>, fresh: bool) -> Response<Body> {
        self.finish_with(response, fresh, None)
    }

    /// The same; a page that is missing gets the form by which it can be wished for.
    pub(crate) fn finish_with(&self, mut response: Response<Body>, fresh: bool, offer: Option<&Offer>) -> Response<Body> {
        if let Some(trouble) = response.extensions_mut().remove::<Trouble>() {
            response = render(response, &trouble, offer);
        }
        let version = response.version();
        let headers = response.headers_mut();
        if !fresh {
            strip_hop_by_hop(headers);
        }
        if headers.contains_key(header::VIA) || version != Version::HTTP_11 {
            add_via(headers, version, &self.name);
        } else {
            headers.insert(header::VIA, self.via.clone());
        }
        // The version of the hop behind us; hyper writes that of the client.
        *response.version_mut() = Version::HTTP_11;
        response
    }

    /// Our member of Cache-Status (RFC 9211) for an answer that no cache was asked about; `detail` is the id of a page.
    pub(crate) fn bypass(&self, detail: Option<&'static str>) -> HeaderValue {
        let plain = cache_status(&self.name, Why::Bypass, None, None, false, false);
        let detailed = detail.and_then(|id| HeaderValue::try_from(format!("{}; detail={id}", plain.to_str().ok()?)).ok());
        detailed.unwrap_or(plain)
    }

    /// Adds it behind what hops before us have said.
    pub(crate) fn bypassed(&self, mut response: Response<Body>) -> Response<Body> {
        response.headers_mut().append(CACHE_STATUS, self.bypass(None));
        response
    }

    /// The page for a request that is not done.
    pub(crate) fn refuse(&self, refusal: Refusal) -> Response<Body> {
        let (status, error, say) = match refusal {
            Refusal::Target | Refusal::TraceBody => (400, "http_request_error", &MALFORMED),
            Refusal::UserInfo => (400, "http_request_error", &USER_INFO),
            Refusal::Scheme => (400, "http_request_error", &SCHEME),
            Refusal::Misdirected => (421, "http_request_error", &MISDIRECTED),
            Refusal::Port => (403, "http_request_denied", &PORT),
            Refusal::Own => (403, "http_request_denied", &OWN),
            Refusal::Expectation => (417, "http_request_error", &EXPECTATION),
            Refusal::Loop => (508, "proxy_loop_detected", &LOOP),
            Refusal::Unmirrored => (404, "http_request_denied", &UNMIRRORED),
            Refusal::ReadOnly => (405, "http_request_denied", &READ_ONLY),
            Refusal::Worker => (403, "http_request_denied", &READ_ONLY),
            Refusal::Library => (403, "http_request_denied", &LIBRARY),
        };
        self.page(status, error, say, "")
    }

    /// The page for an origin that could not be reached; `offline`: because the line is down.
    pub(crate) fn failed(&self, error: &Error, offline: bool) -> Response<Body> {
        self.page(error.status().as_u16(), error.proxy_status(), of_upstream(error, offline), &error.to_string())
    }

    fn page(&self, status: u16, error: &str, say: &Say, detail: &str) -> Response<Body> {
        let mut response = Response::new(Body::full(html(status, say, detail)));
        *response.status_mut() = StatusCode::from_u16(status).unwrap_or(StatusCode::BAD_GATEWAY);
        let headers = response.headers_mut();
        headers.insert(header::CONTENT_TYPE, HTML);
        headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(CACHE_STATUS, self.bypass(Some(say.id)));
        if let Ok(value) = HeaderValue::from_str(&format!("{}; error={error}; details=\"{}\"", self.name, say.id)) {
            headers.insert(PROXY_STATUS, value);
        }
        response
    }
}

const HTML: HeaderValue = HeaderValue::from_static("text/html; charset=utf-8");

/// The words for an origin that gave no answer: the line's, where that is down and could have been in the way.
fn of_upstream(error: &Error, offline: bool) -> &'static Say {
    match error {
        _ if offline && error.is_out_of_reach() => &OFFLINE,
        Error::DnsError(..) if error.is_nameless() => &NO_NAME,
        Error::DnsTimeout(_) | Error::DnsError(..) => &NAME,
        Error::Prohibited(_) => &PROHIBITED,
        Error::Refused(_) | Error::ConnectTimeout(..) | Error::Unavailable(..) => &UNREACHABLE,
        Error::Crowded(_) => &CROWDED,
        Error::Exhausted(..) => &EXHAUSTED,
        Error::TlsCertificate(..) | Error::Tls(..) => &CERTIFICATE,
        Error::ResponseTimeout(..) => &SLOW,
        Error::Incomplete(_) | Error::Protocol(..) => &BROKEN,
        Error::RequestBody(_) => &MALFORMED,
    }
}

/// What makes a form for a page that is missing.
#[derive(Clone, Debug)]
pub(crate) struct Offer {
    /// Where it is sent.
    pub(crate) door: String,
    /// The page.
    pub(crate) url: String,
    /// What proves that it is ours.
    pub(crate) token: String,
}

impl Offer {
    /// Works without script, in three languages on one button: the page that it stands on has no other way to know the reader's.
    fn form(&self) -> String {
        format!(
            "<form method=\"post\" action=\"{}\" accept-charset=\"utf-8\"><input type=\"hidden\" name=\"url\" value=\"{}\">\
             <input type=\"hidden\" name=\"token\" value=\"{}\"><p><button style=\"font:inherit;padding:.6em 1em\">\
             <span lang=\"kk\">Түнде жүктеп қою</span> · <span lang=\"ru\">Скачать ночью</span> · \
             <span lang=\"en\">Fetch tonight</span></button></p></form>\n",
            escape(&self.door),
            escape_all(&self.url),
            escape(&self.token)
        )
    }
}

/// The cache set status and fields; the page is ours.
fn render(response: Response<Body>, trouble: &Trouble, offer: Option<&Offer>) -> Response<Body> {
    let status = response.status();
    let say = match (&trouble.cause, status.as_u16()) {
        (Cause::Origin(error), _) => of_upstream(error, trouble.offline),
        (Cause::Unstored, _) => &UNSTORED,
        // Of libraries on this node alone.
        (Cause::Status, 404) => &UNMIRRORED,
        (Cause::Status, 405) => &READ_ONLY,
        (Cause::Status, 416) => &RANGE,
        (Cause::Status, 400..=499) => &MALFORMED,
        (Cause::Status, _) if trouble.offline => &OFFLINE,
        (Cause::Status, 504) => &SLOW,
        (Cause::Status, _) => &BROKEN,
    };
    let (mut parts, _) = response.into_parts();
    parts.headers.remove(header::CONTENT_LENGTH);
    parts.headers.insert(header::CONTENT_TYPE, HTML);
    let mut page = html(status.as_u16(), say, &trouble.detail);
    if let Some(offer) = offer {
        // Holds a proof of the day: nobody's copy.
        parts.headers.insert(header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
        page = page.replacen("<p class=d>", &(offer.form() + "<p class=d>"), 1);
    }
    Response::from_parts(parts, Body::full(page))
}

/// The body of the page for what is not mirrored, with a way on: what there is here is told by the portal.
pub(super) fn unmirrored(portal: &str) -> Body {
    let link = format!("</p>\n<p><a href=\"{}\">Bulak</a></p>\n<p class=d>", escape(portal));
    Body::full(html(404, &UNMIRRORED, "").replacen("</p>\n<p class=d>", &link, 1))
}

fn html(status: u16, say: &Say, detail: &str) -> String {
    let Say { id, kk, ru, en } = say;
    let detail = if detail.is_empty() { String::new() } else { format!("<p class=d>{}</p>\n", escape(detail)) };
    format!(
        "<!DOCTYPE html>\n<html lang=\"kk\"><head><meta charset=\"utf-8\">\
         <meta name=\"viewport\" content=\"width=device-width\"><title>{status}</title>\n\
         <style>body{{font:1.1em sans-serif;max-width:36em;margin:3em auto;padding:0 1em}}.d{{color:#555;font-size:.8em}}</style>\
         </head>\n<body>\n<p lang=\"kk\">{kk}</p>\n<p lang=\"ru\">{ru}</p>\n<p lang=\"en\">{en}</p>\n{detail}\
         <p class=d>{status} · {id}</p>\n</body></html>\n"
    )
}

/// No longer than a screen: the text may hold what an origin sent.
fn escape(text: &str) -> String {
    escape_all(&text.chars().take(400).collect::<String>())
}

fn escape_all(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            '\'' => safe.push_str("&#39;"),
            letter => safe.push(letter),
        }
    }
    safe
}

/// One sentence in each language, and the name by which a person can be told about it.
#[derive(Debug)]
struct Say {
    id: &'static str,
    kk: &'static str,
    ru: &'static str,
    en: &'static str,
}

const MALFORMED: Say =
    Say {
        id: "proxy.malformed", kk: "Сұраныс дұрыс жазылмаған.", ru: "Запрос составлен неверно.", en: "The request is malformed."
    };
const USER_INFO: Say = Say {
    id: "proxy.user_info",
    kk: "Мекенжайда аты мен құпиясөз болмауы керек.",
    ru: "В адресе не должно быть имени и пароля.",
    en: "An address must not hold a name and a password.",
};
const SCHEME: Say = Say {
    id: "proxy.scheme",
    kk: "Тек http және https мекенжайлары ашылады.",
    ru: "Открываются только адреса http и https.",
    en: "Only http and https addresses can be opened.",
};
const MISDIRECTED: Say = Say {
    id: "proxy.misdirected",
    kk: "Бұл сервер мұндай сайтты ашпайды: бұл прокси.",
    ru: "Этого сайта здесь нет: это прокси-сервер.",
    en: "There is no such site here: this is a proxy.",
};
const PORT: Say = Say {
    id: "proxy.port_prohibited",
    kk: "Бұл портқа қосылуға рұқсат жоқ.",
    ru: "Подключаться к этому порту нельзя.",
    en: "Connections to this port are not allowed.",
};
const OWN: Say = Say {
    id: "proxy.own",
    kk: "Прокси өзіне қосылмайды.",
    ru: "Прокси не подключается к самому себе.",
    en: "The proxy does not connect to itself.",
};
const EXPECTATION: Say = Say {
    id: "proxy.expectation",
    kk: "Сұраныстың талабын орындау мүмкін емес.",
    ru: "Ожидание запроса выполнить нельзя.",
    en: "The request expects what cannot be done here.",
};
const LOOP: Say = Say {
    id: "proxy.loop",
    kk: "Сұраныс шеңбер бойымен айналып жүр.",
    ru: "Запрос ходит по кругу.",
    en: "The request is going in circles.",
};
const UNMIRRORED: Say = Say {
    id: "mirror.unlisted",
    kk: "Бұл бет мектеп серверінде жоқ.",
    ru: "Этой страницы на школьном сервере нет.",
    en: "The school's server has no copy of this page.",
};
const READ_ONLY: Say = Say {
    id: "mirror.read_only",
    kk: "Мектеп көшірмесін тек оқуға болады.",
    ru: "Школьную копию можно только читать.",
    en: "The school's copy is for reading only.",
};
const LIBRARY: Say = Say {
    id: "proxy.library",
    kk: "Бұл кітапхана мектеп серверінде тұр: оны http:// арқылы ашыңыз.",
    ru: "Эта библиотека лежит на школьном сервере: откройте её через http://.",
    en: "This library lies on the school's server: open it by http://.",
};
const PROHIBITED: Say = Say {
    id: "proxy.target_prohibited",
    kk: "Бұл мекенжайды прокси арқылы ашуға болмайды.",
    ru: "Этот адрес нельзя открыть через прокси.",
    en: "This address cannot be opened through the proxy.",
};
const NO_NAME: Say = Say {
    id: "origin.no_such_name",
    kk: "Мұндай атпен сайт жоқ: оның дұрыс жазылғанын тексеріңіз.",
    ru: "Сайта с таким именем нет: проверьте, верно ли оно написано.",
    en: "There is no site of this name: see whether it is written correctly.",
};
const NAME: Say =
    Say {
        id: "origin.name", kk: "Сайттың мекенжайы табылмады.", ru: "Адрес сайта не найден.", en: "The site's address was not found."
    };
const UNREACHABLE: Say = Say {
    id: "origin.unreachable",
    kk: "Сайтқа қосылу мүмкін болмады.",
    ru: "Не удалось соединиться с сайтом.",
    en: "The site cannot be reached.",
};
const CROWDED: Say = Say {
    id: "proxy.crowded",
    kk: "Бұл құрылғы бірден тым көп нәрсе сұрап тұр.",
    ru: "Это устройство запрашивает слишком многое сразу.",
    en: "This device asks for too much at once.",
};
const EXHAUSTED: Say = Say {
    id: "proxy.exhausted",
    kk: "Мектеп серверінің қазір қолы тимейді. Бір минуттан кейін қайталап көріңіз.",
    ru: "Школьный сервер сейчас перегружен. Попробуйте через минуту.",
    en: "The school's server has too much to do just now. Try again in a minute.",
};
const UNSTORED: Say = Say {
    id: "cache.not_stored",
    kk: "Тек сақталған көшірме сұралды, ал ол жоқ.",
    ru: "Запрошена только сохранённая копия, а её нет.",
    en: "Only a stored copy was asked for, and there is none.",
};
const SLOW: Say =
    Say {
        id: "origin.slow", kk: "Сайт уақытында жауап бермеді.", ru: "Сайт не ответил вовремя.", en: "The site did not answer in time."
    };
const CERTIFICATE: Say = Say {
    id: "origin.certificate",
    kk: "Сайтпен қауіпсіз байланыс орнатылмады.",
    ru: "Безопасное соединение с сайтом не установлено.",
    en: "A secure connection to the site could not be made.",
};
const BROKEN: Say =
    Say {
        id: "origin.broken", kk: "Сайт түсініксіз жауап берді.", ru: "Сайт ответил неправильно.", en: "The site's answer is broken."
    };
const RANGE: Say =
    Say {
        id: "origin.range", kk: "Файлда мұндай бөлік жоқ.", ru: "В файле нет такой части.", en: "The file has no such part."
    };
const OFFLINE: Say = Say {
    id: "line.offline",
    kk: "Қазір интернет жоқ, ал бұл беттің сақталған көшірмесі табылмады.",
    ru: "Сейчас нет интернета, а сохранённой копии этой страницы нет.",
    en: "There is no Internet now, and there is no stored copy of this page.",
};

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::Ipv4Addr;
    use std::time::Duration;

    async fn text(response: Response<Body>) -> String {
        String::from_utf8(response.into_body().collect(10_000).await.expect("a small page").to_vec()).expect("UTF-8")
    }

    #[tokio::test]
    async fn pages_speak_three_languages_and_escape_what_they_quote() {
        let me = Signature::new("school 1<");
        assert_eq!((me.name(), me.via.to_str().ok()), ("school1", Some("1.1 school1")));
        let response = me.failed(&Error::DnsError("nobody.kz".into(), "no such name".into()), false);
        assert_eq!(response.headers()["proxy-status"], "school1; error=dns_error; details=\"origin.no_such_name\"");
        let response = me.failed(&Error::DnsError("<script>".into(), "NXDOMAIN".into()), false);
        assert_eq!(response.status(), 502);
        assert_eq!(response.headers()["proxy-status"], "school1; error=dns_error; details=\"origin.name\"");
        let text = text(response).await;
        assert!(text.contains("lang=\"kk\"") && text.contains("lang=\"ru\"") && text.contains("lang=\"en\""));
        assert!(text.contains("&lt;script&gt;") && !text.contains("<script"), "{text}");
    }

    #[test]
    fn each_failure_has_its_status_and_name() {
        let me = Signature::new("7");
        assert_eq!(me.name(), "bulak-7");
        let table = [
            (Error::Prohibited(Ipv4Addr::LOCALHOST.into()), 403, "destination_ip_prohibited"),
            (Error::DnsTimeout("a".into()), 504, "dns_timeout"),
            (Error::Refused("a".into()), 502, "connection_refused"),
            (Error::ConnectTimeout("a".into(), Duration::from_secs(1)), 504, "connection_timeout"),
            (Error::Protocol("a".into(), "b".into()), 502, "http_protocol_error"),
        ];
        for (error, status, name) in table {
            let response = me.failed(&error, false);
            assert_eq!(response.status(), status);
            let field = response.headers()["proxy-status"].to_str().expect("text");
            assert!(field.contains(&format!("error={name};")), "{field}");
        }
        let response = me.refuse(Refusal::Loop);
        assert_eq!(
            (response.status().as_u16(), &response.headers()["cache-status"]),
            (508, &"bulak-7; fwd=bypass; detail=proxy.loop".parse().expect("valid"))
        );
        let mut response = Response::new(Body::Empty);
        response.headers_mut().insert(CACHE_STATUS, HeaderValue::from_static("far; hit"));
        let response = me.bypassed(response);
        assert_eq!(response.headers().get_all(CACHE_STATUS).iter().collect::<Vec<_>>(), ["far; hit", "bulak-7; fwd=bypass"]);
        assert_eq!(me.refuse(Refusal::Misdirected).status(), 421);
    }

    /// Status and page of what the cache gives for this.
    async fn of_cache(me: &Signature, status: StatusCode, cause: Cause, offline: bool) -> (u16, String) {
        let mut response = Response::new(Body::Empty);
        *response.status_mut() = status;
        response.extensions_mut().insert(Trouble { detail: String::new(), cause, offline });
        let response = me.finish(response, false);
        (response.status().as_u16(), page_of(response).await)
    }

    /// The id at the foot of a page.
    async fn page_of(response: Response<Body>) -> String {
        let text = text(response).await;
        text.rsplit_once(" · ").and_then(|(_, rest)| rest.split_once('<')).map(|(id, _)| id.to_owned()).unwrap_or(text)
    }

    #[tokio::test]
    async fn a_failure_has_one_page_whether_it_was_a_tunnel_or_a_request() {
        let me = Signature::new("school-1");
        let (host, wait) = (|| String::from("a.kz"), Duration::from_secs(1));
        // With the line up, and with it down.
        let table = [
            (Error::DnsTimeout(host()), 504, "origin.name", "line.offline"),
            (Error::DnsError(host(), "SERVFAIL".into()), 502, "origin.name", "line.offline"),
            (Error::DnsError(host(), "no such name".into()), 502, "origin.no_such_name", "origin.no_such_name"),
            (Error::Prohibited(Ipv4Addr::LOCALHOST.into()), 403, "proxy.target_prohibited", "proxy.target_prohibited"),
            (Error::Refused(host()), 502, "origin.unreachable", "line.offline"),
            (Error::ConnectTimeout(host(), wait), 504, "origin.unreachable", "line.offline"),
            (Error::Unavailable(host(), host()), 504, "origin.unreachable", "line.offline"),
            (Error::Crowded(host()), 503, "proxy.crowded", "proxy.crowded"),
            (Error::Exhausted(host(), host()), 503, "proxy.exhausted", "proxy.exhausted"),
            (Error::TlsCertificate(host(), host()), 502, "origin.certificate", "origin.certificate"),
            (Error::Tls(host(), host()), 502, "origin.certificate", "origin.certificate"),
            (Error::ResponseTimeout(host(), wait), 504, "origin.slow", "line.offline"),
            (Error::Incomplete(host()), 502, "origin.broken", "line.offline"),
            (Error::Protocol(host(), host()), 502, "origin.broken", "origin.broken"),
            (Error::RequestBody(host()), 400, "proxy.malformed", "proxy.malformed"),
        ];
        for (error, status, up, down) in table {
            for (offline, id) in [(false, up), (true, down)] {
                let wanted = (status, id.to_owned());
                let response = me.failed(&error, offline);
                assert_eq!((response.status().as_u16(), page_of(response).await), wanted, "{error}: a tunnel");
                let given = of_cache(&me, error.status(), Cause::Origin(error.clone()), offline).await;
                assert_eq!(given, wanted, "{error}: a request");
            }
        }
        let unstored = of_cache(&me, StatusCode::GATEWAY_TIMEOUT, Cause::Unstored, true).await;
        assert_eq!(unstored, (504, "cache.not_stored".to_owned()), "the client's own wish, whatever the line does");
    }

    #[tokio::test]
    async fn an_answer_of_the_cache_gets_its_page_and_its_via() {
        let me = Signature::new("school-1");
        let mut response = Response::new(Body::Empty);
        *response.status_mut() = StatusCode::GATEWAY_TIMEOUT;
        response.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from_static("0"));
        response.extensions_mut().insert(Trouble { detail: "a & b".into(), cause: Cause::Status, offline: true });
        let response = me.finish(response, false);
        assert_eq!(response.headers()[header::VIA], "1.1 school-1");
        assert!(!response.headers().contains_key(header::CONTENT_LENGTH));
        let text = text(response).await;
        let page = super::tests::text(Response::new(unmirrored("http://10.0.0.1/\"<"))).await;
        assert!(page.contains("<p><a href=\"http://10.0.0.1/&quot;&lt;\">Bulak</a></p>\n<p class=d>404 · mirror.unlisted</p>"), "{page}");
        assert!(text.contains("line.offline") && text.contains("a &amp; b"), "{text}");

        assert!(!text.contains("<form"), "nothing to wish for");

        let mut response = Response::new(Body::Empty);
        response.extensions_mut().insert(Trouble { detail: "x".into(), cause: Cause::Status, offline: true });
        let offer = Offer { door: "http://bulak.internal/tonight".into(), url: "http://a.kz/\"<x&y".into(), token: "00ff".into() };
        let text = super::tests::text(me.finish_with(response, false, Some(&offer))).await;
        assert!(text.contains("action=\"http://bulak.internal/tonight\"") && text.contains("value=\"00ff\""), "{text}");
        assert!(text.contains("value=\"http://a.kz/&quot;&lt;x&amp;y\"") && !text.contains("<script"), "{text}");
        assert!(text.contains("Түнде жүктеп қою") && text.contains("Скачать ночью") && text.contains("Fetch tonight"));

        let mut response = Response::new(Body::Empty);
        response.headers_mut().insert(header::VIA, HeaderValue::from_static("1.1 other"));
        response.headers_mut().insert("keep-alive", HeaderValue::from_static("timeout=5"));
        let response = me.finish(response, false);
        let hops: Vec<_> = response.headers().get_all(header::VIA).iter().collect();
        assert_eq!(hops, ["1.1 other", "1.1 school-1"]);
        assert!(!response.headers().contains_key("keep-alive"));
    }
}
