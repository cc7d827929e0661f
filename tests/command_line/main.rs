//! What a user relies on, through the command line and nothing else: the
//! programs are built, run on tiny models that are written for the purpose,
//! and judged by their exit status, their words and their files.
#![allow(clippy::unwrap_used)]

mod bad_input;
mod bench;
mod browser;
mod damaged;
mod device;
mod disk;
mod drift;
mod experiments;
mod faults;
mod held;
mod killed;
mod prompts;
mod recording;
mod reproduce;
mod reviewer;
mod trace;
mod train;
mod trust;
mod two_runs;
mod unusual;
mod z;
