//! One content on disk once, however many revisions and models have it: a
//! checkpoint's tokenizer and configuration are those of the checkpoint before
//! it, and some hubs serve one checkpoint's weights under two revisions. The
//! lock says where a content lies already; what is taken from there is hashed
//! like anything that arrives.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;

use assay_source::LockedFile;

use crate::failure::Outcome;
use crate::get::Job;
use crate::store;

impl Job<'_> {
    /// Take a content that this machine has under another revision or model.
    /// `path` becomes a hard link to it; where no link can be made, a copy if
    /// nothing is there yet. False, and nothing changed, if no other place has
    /// it whole.
    pub(crate) fn share(&self, path: &Path, file: &LockedFile) -> Outcome<bool> {
        let beside = store::beside(path, "shared");
        for (model, held) in self.lock.holders_of(&file.sha256) {
            let other = self.cache.file(&model.name, &model.resolved, &held.name)?;
            if other == path || !other.exists() {
                continue;
            }
            if is_one_file(&other, path) {
                return Ok(true);
            }
            store::remove(&beside)?;
            let taken = std::fs::hard_link(&other, &beside).is_ok()
                || (!path.exists() && std::fs::copy(&other, &beside).is_ok());
            if taken && store::is_right(&beside, file)? {
                store::publish(&beside, path)?;
                return Ok(true);
            }
            store::remove(&beside)?;
        }
        Ok(false)
    }
}

/// Are these two names of one file?
fn is_one_file(a: &Path, b: &Path) -> bool {
    let file = |path: &Path| {
        let found = std::fs::metadata(path).ok()?;
        Some((found.dev(), found.ino()))
    };
    file(a).is_some_and(|a| Some(a) == file(b))
}
