//! Does a higher head density cause lower gains? Declared in experiment.toml
//! before the suite that it is asked of was trained.
