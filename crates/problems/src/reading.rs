//! Numbers in generated texts.

/// The answer that a text gives: the last number of the last sentence that has
/// one and says that it is the answer, else the last number of the first line
/// that has one. Digits of either width, and numbers in words up to 99.
#[must_use]
pub fn extract_answer(text: &str) -> Option<i64> {
    let says = |sentence: &&str| {
        let lower = sentence.to_lowercase();
        ["answer", "答案", "therefore", "so ", "所以", "因此"]
            .iter()
            .any(|w| lower.contains(w))
    };
    let answered = first_answer(text);
    let sentences = answered.split(['.', '。', '!', '！', '\n']);
    let last = sentences
        .filter(|s| says(s))
        .filter_map(|s| numbers(s).pop())
        .next_back();
    last.or_else(|| {
        let mut lines = answered.lines();
        lines.find_map(|line| numbers(line).pop())
    })
}

/// The text up to where a model that was shown worked problems goes on to
/// another one: if there is a mark of an answer behind the first line with a
/// number, that line ends the text.
fn first_answer(text: &str) -> &str {
    let mut end = 0;
    for line in text.split_inclusive('\n') {
        end += line.len();
        if !numbers(line).is_empty() {
            break;
        }
    }
    let rest = &text[end..];
    let goes_on = ["Answer", "答案", "Question", "问题"]
        .iter()
        .any(|mark| rest.contains(mark));
    if goes_on { &text[..end] } else { text }
}

/// The first number of the first line, as published (erratum E15).
#[must_use]
pub fn first_number(text: &str) -> Option<i64> {
    let line = text.lines().next()?;
    numbers(line).into_iter().next()
}

/// Integers of a text in order. Signs are read right before digits.
fn numbers(text: &str) -> Vec<i64> {
    let chars: Vec<char> = text.chars().map(narrow).collect();
    let mut found = Vec::new();
    let mut at = 0;
    while at < chars.len() {
        if let Some((number, next)) = digits(&chars, at)
            .or_else(|| chinese(&chars, at))
            .or_else(|| word(&chars, at))
        {
            found.push(number);
            at = next;
        } else {
            at += 1;
        }
    }
    found
}

/// A digit of full width as the usual one.
fn narrow(c: char) -> char {
    match c {
        '０'..='９' => char::from(b'0' + (c as u32 - '０' as u32) as u8),
        '，' => ',',
        c => c,
    }
}

/// Digits, with commas before groups of three. A decimal fraction is skipped
/// over as a whole and read by its integer part.
fn digits(chars: &[char], at: usize) -> Option<(i64, usize)> {
    let digit = |i: usize| chars.get(i).is_some_and(char::is_ascii_digit);
    if !digit(at) {
        return None;
    }
    let mut end = at;
    let mut text = String::new();
    loop {
        if digit(end) {
            text.push(chars[end]);
            end += 1;
        } else if chars.get(end) == Some(&',') && (1..=3).all(|i| digit(end + i)) && !digit(end + 4)
        {
            end += 1;
        } else {
            break;
        }
    }
    if chars.get(end) == Some(&'.') && digit(end + 1) {
        end += 1;
        while digit(end) {
            end += 1;
        }
    }
    let negative = at > 0
        && matches!(chars[at - 1], '-' | '−')
        && !(at > 1 && (chars[at - 2].is_alphanumeric() || chars[at - 2] == ' '));
    let number: i64 = text.parse().ok()?;
    Some((if negative { -number } else { number }, end))
}

const CHINESE: &str = "零一二三四五六七八九";

/// Chinese numerals up to 99.
fn chinese(chars: &[char], at: usize) -> Option<(i64, usize)> {
    let unit = |i: usize| -> Option<i64> {
        let c = *chars.get(i)?;
        if c == '两' {
            return Some(2);
        }
        CHINESE.chars().position(|d| d == c).map(|p| p as i64)
    };
    let (tens, ten_at) = match unit(at) {
        Some(tens) if chars.get(at + 1) == Some(&'十') => (tens, at + 1),
        Some(unit) => return Some((unit, at + 1)),
        None if chars.get(at) == Some(&'十') => (1, at),
        None => return None,
    };
    Some(match unit(ten_at + 1) {
        Some(unit) => (10 * tens + unit, ten_at + 2),
        None => (10 * tens, ten_at + 1),
    })
}

const UNITS: [&str; 20] = [
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
];
const TENS: [&str; 8] = [
    "twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety",
];

/// An English number word, whole, up to ninety-nine.
fn word(chars: &[char], at: usize) -> Option<(i64, usize)> {
    let letter = |i: usize| chars.get(i).is_some_and(char::is_ascii_alphabetic);
    if !letter(at) || (at > 0 && letter(at - 1)) {
        return None;
    }
    let read = |from: usize| -> (String, usize) {
        let end = (from..).find(|i| !letter(*i)).unwrap_or(from);
        let word: String = chars[from..end].iter().collect();
        (word.to_lowercase(), end)
    };
    let (first, end) = read(at);
    if let Some(unit) = UNITS.iter().position(|w| *w == first) {
        return Some((unit as i64, end));
    }
    let tens = TENS.iter().position(|w| *w == first)? as i64 * 10 + 20;
    if matches!(chars.get(end), Some('-' | ' ')) {
        let (second, second_end) = read(end + 1);
        let unit = UNITS[..10].iter().position(|w| *w == second);
        if let Some(unit @ 1..) = unit {
            return Some((tens + unit as i64, second_end));
        }
    }
    Some((tens, end))
}

#[cfg(test)]
mod tests {
    use super::{extract_answer, first_number, numbers};

    #[track_caller]
    fn check(text: &str, expected: &[i64]) {
        assert_eq!(numbers(text), expected, "{text}");
    }

    #[test]
    fn numbers_in_digits_and_words() {
        check("3 and 12, then 1,024.", &[3, 12, 1024]);
        check("共 ７ 个，还剩12，345个", &[7, 12345]);
        check("二十三 十 四十 十五 两", &[23, 10, 40, 15, 2]);
        check("twenty-one, thirty, forty two; eleven", &[21, 30, 42, 11]);
        check("often, bone, tone", &[]);
        check("-5 but 9 - 4 and 2.75", &[-5, 9, 4, 2]);
    }

    #[test]
    fn answers_of_sentences() {
        let answer = |text| extract_answer(text);
        assert_eq!(answer(" 7\n\nQuestion: 5 + 5\nAnswer: 10"), Some(7));
        assert_eq!(
            answer("3 + 4 = 7. So the answer is 7. I hope it helps 2 you"),
            Some(7)
        );
        assert_eq!(answer("小明有3个。所以答案是 8 个。"), Some(8));
        assert_eq!(
            answer(" 7\nWhich number comes after 9? Answer: 10\n"),
            Some(7)
        );
        assert_eq!(answer("7\n把“三”写成数字。答案：3"), Some(7));
        assert_eq!(
            answer("Let me see.\n3 + 4 is 7.\nSo the answer is 7."),
            Some(7)
        );
        assert_eq!(answer("no number"), None);
        // Published: the first number of the first line.
        assert_eq!(first_number("3 + 4 = 7. So the answer is 7."), Some(3));
        assert_eq!(first_number("\n7"), None);
    }
}
