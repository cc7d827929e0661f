//! Where a model's bytes come from, and proof that they are the right ones.
//!
//! - [`Registry`]: the models the project knows by name, read from
//!   `registry/models.toml`.
//! - [`Lock`]: what was fetched once, file by file with length and SHA-256, in
//!   `registry/models.lock.toml`.
//! - [`ModelCache`]: the folder where fetched files lie.
//! - [`resolve`]: a registry name, a folder or a GGUF file becomes a
//!   [`ResolvedModel`], whose [`verify`](ResolvedModel::verify) hashes every file.
//! - [`plan`]: how much of a model is here and how much is still to fetch.
//! - [`protocol`]: the JSON lines by which the fetch process reports.
//!
//! This crate never opens a socket; the `assay-fetch` binary does.

mod cache;
mod digest;
mod error;
mod lock;
mod names;
mod plan;
pub mod protocol;
mod registry;
mod resolve;
mod revisions;

pub use cache::{MODELS_VARIABLE, ModelCache, Usage};
pub use digest::{is_sha256, sha256_bytes, sha256_file};
pub use error::SourceError;
pub use lock::{EqualFiles, Holder, LOCK_FILE, Lock, LockStatus, LockedFile, LockedModel};
pub use plan::{Plan, plan};
pub use registry::{
    FileSet, HubSource, ModelEntry, PipPart, PipSource, REGISTRY_FILE, Registry, Request, Source,
};
pub use resolve::{Digests, FileRole, Origin, ResolvedFile, ResolvedModel, resolve};
