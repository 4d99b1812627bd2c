//! Short words of the hub's pages in Kazakh, Russian and English. Pure.

/// A language of the pages.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tongue {
    /// Kazakh.
    Kk,
    /// Russian.
    Ru,
    /// English.
    En,
}

impl Tongue {
    /// By choice (`?lang=`), else the first of the browser's languages that is spoken here, else Kazakh.
    pub(crate) fn choose(wanted: Option<&str>, accept: Option<&str>) -> Tongue {
        let listed = accept.unwrap_or_default().split(',').filter_map(|item| item.split(['-', ';']).next());
        wanted.into_iter().chain(listed).find_map(|word| Tongue::of(word.trim())).unwrap_or(Tongue::Kk)
    }

    fn of(word: &str) -> Option<Tongue> {
        match word {
            "kk" => Some(Tongue::Kk),
            "ru" => Some(Tongue::Ru),
            "en" => Some(Tongue::En),
            _ => None,
        }
    }

    /// The code for `lang=`.
    pub(crate) fn code(self) -> &'static str {
        match self {
            Tongue::Kk => "kk",
            Tongue::Ru => "ru",
            Tongue::En => "en",
        }
    }

    /// A number with this many decimals, as the language writes it.
    pub(crate) fn number(self, value: f64, decimals: usize) -> String {
        let text = format!("{value:.decimals$}");
        if self == Tongue::En { text } else { text.replace('.', ",") }
    }

    /// A rate for people: `7,8 Мбит/с`.
    #[expect(clippy::cast_precision_loss, reason = "printed with one decimal")]
    pub(crate) fn rate(self, bits: i64) -> String {
        match bits {
            ..1_000_000 => format!("{} {}", self.number(bits as f64 / 1e3, 0), self.say("kbit")),
            _ => format!("{} {}", self.number(bits as f64 / 1e6, 1), self.say("mbit")),
        }
    }

    /// A number of bytes for people, decimal: `4,1 ГБ`.
    #[expect(clippy::cast_precision_loss, reason = "printed with one decimal")]
    pub(crate) fn bytes(self, bytes: i64) -> String {
        let (size, unit) = match bytes {
            ..1_000_000 => (1e3, self.say("kb")),
            1_000_000..1_000_000_000 => (1e6, self.say("mb")),
            _ => (1e9, self.say("gb")),
        };
        format!("{} {unit}", self.number(bytes as f64 / size, 1))
    }

    /// How long something lasted, no minute of an outage left out: `59 s`, `5 min 20 s`, `1 h 59 min`, `3 d 2 h`.
    pub(crate) fn lasted(self, seconds: u64) -> String {
        let (whole, unit, rest, below) = match seconds {
            0..60 => (seconds, "s", 0, "s"),
            60..3_600 => (seconds / 60, "min", seconds % 60, "s"),
            3_600..86_400 => (seconds / 3_600, "h", seconds % 3_600 / 60, "min"),
            _ => (seconds / 86_400, "d", seconds % 86_400 / 3_600, "h"),
        };
        let rest = if rest == 0 { String::new() } else { format!(" {rest} {}", self.say(below)) };
        format!("{whole} {}{rest}", self.say(unit))
    }

    /// How long ago something was, roughly: `3 min`, `5 h`, `12 d`.
    pub(crate) fn span(self, seconds: u64) -> String {
        match seconds {
            0..3_600 => format!("{} {}", seconds / 60, self.say("min")),
            3_600..172_800 => format!("{} {}", seconds / 3_600, self.say("h")),
            _ => format!("{} {}", seconds / 86_400, self.say("d")),
        }
    }

    /// The word for a key; the key itself never shows, a test sees to that.
    pub(crate) fn say(self, key: &str) -> &'static str {
        WORDS.iter().find(|word| word.0 == key).map_or("", |word| match self {
            Tongue::Kk => word.1,
            Tongue::Ru => word.2,
            Tongue::En => word.3,
        })
    }
}

/// The key of what happened.
pub(crate) fn event_key(what: &str) -> &'static str {
    match what {
        "line_down" => "line_event",
        "names_down" => "names_event",
        "origin_down" => "origin_event",
        "box_off" => "box_event",
        "clock_wrong" => "clock_event",
        "interface_lost" => "interface_event",
        _ => "unknown",
    }
}

/// key, kk, ru, en.
pub(crate) const WORDS: &[(&str, &str, &str, &str)] = &[
    ("sign_in", "Кіру", "Вход", "Sign in"),
    ("sign_out", "Шығу", "Выйти", "Sign out"),
    ("name", "Аты", "Имя", "Name"),
    ("password", "Құпиясөз", "Пароль", "Password"),
    (
        "wrong_password",
        "Аты немесе құпиясөзі дұрыс емес. Қайта теріңіз.",
        "Имя или пароль неверны. Наберите ещё раз.",
        "The name or the password is not right. Type them again.",
    ),
    (
        "too_many_tries",
        "Тым көп әрекет жасалды. Бір минуттан кейін қайталаңыз.",
        "Слишком много попыток. Повторите через минуту.",
        "Too many tries. Try again in a minute.",
    ),
    (
        "not_private",
        "Бұл байланыс қорғалмаған: құпиясөзді басқалар оқи алады. Бетті https арқылы ашыңыз.",
        "Это соединение не защищено: пароль могут прочитать другие. Откройте страницу по https.",
        "This connection is not protected: others could read the password. Open the page over https.",
    ),
    ("region", "Мектептер", "Школы", "Schools"),
    ("school", "Мектеп", "Школа", "School"),
    ("state", "Күйі", "Состояние", "State"),
    ("heard", "Соңғы хабар", "Последняя связь", "Last heard"),
    ("line", "Байланыс желісі", "Линия", "Line"),
    ("speed", "Жылдамдық", "Скорость", "Speed"),
    ("wait", "Кідіріс", "Задержка", "Latency"),
    ("down", "Үзіліс", "Обрыв", "Line down"),
    ("off", "Құрылғы өшірулі", "Прибор выключен", "Box off"),
    ("cache", "Кэштен / барлығы", "Из кэша / всего", "From cache / all"),
    ("http", "HTTP", "HTTP", "HTTP"),
    ("mirror", "Айна", "Зеркало", "Mirror"),
    ("intercept", "Тізімдегі HTTPS", "HTTPS по списку", "Listed HTTPS"),
    ("store", "Қойма", "Хранилище", "Store"),
    ("waiting", "Кезектегі есептер", "Отчётов в очереди", "Reports waiting"),
    ("version", "Нұсқа", "Версия", "Version"),
    ("received", "Қабылданды", "Принято", "Received"),
    ("time", "Уақыт", "Время", "Time"),
    ("of", "барлығы", "из", "of"),
    ("ms", "мс", "мс", "ms"),
    ("kbit", "кбит/с", "кбит/с", "kbit/s"),
    ("mbit", "Мбит/с", "Мбит/с", "Mbit/s"),
    ("kb", "кБ", "кБ", "kB"),
    ("mb", "МБ", "МБ", "MB"),
    ("gb", "ГБ", "ГБ", "GB"),
    ("hours", "Сағат бойынша", "По часам", "Hour by hour"),
    ("last", "Соңғы есеп", "Последний отчёт", "Last report"),
    (
        "astray",
        "Сервердің сағаты артта қалған: ол түзетілгенше есептер мектептерде күтеді",
        "Часы сервера отстают: пока их не переведут, отчёты ждут в школах",
        "This server's clock is behind: reports wait at the schools until it is set",
    ),
    ("clock", "сағаты дұрыс емес", "часы неверны", "clock was wrong"),
    ("none", "Бірде-бір мектеп тіркелмеген", "Ни одна школа не подключена", "No school is enrolled"),
    ("silent", "үнсіз: құрылғы өшірулі не желі жоқ", "молчит: прибор выключен или нет линии", "silent: box off or no line"),
    ("silent_week", "бір аптадан бері үнсіз", "молчит больше недели", "silent for a week"),
    ("at_risk", "22 күннен бері үнсіз: жоғалып барады", "молчит 22 дня: теряем", "silent for 22 days: at risk"),
    ("dropped_off", "29 күннен бері үнсіз: жоғалды", "молчит 29 дней: потеряна", "silent for 29 days: dropped off"),
    ("partly", "үзілістермен", "с перерывами", "with breaks"),
    ("untold", "мәлімет жоқ", "нет данных", "no data"),
    ("month", "30 күн", "30 дней", "30 days"),
    ("all", "Барлығы", "Все", "All"),
    ("provider", "Провайдер", "Провайдер", "Provider"),
    ("contract", "Шарт бойынша", "По договору", "By contract"),
    (
        "event",
        "Бір провайдердің мектептері бірге істен шықты",
        "Школы одного провайдера отключились вместе",
        "Schools of one provider are away together",
    ),
    (
        "twin",
        "Бір кілтті екі құрылғы қолданып тұр: карта көшірілген. Біріне жаңа кілт беріңіз",
        "Одним ключом пользуются два прибора: карта скопирована. Дайте одному новый ключ",
        "Two boxes use one key: its card was copied. Give one of them a new key",
    ),
    ("twin_short", "кілт екеу", "ключ двоится", "copied key"),
    ("search", "Іздеу", "Поиск", "Search"),
    ("show", "Көрсету", "Показать", "Show"),
    ("next", "Келесі", "Далее", "Next"),
    ("days", "Күн бойынша", "По дням", "Day by day"),
    ("day", "Күні", "День", "Day"),
    ("tests", "Жылдамдық өлшеулері", "Замеры скорости", "Speed tests"),
    ("outages", "Үзілістер", "Обрывы", "Outages"),
    ("download", "Жүктеу", "Загрузка", "Download"),
    ("upload", "Жіберу", "Отдача", "Upload"),
    ("loss", "Жоғалту", "Потери", "Loss"),
    ("busy", "желі бос емес еді", "линия была занята", "the line was in use"),
    ("none_yet", "әзірге жоқ", "пока нет", "none yet"),
    (
        "speed_chart",
        "Күн бойынша жүктеу жылдамдығы: сызық – нақты жүктеулер, нүктелер – өлшеулер, үзік сызық – шарт",
        "Скорость загрузки по дням: линия – по загрузкам, точки – замеры, пунктир – договор",
        "Download speed by day: line – seen in use, points – tests, dashes – contract",
    ),
    (
        "hours_chart",
        "Тәулік сағаттары: желі жұмыс істеді, баяу, үзіліс, бақыланбады, құрылғы өшірулі",
        "Часы суток: линия работала, медленно, обрыв, не проверялась, прибор выключен",
        "Hours of each day: line up, slow, down, not watched, box off",
    ),
    ("line_event", "желі үзілді", "обрыв линии", "line down"),
    ("names_event", "DNS істемеді", "не работал DNS", "names (DNS) down"),
    ("origin_event", "бір сайт істемеді", "не отвечал один сайт", "one site down"),
    ("box_event", "құрылғы өшірулі болды", "прибор был выключен", "box was off"),
    ("clock_event", "сағаты дұрыс болмады", "часы были неверны", "clock was wrong"),
    ("interface_event", "желілік порт жоғалды", "пропал сетевой порт", "network port was lost"),
    ("open", "жалғасуда", "продолжается", "not over"),
    ("line_down", "желі үзілген", "линия не работает", "line down"),
    ("late", "кешігуде", "опаздывает", "late"),
    ("never_reported", "әлі хабарласпаған", "ещё не выходила на связь", "never reported"),
    ("unknown", "белгісіз", "неизвестно", "unknown"),
    ("live", "жұмыс істеп тұр", "на связи", "live"),
    ("up", "жұмыс істейді", "работает", "up"),
    ("slow", "баяу", "медленно", "slow"),
    ("s", "с", "с", "s"),
    ("min", "мин", "мин", "min"),
    ("h", "сағ", "ч", "h"),
    ("d", "күн", "дн", "d"),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_word_is_there_in_all_languages() {
        for (key, kk, ru, en) in WORDS {
            assert!(!kk.is_empty() && !ru.is_empty() && !en.is_empty(), "{key}");
            assert_eq!(WORDS.iter().filter(|word| word.0 == *key).count(), 1, "{key}");
        }
        // Every key that the pages ask for.
        let pages = [include_str!("pages.rs"), include_str!("pages/region.rs"), include_str!("pages/school.rs"), include_str!("chart.rs")];
        for part in pages.iter().flat_map(|text| text.split("say(\"").skip(1)) {
            let key = part.split('"').next().unwrap_or_default();
            assert!(WORDS.iter().any(|word| word.0 == key), "{key} has no words");
        }
        let named = crate::hub::summary::STANDINGS.into_iter().map(crate::hub::summary::Standing::word);
        let events = crate::report::schema::EVENTS.iter().map(|what| event_key(what));
        for key in named.chain(events) {
            assert!(WORDS.iter().any(|word| word.0 == key), "{key} has no words");
        }
    }

    #[test]
    fn quantities_as_people_read_them() {
        assert_eq!((Tongue::Ru.rate(7_840_000), Tongue::En.rate(300_000)), ("7,8 Мбит/с".into(), "300 kbit/s".into()));
        assert_eq!((Tongue::Kk.bytes(4_100_000_000), Tongue::En.bytes(1_500)), ("4,1 ГБ".into(), "1.5 kB".into()));
        assert_eq!(Tongue::En.span(59), "0 min");
        assert_eq!(Tongue::Ru.span(7_300), "2 ч");
        assert_eq!(Tongue::Kk.span(700_000), "8 күн");
        let lasted = |seconds| [Tongue::Kk, Tongue::Ru, Tongue::En].map(|tongue| tongue.lasted(seconds));
        assert_eq!(lasted(0), ["0 с", "0 с", "0 s"]);
        assert_eq!(lasted(59), ["59 с", "59 с", "59 s"]);
        assert_eq!(lasted(3_599), ["59 мин 59 с", "59 мин 59 с", "59 min 59 s"]);
        assert_eq!(lasted(7_140), ["1 сағ 59 мин", "1 ч 59 мин", "1 h 59 min"]);
        assert_eq!(lasted(7_200), ["2 сағ", "2 ч", "2 h"]);
        assert_eq!(lasted(90_000), ["1 күн 1 сағ", "1 дн 1 ч", "1 d 1 h"]);
    }

    #[test]
    fn languages_are_chosen() {
        assert_eq!(Tongue::choose(Some("en"), Some("ru")), Tongue::En);
        assert_eq!(Tongue::choose(Some("xx"), Some("de-DE,ru-RU;q=0.8,en;q=0.5")), Tongue::Ru);
        assert_eq!(Tongue::choose(None, None), Tongue::Kk);
    }
}
