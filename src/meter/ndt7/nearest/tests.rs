//! Answers of Locate services, good and bad, from an origin that says exactly what is written here.

use super::*;
use crate::base::count::Metrics;
use crate::life::Life;
use crate::link::{self, Link};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

/// Answers each connection with the next of these.
async fn ask(answers: Vec<String>, consented: bool) -> Result<Found, Error> {
    let (life, metrics, clock) = (Life::default(), Metrics::default(), Clock::system());
    let link = Link::new(link::Settings::default(), clock.clone(), &life, &metrics);
    let settings = upstream::Settings { allow_private: vec!["127.0.0.0/8".parse().unwrap()], ..upstream::Settings::default() };
    let upstream = Upstream::new(settings, clock.clone(), link, &life, &metrics).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let service: Url = format!("http://{}/v2/nearest/ndt/ndt7", listener.local_addr().unwrap()).parse().unwrap();
    let serve = async {
        for answer in answers {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut head = [0; 4096];
            let _ = stream.read(&mut head).await.unwrap();
            stream.write_all(answer.as_bytes()).await.unwrap();
        }
        std::future::pending::<()>().await;
    };
    let found = tokio::select! {
        found = nearest(&upstream, &clock, &service, consented) => found,
        () = serve => unreachable!("it waits for ever"),
    };
    life.stop();
    found
}

fn answer(status: &str, fields: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\nContent-Length: {}\r\nConnection: close\r\n{fields}\r\n{body}", body.len())
}

fn body(host: &str) -> String {
    locate::document(crate::meter::ndt7::Dialect::Ndt7, true, host)
}

#[tokio::test]
async fn servers_also_from_where_one_was_sent_on() {
    let found = ask(vec![answer("302 Found", "Location: /elsewhere\r\n", ""), answer("200 OK", "", &body("hub.kz"))], false).await;
    let Ok(Found::Servers(servers, None)) = found else { panic!("{found:?}") };
    assert_eq!(servers[0].target.upload.as_str(), "wss://hub.kz/ndt/v7/upload");
}

#[tokio::test]
async fn no_capacity_and_too_much_to_do_are_no_errors() {
    assert!(matches!(ask(vec![answer("204 No Content", "", "")], false).await, Ok(Found::Full)));
    assert!(matches!(ask(vec![answer("200 OK", "", r#"{"results":[]}"#)], false).await, Ok(Found::Full)));
    let now = Clock::system().now();
    for (status, fields, least, most) in [
        ("429 Too Many Requests", "Retry-After: 120\r\n", 100, 130),
        ("503 Service Unavailable", "", 880, 910),
        ("429 Too Many Requests", "Retry-After: 99999999\r\n", 86_300, 86_410),
    ] {
        let found = ask(vec![answer(status, fields, "")], false).await;
        let Ok(Found::Later(until)) = found else { panic!("{found:?}") };
        assert!((least..most).contains(&until.since(now).as_secs()), "{status} {fields}: {until:?}");
    }
    let limited = r#"{"error":{"type":"r","title":"t","status":429}}"#;
    assert!(matches!(ask(vec![answer("200 OK", "", limited)], false).await, Ok(Found::Later(_))));
}

#[tokio::test]
async fn rubbish_is_told() {
    let login = answer("200 OK", "Content-Type: text/html\r\n", "<title>Sign in to this Wi-Fi</title>");
    assert!(matches!(ask(vec![login], false).await, Err(Error::Document(_, locate::Bad::Malformed))));
    let endless = answer("200 OK", "", &" ".repeat(locate::LONGEST + 1));
    assert!(matches!(ask(vec![endless], false).await, Err(Error::Document(..))));
    for status in ["500 Internal Server Error", "404 Not Found", "400 Bad Request"] {
        assert!(matches!(ask(vec![answer(status, "", "")], false).await, Err(Error::Status(..))), "{status}");
    }
    let round = || answer("301 Moved Permanently", "Location: /again\r\n", "");
    assert!(matches!(ask((0..10).map(|_| round()).collect(), false).await, Err(Error::Hops(_))));
    assert!(matches!(ask(vec![answer("302 Found", "", "")], false).await, Err(Error::Status(..))));
}

#[tokio::test]
async fn mlab_is_not_asked_before_somebody_agreed() {
    let to_mlab = || answer("302 Found", "Location: https://locate.measurementlab.net/v2/nearest/ndt/ndt7\r\n", "");
    assert!(matches!(ask(vec![to_mlab()], false).await, Err(Error::Consent(_))));
    let theirs = || answer("200 OK", "", &body("ndt-mlab1-lhr01.mlab-oti.measurement-lab.org"));
    assert!(matches!(ask(vec![theirs()], false).await, Ok(Found::Full)));
    assert!(matches!(ask(vec![theirs()], true).await, Ok(Found::Servers(..))));
}
