//! Why a model could not be had, and whether trying again can help.

use std::path::Path;
use std::time::Duration;

use assay_source::SourceError;
use assay_source::protocol::ErrorKind;
use hf_hub::HFError;

use crate::secrets::hide;

/// A failure of one attempt.
#[derive(Debug)]
pub(crate) struct Failure {
    pub(crate) kind: ErrorKind,
    pub(crate) message: String,
    /// Can the same request succeed a little later?
    pub(crate) again: bool,
    /// How long the server asked us to wait.
    pub(crate) retry_after: Option<Duration>,
}

pub(crate) type Outcome<T> = Result<T, Failure>;

impl Failure {
    /// A failure that repeating cannot cure.
    pub(crate) fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            kind,
            message: hide(&message.into()),
            again: false,
            retry_after: None,
        }
    }

    /// A failure that may pass.
    pub(crate) fn passing(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self {
            again: true,
            ..Self::new(kind, message)
        }
    }

    pub(crate) fn disk(path: &Path, error: &std::io::Error) -> Self {
        Self::new(ErrorKind::Disk, format!("{}: {error}", path.display()))
    }

    /// Name the failure of a request to the hub. `asked` says what was asked
    /// for. Nothing of the request itself is repeated: it holds the token, and
    /// addresses on other hosts are signed.
    pub(crate) fn from_hub(error: HFError, asked: &str) -> Self {
        if let HFError::RateLimited { retry_after, .. } = &error {
            let retry_after = *retry_after;
            let message = format!("the hub limits the rate of requests ({asked})");
            return Self {
                retry_after,
                ..Self::passing(ErrorKind::RateLimited, message)
            };
        }
        if let Some(answer) = answer(&error) {
            return from_answer(&answer, asked);
        }
        match error {
            HFError::Request { source, .. } => {
                let body = source.is_body() || source.is_decode();
                let reason = chain(&source.without_url());
                if body {
                    let message =
                        format!("the answer ended early or is malformed ({asked}): {reason}");
                    Self::passing(ErrorKind::Truncated, message)
                } else {
                    let message = format!("no answer from the hub ({asked}): {reason}");
                    Self::passing(ErrorKind::Unreachable, message)
                }
            }
            HFError::Io(error) => Self::new(ErrorKind::Disk, error.to_string()),
            HFError::Xet { source, .. } => {
                let message = format!("the hub's chunk store failed ({asked}): {source}");
                Self::passing(ErrorKind::Server, message)
            }
            other => Self::new(
                ErrorKind::Server,
                format!("unexpected answer ({asked}): {other}"),
            ),
        }
    }
}

impl From<SourceError> for Failure {
    fn from(error: SourceError) -> Self {
        let kind = match &error {
            SourceError::Read { .. } | SourceError::Write { .. } => ErrorKind::Disk,
            SourceError::WrongHash { .. } => ErrorKind::HashMismatch,
            SourceError::WrongLength { .. } => ErrorKind::Truncated,
            _ => ErrorKind::NotFound,
        };
        Self::new(kind, error.to_string())
    }
}

/// What the hub answered, wherever the client library put it.
struct Answer<'a> {
    status: u16,
    code: &'a str,
    said: String,
}

fn answer(error: &HFError) -> Option<Answer<'_>> {
    let context = match error {
        HFError::Http { context }
        | HFError::AuthRequired { context }
        | HFError::Forbidden { context }
        | HFError::Conflict { context } => context,
        HFError::RepoNotFound { context, .. }
        | HFError::RevisionNotFound { context, .. }
        | HFError::EntryNotFound { context, .. } => context.as_ref()?,
        _ => return None,
    };
    let status = context.status.as_u16();
    let said = context
        .server_message
        .clone()
        .filter(|said| !said.is_empty());
    Some(Answer {
        status,
        code: context.error_code.as_deref().unwrap_or_default(),
        said: said.unwrap_or_else(|| format!("status {status}")),
    })
}

fn from_answer(answer: &Answer<'_>, asked: &str) -> Failure {
    let Answer { status, code, said } = answer;
    match (*status, *code) {
        // Without a token the hub answers 401 for a repository that does not exist.
        (401 | 403 | 404, "RepoNotFound") => Failure::new(
            ErrorKind::NotFound,
            format!("there is no such repository, or it is private ({asked}): {said}"),
        ),
        (401 | 403, _) => Failure::new(
            ErrorKind::Gated,
            format!(
                "the hub asks for a token ({asked}): {said}; accept the terms on the model's page and set HF_TOKEN"
            ),
        ),
        (404, "RevisionNotFound") => Failure::new(
            ErrorKind::VanishedRevision,
            format!("there is no such revision ({asked}): {said}"),
        ),
        (404, _) => Failure::new(ErrorKind::NotFound, format!("not found ({asked}): {said}")),
        (429, _) => Failure::passing(
            ErrorKind::RateLimited,
            format!("the hub limits the rate of requests ({asked})"),
        ),
        (408 | 500..=599, _) => Failure::passing(
            ErrorKind::Server,
            format!("the hub failed ({asked}): {said}"),
        ),
        _ => Failure::new(
            ErrorKind::Server,
            format!("the hub refused ({asked}): {said}"),
        ),
    }
}

/// An error and its causes on one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let next = error.to_string();
        if !text.contains(&next) {
            text.push_str(": ");
            text.push_str(&next);
        }
        cause = error.source();
    }
    text
}
