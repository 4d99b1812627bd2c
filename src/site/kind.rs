//! What kind of file an address names, by its ending: enough to know that a login cannot matter to it.

/// Software and type: the same for everybody on every host, never something a pupil has handed in.
const SOFTWARE: [&str; 10] = ["css", "eot", "js", "map", "mjs", "otf", "ttf", "wasm", "woff", "woff2"];

/// Pictures, sound and pieces of films: static on hosts that keep no accounts.
const MEDIA: [&str; 17] =
    ["aac", "avif", "gif", "ico", "jpeg", "jpg", "m4a", "m4s", "mp3", "mp4", "ogg", "png", "svg", "ts", "vtt", "webm", "webp"];

/// Whether a login cannot matter to what this path names. On a host with accounts only software counts.
pub fn is_static(path: &str, account: bool) -> bool {
    let name = path.rsplit('/').next().unwrap_or_default();
    let Some((stem, ending)) = name.rsplit_once('.') else { return false };
    let is = |list: &[&str]| list.iter().any(|known| ending.eq_ignore_ascii_case(known));
    !stem.is_empty() && (is(&SOFTWARE) || (!account && is(&MEDIA)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_by_their_ending() {
        // path, on a host without accounts, on one with
        let table = [
            ("/v1/app.js", true, true),
            ("/v1/app.8f3a.MJS", true, true),
            ("/f/a.woff2", true, true),
            ("/pic/1.png", true, false),
            ("/seg/1.ts", true, false),
            ("/homework/1.pdf", false, false),
            ("/index.html", false, false),
            ("/api/marks", false, false),
            ("/.js", false, false),
            ("/app.js/marks", false, false),
            ("/", false, false),
        ];
        for (path, free, account) in table {
            assert_eq!((is_static(path, false), is_static(path, true)), (free, account), "{path}");
        }
    }
}
