use crate::HookSite;

/// A pattern over site names: `*` stands for any run of characters and `?` for
/// one. `blocks.*.hook_resid_post` is the residual after every block.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SitePattern(String);

impl SitePattern {
    /// A pattern from its text. Any text is a pattern; one that matches no
    /// site of a model is refused where it is used.
    #[must_use]
    pub fn new(text: &str) -> Self {
        Self(text.to_owned())
    }

    /// The pattern's text.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.0
    }

    /// Does the pattern cover this site?
    #[must_use]
    pub fn matches(&self, site: HookSite) -> bool {
        matches(self.0.as_bytes(), site.to_string().as_bytes())
    }
}

/// Linear-time wildcard match: on a mismatch, let the last `*` take one more.
fn matches(pattern: &[u8], text: &[u8]) -> bool {
    let (mut p, mut t) = (0, 0);
    let mut retry = None;
    while t < text.len() {
        match pattern.get(p) {
            Some(b'*') => {
                retry = Some((p, t));
                p += 1;
            }
            Some(c) if *c == b'?' || *c == text[t] => {
                p += 1;
                t += 1;
            }
            _ => match retry {
                Some((star, from)) => {
                    retry = Some((star, from + 1));
                    p = star + 1;
                    t = from + 1;
                }
                None => return false,
            },
        }
    }
    pattern[p..].iter().all(|c| *c == b'*')
}

#[cfg(test)]
mod tests {
    use super::SitePattern;
    use crate::BlockSite;

    #[track_caller]
    fn check(pattern: &str, expected: bool) {
        let site = BlockSite::ResidPost.at(12);
        assert_eq!(
            SitePattern::new(pattern).matches(site),
            expected,
            "{pattern}"
        );
    }

    #[test]
    fn wildcards() {
        check("blocks.12.hook_resid_post", true);
        check("blocks.*.hook_resid_post", true);
        check("*resid*", true);
        check("blocks.1?.*_post", true);
        check("blocks.1.hook_resid_post", false);
        check("*.hook_resid_pre", false);
        check("blocks.12.hook_resid_post.*", false);
        check("", false);
    }
}
