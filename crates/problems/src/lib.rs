//! Paired problems in Chinese and English with answers that code can check.
//!
//! A prompt of such a bank has the tags `pair`, `language` ("zh" or "en"),
//! `answer` (an integer), `difficulty` (1 to 3) and, where the answer can be
//! computed, `check`: an arithmetic expression. Its text ends right before the
//! answer.

mod bank;
mod error;
mod expression;
pub mod generate;
mod language;
mod reading;

pub use bank::{Pair, cross, pairs};
pub use error::ProblemError;
pub use language::{Language, Scripts, answer_text, language_of};
pub use reading::{extract_answer, first_number};
