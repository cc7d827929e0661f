use std::collections::BTreeMap;

use assay_record::{Prompt, PromptSet};

use crate::expression::value;
use crate::{Language, ProblemError};

/// One problem in both languages.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pair {
    /// The tag `pair` of both prompts.
    pub id: String,
    /// Category of both prompts.
    pub category: String,
    /// The answer of both.
    pub answer: i64,
    /// 1 (easy) to 3.
    pub difficulty: u8,
    /// Place of the Chinese prompt in its set.
    pub zh: usize,
    /// Place of the English prompt in its set.
    pub en: usize,
}

impl Pair {
    /// Place of the prompt in a language.
    #[must_use]
    pub fn side(&self, language: Language) -> usize {
        match language {
            Language::Zh => self.zh,
            Language::En => self.en,
        }
    }
}

/// What one prompt says of its pair.
struct Side {
    category: String,
    answer: i64,
    difficulty: u8,
    places: BTreeMap<Language, usize>,
}

/// The pairs of a set of prompts, in the order in which they first appear.
///
/// # Errors
/// A prompt without one of the tags or with one that is no value; an answer
/// that its check does not give; a pair with a language missing or twice, or
/// whose prompts disagree.
pub fn pairs(set: &PromptSet) -> Result<Vec<Pair>, ProblemError> {
    let mut order: Vec<String> = Vec::new();
    let mut found: BTreeMap<String, Side> = BTreeMap::new();
    for (place, prompt) in set.prompts.iter().enumerate() {
        let id = tag(prompt, "pair")?.to_owned();
        let code = tag(prompt, "language")?;
        let language = Language::from_code(code).ok_or_else(|| {
            wrong(
                prompt,
                "language",
                format!("is {code:?} and must be zh or en"),
            )
        })?;
        let answer = number(prompt, "answer")?;
        let difficulty = number(prompt, "difficulty")?;
        let difficulty = u8::try_from(difficulty)
            .ok()
            .filter(|d| (1..=3).contains(d));
        let difficulty = difficulty
            .ok_or_else(|| wrong(prompt, "difficulty", "must be 1, 2 or 3".to_owned()))?;
        if let Some(check) = prompt.tag("check") {
            let computed = value(check).map_err(|e| wrong(prompt, "check", e))?;
            if computed != answer {
                let reason = format!("gives {computed} and the answer is said to be {answer}");
                return Err(wrong(prompt, "check", reason));
            }
        }
        let side = found.entry(id.clone()).or_insert_with(|| {
            order.push(id.clone());
            Side {
                category: prompt.category.clone(),
                answer,
                difficulty,
                places: BTreeMap::new(),
            }
        });
        let same = (&side.category, side.answer, side.difficulty)
            == (&prompt.category, answer, difficulty);
        if !same {
            let reason = "its prompts differ in category, answer or difficulty";
            return Err(in_pair(&id, reason.to_owned()));
        }
        if side.places.insert(language, place).is_some() {
            return Err(in_pair(
                &id,
                format!("has two prompts in {}", language.code()),
            ));
        }
    }
    let pair = |id: String| {
        let side = &found[&id];
        let place = |language: Language| {
            side.places
                .get(&language)
                .copied()
                .ok_or_else(|| in_pair(&id, format!("has no prompt in {}", language.code())))
        };
        Ok(Pair {
            category: side.category.clone(),
            answer: side.answer,
            difficulty: side.difficulty,
            zh: place(Language::Zh)?,
            en: place(Language::En)?,
            id,
        })
    };
    order.into_iter().map(pair).collect()
}

/// For each pair the next one, round about, of the same category with another
/// answer; none where its category has no other answer.
#[must_use]
pub fn cross(pairs: &[Pair]) -> Vec<Option<usize>> {
    let n = pairs.len();
    (0..n)
        .map(|i| {
            let mut others = (1..n).map(|step| (i + step) % n);
            others.find(|j| {
                pairs[*j].category == pairs[i].category && pairs[*j].answer != pairs[i].answer
            })
        })
        .collect()
}

fn tag<'a>(prompt: &'a Prompt, name: &'static str) -> Result<&'a str, ProblemError> {
    let value = prompt.tag(name);
    value.ok_or_else(|| wrong(prompt, name, "is missing".to_owned()))
}

fn number(prompt: &Prompt, name: &'static str) -> Result<i64, ProblemError> {
    let text = tag(prompt, name)?;
    let number = text.parse();
    number.map_err(|_| wrong(prompt, name, format!("is {text:?}, not an integer")))
}

fn wrong(prompt: &Prompt, tag: &'static str, reason: String) -> ProblemError {
    ProblemError::Tag {
        prompt: prompt.id.clone(),
        tag,
        reason,
    }
}

fn in_pair(pair: &str, reason: String) -> ProblemError {
    ProblemError::Pair {
        pair: pair.to_owned(),
        reason,
    }
}
