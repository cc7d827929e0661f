//! Names that become parts of paths.

use crate::SourceError;

/// Accept a name that is one harmless path component.
///
/// # Errors
/// [`SourceError::BadName`] for anything else: a separator, a leading dot, an
/// empty name, a control character, more than 128 bytes.
pub(crate) fn check_name(what: &'static str, name: &str) -> Result<(), SourceError> {
    let plain =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'+' | b'-');
    if (1..=128).contains(&name.len()) && !name.starts_with('.') && name.bytes().all(plain) {
        Ok(())
    } else {
        Err(SourceError::BadName {
            what,
            name: name.to_owned(),
        })
    }
}

/// The first names of a list, for a message of bounded length.
pub(crate) fn shorten(names: &[String]) -> String {
    const SHOWN: usize = 12;
    let mut text = names
        .iter()
        .take(SHOWN)
        .map(String::as_str)
        .collect::<Vec<_>>()
        .join(", ");
    if names.is_empty() {
        text.push_str("none");
    } else if names.len() > SHOWN {
        text.push_str(&format!(" and {} more", names.len() - SHOWN));
    }
    text
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[track_caller]
    fn check(name: &str, accepted: bool) {
        assert_eq!(check_name("model", name).is_ok(), accepted, "{name:?}");
    }

    #[test]
    fn a_name_cannot_leave_its_folder() {
        check("pythia-1.4b", true);
        check("SmolLM2-135M-Instruct.Q4_1.gguf", true);
        check("1.0.0+cpu", true);
        check("", false);
        check(".", false);
        check("..", false);
        check(".hidden", false);
        check("a/b", false);
        check("a\\b", false);
        check("a b", false);
        check("a\0b", false);
        check("é", false);
        check(&"x".repeat(128), true);
        check(&"x".repeat(129), false);
    }
}
