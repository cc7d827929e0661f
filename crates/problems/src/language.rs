/// A language of the bank.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Language {
    /// Chinese.
    Zh,
    /// English.
    En,
}

impl Language {
    /// Both, Chinese first.
    pub const BOTH: [Language; 2] = [Language::Zh, Language::En];

    /// "zh" or "en".
    #[must_use]
    pub fn code(self) -> &'static str {
        match self {
            Language::Zh => "zh",
            Language::En => "en",
        }
    }

    /// The other one.
    #[must_use]
    pub fn other(self) -> Self {
        match self {
            Language::Zh => Language::En,
            Language::En => Language::Zh,
        }
    }

    /// The language of a code.
    #[must_use]
    pub fn from_code(code: &str) -> Option<Self> {
        Self::BOTH.into_iter().find(|l| l.code() == code)
    }
}

/// An answer as it follows a prompt: English puts a space before it.
#[must_use]
pub fn answer_text(language: Language, answer: i64) -> String {
    match language {
        Language::Zh => answer.to_string(),
        Language::En => format!(" {answer}"),
    }
}

/// How many letters of a text are of which kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Scripts {
    /// Letters without case (Unicode category Lo), as Chinese characters are.
    pub lo: usize,
    /// Letters of all categories.
    pub letters: usize,
}

impl Scripts {
    /// Counts a text's letters.
    #[must_use]
    pub fn of(text: &str) -> Self {
        let letters = text.chars().filter(|c| c.is_alphabetic());
        let (mut lo, mut all) = (0, 0);
        for letter in letters {
            all += 1;
            // A letter that has neither case is Lo; modifier letters (Lm) have
            // none either and are counted with it, of which no text here has
            // any.
            lo += usize::from(!letter.is_lowercase() && !letter.is_uppercase());
        }
        Self { lo, letters: all }
    }

    /// Share of Lo among letters; 0 without letters.
    #[must_use]
    pub fn lo_share(self) -> f64 {
        if self.letters == 0 {
            0.0
        } else {
            self.lo as f64 / self.letters as f64
        }
    }
}

/// Shares of Lo above and below which a text is Chinese or English: as
/// published (BrainInsideTheMachine, by way of METHODS §5).
const CHINESE_ABOVE: f64 = 0.3;
const ENGLISH_BELOW: f64 = 0.05;

/// A text's language by its script; None for a text without letters or one
/// that is neither.
#[must_use]
pub fn language_of(text: &str) -> Option<Language> {
    let scripts = Scripts::of(text);
    let share = scripts.lo_share();
    if scripts.letters == 0 {
        None
    } else if share > CHINESE_ABOVE {
        Some(Language::Zh)
    } else if share < ENGLISH_BELOW {
        Some(Language::En)
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::{Language, Scripts, answer_text, language_of};

    #[test]
    fn shares_of_scripts() {
        // Three of eight letters; digits and marks are no letters.
        let scripts = Scripts::of("答案是 hello 7。");
        assert_eq!(scripts, Scripts { lo: 3, letters: 8 });
        assert_eq!(Scripts::of("12 + 3").lo_share(), 0.0);
    }

    #[test]
    fn languages_of_texts() {
        assert_eq!(language_of("所以答案是7"), Some(Language::Zh));
        assert_eq!(language_of("so the answer is 7"), Some(Language::En));
        assert_eq!(language_of("7"), None);
        // One of eight letters lies between the two limits.
        assert_eq!(language_of("answers案"), None);
    }

    #[test]
    fn codes_and_answers() {
        assert_eq!(Language::from_code("zh"), Some(Language::Zh));
        assert_eq!(Language::from_code("fr"), None);
        assert_eq!(Language::Zh.other(), Language::En);
        assert_eq!(answer_text(Language::En, 7), " 7");
        assert_eq!(answer_text(Language::Zh, -7), "-7");
    }
}
