//! Is Z causal? Masks, distances, patching and the decomposition of updates.
