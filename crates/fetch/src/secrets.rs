//! What must not be repeated: tokens, and names and passwords inside addresses.
//! A server's answer or pip's output may quote them.

use std::path::PathBuf;

/// What stands in a secret's place.
const HIDDEN: &str = "[hidden]";

/// Variables that hold a token, and the file that the hub's own login writes.
const TOKENS: [&str; 3] = [
    "HF_TOKEN",
    "HUGGING_FACE_HUB_TOKEN",
    "HUGGINGFACE_HUB_TOKEN",
];
const TOKEN_FILE: &str = "HF_TOKEN_PATH";

/// A text without this machine's tokens and without the part of an address
/// that says who asks.
pub(crate) fn hide(text: &str) -> String {
    hide_these(text, &tokens())
}

fn tokens() -> Vec<String> {
    let held = TOKENS.iter().filter_map(|name| std::env::var(name).ok());
    let home = std::env::var_os("HF_HOME").map(|home| PathBuf::from(home).join("token"));
    let usual = std::env::var_os("HOME").map(|h| PathBuf::from(h).join(".cache/huggingface/token"));
    let files = [std::env::var_os(TOKEN_FILE).map(PathBuf::from), home, usual];
    let written = files.into_iter().flatten();
    let written = written.filter_map(|path| std::fs::read_to_string(path).ok());
    let all = held.chain(written).map(|token| token.trim().to_owned());
    all.filter(|token| !token.is_empty()).collect()
}

fn hide_these(text: &str, tokens: &[String]) -> String {
    let mut text = text.to_owned();
    for token in tokens {
        text = text.replace(token, HIDDEN);
    }
    let mut out = String::with_capacity(text.len());
    let mut rest = text.as_str();
    while let Some((before, after)) = rest.split_once("://") {
        out.push_str(before);
        out.push_str("://");
        let ends =
            |c: char| c.is_whitespace() || matches!(c, '/' | '?' | '#' | '"' | '\'' | '<' | '>');
        let (authority, behind) = after.split_at(after.find(ends).unwrap_or(after.len()));
        match authority.rsplit_once('@') {
            Some((_, host)) => {
                out.push_str(HIDDEN);
                out.push('@');
                out.push_str(host);
            }
            None => out.push_str(authority),
        }
        rest = behind;
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
mod tests {
    use super::hide_these;

    #[track_caller]
    fn check(text: &str, expected: &str) {
        assert_eq!(hide_these(text, &["hf_abc".to_owned()]), expected);
    }

    #[test]
    fn tokens_and_who_asks_are_hidden() {
        check("token hf_abc is wrong", "token [hidden] is wrong");
        check(
            "at https://me:pass@index.example/simple/x and http://t@h:80?q",
            "at https://[hidden]@index.example/simple/x and http://[hidden]@h:80?q",
        );
        check("https://me:p@ss@host", "https://[hidden]@host");
    }

    #[test]
    fn other_words_stay() {
        check(
            "at https://host/a@b, mail a@b",
            "at https://host/a@b, mail a@b",
        );
        check("no://", "no://");
        check("", "");
    }
}
