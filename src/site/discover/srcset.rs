//! `srcset` (HTML Living Standard section 4.8.4.2) and which of its candidates to take: the width nearest to 1280, or the lowest
//! density, since a school's screens are small and its line is thin.

/// The width that a classroom's screens want.
const WIDTH: f64 = 1280.0;

/// The address to fetch, if there is any.
pub(super) fn choose(text: &str) -> Option<String> {
    let candidates = split(text);
    let by =
        |mark: char| move |word: &String| word.strip_suffix(mark)?.parse::<f64>().ok().filter(|number| number.is_finite() && *number > 0.0);
    let widths = candidates.iter().filter_map(|(address, words)| Some((address, words.iter().find_map(by('w'))?)));
    let nearest = widths.min_by(|a, b| (a.1 - WIDTH).abs().total_cmp(&(b.1 - WIDTH).abs()));
    if let Some((address, _)) = nearest {
        return Some(address.clone());
    }
    let density = |words: &Vec<String>| words.iter().find_map(by('x')).unwrap_or(1.0);
    candidates.iter().min_by(|a, b| density(&a.1).total_cmp(&density(&b.1))).map(|(address, _)| address.clone())
}

/// Address and descriptors of each candidate.
fn split(text: &str) -> Vec<(String, Vec<String>)> {
    let mut found = Vec::new();
    let mut rest = text;
    loop {
        rest = rest.trim_start_matches(|letter: char| letter.is_ascii_whitespace() || letter == ',');
        if rest.is_empty() || found.len() >= 64 {
            return found;
        }
        let end = rest.find(|letter: char| letter.is_ascii_whitespace()).unwrap_or(rest.len());
        let (address, after) = rest.split_at(end);
        let bare = address.trim_end_matches(',');
        if bare.len() < address.len() {
            found.push((bare.to_owned(), Vec::new()));
            rest = after;
            continue;
        }
        let end = after.find(',').unwrap_or(after.len());
        let words = after[..end].split_ascii_whitespace().map(str::to_owned).collect();
        found.push((bare.to_owned(), words));
        rest = &after[end..];
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_candidate_is_chosen() {
        let table = [
            ("a.png 320w, b.png 1200w, c.png 2400w", Some("b.png")),
            ("a.png 2x, b.png 1x, c.png 3x", Some("b.png")),
            ("a.png, b.png 2x", Some("a.png")),
            ("a,b.png 2x", Some("a,b.png")),
            ("data:image/png;base64,AA== 1x", Some("data:image/png;base64,AA==")),
            ("  , ,", None),
            ("", None),
            ("a.png -3w", Some("a.png")),
        ];
        for (text, wanted) in table {
            assert_eq!(choose(text).as_deref(), wanted, "{text}");
        }
    }
}
