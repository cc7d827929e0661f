//! Arithmetic on integers: + - * / ( ), where a division must come out even.

/// The value of an expression.
///
/// # Errors
/// Something that is none, a division that leaves a rest, an overflow.
pub(crate) fn value(text: &str) -> Result<i64, String> {
    let tokens: Vec<char> = text.chars().filter(|c| !c.is_whitespace()).collect();
    let mut parser = Parser {
        tokens: &tokens,
        at: 0,
        depth: 0,
    };
    let value = parser.sum()?;
    match parser.peek() {
        None => Ok(value),
        Some(rest) => Err(format!("{text:?} goes on with {rest:?}")),
    }
}

/// Brackets in brackets that are followed.
const DEEPEST: usize = 32;

struct Parser<'a> {
    tokens: &'a [char],
    at: usize,
    depth: usize,
}

impl Parser<'_> {
    fn peek(&self) -> Option<char> {
        self.tokens.get(self.at).copied()
    }

    fn sum(&mut self) -> Result<i64, String> {
        let mut value = self.product()?;
        while let Some(sign @ ('+' | '-')) = self.peek() {
            self.at += 1;
            let next = self.product()?;
            let sum = match sign {
                '+' => value.checked_add(next),
                _ => value.checked_sub(next),
            };
            value = sum.ok_or("a sum is too large")?;
        }
        Ok(value)
    }

    fn product(&mut self) -> Result<i64, String> {
        let mut value = self.factor()?;
        while let Some(sign @ ('*' | '/')) = self.peek() {
            self.at += 1;
            let next = self.factor()?;
            value = match sign {
                '*' => value.checked_mul(next).ok_or("a product is too large")?,
                _ => {
                    let rest = value.checked_rem(next);
                    if rest != Some(0) {
                        return Err(format!("{value} / {next} does not come out even"));
                    }
                    value.checked_div(next).ok_or("a quotient is too large")?
                }
            };
        }
        Ok(value)
    }

    fn factor(&mut self) -> Result<i64, String> {
        if self.depth == DEEPEST {
            return Err(format!("more than {DEEPEST} brackets lie in each other"));
        }
        match self.peek() {
            Some('(') => {
                self.at += 1;
                self.depth += 1;
                let value = self.sum()?;
                self.depth -= 1;
                if self.peek() != Some(')') {
                    return Err("a bracket is not closed".to_owned());
                }
                self.at += 1;
                Ok(value)
            }
            Some('-') => {
                self.at += 1;
                self.depth += 1;
                let value = self.factor()?;
                self.depth -= 1;
                value
                    .checked_neg()
                    .ok_or("a number is too large".to_owned())
            }
            _ => self.number(),
        }
    }

    fn number(&mut self) -> Result<i64, String> {
        let digits = self.tokens[self.at..].iter();
        let digits: String = digits.take_while(|c| c.is_ascii_digit()).collect();
        self.at += digits.len();
        let number = digits.parse();
        number.map_err(|_| format!("a number was expected at character {}", self.at + 1))
    }
}

#[cfg(test)]
mod tests {
    use super::value;

    #[track_caller]
    fn check(text: &str, expected: i64) {
        assert_eq!(value(text), Ok(expected));
    }

    #[test]
    fn values() {
        check("3 + 4 * 2", 11);
        check("(3 + 4) * 2 - 1", 13);
        check("12 / 4 / 3", 1);
        check("-(2 - 9)", 7);
    }

    #[test]
    fn what_is_none_is_refused() {
        for text in [
            "",
            "3 +",
            "(3",
            "3 4 x",
            "7 / 2",
            "1 / 0",
            "99999999999999999999",
        ] {
            assert!(value(text).is_err(), "{text}");
        }
        assert!(value(&"(".repeat(1000)).is_err());
        assert!(value(&"-".repeat(1000)).is_err());
        assert!(value("9223372036854775807 + 1").is_err());
    }
}
