//! The bank of prompts: what its groups must be to answer the question.
//!
//! A line is a prompt whose category is its topic and whose tags are
//! - `group`: one that begins with "recursive" (grades, mildest to strongest in
//!   the order of the file), or the name of a control;
//! - `set`: "matched" for texts of one length, the basis of every audited test,
//!   or another name, for example "as-published".
//!
//! Prompts without a group are looked at and take part in no test.

use std::collections::{BTreeMap, BTreeSet};

use assay_experiment::{ExperimentError, Session, Tokenised};
use assay_record::{Prompt, PromptSet};

use crate::values::WINDOW;

/// The set whose texts are of one length.
pub(crate) const MATCHED: &str = "matched";
/// Controls that are neither about recursion nor mechanical.
pub(crate) const PLAIN: [&str; 4] = ["factual", "mathematical", "creative", "long-control"];
/// The control about recursion.
pub(crate) const PSEUDO: &str = "pseudo-recursive";

/// Is a group one of the grades of recursion?
pub(crate) fn is_recursive(group: &str) -> bool {
    group.starts_with("recursive")
}

/// Groups of the matched set in the order of the file.
pub(crate) fn groups(prompts: &PromptSet) -> Vec<&str> {
    let mut groups = Vec::new();
    for prompt in prompts
        .prompts
        .iter()
        .filter(|p| p.tag("set") == Some(MATCHED))
    {
        if let Some(group) = prompt.tag("group")
            && !groups.contains(&group)
        {
            groups.push(group);
        }
    }
    groups
}

/// Refuses a matched set that cannot answer the question.
pub(crate) fn check(
    session: &Session,
    matched: &PromptSet,
    tokens: &Tokenised,
) -> Result<(), ExperimentError> {
    let groups = groups(matched);
    let refuse = |reason: String| {
        Err(session.unsuitable(format!("cannot be asked with this bank: {reason}")))
    };
    if let Some(prompt) = matched.prompts.iter().find(|p| p.tag("group").is_none()) {
        return refuse(format!(
            "prompt {} of set {MATCHED} has no group",
            prompt.id
        ));
    }
    if !groups.iter().any(|g| is_recursive(g)) {
        return refuse(format!(
            "set {MATCHED} has no group whose name begins with \"recursive\""
        ));
    }
    if !groups.iter().any(|g| PLAIN.contains(g)) {
        return refuse(format!(
            "set {MATCHED} has no plain control ({})",
            PLAIN.join(", ")
        ));
    }
    let mut topics: BTreeMap<&str, Vec<&Prompt>> = BTreeMap::new();
    for prompt in &matched.prompts {
        topics.entry(&prompt.category).or_default().push(prompt);
    }
    if topics.len() < 2 {
        return refuse(format!(
            "set {MATCHED} has {} topic, and topics are the units",
            topics.len()
        ));
    }
    for (topic, prompts) in &topics {
        let has: BTreeSet<&str> = prompts.iter().filter_map(|p| p.tag("group")).collect();
        if let Some(group) = groups.iter().find(|g| !has.contains(*g)) {
            return refuse(format!(
                "unequal counts: topic {topic} has no prompt of group {group}"
            ));
        }
        if prompts.len() != groups.len() {
            return refuse(format!(
                "unequal counts: topic {topic} has {} prompts in {} groups",
                prompts.len(),
                groups.len()
            ));
        }
    }
    let short: Vec<String> = matched
        .prompts
        .iter()
        .zip(&tokens.ids)
        .filter(|(_, ids)| ids.ids.len() <= WINDOW)
        .map(|(p, ids)| format!("{} ({})", p.id, ids.ids.len()))
        .collect();
    if let Some(first) = short.first() {
        return refuse(format!(
            "{} prompts are too short for a window of {WINDOW} tokens without position 0, \
             for example {first} tokens",
            short.len()
        ));
    }
    Ok(())
}
