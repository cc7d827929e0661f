/// Why a bank of problems cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ProblemError {
    /// A tag of a prompt.
    #[error("prompt {prompt}, tag {tag}: {reason}")]
    Tag {
        /// The prompt's id.
        prompt: String,
        /// The tag.
        tag: &'static str,
        /// What is wrong with it.
        reason: String,
    },
    /// A pair as a whole.
    #[error("pair {pair}: {reason}")]
    Pair {
        /// The pair's id.
        pair: String,
        /// What is wrong with it.
        reason: String,
    },
}
