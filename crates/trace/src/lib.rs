//! Recording and editing activations, and gradients with respect to them: a
//! pass with named sites goes in, a [`Trace`] comes out.
//!
//! A [`Recording`] gives traces without a model.
//!
//! TransformerLens and pyvene have both shipped hooks that silently did
//! nothing; here a pattern that matches no site, or an edit that was never
//! reached, is an error.

mod error;
mod gradient;
mod observe;
mod record;
mod recording;
mod trace;

pub use error::TraceError;
pub use gradient::gradients;
pub use observe::{BlockFacts, MlpReads, NormSees, NormsStand, PositionEnters, observe};
pub use record::{Edit, Stage, record, record_blocks, record_telling, select_sites};
pub use recording::{Recording, file_of};
pub use trace::Trace;
