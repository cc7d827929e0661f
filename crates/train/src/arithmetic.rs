//! Small problems in Chinese and English, a line each, whose answers are
//! numbers, or words of the language asked.
//!
//! A line is a question and its answer, worded as in
//! prompts/zh-en/problems.jsonl, so that a model trained on lines can be put
//! those problems. Sums, differences and two steps on some numbers are held
//! out: they stand in no training text of either language and of any kind.

use assay_problems::Language;
use rand_chacha::ChaCha20Rng;

use crate::init::unit;

/// Numbers are 0 to this, answers included.
pub(crate) const LARGEST: i64 = 20;

const CHINESE: [&str; 21] = [
    "零", "一", "二", "三", "四", "五", "六", "七", "八", "九", "十", "十一", "十二", "十三",
    "十四", "十五", "十六", "十七", "十八", "十九", "二十",
];
const ENGLISH: [&str; 21] = [
    "zero",
    "one",
    "two",
    "three",
    "four",
    "five",
    "six",
    "seven",
    "eight",
    "nine",
    "ten",
    "eleven",
    "twelve",
    "thirteen",
    "fourteen",
    "fifteen",
    "sixteen",
    "seventeen",
    "eighteen",
    "nineteen",
    "twenty",
];

/// (Chinese, English, English for several).
const THINGS: [(&str, &str, &str); 16] = [
    ("苹果", "apple", "apples"),
    ("书", "book", "books"),
    ("鸡蛋", "egg", "eggs"),
    ("花", "flower", "flowers"),
    ("铅笔", "pencil", "pencils"),
    ("贝壳", "shell", "shells"),
    ("猫", "cat", "cats"),
    ("树", "tree", "trees"),
    ("鱼", "fish", "fish"),
    ("星", "star", "stars"),
    ("石头", "stone", "stones"),
    ("蜡烛", "candle", "candles"),
    ("邮票", "stamp", "stamps"),
    ("纽扣", "button", "buttons"),
    ("杯子", "cup", "cups"),
    ("帽子", "hat", "hats"),
];

const NAMES: [(&str, &str); 8] = [
    ("小明", "Tom"),
    ("小红", "Anna"),
    ("丽丽", "Lily"),
    ("大卫", "David"),
    ("奶奶", "Grandma"),
    ("安娜", "Maria"),
    ("小刚", "Ben"),
    ("王老师", "Mr. Wang"),
];

/// Kinds of problems.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    Copy,
    Successor,
    Predecessor,
    NumberWord,
    WordNumber,
    Translation,
    Sum,
    SumInWords,
    Subtraction,
    SubtractionInWords,
    Larger,
    Counting,
    LastOfList,
    Buying,
    Giving,
    Boxes,
    TwoSteps,
}

impl Kind {
    pub(crate) const ALL: [Self; 17] = [
        Self::Copy,
        Self::Successor,
        Self::Predecessor,
        Self::NumberWord,
        Self::WordNumber,
        Self::Translation,
        Self::Sum,
        Self::SumInWords,
        Self::Subtraction,
        Self::SubtractionInWords,
        Self::Larger,
        Self::Counting,
        Self::LastOfList,
        Self::Buying,
        Self::Giving,
        Self::Boxes,
        Self::TwoSteps,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Copy => "copy",
            Self::Successor => "successor",
            Self::Predecessor => "predecessor",
            Self::NumberWord => "number-word",
            Self::WordNumber => "word-number",
            Self::Translation => "translation",
            Self::Sum => "sum",
            Self::SumInWords => "sum-in-words",
            Self::Subtraction => "subtraction",
            Self::SubtractionInWords => "subtraction-in-words",
            Self::Larger => "larger",
            Self::Counting => "counting",
            Self::LastOfList => "last-of-list",
            Self::Buying => "buying",
            Self::Giving => "giving",
            Self::Boxes => "boxes",
            Self::TwoSteps => "two-steps",
        }
    }

    /// Are some of its numbers held out?
    pub(crate) fn has_held_out(self) -> bool {
        matches!(
            self,
            Self::Sum
                | Self::SumInWords
                | Self::Subtraction
                | Self::SubtractionInWords
                | Self::Buying
                | Self::Giving
                | Self::TwoSteps
        )
    }
}

/// What a problem is about, in no language.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Problem {
    pub(crate) kind: Kind,
    numbers: [i64; 3],
    thing: usize,
    name: usize,
    /// The number asked for; of a translation, the thing.
    pub(crate) answer: i64,
}

/// The sums, differences and triples of prompts/zh-en/problems.jsonl, and a
/// tenth of the others by a fixed rule.
fn held_out(kind: Kind, [a, b, c]: [i64; 3]) -> bool {
    // Sums as (smaller, larger).
    const SUMS: [(i64, i64); 5] = [(2, 3), (2, 5), (3, 3), (4, 5), (3, 6)];
    const DIFFERENCES: [(i64, i64); 5] = [(7, 2), (9, 5), (8, 6), (6, 3), (9, 3)];
    const TRIPLES: [[i64; 3]; 4] = [[3, 3, 1], [6, 2, 4], [4, 4, 2], [1, 5, 3]];
    match kind {
        Kind::Sum | Kind::SumInWords | Kind::Buying => {
            let (low, high) = (a.min(b), a.max(b));
            SUMS.contains(&(low, high)) || (7 * low + 3 * high) % 11 == 5
        }
        Kind::Subtraction | Kind::SubtractionInWords | Kind::Giving => {
            DIFFERENCES.contains(&(a, b)) || (7 * a + 3 * b) % 11 == 5
        }
        Kind::TwoSteps => TRIPLES.contains(&[a, b, c]) || (7 * a + 3 * b + 5 * c) % 11 == 5,
        _ => false,
    }
}

fn below(draws: &mut ChaCha20Rng, bound: i64) -> i64 {
    (unit(draws) * bound as f64) as i64
}

/// From low to high, both included.
fn between(draws: &mut ChaCha20Rng, low: i64, high: i64) -> i64 {
    low + below(draws, high - low + 1)
}

impl Problem {
    /// A problem of a kind; of one with held-out numbers, one of those or one
    /// of the others, as asked.
    pub(crate) fn draw(draws: &mut ChaCha20Rng, kind: Kind, from_held_out: bool) -> Self {
        loop {
            let problem = Self::any(draws, kind);
            if !kind.has_held_out() || held_out(kind, problem.numbers) == from_held_out {
                return problem;
            }
        }
    }

    fn any(draws: &mut ChaCha20Rng, kind: Kind) -> Self {
        let thing = below(draws, THINGS.len() as i64) as usize;
        let name = below(draws, NAMES.len() as i64) as usize;
        let (numbers, answer) = match kind {
            Kind::Copy | Kind::NumberWord | Kind::WordNumber => {
                let a = between(draws, 0, LARGEST);
                ([a, 0, 0], a)
            }
            Kind::Successor => {
                let a = between(draws, 0, LARGEST - 1);
                ([a, 0, 0], a + 1)
            }
            Kind::Predecessor => {
                let a = between(draws, 1, LARGEST);
                ([a, 0, 0], a - 1)
            }
            Kind::Translation => ([0; 3], thing as i64),
            Kind::Sum | Kind::SumInWords | Kind::Buying => {
                let a = between(draws, 1, LARGEST - 1);
                let b = between(draws, 1, LARGEST - a);
                ([a, b, 0], a + b)
            }
            Kind::Subtraction | Kind::SubtractionInWords | Kind::Giving => {
                let a = between(draws, 2, LARGEST);
                let b = between(draws, 1, a - 1);
                ([a, b, 0], a - b)
            }
            Kind::Larger => {
                let a = between(draws, 0, LARGEST);
                let b = (a + between(draws, 1, LARGEST)) % (LARGEST + 1);
                ([a, b, 0], a.max(b))
            }
            Kind::Counting => {
                let a = between(draws, 1, 6);
                ([a, 0, 0], a)
            }
            Kind::LastOfList => {
                let three = [(); 3].map(|()| between(draws, 0, LARGEST));
                (three, three[2])
            }
            Kind::Boxes => {
                let a = between(draws, 1, 9);
                let b = between(draws, 1, LARGEST / a);
                ([a, b, 0], a * b)
            }
            Kind::TwoSteps => {
                let a = between(draws, 1, 10);
                let b = between(draws, 1, LARGEST - a);
                let c = between(draws, 1, (a + b - 1).min(9));
                ([a, b, c], a + b - c)
            }
        };
        Self {
            kind,
            numbers,
            thing,
            name,
            answer,
        }
    }

    /// The question up to where the answer begins, and the answer.
    pub(crate) fn line(&self, language: Language) -> (String, String) {
        let [a, b, c] = self.numbers;
        let (zh, en, many) = THINGS[self.thing];
        let (zh_name, en_name) = NAMES[self.name];
        let word = |n: i64| {
            let words = match language {
                Language::Zh => CHINESE,
                Language::En => ENGLISH,
            };
            words[n as usize]
        };
        let all = |thing: &str, between: &str| vec![thing; a as usize].join(between);
        let question = match (self.kind, language) {
            (Kind::Copy, Language::Zh) => format!("请重复数字{a}。"),
            (Kind::Copy, Language::En) => format!("Repeat the number {a}."),
            (Kind::Successor, Language::Zh) => format!("{a}后面的数是几？"),
            (Kind::Successor, Language::En) => format!("Which number comes after {a}?"),
            (Kind::Predecessor, Language::Zh) => format!("{a}前面的数是几？"),
            (Kind::Predecessor, Language::En) => format!("Which number comes before {a}?"),
            (Kind::NumberWord, Language::Zh) => format!("把“{}”写成数字。", word(a)),
            (Kind::NumberWord, Language::En) => {
                format!("Write the word \"{}\" as a digit.", word(a))
            }
            (Kind::WordNumber, Language::Zh) => format!("{a}用字怎么写？"),
            (Kind::WordNumber, Language::En) => format!("Write {a} as a word."),
            (Kind::Translation, Language::Zh) => format!("“{en}”用中文怎么说？"),
            (Kind::Translation, Language::En) => format!("What is \"{zh}\" in English?"),
            (Kind::Sum, Language::Zh) => format!("{a}加{b}等于几？"),
            (Kind::Sum, Language::En) => format!("What is {a} plus {b}?"),
            (Kind::SumInWords, Language::Zh) => format!("{a}加{b}用字怎么写？"),
            (Kind::SumInWords, Language::En) => format!("Write {a} plus {b} as a word."),
            (Kind::Subtraction, Language::Zh) => format!("{a}减{b}等于几？"),
            (Kind::Subtraction, Language::En) => format!("What is {a} minus {b}?"),
            (Kind::SubtractionInWords, Language::Zh) => format!("{a}减{b}用字怎么写？"),
            (Kind::SubtractionInWords, Language::En) => format!("Write {a} minus {b} as a word."),
            (Kind::Larger, Language::Zh) => format!("{a}和{b}哪个更大？"),
            (Kind::Larger, Language::En) => format!("Which is larger, {a} or {b}?"),
            (Kind::Counting, Language::Zh) => format!("数一数：{}。一共几个？", all(zh, "、")),
            (Kind::Counting, Language::En) => {
                format!("Count them: {}. How many are there?", all(en, ", "))
            }
            (Kind::LastOfList, Language::Zh) => format!("数列{a}、{b}、{c}的最后一个数是几？"),
            (Kind::LastOfList, Language::En) => {
                format!("What is the last number of {a}, {b}, {c}?")
            }
            (Kind::Buying, Language::Zh) => {
                format!("{zh_name}有{a}个{zh}，又买了{b}个。现在有几个？")
            }
            (Kind::Buying, Language::En) => {
                format!("{en_name} has {a} {many} and buys {b} more. How many now?")
            }
            (Kind::Giving, Language::Zh) => format!("{zh_name}有{a}个{zh}，送出{b}个。还剩几个？"),
            (Kind::Giving, Language::En) => {
                format!("{en_name} has {a} {many} and gives away {b}. How many are left?")
            }
            (Kind::Boxes, Language::Zh) => format!("一盒有{a}个{zh}，{b}盒有几个{zh}？"),
            (Kind::Boxes, Language::En) => {
                format!("A box holds {a} {many}. How many {many} do {b} boxes hold?")
            }
            (Kind::TwoSteps, Language::Zh) => {
                format!("{zh_name}有{a}个{zh}，得到{b}个，又丢了{c}个。现在有几个？")
            }
            (Kind::TwoSteps, Language::En) => {
                format!("{en_name} has {a} {many}, gets {b} and loses {c}. How many now?")
            }
        };
        let answer = match (self.kind.number_in_words(), language) {
            (Some(words), _) => number_answer(language, words, self.answer),
            (None, Language::Zh) => zh.to_owned(),
            (None, Language::En) => format!(" {en}"),
        };
        match language {
            Language::Zh => (format!("{question}答案："), answer),
            Language::En => (format!("{question} Answer:"), answer),
        }
    }
}

impl Kind {
    /// Is its answer a number, and is that written in words?
    pub(crate) fn number_in_words(self) -> Option<bool> {
        match self {
            Self::Translation => None,
            Self::WordNumber | Self::SumInWords | Self::SubtractionInWords => Some(true),
            _ => Some(false),
        }
    }
}

/// A number as an answer in a language, in words or digits.
pub(crate) fn number_answer(language: Language, words: bool, number: i64) -> String {
    match (language, words) {
        (Language::Zh, true) => CHINESE[number as usize].to_owned(),
        (Language::Zh, false) => number.to_string(),
        (Language::En, true) => format!(" {}", ENGLISH[number as usize]),
        (Language::En, false) => format!(" {number}"),
    }
}

/// One of all kinds, those that take a step of arithmetic twice as often.
pub(crate) fn draw_kind(draws: &mut ChaCha20Rng) -> Kind {
    let all = Kind::ALL.iter().copied();
    let twice: Vec<Kind> = all
        .clone()
        .chain(all.filter(|k| k.has_held_out()))
        .collect();
    twice[below(draws, twice.len() as i64) as usize]
}
