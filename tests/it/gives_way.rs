//! The night gives way: what it fetches slowly is there at once when a pupil asks for it, by the same fetch.

use crate::kit;
use crate::kit::node::Setup;
use crate::kit::origin::{Ask, Origin, Reply, answer, ok};

const FILM: usize = 3 << 20;

#[test]
fn what_a_pupil_asks_for_is_not_held_back_any_more() {
    let origin = Origin::start(|ask: &Ask| {
        Reply::Bytes(match ask.target.as_str() {
            "/robots.txt" => answer("404 Not Found", &[], b""),
            "/list.txt" => ok(&["Content-Type: text/plain"], b"http://p.school.test/film.bin\n"),
            _ => ok(&["Content-Type: video/mp4", "Cache-Control: max-age=86400", "ETag: \"f\""], &kit::noise(7, FILM)),
        })
    });
    let folder = tempfile::tempdir().expect("a folder");
    // At this rate the film takes five minutes and more.
    let setup = Setup::new()
        .host("p.school.test", origin.addr)
        .set("night.windows", "[\"mon-sun 00:00-24:00\"]")
        .set("night.rate", "\"80 kbit/s\"");
    let pack = kit::pack::text("film", "http://p.school.test/list.txt", &["p.school.test"]);
    let node = kit::pack::publish(setup, folder.path(), "film", &pack).start_in(folder);
    let asked = || origin.asks().iter().filter(|ask| ask.target == "/film.bin").count();
    kit::until("the night fetches the film", 60, || asked() == 1);
    let film = node.get("http://p.school.test/film.bin");
    assert!(film.body == kit::noise(7, FILM), "{} bytes", film.body.len());
    assert_eq!(asked(), 1, "the pupil has joined the night's fetch");
}
