//! The page on which people sign in.

use super::STYLE;
use crate::hub::pages::percent;
use crate::hub::words::Tongue;
use askama::Template;

/// Why the page is shown again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Told {
    /// It is shown for the first time.
    Nothing,
    /// No such name, or not its password: nobody learns which.
    Wrong,
    /// Too many tries, or too many people at once.
    Later,
    /// A password would travel where others can read it.
    Open,
}

#[derive(Template)]
#[template(
    ext = "html",
    source = r#"<!doctype html>
<html lang="{{ tongue.code() }}">
<head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1"><title>Bulak: {{ tongue.say("sign_in") }}</title><style>{{ style|safe }}</style></head>
<body>
<nav>{% for other in others %}<a href="/sign-in?lang={{ other.0 }}&amp;next={{ escaped }}">{{ other.1 }}</a>{% endfor %}</nav>
<main>
<h1>{{ tongue.say("sign_in") }}</h1>
{% if !told.is_empty() %}<p class="event" role="alert">{{ told }}</p>
{% endif %}<form method="post" action="/sign-in" class="lines">
<input type="hidden" name="lang" value="{{ tongue.code() }}"><input type="hidden" name="next" value="{{ next }}">
<label>{{ tongue.say("name") }}<br><input name="name" autocomplete="username" autocapitalize="none" required maxlength="64" value="{{ name }}"></label>
<label>{{ tongue.say("password") }}<br><input name="password" type="password" autocomplete="current-password" required maxlength="256"></label>
<button>{{ tongue.say("sign_in") }}</button>
</form>
</main></body></html>
"#
)]
struct Page<'a> {
    tongue: Tongue,
    style: &'a str,
    others: [(&'a str, &'a str); 3],
    told: &'a str,
    name: &'a str,
    next: &'a str,
    escaped: String,
}

/// The page; `name` as it was typed, `next` where to go afterwards.
pub(crate) fn render(tongue: Tongue, told: Told, name: &str, next: &str) -> Result<String, askama::Error> {
    let told = match told {
        Told::Nothing => "",
        Told::Wrong => tongue.say("wrong_password"),
        Told::Later => tongue.say("too_many_tries"),
        Told::Open => tongue.say("not_private"),
    };
    let others = [("kk", "Қазақша"), ("ru", "Русский"), ("en", "English")];
    Page { tongue, style: STYLE, others, told, name, next, escaped: percent(next) }.render()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_typed_is_escaped_and_the_password_never_shown_again() {
        for tongue in [Tongue::Kk, Tongue::Ru, Tongue::En] {
            let text = render(tongue, Told::Wrong, "\"><script>alert(1)</script>", "/?q=\"><img src=x>&lang=ru").expect("renders");
            assert!(!text.contains("<script") && !text.contains("<img"), "{text}");
            assert!(text.contains(tongue.say("wrong_password")) && text.contains("type=\"password\" autocomplete=\"current-password\""));
            assert!(text.contains("lang=\"") && !render(tongue, Told::Nothing, "", "/").expect("renders").contains("role=\"alert\""));
        }
    }
}
