//! Paired problems in Chinese and English with answers that code can check.
