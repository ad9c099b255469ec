//! What operators read when something goes wrong, in their language.

use std::collections::HashMap;

use fluent_templates::{LanguageIdentifier, langid, static_loader};

use super::codes::{Code, domain_and_slug};

/// The key of the message for an upstream's own refusal, whose code we cannot translate.
pub const UPSTREAM_REFUSED: &str = "errors.upstream-refused";

static_loader! {
    static TEXTS = {
        locales: "./src/http/locales",
        fallback_language: "en",
    };
}

/// A language operators read. `Display` order is that of the platform.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Language {
    #[default]
    English,
    Pashto,
    Dari,
    Arabic,
    French,
}

impl Language {
    pub const ALL: [Self; 5] =
        [Self::English, Self::Pashto, Self::Dari, Self::Arabic, Self::French];

    /// BCP 47, as in `Content-Language`.
    pub fn tag(self) -> &'static str {
        match self {
            Self::English => "en",
            Self::Pashto => "ps",
            Self::Dari => "fa-AF",
            Self::Arabic => "ar",
            Self::French => "fr",
        }
    }

    /// The language of a tag or of its less specific forms: `ps-AF` → `ps`. Dari is written
    /// `fa-AF`, `fa` or `prs`. `None` when we have no texts for it.
    pub fn of_tag(tag: &str) -> Option<Self> {
        let primary = tag.split(['-', '_']).next().unwrap_or_default();
        match primary.to_ascii_lowercase().as_str() {
            "en" => Some(Self::English),
            "ps" => Some(Self::Pashto),
            "fa" | "prs" => Some(Self::Dari),
            "ar" => Some(Self::Arabic),
            "fr" => Some(Self::French),
            _ => None,
        }
    }

    /// The best-liked language of an `Accept-Language` value that we have texts for; ties go to the
    /// first. `None` when it names none of ours, so that the caller's own locale may decide.
    pub fn negotiate(accept_language: &str) -> Option<Self> {
        let mut best: Option<(Self, f32)> = None;
        // Nobody reads more languages than this; the bound keeps a hostile header cheap.
        for range in accept_language.split(',').take(20) {
            let mut parts = range.split(';');
            let Some(language) = parts.next().map(str::trim).and_then(Self::of_tag) else {
                continue;
            };
            let weight = parts
                .find_map(|part| part.trim().strip_prefix("q="))
                .map_or(1.0, |weight| weight.trim().parse().unwrap_or(0.0));
            if 0.0 < weight && best.is_none_or(|(_, best)| best < weight) {
                best = Some((language, weight));
            }
        }
        best.map(|(language, _)| language)
    }

    /// `ltr` or `rtl`.
    pub fn direction(self) -> &'static str {
        direction(self.tag())
    }

    fn identifier(self) -> LanguageIdentifier {
        match self {
            Self::English => langid!("en"),
            Self::Pashto => langid!("ps"),
            Self::Dari => langid!("fa-AF"),
            Self::Arabic => langid!("ar"),
            Self::French => langid!("fr"),
        }
    }
}

/// How a language is written: `ltr` or `rtl`.
pub fn direction(tag: &str) -> &'static str {
    match tag.split('-').next() {
        Some("ps" | "fa" | "prs" | "ar" | "ur") => "rtl",
        _ => "ltr",
    }
}

/// `errors.<domain>.<code>`, under which desktops may keep texts of their own.
pub fn key(code: Code) -> String {
    let (domain, slug) = domain_and_slug(code.row().name);
    format!("errors.{domain}.{slug}")
}

/// The text of a key in this language, else in English, else the key itself.
pub fn text(language: Language, key: &str) -> String {
    find(language, key).or_else(|| find(Language::English, key)).unwrap_or_else(|| key.to_owned())
}

fn find(language: Language, key: &str) -> Option<String> {
    let id = key.replace('.', "-");
    TEXTS.lookup_single_language::<&str>(&language.identifier(), &id, None::<&HashMap<_, _>>).ok()
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_code_has_a_text_of_its_own_in_every_language() {
        let keys: Vec<_> =
            Code::ALL.iter().map(|code| key(*code)).chain([UPSTREAM_REFUSED.to_owned()]).collect();
        let mut seen = HashSet::new();
        for language in Language::ALL {
            for key in &keys {
                let text = find(language, key);
                let text = text.unwrap_or_else(|| panic!("{key} is missing in {language:?}"));
                assert!(seen.insert(text), "{key} repeats another text in {language:?}");
            }
        }
    }

    #[test]
    fn the_scripts_are_those_of_the_languages() {
        for (language, letters) in
            [(Language::Pashto, "ښړټډځېۍ"), (Language::Dari, "یپچگ"), (Language::Arabic, "ةىي")]
        {
            let all: String = Code::ALL.iter().map(|code| text(language, &key(*code))).collect();
            assert!(letters.chars().any(|letter| all.contains(letter)), "{language:?}");
            assert!(!all.chars().any(|letter| letter.is_ascii_alphabetic()), "{language:?}");
        }
    }

    #[test]
    fn the_scripts_of_the_region_run_from_right_to_left() {
        assert_eq!(["ps-AF", "fa-AF", "ar"].map(direction), ["rtl"; 3]);
        assert_eq!(["en", "fr-FR", "tg"].map(direction), ["ltr"; 3]);
    }

    #[test]
    fn the_best_liked_language_we_have_wins() {
        for (header, expected) in [
            ("ps-AF", Some(Language::Pashto)),
            ("ps-AF, en;q=0.5", Some(Language::Pashto)),
            ("de, fr;q=0.3, ar;q=0.8", Some(Language::Arabic)),
            ("fa-AF", Some(Language::Dari)),
            ("prs", Some(Language::Dari)),
            ("en-GB;q=0.9,fr;q=0.9", Some(Language::English)),
            ("fr;q=0, en;q=0.1", Some(Language::English)),
            ("fr;q=nonsense", None),
            ("de", None),
            ("*", None),
            ("", None),
        ] {
            assert_eq!(Language::negotiate(header), expected, "{header}");
        }
    }
}
