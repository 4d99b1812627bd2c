//! The school's name for a LAN: from Kazakh or Russian to one DNS label ("№12 Абай мектебі" -> `abay-12`). Pure, never empty.
//!
//! What every school is called (мектебі, СОШ, КММ) says nothing and goes; numbers move to the end. The letters follow what people
//! write on a phone without Kazakh keys, not the 2021 Latin alphabet, whose marks a host name cannot carry.

/// Longest label: half of what DNS allows (RFC 1035 section 2.3.4), since someone types it.
const LONGEST: usize = 32;

/// What a school is called when its name says nothing; never `school`, which would claim `school.local` in every village.
const NAMELESS: &str = "mektep";

/// Words that fit any school, in lower case.
const EVERYWHERE: [&str; 47] = [
    "мектебі",
    "мектеп",
    "мектептің",
    "орта",
    "жалпы",
    "білім",
    "беретін",
    "беру",
    "негізгі",
    "бастауыш",
    "лицейі",
    "лицей",
    "гимназиясы",
    "гимназия",
    "атындағы",
    "атында",
    "коммуналдық",
    "мемлекеттік",
    "мекемесі",
    "кмм",
    "ммк",
    "бөлімі",
    "ауылы",
    "ауылының",
    "школа",
    "школы",
    "средняя",
    "общеобразовательная",
    "основная",
    "начальная",
    "имени",
    "им",
    "кгу",
    "гу",
    "сш",
    "сош",
    "осш",
    "оош",
    "ошг",
    "село",
    "села",
    "school",
    "secondary",
    "high",
    "mektebi",
    "mektep",
    "of",
];

/// One DNS label for a school.
pub fn label(name: &str) -> String {
    let (mut words, mut numbers) = (Vec::new(), Vec::new());
    for word in pieces(&name.to_lowercase()) {
        if word.starts_with(|first: char| first.is_ascii_digit()) {
            numbers.push(word);
        } else if !EVERYWHERE.contains(&word.as_str()) {
            let plain = transliterate(&word);
            if !plain.is_empty() {
                words.push(plain);
            }
        }
    }
    if words.is_empty() {
        words.push(NAMELESS.to_owned());
    }
    // The numbers tell schools of one town apart: words make room for them.
    let mut end = String::new();
    for number in numbers {
        if end.len() + number.len() < LONGEST / 2 {
            end = format!("{end}-{number}");
        }
    }
    let mut label = String::new();
    for word in words {
        let room = LONGEST - end.len();
        if label.is_empty() {
            label.extend(word.chars().take(room));
        } else if label.len() + 1 + word.len() <= room {
            label = format!("{label}-{word}");
        }
    }
    label + &end
}

/// Runs of letters and runs of digits: "№12" and "12А" come apart.
fn pieces(name: &str) -> Vec<String> {
    let mut pieces: Vec<String> = Vec::new();
    let mut last = None;
    for letter in name.chars() {
        let kind = if letter.is_ascii_digit() { Some(true) } else { letter.is_alphabetic().then_some(false) };
        match (kind, pieces.last_mut()) {
            (Some(_), Some(piece)) if kind == last => piece.push(letter),
            (Some(_), _) => pieces.push(letter.into()),
            (None, _) => {}
        }
        // An apostrophe is part of a word ("О'Генри"), anything else ends it.
        if !matches!(letter, '\'' | '’' | 'ʼ' | '\u{306}' | '\u{308}') {
            last = kind;
        }
    }
    pieces
}

/// Kazakh and Russian Cyrillic and Kazakh and Turkish Latin to a-z; other scripts are left out.
fn transliterate(word: &str) -> String {
    let mut plain = String::new();
    for letter in word.chars() {
        plain.push_str(match letter {
            'а' | 'ә' | 'ä' | 'á' | 'â' => "a",
            'б' => "b",
            'в' => "v",
            'г' | 'ғ' | 'ğ' | 'ǵ' => "g",
            'д' => "d",
            'е' | 'э' | 'é' => "e",
            'ё' => "yo",
            'ж' => "zh",
            'з' => "z",
            'и' | 'і' | 'ı' | 'í' | 'î' => "i",
            'й' | 'ы' | 'ý' => "y",
            'к' | 'қ' => "k",
            'л' => "l",
            'м' => "m",
            'н' | 'ң' | 'ñ' | 'ń' => "n",
            'о' | 'ө' | 'ö' | 'ó' | 'ô' => "o",
            'п' => "p",
            'р' => "r",
            'с' => "s",
            'т' => "t",
            'у' | 'ұ' | 'ү' | 'ū' | 'ü' | 'ú' | 'û' => "u",
            'ф' => "f",
            'х' => "kh",
            'һ' => "h",
            'ц' => "ts",
            'ч' => "ch",
            'ш' | 'ş' => "sh",
            'щ' => "shch",
            'ç' => "c",
            'ю' => "yu",
            'я' => "ya",
            'a'..='z' => {
                plain.push(letter);
                continue;
            }
            // The hard and the soft sign have no sound of their own.
            _ => "",
        });
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_school_is_called_as_people_call_it() {
        let table = [
            ("№12 Абай мектебі", "abay-12"),
            ("№ 12 Абай атындағы жалпы орта білім беретін мектеп", "abay-12"),
            ("Средняя школа №7 имени А. С. Пушкина", "a-s-pushkina-7"),
            ("КГУ «СОШ № 45»", "mektep-45"),
            ("Мәншүк Мәметова лицейі", "manshuk-mametova"),
            ("Әл-Фараби", "al-farabi"),
            ("Қожа Ахмет Яссауи", "kozha-akhmet-yassaui"),
            ("Ғани Мұратбаев", "gani-muratbaev"),
            ("Өрлеу", "orleu"),
            ("Үкілі Ыбырай", "ukili-ybyray"),
            ("Жаңаталап", "zhanatalap"),
            ("Һәкім Ілияс", "hakim-iliyas"),
            ("Бұлақ", "bulak"),
            ("Щучинск Объездная Ёлка Эхо Юг", "shchuchinsk-obezdnaya-yolka-ekho"),
            ("ÁBAI mektebi 3", "abai-3"),
            ("Şoqan Uälihanov", "shoqan-ualihanov"),
            ("О'Генри 5", "ogenri-5"),
            ("12А школа", "a-12"),
            ("School", "mektep"),
            ("学校 ☀", "mektep"),
            ("№ 7", "mektep-7"),
            ("", "mektep"),
            ("---", "mektep"),
            ("Ко\u{306}к", "kok"),
        ];
        for (name, wanted) in table {
            assert_eq!(label(name), wanted, "{name}");
        }
    }

    #[test]
    fn whatever_is_written_gives_a_label() {
        proptest::proptest!(|(name in "\\PC{0,80}")| {
            let label = label(&name);
            proptest::prop_assert!(!label.is_empty() && label.len() <= LONGEST);
            proptest::prop_assert!(label.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-'));
            proptest::prop_assert!(!label.starts_with('-') && !label.ends_with('-') && label != "school");
        });
    }
}
