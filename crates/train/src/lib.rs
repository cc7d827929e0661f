//! Training of small decoders, so that what a claim needs can be made where no
//! model can be fetched, with an answer that is known.
//!
//! A [`Run`] is a model of variables, its optimiser and its place in the data.
//! Everything random comes from named ChaCha streams, parameters are gone over
//! in one order, and a run that was saved and taken up again ends with the
//! same bits as one that never stopped.

mod adamw;
mod arithmetic;
mod card;
mod corpus;
mod data;
mod error;
mod form;
mod init;
mod interchange;
mod organism;
mod run;
mod save;
mod schedule;
mod stories;
mod suite;
mod trigram;

pub use adamw::{AdamW, Settings};
pub use corpus::{Answer, Corpus, END, Numeral, Sequence};
pub use data::Data;
pub use error::TrainError;
pub use form::Form;
pub use init::{Init, variables};
pub use interchange::{HeldSubspace, Interchange, InterchangeSpec, Swap};
pub use organism::{CONTEXT, CURVE_EVERY, Trained};
pub use run::{Batch, Run, Step, next_token_loss};
pub use save::{load_state, save_model, save_state};
pub use schedule::Schedule;
pub use stories::{story, story_prompts};
pub use suite::{Cell, DataKind, DataSpec, Organism, Suite, Training};
pub use trigram::Trigram;
