//! `Cache-Control`, read from RFC 9111 section 5.2 alone: a list of tokens, each perhaps with a token or a quoted string behind `=`.

/// Directives in order, names in lower case.
#[derive(Clone, Debug, Default)]
pub(crate) struct Directives(Vec<(String, Option<String>)>);

impl Directives {
    pub(crate) fn read(text: Option<&str>) -> Directives {
        let mut found = Vec::new();
        let (mut quoted, mut part) = (false, String::new());
        for char in text.unwrap_or_default().chars().chain([',']) {
            match char {
                '"' => {
                    quoted = !quoted;
                    part.push(char);
                }
                ',' if !quoted => {
                    let (name, value) = part.split_once('=').map_or((part.as_str(), None), |(name, value)| (name, Some(value)));
                    let value = value.map(|value| value.trim().trim_matches('"').to_owned());
                    if !name.trim().is_empty() {
                        found.push((name.trim().to_ascii_lowercase(), value));
                    }
                    part.clear();
                }
                _ => part.push(char),
            }
        }
        Directives(found)
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.0.iter().any(|(known, _)| known == name)
    }

    /// There, and without an argument.
    pub(crate) fn is_bare(&self, name: &str) -> bool {
        self.0.iter().any(|(known, value)| known == name && value.is_none())
    }

    /// Seconds; `Some(0)` when it is there and says no number. Of several the largest: what is allowed at most.
    pub(crate) fn seconds(&self, name: &str) -> Option<i64> {
        let number = |value: &Option<String>| {
            let value = value.as_deref().unwrap_or_default();
            let digits = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_digit());
            // Section 1.2.2: what is too large counts as 2^31.
            if digits { value.parse::<i64>().unwrap_or(i64::MAX).min(1 << 31) } else { 0 }
        };
        self.0.iter().filter(|(known, _)| known == name).map(|(_, value)| number(value)).max()
    }
}

#[test]
fn directives_are_read_as_written() {
    let told = Directives::read(Some("MAX-AGE=5, private=\"a, max-age=9\", max-stale, x=\"no-store\", s-maxage=soon,,"));
    assert_eq!((told.seconds("max-age"), told.seconds("s-maxage"), told.seconds("min-fresh")), (Some(5), Some(0), None));
    assert!(told.has("private") && !told.is_bare("private") && told.is_bare("max-stale") && !told.has("no-store"));
}
