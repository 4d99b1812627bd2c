//! Which language a visitor reads: a click, then the cookie, then the browser's wish, then Kazakh. Pure.

/// A language of the pages.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Language {
    /// Kazakh.
    #[default]
    Kk,
    /// Russian.
    Ru,
    /// English.
    En,
}

/// The cookie that remembers the choice.
pub const COOKIE: &str = "lang";

impl Language {
    /// All, in the order of the menu.
    pub const ALL: [Language; 3] = [Language::Kk, Language::Ru, Language::En];

    /// The tag for `lang=` and the cookie.
    pub const fn tag(self) -> &'static str {
        match self {
            Language::Kk => "kk",
            Language::Ru => "ru",
            Language::En => "en",
        }
    }

    /// How its speakers call it.
    pub const fn name(self) -> &'static str {
        match self {
            Language::Kk => "Қазақша",
            Language::Ru => "Русский",
            Language::En => "English",
        }
    }

    /// From a tag such as `ru` or `ru-KZ`.
    pub fn from_tag(tag: &str) -> Option<Language> {
        let main = tag.trim().split(['-', '_']).next().unwrap_or_default();
        Language::ALL.into_iter().find(|language| main.eq_ignore_ascii_case(language.tag()))
    }

    /// Chooses from the query's `lang`, the `Cookie` field and the `Accept-Language` field.
    pub fn choose(clicked: Option<&str>, cookies: Option<&str>, accepted: Option<&str>) -> Language {
        let cookie = || {
            let pairs = cookies?.split(';').filter_map(|pair| pair.trim().split_once('='));
            pairs.filter(|(name, _)| *name == COOKIE).find_map(|(_, value)| Language::from_tag(value))
        };
        clicked.and_then(Language::from_tag).or_else(cookie).or_else(|| wished(accepted?)).unwrap_or_default()
    }
}

/// The best of ours in an `Accept-Language` field (RFC 9110 section 12.5.4); the first of equals.
fn wished(accepted: &str) -> Option<Language> {
    let mut best: Option<(f32, Language)> = None;
    // 32 items: no browser sends more than a handful.
    for item in accepted.split(',').take(32) {
        let mut parts = item.split(';');
        let Some(language) = parts.next().and_then(Language::from_tag) else { continue };
        let weight = parts.find_map(|part| part.trim().strip_prefix("q=")).map_or(Some(1.0), |text| text.trim().parse::<f32>().ok());
        let Some(weight) = weight.filter(|weight| *weight > 0.0 && *weight <= 1.0) else { continue };
        if best.is_none_or(|(most, _)| weight > most) {
            best = Some((weight, language));
        }
    }
    best.map(|(_, language)| language)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn click_then_cookie_then_browser_then_kazakh() {
        let table = [
            (Some("en"), Some("lang=ru"), Some("kk"), Language::En),
            (Some("xx"), Some("a=b; lang=ru"), Some("kk"), Language::Ru),
            (None, Some("lang=xx"), Some("en-GB,en;q=0.9"), Language::En),
            (None, None, Some("de, en;q=0.5, ru-KZ;q=0.8"), Language::Ru),
            (None, None, Some("ru;q=0, en;q=x"), Language::Kk),
            (None, None, Some(""), Language::Kk),
            (None, None, None, Language::Kk),
        ];
        for (clicked, cookie, accepted, wanted) in table {
            assert_eq!(Language::choose(clicked, cookie, accepted), wanted, "{clicked:?} {cookie:?} {accepted:?}");
        }
    }
}
