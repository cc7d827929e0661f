//! How much of a model is here, and how much is still to fetch.

use crate::registry::{Registry, Request, Source};
use crate::{Lock, ModelCache, SourceError};

/// What is known without asking anybody. Lengths are in bytes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Plan {
    /// Registry name.
    pub model: String,
    /// Revision asked for.
    pub revision: String,
    /// Is there a lock entry?
    pub locked: bool,
    /// Bytes of all files; unknown while unlocked.
    pub bytes: Option<u64>,
    /// Bytes of the files that are here with the right length.
    pub bytes_present: u64,
    /// Bytes that would cross the network; unknown while unlocked.
    pub bytes_to_fetch: Option<u64>,
    /// The licence.
    pub licence: String,
    /// Must the licence be accepted by name?
    pub must_accept: bool,
    /// Does the hub ask for a token?
    pub gated: bool,
}

/// Plan one model from the registry, the lock and the files on disk.
///
/// # Errors
/// [`SourceError::UnknownModel`], [`SourceError::UnknownRevision`],
/// [`SourceError::BadName`].
pub fn plan(
    registry: &Registry,
    lock: &Lock,
    cache: &ModelCache,
    request: &str,
) -> Result<Plan, SourceError> {
    let Request { entry, revision } = registry.find(request)?;
    let mut plan = Plan {
        model: entry.name.clone(),
        revision,
        locked: false,
        bytes: None,
        bytes_present: 0,
        bytes_to_fetch: None,
        licence: entry.licence.clone(),
        must_accept: entry.must_accept,
        gated: entry.gated,
    };
    if let Source::Local(_) = entry.source {
        plan.bytes_to_fetch = Some(0);
        return Ok(plan);
    }
    if let Some(locked) = lock.get(&plan.model, &plan.revision) {
        for file in &locked.files {
            let path = cache.file(&locked.name, &locked.resolved, &file.name)?;
            let here = std::fs::metadata(&path).is_ok_and(|m| m.len() == file.bytes);
            plan.bytes_present += if here { file.bytes } else { 0 };
        }
        plan.locked = true;
        plan.bytes = Some(locked.bytes());
        // A package comes whole or not at all.
        let missing = locked.bytes().saturating_sub(plan.bytes_present);
        plan.bytes_to_fetch = match locked.download_bytes {
            Some(download) if missing > 0 => Some(download),
            _ => Some(missing),
        };
    }
    Ok(plan)
}
