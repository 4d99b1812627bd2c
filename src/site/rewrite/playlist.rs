//! HLS playlists (RFC 8216): lines that are addresses, and `URI="…"` in tags. All else stays as it is.

use crate::site::rewrite::address::Map;
use url::Url;

/// The playlist with its addresses changed. `None`: it stays as it is.
pub(super) fn playlist(map: &Map, base: &Url, text: &str) -> Option<String> {
    if !text.trim_start_matches('\u{feff}').starts_with("#EXTM3U") {
        return None;
    }
    let (mut out, mut changed) = (String::with_capacity(text.len() + 256), false);
    for line in text.split_inclusive('\n') {
        let bare = line.trim_end_matches(['\n', '\r']);
        match changed_line(map, base, bare) {
            Some(new) => {
                changed = true;
                out.push_str(&new);
                out.push_str(&line[bare.len()..]);
            }
            None => out.push_str(line),
        }
    }
    changed.then_some(out)
}

fn changed_line(map: &Map, base: &Url, line: &str) -> Option<String> {
    if !line.starts_with('#') {
        return map.link(base, line);
    }
    // An attribute's name stands at the beginning or behind a comma; `URI` is never the end of a longer one in use.
    let start = line.find(":URI=\"").or_else(|| line.find(",URI=\""))? + 6;
    let end = start + line[start..].find('"')?;
    let new = map.link(base, &line[start..end]).filter(|new| !new.contains('"'))?;
    Some(format!("{}{new}{}", &line[..start], &line[end..]))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::site::rewrite::Form;
    use crate::site::rewrite::address::tests::map;

    #[test]
    fn addresses_lead_to_the_mirror_and_relative_ones_stay() {
        let base = Url::parse("https://a.kz/film/m.m3u8").expect("valid");
        let text = "#EXTM3U\r\n#EXT-X-MEDIA:TYPE=AUDIO,URI=\"https://a.kz/kk.m3u8\",NAME=\"x\"\n#EXT-X-STREAM-INF:BANDWIDTH=1\n\
            https://a.kz/v.m3u8\r\nv2.m3u8\n/v3.m3u8\nhttps://elsewhere.kz/v4.m3u8\n";
        let new = playlist(&map(Form::Path, false), &base, text).expect("changed");
        assert_eq!(
            new,
            "#EXTM3U\r\n#EXT-X-MEDIA:TYPE=AUDIO,URI=\"/m/a.kz/kk.m3u8\",NAME=\"x\"\n#EXT-X-STREAM-INF:BANDWIDTH=1\n\
             /m/a.kz/v.m3u8\r\nv2.m3u8\n/m/a.kz/v3.m3u8\nhttps://elsewhere.kz/v4.m3u8\n"
        );
        assert_eq!(playlist(&map(Form::Path, false), &base, "#EXTM3U\nv2.m3u8\n"), None);
        assert_eq!(playlist(&map(Form::Path, false), &base, "https://a.kz/"), None);
    }
}
