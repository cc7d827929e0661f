//! stub
pub(crate) fn tidy() -> anyhow::Result<crate::Ending> { Ok(crate::Ending::Held) }
