//! Films in pieces: a lesson in two forms is fetched in one, and plays with the line cut; what is encrypted, has no end or never ends
//! is left alone and told.

use crate::kit::browser::Wish;
use crate::kit::http::get_direct;
use crate::kit::line::Line;
use crate::kit::nginx::Nginx;
use crate::kit::node::{Node, Setup};
use crate::kit::origin::{Origin, Reply, answer, ok};
use crate::kit::{self, pack, program};
use crate::offline::quick;
use std::fs;
use std::io::Write;
use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

/// What shows a film: plays it at ten times its speed, and says how it went.
const PAGE: &str = "<!DOCTYPE html><html><head><meta charset=utf-8><title>Lesson</title><link rel=icon href=\"data:,\"></head>\
    <body><p id=said>waiting</p><video id=film muted></video><script src=\"/film/hls.js\"></script><script>\n\
    const said = (text) => { document.getElementById('said').textContent = text; };\n\
    const film = document.getElementById('film');\n\
    const hls = new Hls({ maxBufferLength: 60 });\n\
    hls.on(Hls.Events.ERROR, (event, data) => { if (data.fatal) said('failed: ' + data.details); });\n\
    hls.on(Hls.Events.MANIFEST_PARSED, () => { film.playbackRate = 10; film.play().catch((error) => said('failed: ' + error)); });\n\
    film.onended = () => said('played ' + film.videoHeight + ' lines, ' + Math.round(film.duration) + ' s, ' + hls.levels.length + ' form(s)');\n\
    hls.loadSource(new URL('/film/master.m3u8', location).href); hls.attachMedia(film);\n</script></body></html>";

/// Makes a lesson of 20 s in two forms with its sound apart, and one whose pieces are ranges of a file.
fn make(folder: &Path) {
    fs::create_dir_all(folder.join("one")).expect("a folder");
    let ffmpeg = |words: &str| {
        let mut command = Command::new(program::need("ffmpeg"));
        command
            .current_dir(folder)
            .args("-nostdin -loglevel error".split(' '))
            .args(words.split_ascii_whitespace().map(|word| word.replace('~', " ")));
        let out = program::run(&command, 120);
        assert!(out.status.success(), "ffmpeg: {}", String::from_utf8_lossy(&out.stderr));
    };
    ffmpeg(
        "-f lavfi -i testsrc2=size=1280x720:rate=10:duration=20 -f lavfi -i sine=frequency=440:duration=20 \
         -filter_complex [0:v]split=2[a][hi];[a]scale=640:360[lo] -map [lo] -map [hi] -map 1:a \
         -c:v libx264 -preset ultrafast -profile:v baseline -pix_fmt yuv420p -g 40 -keyint_min 40 \
         -b:v:0 500k -maxrate:v:0 500k -bufsize:v:0 1000k -b:v:1 2500k -maxrate:v:1 2500k -bufsize:v:1 5000k -c:a aac -b:a 64k \
         -f hls -hls_time 4 -hls_playlist_type vod -hls_segment_type fmp4 -master_pl_name master.m3u8 \
         -var_stream_map v:0,agroup:s,name:low~v:1,agroup:s,name:high~a:0,agroup:s,default:yes,language:kk,name:kk \
         -hls_segment_filename %v/%d.m4s %v/list.m3u8",
    );
    ffmpeg(
        "-f lavfi -i testsrc2=size=320x240:rate=10:duration=8 -c:v libx264 -preset ultrafast -pix_fmt yuv420p -g 20 \
         -f hls -hls_time 2 -hls_playlist_type vod -hls_segment_type fmp4 -hls_flags single_file one/list.m3u8",
    );
    fs::copy(kit::packages().join("hls.js/dist/hls.min.js"), folder.join("hls.js")).expect("hls.js is missing; run scripts/test");
    fs::write(folder.join("lesson.html"), PAGE).expect("a file");
}

/// A pack of these seeds on these hosts.
fn films(seeds: &str, host: &str) -> String {
    pack::text("films", "http://x.school.test/", &[host]).replace("[[seed]]\nlist = \"http://x.school.test/\"\n", seeds)
}

fn is_done(node: &Node) -> bool {
    node.local("GET", "/api/v1/packs")["packs"][0]["progress"]["state"] == "done"
}

#[test]
fn a_lesson_in_two_forms_is_fetched_in_one_and_plays_with_the_line_cut() {
    let nginx = Nginx::start();
    make(&nginx.folder().join("film"));
    let line = Line::to(nginx.addr);
    let folder = tempfile::tempdir().expect("a folder");
    let setup = quick(Setup::new()).host("assets.school.test", line.addr).set("night.windows", "[\"mon-sun 00:00-24:00\"]");
    let seeds = "[[seed]]\nurl = \"http://assets.school.test/film/lesson.html\"\n[[seed]]\nhls = \"http://assets.school.test/film/master.m3u8\"\n\
        [[seed]]\nhls = \"http://assets.school.test/film/one/list.m3u8\"\n";
    let setup = setup.set("mirror.listen", "[\"127.0.0.1:0\"]");
    let node = pack::publish(setup, folder.path(), "films", &films(seeds, "assets.school.test")).start_in(folder);
    kit::until("the pack is through", 90, || is_done(&node));
    let packs = node.local("GET", "/api/v1/packs");
    assert_eq!((&packs["packs"][0]["progress"]["errors"], &packs["packs"][0]["progress"]["skipped"]), (&0.into(), &0.into()), "{packs}");

    // One form, each piece once; nothing of the other.
    let asked = nginx.requests();
    let times = |path: &str| asked.iter().filter(|line| line.ends_with(&format!(" {path}"))).count();
    assert!(asked.iter().all(|line| !line.contains("/film/high/")), "{asked:?}");
    for path in ["low/0.m4s", "low/4.m4s", "low/init_0.mp4", "kk/0.m4s", "one/list.m4s", "hls.js"] {
        assert_eq!(times(&format!("/film/{path}")), 1, "{path}: {asked:?}");
    }

    // A class is shown the form that is here, with the line up as with the line cut: nobody pulls the other one over a thin line.
    let master = |node: &Node| node.get("http://assets.school.test/film/master.m3u8");
    let whole = get_direct(nginx.addr, "assets.school.test", "/film/master.m3u8").text();
    assert_eq!(whole.matches("#EXT-X-STREAM-INF").count(), 2, "{whole}");
    let up = master(&node);
    assert_eq!((up.text().matches("#EXT-X-STREAM-INF").count(), up.complete, up.has("etag")), (1, true, false), "{up:?}");
    assert!(up.text().contains("low/list.m3u8") && up.text().contains("kk/list.m3u8") && !up.text().contains("high"), "{}", up.text());
    line.cut();
    kit::until("the node says that the line is down", 60, || {
        node.get("http://assets.school.test/film/unknown");
        node.metric("bulak_link_up", "") == Some(0.0)
    });
    assert_eq!(master(&node).body, up.body);
    for path in ["low/init_0.mp4", "low/0.m4s", "low/1.m4s", "low/2.m4s", "low/3.m4s", "low/4.m4s", "kk/init_2.mp4", "kk/0.m4s", "kk/4.m4s"]
    {
        let piece = node.get(&format!("http://assets.school.test/film/{path}"));
        let wanted = fs::read(nginx.folder().join("film").join(path)).expect(path);
        assert!(piece.status == 200 && piece.complete && piece.body == wanted, "{path}: {} and {} bytes", piece.status, piece.body.len());
    }
    let part = node.fetch("GET", "http://assets.school.test/film/one/list.m4s", &["Range: bytes=100-199"]);
    assert_eq!((part.status, part.body.len()), (206, 100));
    let mirror = node.local("GET", "/api/v1/status")["mirror"][0].as_str().expect("a mirror").parse().expect("an address");
    let mirrored = get_direct(mirror, &format!("{mirror}"), "/m/assets.school.test/film/master.m3u8");
    assert_eq!(mirrored.text(), up.text());

    let mut browser = Wish::behind(node.proxy).word("--autoplay-policy=no-user-gesture-required").start();
    let page = browser.visit_until("http://assets.school.test/film/lesson.html", "0 s,");
    assert!(page.text.contains("played 360 lines, 20 s, 1 form(s)"), "{page:?}");
    assert!(page.failed.is_empty() && page.requests.iter().all(|url| !url.contains("/high/")), "{page:?}");
}

#[test]
fn films_that_cannot_be_kept_are_left_alone_and_told() {
    let sent = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&sent);
    let origin = Origin::start(move |ask| {
        let list =
            |text: &str| Reply::Bytes(ok(&["Content-Type: application/vnd.apple.mpegurl", "Cache-Control: max-age=600"], text.as_bytes()));
        match ask.target.as_str() {
            "/locked.m3u8" => list("#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=500000\nlocked/v.m3u8\n"),
            "/locked/v.m3u8" => list("#EXTM3U\n#EXT-X-KEY:METHOD=AES-128,URI=\"key\"\n#EXTINF:6,\n1.ts\n#EXT-X-ENDLIST\n"),
            "/live.m3u8" => list("#EXTM3U\n#EXTINF:6,\nlive1.ts\n"),
            "/good.m3u8" => list("#EXTM3U\n#EXTINF:6,\ngood1.ts\n#EXT-X-ENDLIST\n"),
            "/good1.ts" => Reply::Bytes(ok(&["Content-Type: video/mp2t", "Cache-Control: max-age=600"], b"film")),
            "/locked.mpd" => Reply::Bytes(ok(
                &["Content-Type: application/dash+xml", "Cache-Control: max-age=600"],
                b"<MPD type=\"static\"><Period><AdaptationSet mimeType=\"video/mp4\"><ContentProtection/><Representation><BaseURL>v.mp4</BaseURL></Representation></AdaptationSet></Period></MPD>",
            )),
            "/endless.m3u8" => {
                let count = Arc::clone(&count);
                Reply::Act(Box::new(move |stream| {
                    let piece = "#EXTINF:6,\nendless.ts\n".repeat(1000);
                    let mut more = stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Type: application/vnd.apple.mpegurl\r\nConnection: close\r\n\r\n#EXTM3U\n");
                    while more.is_ok() && count.load(Ordering::Relaxed) < 256 << 20 {
                        more = stream.write_all(piece.as_bytes());
                        count.fetch_add(piece.len(), Ordering::Relaxed);
                    }
                }))
            }
            _ => Reply::Bytes(answer("404 Not Found", &[], b"")),
        }
    });
    let folder = tempfile::tempdir().expect("a folder");
    let setup = Setup::new().host("f.school.test", origin.addr).set("night.windows", "[\"mon-sun 00:00-24:00\"]");
    let seed = |kind: &str, name: &str| format!("[[seed]]\n{kind} = \"http://f.school.test/{name}\"\n");
    let seeds = seed("hls", "locked.m3u8")
        + &seed("hls", "live.m3u8")
        + &seed("dash", "locked.mpd")
        + &seed("hls", "endless.m3u8")
        + &seed("hls", "good.m3u8");
    let node = pack::publish(setup, folder.path(), "films", &films(&seeds, "f.school.test")).start_in(folder);
    kit::until("the pack is through", 90, || is_done(&node));
    let told = node.local("GET", "/api/v1/packs/films").to_string();
    for words in
        ["encrypted (EXT-X-KEY)", "not ended (no EXT-X-ENDLIST)", "protected (ContentProtection)", "longer than a list or playlist may be"]
    {
        assert!(told.contains(words), "{words}: {told}");
    }
    let asked: Vec<String> = origin.asks().into_iter().map(|ask| ask.target).collect();
    assert!(asked.contains(&"/good1.ts".to_owned()), "{asked:?}");
    assert!(
        !asked.iter().any(|path| path.contains(".ts") && path != "/good1.ts" || path.contains("key") || path.contains("v.mp4")),
        "{asked:?}"
    );
    // What lay in sockets on the way comes on top of the limit.
    assert!(sent.load(Ordering::Relaxed) < 32 << 20, "{} bytes of a list without end", sent.load(Ordering::Relaxed));
}
