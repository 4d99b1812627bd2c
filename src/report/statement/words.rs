//! The words of a statement in Kazakh, Russian and English, side by side. Pure. A text that is missing in a language does not compile;
//! tests see that none is empty, left in another language, or without a figure that the others have.

use crate::base::language::Language;
use std::fmt::Write;

/// Declares the words in all languages at once.
macro_rules! words {
    ($($key:ident: $kk:literal, $ru:literal, $en:literal;)*) => {
        /// One language's words.
        pub(super) struct Words {
            $(pub(super) $key: &'static str,)*
        }

        const KK: Words = Words { $($key: $kk,)* };
        const RU: Words = Words { $($key: $ru,)* };
        const EN: Words = Words { $($key: $en,)* };

        /// Every text with its key.
        #[cfg(test)]
        const ALL: &[(&str, [&str; 3])] = &[$((stringify!($key), [$kk, $ru, $en]),)*];
    };
}

words! {
    title: "Интернет желісі туралы анықтама", "Справка о линии Интернета", "Statement of the Internet line";
    school: "Мектеп", "Школа", "School";
    period: "Кезең", "Период", "Period";
    running: "кезең әлі аяқталған жоқ", "период ещё не закончился", "the period is not over yet";
    zone: "уақыт белдеуі", "часовой пояс", "time zone";

    no_data: "Бұл кезеңде жылдамдық бірде-бір рет өлшенбеген: желі туралы ештеңе айтуға болмайды.",
        "За этот период скорость ни разу не измерена: о линии ничего сказать нельзя.",
        "The speed was not measured even once in this period: nothing can be said about the line.";
    offline: "Бақыланған уақытта желі мүлде жұмыс істемеді.",
        "Всё время, пока за линией наблюдали, она не работала.",
        "The line did not work at any time that it was watched.";
    meets: "Жүктеу жылдамдығының медианасы {median}: {benchmark} межесіне жетеді.",
        "Медиана скорости загрузки {median}: ориентир {benchmark} достигнут.",
        "The median download speed is {median}: the benchmark of {benchmark} is met.";
    below: "Жүктеу жылдамдығының медианасы {median}: {benchmark} межесінен төмен.",
        "Медиана скорости загрузки {median}: ниже ориентира {benchmark}.",
        "The median download speed is {median}: below the benchmark of {benchmark}.";
    promised: "Шарт бойынша {contract}: өлшеу жүргізілген {days} күннің {short} күнінде жылдамдық соның 80 %-ынан төмен болды.",
        "По договору {contract}: в {short} из {days} дней с замерами скорость была ниже 80 % обещанной.",
        "The contract promises {contract}: on {short} of {days} days with tests the speed was below 80 % of that.";
    unpromised: "Шарттағы жылдамдық құрылғыға енгізілмеген, сондықтан онымен салыстырылмады.",
        "Скорость по договору в прибор не внесена, поэтому сравнения с ней нет.",
        "The contract's speed was not entered in the box, so nothing is compared with it.";
    few: "Деректер аз: {length} күннің {days} күнінде {tests} рет өлшенген. Мұндай сандар үкім шығаруға жетпейді.",
        "Данных мало: замеров {tests}, дней с замерами {days} из {length}. Судить по таким цифрам нельзя.",
        "There is little data: {tests} tests on {days} of {length} days. These figures are no ground for a judgement.";

    speed: "Жылдамдық: шарт және өлшеу", "Скорость: договор и замеры", "Speed: contract and measurements";
    direction: "Бағыты", "Направление", "Direction";
    download: "Жүктеу (мектепке)", "Загрузка (в школу)", "Download (to the school)";
    upload: "Жіберу (мектептен)", "Отдача (из школы)", "Upload (from the school)";
    contract: "Шарт", "Договор", "Contract";
    median: "Медианасы", "Медиана", "Median";
    lowest: "Ең төмені", "Наименьшая", "Lowest";
    highest: "Ең жоғарысы", "Наибольшая", "Highest";
    tests: "Өлшеу", "Замеров", "Tests";
    short_days: "80 %-дан төмен күндер", "Дней ниже 80 %", "Days below 80 %";
    of: "{part} / {whole}", "{part} из {whole}", "{part} of {whole}";
    unknown: "белгісіз", "неизвестно", "unknown";

    benchmark: "2030 жылғы меже", "Ориентир 2030 года", "Benchmark for 2030";
    benchmark_how: "ХЭО мен БҰҰ мақсаты: мектепке 20 Мбит/с, оқушысы 400-ден көп болса – әр оқушыға 50 кбит/с.",
        "Цель МСЭ и ООН: 20 Мбит/с на школу, а если учеников больше 400 – 50 кбит/с на каждого.",
        "Target of ITU and UN: 20 Mbit/s for a school, or 50 kbit/s for each pupil where there are more than 400.";
    pupils: "Оқушылар саны: {pupils}.", "Учеников: {pupils}.", "Pupils: {pupils}.";
    pupils_unknown: "Оқушылар саны енгізілмеген: 20 Мбит/с алынды.",
        "Число учеников не внесено: взято 20 Мбит/с.",
        "The number of pupils was not entered: 20 Mbit/s is taken.";
    days: "Күндер", "Дней", "Days";
    days_meets: "межеге жеткен", "на уровне ориентира", "that meet it";
    days_below: "межеден төмен", "ниже ориентира", "below it";
    days_offline: "желі болмаған", "без линии", "without a line";
    days_no_data: "өлшенбеген", "без замеров", "without a test";
    chart: "Күн бойынша жүктеу жылдамдығы. Нүкте – күннің медианасы, тік сызық – ең төменінен ең жоғарысына дейін, үзік сызық – шарт, нүктелі сызық – меже; боялған күндері өлшеу болмаған.",
        "Скорость загрузки по дням. Точка – медиана дня, вертикаль – от наименьшей до наибольшей, штрихи – договор, пунктир – ориентир; закрашены дни без замеров.",
        "Download speed by day. Dot: the day's median; upright: from lowest to highest; dashes: the contract; dots: the benchmark; shaded: days without a test.";

    latency: "Кідіріс", "Задержка", "Latency";
    latency_idle: "желі бос кезде, медианасы", "на свободной линии, медиана", "while the line is free, median";
    latency_span: "ең азынан ең көбіне дейін", "от наименьшей до наибольшей", "from the least to the most";
    latency_loaded: "желі толы кезде, медианасы", "на загруженной линии, медиана", "while the line is full, median";

    time: "Уақыт қалай өтті", "На что ушло время", "Where the time went";
    up: "желі жұмыс істеді", "линия работала", "the line worked";
    slow: "желі нашар жұмыс істеді", "линия работала плохо", "the line worked badly";
    down: "желі істемеді", "линия не работала", "the line was down";
    untried: "құрылғы қосулы, бірақ желіні ешкім пайдаланбады", "прибор включён, но линией никто не пользовался",
        "the box was on and nobody used the line";
    off: "құрылғы өшірулі", "прибор выключен", "the box was off";
    clock: "құрылғының сағаты дұрыс болмады", "часы прибора были неверны", "the box's clock was wrong";
    before: "құрылғы әлі орнатылмаған", "прибор ещё не был установлен", "the box had not been set up";
    available: "Қолжетімділігі", "Доступность", "Availability";
    available_how: "Бақыланған уақыттың желі жұмыс істеген үлесі. Құрылғы өшірулі болған не желіні ешкім пайдаланбаған уақыт кірмейді: ол үзіліс емес, ол туралы ештеңе белгісіз.",
        "Доля времени наблюдения, когда линия работала. Время, когда прибор был выключен или линией никто не пользовался, не входит: это не обрыв, об этом времени просто ничего не известно.",
        "Of the time that the line was watched, the part in which it worked. Time in which the box was off or nobody used the line is left out: that is no outage, nothing is known of it.";

    outages: "Ақаулар себебі бойынша", "Неполадки по причинам", "Outages by cause";
    cause: "Себебі", "Причина", "Cause";
    times: "Рет", "Раз", "Times";
    total: "Барлығы", "Всего", "In all";
    longest: "Ең ұзағы", "Самая долгая", "Longest";
    outages_none: "Ештеңе байқалмады.", "Ничего не замечено.", "Nothing was noticed.";
    outages_coarse: "Сағатпен есептелген: қатар келген сағаттар – бір ақау.",
        "Посчитано по часам: часы подряд – одна неполадка.",
        "Counted by hours: hours in a row are one outage.";
    one_by_one: "Ең ұзақтары", "Самые долгие", "The longest ones";
    line_down: "желі үзілді", "обрыв линии", "the line was down";
    names_down: "сайт атаулары (DNS) табылмады", "не находились имена сайтов (DNS)", "names (DNS) were not found";
    origin_down: "бір ғана сайт жауап бермеді", "не отвечал один сайт", "one site alone did not answer";
    box_off: "құрылғы өшірулі болды", "прибор был выключен", "the box was off";
    clock_wrong: "құрылғының сағаты дұрыс болмады", "часы прибора были неверны", "the box's clock was wrong";
    interface_lost: "желілік порт жоғалды", "пропал сетевой порт", "the network port was lost";

    method: "Қалай өлшенді", "Как измерено", "How this was measured";
    method_where: "Мектептегі құрылғы Wi-Fi-дан бұрын, желінің өзінде тұр: сандарда Wi-Fi әсері жоқ. Сервер: елде – {domestic}, шетелде – {foreign}, орны белгісіз – {unplaced} өлшеу.",
        "Прибор в школе стоит на самой линии, до Wi-Fi: на цифры Wi-Fi не влияет. Сервер: в стране – замеров {domestic}, за рубежом – {foreign}, место неизвестно – {unplaced}.",
        "The box at the school stands at the line itself, before the Wi-Fi, which has no part in the figures. Server: in the country {domestic} tests, abroad {foreign}, of unknown place {unplaced}.";
    method_test: "ndt7 хаттамасы (0.11 нұсқасы), мектеп күнінің әр бөлігінде кездейсоқ сәтте. {streams} өлшеуде бірнеше ағын қатар жүрді: бір ағын желіні толтыра алмаған.",
        "Протокол ndt7 (версия 0.11), в случайный момент каждой части школьного дня. В {streams} замерах шло несколько потоков сразу: один линию не заполнял.",
        "Protocol ndt7 (version 0.11), at a random moment in each part of the school's day. In {streams} tests several streams ran at once, since one did not fill the line.";
    method_early: "Сан тұрақталған соң өлшеу тоқтайды ({early} рет), сондықтан мұндағы сандар жоспарлы он секундтық өлшеуден сәл өзгеше болуы мүмкін. Барлық өлшеулер желіден {cost} алды.",
        "Замер кончается, когда цифра установилась ({early} раз), поэтому она может немного отличаться от полного десятисекундного. Все замеры взяли у линии {cost}.",
        "A test ends as soon as its figure has settled ({early} tests), so the figure may differ a little from that of ten whole seconds. All tests took {cost} of the line.";
    method_cross: "Өлшеу кезінде басқалар желіден өткізген көлем ({cross}) қосылған; {busy} өлшеу сынып желіні пайдаланып жатқанда жүрді. Құрылғыны айналып өткен трафик көрінбейді: ол бар болса, нақты жылдамдық жоғарырақ.",
        "То, что во время замеров передавали другие ({cross}), прибавлено; замеров, когда линией пользовался класс: {busy}. Трафик мимо прибора не виден: если он был, настоящая скорость выше.",
        "What others moved during the tests ({cross}) is added; {busy} tests ran while a class used the line. Traffic that goes past the box is not seen: where there was some, the true speed is higher.";
    method_guess: "Жылдамдық – желі сыйымдылығының бағасы, бір файлды жүктеу жылдамдығы емес. Әр күн бір рет саналады, сондықтан бір күнгі көп өлшеу нәтижені өзгертпейді. Адам сұраған өлшеу: {manual}; сансыз аяқталғаны: {failed}; байт шегіне жетіп, жіберілмегені: {passive}; күні белгісіз болғандықтан есепке алынбағаны: {undated}.",
        "Скорость – оценка пропускной способности линии, а не скорость загрузки одного файла. Каждый день считается один раз: много замеров за день не меняют итога. По просьбе человека: {manual}; без результата: {failed}; не отправлялись, так как лимит байт исчерпан: {passive}; не учтены, так как дата неизвестна: {undated}.",
        "Speed is an estimate of the line's capacity, not that of one file's download. Each day counts once: many tests on one day do not change the result. Asked for by a person: {manual}; without a figure: {failed}; not sent since the bytes were used up: {passive}; left out for want of a date: {undated}.";

    made: "Жасалды", "Составлено", "Made";
    program: "Бағдарлама", "Программа", "Program";
    node: "Құрылғы", "Прибор", "Box";
    digest: "Сандар белгісі (SHA-256)", "Отпечаток цифр (SHA-256)", "Digest of the figures (SHA-256)";
    signature: "Қолтаңба (Ed25519)", "Подпись (Ed25519)", "Signature (Ed25519)";
    check: "Тексеру: «bulak link statement --check ФАЙЛ» файлды кез келген компьютерде тексереді; қағаздағы белгі сол көрсететін белгімен бірдей болуы керек. Құрылғы нөмірі ауданның хабындағы нөмірмен бірдей болса, сандар осы мектептікі.",
        "Проверка: «bulak link statement --check ФАЙЛ» проверяет файл на любом компьютере; отпечаток на бумаге должен совпасть с показанным. Если номер прибора тот же, что на районном хабе, цифры – этой школы.",
        "To check: \"bulak link statement --check FILE\" checks the file on any computer; the digest on paper must be the one that it shows. Where the box's number is that of the school at the district's hub, the figures are this school's.";

    mbit: "Мбит/с", "Мбит/с", "Mbit/s";
    kbit: "кбит/с", "кбит/с", "kbit/s";
    ms: "мс", "мс", "ms";
    kb: "кБ", "кБ", "kB";
    mb: "МБ", "МБ", "MB";
    gb: "ГБ", "ГБ", "GB";
    second: "с", "с", "s";
    minute: "мин", "мин", "min";
    hour: "сағ", "ч", "h";
    day: "күн", "дн", "d";
    comma: ",", ",", ".";
}

/// The words of a language.
pub(super) const fn of(language: Language) -> &'static Words {
    match language {
        Language::Kk => &KK,
        Language::Ru => &RU,
        Language::En => &EN,
    }
}

/// A text with its figures in place.
pub(super) fn fill(text: &str, values: &[(&str, &dyn std::fmt::Display)]) -> String {
    let mut rest = text;
    let mut out = String::with_capacity(text.len() + 32);
    while let Some((before, after)) = rest.split_once('{') {
        out.push_str(before);
        let Some((name, after)) = after.split_once('}') else { return out };
        if let Some((_, value)) = values.iter().find(|(each, _)| *each == name) {
            // Writing to a String cannot fail.
            let _ = write!(out, "{value}");
        }
        rest = after;
    }
    out + rest
}

impl Words {
    /// What was out of order.
    pub(super) fn event(&self, what: &str) -> &'static str {
        match what {
            "line_down" => self.line_down,
            "names_down" => self.names_down,
            "origin_down" => self.origin_down,
            "box_off" => self.box_off,
            "clock_wrong" => self.clock_wrong,
            "interface_lost" => self.interface_lost,
            _ => self.unknown,
        }
    }

    fn number(&self, value: f64, decimals: usize) -> String {
        format!("{value:.decimals$}").replace('.', self.comma)
    }

    /// `7,8 Мбит/с`.
    pub(super) fn rate(&self, bits: u64) -> String {
        match bits {
            ..1_000_000 => format!("{} {}", self.number(float(bits) / 1e3, 0), self.kbit),
            1_000_000..1_000_000_000 => format!("{} {}", self.number(float(bits) / 1e6, 1), self.mbit),
            _ => format!("{} {}", self.number(float(bits) / 1e6, 0), self.mbit),
        }
    }

    /// The same, or that it is not known.
    pub(super) fn rate_or(&self, bits: Option<u64>) -> String {
        bits.map_or_else(|| "–".to_owned(), |bits| self.rate(bits))
    }

    /// `41 мс`.
    pub(super) fn wait(&self, micros: Option<u64>) -> String {
        micros.map_or_else(|| "–".to_owned(), |micros| format!("{} {}", self.number(float(micros) / 1e3, 0), self.ms))
    }

    /// `4,1 ГБ`.
    pub(super) fn bytes(&self, bytes: u64) -> String {
        let (size, unit) = match bytes {
            ..1_000_000 => (1e3, self.kb),
            1_000_000..1_000_000_000 => (1e6, self.mb),
            _ => (1e9, self.gb),
        };
        format!("{} {unit}", self.number(float(bytes) / size, 1))
    }

    /// `3 ч 20 мин`, the two largest units.
    pub(super) fn span(&self, seconds: u64) -> String {
        let (minutes, hours, days) = (seconds / 60, seconds / 3_600, seconds / 86_400);
        match seconds {
            0..60 => format!("{seconds} {}", self.second),
            60..3_600 => format!("{minutes} {}", self.minute),
            3_600..86_400 => format!("{hours} {} {} {}", self.hour, minutes % 60, self.minute),
            _ => format!("{days} {} {} {}", self.day, hours % 24, self.hour),
        }
    }

    /// `98,4 %` of millionths; never rounded up to all.
    pub(super) fn share(&self, ppm: u64) -> String {
        let tenths = if ppm < 1_000_000 { (ppm / 1_000).min(999) } else { 1_000 };
        format!("{} %", self.number(float(tenths) / 10.0, 1))
    }
}

#[expect(clippy::cast_precision_loss, reason = "printed with a decimal or none")]
fn float(value: u64) -> f64 {
    value as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Texts that are one and the same in two languages, and rightly so.
    const SAME: [&str; 8] = ["mbit", "kbit", "ms", "kb", "mb", "gb", "minute", "comma"];

    fn placeholders(text: &str) -> Vec<&str> {
        let mut all: Vec<&str> = text.split('{').skip(1).filter_map(|rest| rest.split('}').next()).collect();
        all.sort_unstable();
        all
    }

    #[test]
    fn no_text_is_missing_left_in_another_language_or_without_a_figure() {
        assert!(ALL.len() > 80);
        for (key, [kk, ru, en]) in ALL {
            for text in [kk, ru, en] {
                assert!(!text.trim().is_empty() && text.trim() == *text, "{key}: {text:?}");
                assert_eq!(placeholders(text), placeholders(en), "{key}");
            }
            if !SAME.contains(key) && *key != "second" {
                assert!(kk != ru && ru != en && kk != en, "{key} is the same in two languages: {kk}");
            }
        }
        let kazakh = "әғқңөұүһіӘҒҚҢӨҰҮҺІ";
        let cyrillic = |letter: char| ('\u{400}'..='\u{4ff}').contains(&letter);
        for (key, [kk, ru, en]) in ALL {
            assert!(!ru.chars().any(|letter| kazakh.contains(letter)), "{key}: {ru}");
            assert!(!en.chars().any(cyrillic), "{key}: {en}");
            assert!(ru.chars().any(cyrillic) || *key == "comma", "{key}: {ru}");
            let long = kk.chars().filter(|letter| cyrillic(*letter)).count() > 24;
            assert!(!long || kk.chars().any(|letter| kazakh.contains(letter)), "{key}: {kk}");
        }
    }

    #[test]
    fn every_cause_of_the_reports_has_a_word() {
        for language in Language::ALL {
            for what in crate::report::schema::EVENTS {
                assert_ne!(of(language).event(what), of(language).unknown, "{what}");
            }
        }
    }

    #[test]
    fn quantities_as_people_read_them() {
        let (kk, ru, en) = (of(Language::Kk), of(Language::Ru), of(Language::En));
        assert_eq!(
            (ru.rate(7_840_000), en.rate(300_000), en.rate(1_500_000_000)),
            ("7,8 Мбит/с".into(), "300 kbit/s".into(), "1500 Mbit/s".into())
        );
        assert_eq!((kk.bytes(4_100_000_000), en.bytes(1_500)), ("4,1 ГБ".into(), "1.5 kB".into()));
        assert_eq!((en.span(59), ru.span(7_300), kk.span(700_000)), ("59 s".into(), "2 ч 1 мин".into(), "8 күн 2 сағ".into()));
        assert_eq!((en.share(999_999), en.share(1_000_000), ru.share(984_400)), ("99.9 %".into(), "100.0 %".into(), "98,4 %".into()));
        assert_eq!((en.wait(Some(41_400)), en.wait(None), en.rate_or(None)), ("41 ms".into(), "–".into(), "–".into()));
        assert_eq!(fill("{a} of {b} {", &[("a", &1), ("b", &"two")]), "1 of two ");
    }
}
