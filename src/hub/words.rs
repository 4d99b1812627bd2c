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

    /// The word for a key; the key itself never shows, a test sees to that.
    pub(crate) fn say(self, key: &str) -> &'static str {
        WORDS.iter().find(|word| word.0 == key).map_or("", |word| match self {
            Tongue::Kk => word.1,
            Tongue::Ru => word.2,
            Tongue::En => word.3,
        })
    }
}

/// key, kk, ru, en.
pub(crate) const WORDS: &[(&str, &str, &str, &str)] = &[
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
    ("time", "Уақыт (UTC)", "Время (UTC)", "Time (UTC)"),
    ("hours", "Сағат бойынша", "По часам", "Hour by hour"),
    ("last", "Соңғы есеп", "Последний отчёт", "Last report"),
    ("clock", "сағаты дұрыс емес", "часы неверны", "clock was wrong"),
    ("none", "Бірде-бір мектеп тіркелмеген", "Ни одна школа не подключена", "No school is enrolled"),
    ("silent", "үнсіз: құрылғы өшірулі не желі жоқ", "молчит: прибор выключен или нет линии", "silent: box off or no line"),
    ("line_down", "желі үзілген", "линия не работает", "line down"),
    ("late", "кешігуде", "опаздывает", "late"),
    ("never_reported", "әлі хабарласпаған", "ещё не выходила на связь", "never reported"),
    ("unknown", "белгісіз", "неизвестно", "unknown"),
    ("live", "жұмыс істеп тұр", "на связи", "live"),
    ("up", "жұмыс істейді", "работает", "up"),
    ("slow", "баяу", "медленно", "slow"),
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
        for part in include_str!("pages.rs").split("say(\"").skip(1) {
            let key = part.split('"').next().unwrap_or_default();
            assert!(WORDS.iter().any(|word| word.0 == key), "{key} has no words");
        }
    }

    #[test]
    fn languages_are_chosen() {
        assert_eq!(Tongue::choose(Some("en"), Some("ru")), Tongue::En);
        assert_eq!(Tongue::choose(Some("xx"), Some("de-DE,ru-RU;q=0.8,en;q=0.5")), Tongue::Ru);
        assert_eq!(Tongue::choose(None, None), Tongue::Kk);
    }
}
