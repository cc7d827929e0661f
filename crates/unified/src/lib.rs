//! One set of features for every library of the workspace; see Cargo.toml.
