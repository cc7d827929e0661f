//! Word problems in both languages, drawn from a seed: prompts/zh-en/pairs.jsonl
//! is what `pairs_file` gives (`cargo run -p assay-problems --example write_pairs`).

use std::collections::BTreeSet;

use assay_stats::stream;
use rand_chacha::ChaCha20Rng;
use rand_chacha::rand_core::RngCore;
use serde_json::json;

use crate::Language;

/// Pairs of each category.
const EACH: usize = 30;
const SEED: u64 = 36;

/// One thing in both languages: (Chinese, English).
type Both = (&'static str, &'static str);

const NAMES: &[Both] = &[
    ("小明", "Tom"),
    ("小红", "Anna"),
    ("丽丽", "Lily"),
    ("王老师", "Mr. Wang"),
    ("奶奶", "Grandmother"),
    ("大卫", "David"),
    ("陈医生", "Doctor Chen"),
    ("安娜", "Maria"),
];
const THINGS: &[Both] = &[
    ("苹果", "apples"),
    ("铅笔", "pencils"),
    ("鸡蛋", "eggs"),
    ("书", "books"),
    ("花", "flowers"),
    ("蜡烛", "candles"),
    ("贝壳", "shells"),
    ("邮票", "stamps"),
    ("纽扣", "buttons"),
    ("石头", "stones"),
];
const PLACES: &[Both] = &[
    ("市场", "market"),
    ("学校", "school"),
    ("花园", "garden"),
    ("海边", "beach"),
    ("图书馆", "library"),
    ("车站", "station"),
];

/// A category: its template in both languages and what it asks for. {n} is a
/// name, {t} a thing, {p} a place, {a} and {b} numbers.
struct Template {
    category: &'static str,
    text: Both,
    /// From a in 2..=9 and b in 1..=9: the numbers shown and the answer, as
    /// an expression of them.
    check: &'static str,
    /// The first number shown, as an expression of a and b.
    first: fn(i64, i64) -> i64,
    difficulty: u8,
}

const TEMPLATES: &[Template] = &[
    Template {
        category: "buying",
        text: (
            "{n}有{a}个{t}，又在{p}买了{b}个。{n}现在一共有多少个{t}？答案：",
            "{n} has {a} {t} and buys {b} more at the {p}. How many {t} does {n} have now? Answer:",
        ),
        check: "{a} + {b}",
        first: |a, _| a,
        difficulty: 1,
    },
    Template {
        category: "giving",
        text: (
            "{p}里，{n}有{a}个{t}，送给朋友{b}个。{n}还剩多少个{t}？答案：",
            "At the {p}, {n} had {a} {t} and gave {b} to a friend. How many {t} are left? Answer:",
        ),
        check: "{a} - {b}",
        first: |a, b| a + b,
        difficulty: 1,
    },
    Template {
        category: "boxes",
        text: (
            "每个盒子装{a}个{t}，{n}把{b}个盒子搬到{p}。一共有多少个{t}？答案：",
            "A box holds {a} {t}, and {n} carries {b} boxes to the {p}. How many {t} are there in all? Answer:",
        ),
        check: "{a} * {b}",
        first: |a, _| a,
        difficulty: 2,
    },
    Template {
        category: "sharing",
        text: (
            "{n}把{a}个{t}平均分给{p}的{b}个孩子。每个孩子得到多少个？答案：",
            "{n} shares {a} {t} equally among {b} children at the {p}. How many does each child get? Answer:",
        ),
        check: "{a} / {b}",
        first: |a, b| a * b,
        difficulty: 2,
    },
    Template {
        category: "ages",
        text: (
            "{n}的孩子今年{a}岁，在{p}数{t}。{b}年以后这个孩子几岁？答案：",
            "{n}'s child, who counts {t} at the {p}, is {a} years old. How old will the child be in {b} years? Answer:",
        ),
        check: "{a} + {b}",
        first: |a, _| a,
        difficulty: 1,
    },
    Template {
        category: "walking",
        text: (
            "{n}每小时走{a}公里，带着{t}走了{b}小时到{p}。一共走了多少公里？答案：",
            "Carrying {t}, {n} walks {a} kilometres an hour and reaches the {p} after {b} hours. How many kilometres is that? Answer:",
        ),
        check: "{a} * {b}",
        first: |a, _| a,
        difficulty: 2,
    },
    Template {
        category: "difference",
        text: (
            "{p}有{a}个{t}，{n}家里有{b}个。{p}比{n}家里多几个？答案：",
            "There are {a} {t} at the {p} and {b} at {n}'s home. How many more are there at the {p}? Answer:",
        ),
        check: "{a} - {b}",
        first: |a, b| a + b,
        difficulty: 1,
    },
    Template {
        category: "finding",
        text: (
            "{n}在{p}找到了一些{t}，加上原来的{b}个，现在有{a}个。{n}找到了几个？答案：",
            "{n} found some {t} at the {p}. With the {b} from before, there are now {a}. How many were found? Answer:",
        ),
        check: "{a} - {b}",
        first: |a, b| a + b,
        difficulty: 3,
    },
    Template {
        category: "two-steps",
        text: (
            "{n}有{a}个{t}，在{p}得到{b}个，又丢了1个。现在有多少个？答案：",
            "{n} has {a} {t}, gets {b} more at the {p} and then loses 1. How many are there now? Answer:",
        ),
        check: "{a} + {b} - 1",
        first: |a, _| a,
        difficulty: 3,
    },
    Template {
        category: "double",
        text: (
            "{n}在{p}数到{a}个{t}，第二天数到的是两倍再多{b}个。第二天有多少个？答案：",
            "{n} counts {a} {t} at the {p}, and the next day twice as many and {b} more. How many are there the next day? Answer:",
        ),
        check: "2 * {a} + {b}",
        first: |a, _| a,
        difficulty: 3,
    },
];

/// The lines of prompts/zh-en/pairs.jsonl.
#[must_use]
pub fn pairs_file() -> String {
    let mut lines = String::new();
    for template in TEMPLATES {
        let mut draws = stream(SEED, &format!("problems/{}", template.category));
        let mut seen = BTreeSet::new();
        let mut number = 0;
        while number < EACH {
            let pick = |list: &[Both], draws: &mut ChaCha20Rng| list[below(draws, list.len())];
            let fills = [
                ("{n}", pick(NAMES, &mut draws)),
                ("{t}", pick(THINGS, &mut draws)),
                ("{p}", pick(PLACES, &mut draws)),
            ];
            let a = 2 + below(&mut draws, 8) as i64;
            let b = 1 + below(&mut draws, 9) as i64;
            let a = (template.first)(a, b);
            let filled = |language: Language| {
                let side = |both: Both| match language {
                    Language::Zh => both.0,
                    Language::En => both.1,
                };
                let fill =
                    |text: String, (mark, both): &(&str, Both)| text.replace(mark, side(*both));
                let words = fills.iter().fold(side(template.text).to_owned(), fill);
                numbered(&words, a, b)
            };
            if !seen.insert(filled(Language::En)) {
                continue;
            }
            number += 1;
            let id = format!("pair-{}-{number}", template.category);
            let check = numbered(template.check, a, b);
            let Ok(answer) = crate::expression::value(&check) else {
                continue;
            };
            for language in Language::BOTH {
                let line = json!({
                    "id": format!("{id}.{}", language.code()),
                    "category": template.category,
                    "text": filled(language),
                    "tags": {
                        "set": "pairs",
                        "pair": id,
                        "language": language.code(),
                        "answer": answer.to_string(),
                        "check": check,
                        "difficulty": template.difficulty.to_string(),
                    },
                });
                lines.push_str(&line.to_string());
                lines.push('\n');
            }
        }
    }
    lines
}

fn numbered(text: &str, a: i64, b: i64) -> String {
    text.replace("{a}", &a.to_string())
        .replace("{b}", &b.to_string())
}

fn below(draws: &mut ChaCha20Rng, bound: usize) -> usize {
    // 2^64 is so much more than any list here that its rest does not matter.
    (draws.next_u64() % bound as u64) as usize
}
