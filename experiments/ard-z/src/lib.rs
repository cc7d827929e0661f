//! Does data find the Z that weights give? Relevance by lengthscales.
