//! What is measured on one model, sample by sample.
//!
//! Layers l1 = min(floor(32 L/36), L - 3) and l2 = l1 + 1. A mask of layer l is
//! put at the input of block l (place `in`, what its weights read) or at its
//! output (place `out`, as published: E14). A cell is written
//! `{place}.{l1|l2}.k{k}.{direction}`, direction `en-zh` being Chinese sources
//! into English prompts; `full` needs no k and stands once a k all the same.
//!
//! **A prompt** (its own id, e.g. `sum-1.en`):
//! - `tokens`; `logp-answer`, `logp-cross` log p of its own and of its partner's
//!   answer, nats, summed over the answer's tokens (`logp-cross` only where the
//!   pair has a partner)
//! - `update.z.by-block`, `update.perp.by-block` |P_Z Δ|, |P_⊥ Δ| of the mean
//!   over positions of what each block b = 0..L-1 adds; `update-token.….by-block`
//!   mean over positions of the norms; `update-bare.….by-block` as `update`
//!   without massive positions. Mask: the primary one.
//!
//! **A pair** (`pair.{id}`; tags answer, cross (the partner's pair id)):
//! - `prefers.en`, `prefers.zh` log p(a_i) - log p(a_j) unpatched
//! - `same.{cell}.{z|z-perp|full}.{mean|ot}` change of log p(a_i), source the
//!   same problem in the other language; `same-kl.…` KL(none || patched) of the
//!   next token; `full-like.{cell}` KL(full || z_perp) - KL(full || z), mean
//! - `cross.{cell}.{z|z-perp|full}` change of log p(a_j) - log p(a_i), source
//!   the mean of the partner in the other language
//! - the primary cell `in.l1.k50.en-zh`, or the largest k that the keys read:
//!   `placebo.haar`, `placebo.matched`, `placebo.perp-part` [draws] the `cross`
//!   effect in each random subspace (uniform; of equal patch size; k random
//!   dimensions of the complement); `placebo.same-language` source the partner
//!   in the target's own language; `placebo.wrong-layer` the same mask and
//!   patch at block l1/2; `placebo.itself` source the prompt's own rows;
//!   `dormant.read`, `dormant.ignored` the effect of the patch's part that the
//!   weights from block l1 on read, and of the rest; `bare` the effect with
//!   massive positions left out of source and target
//!
//! **A generated text** (`text.{pair}.{direction}.none` or
//! `text.{pair}.{cell}.{z|z-perp|full}`, random subspaces
//! `text.{pair}.{cell}.{z|z-perp}.random-{n}`; tags pair, cell (absent for
//! none), condition, direction, answer, random where it is one; `text` and
//! `token_ids` are what was generated, design `same`, source mean): `answer`,
//! `first-number` where there is one; `lo-share`; `language` 1 Chinese, 0
//! English, absent if neither
//!
//! **The model** (`model`): `layers` [l1, l2], `ks`, `primary-k`, `span`
//! (dimensions that the keys of l1 read), `massive` (massive positions of all),
//! `source-norms` [mean |x|, mean |z̄|] in the primary cell;
//! `mask.rank.{block}` effective rank of each head;
//! `mask.similarity.{all|head-0}.k{k}` [L * L] row by row;
//! `mask.audited.{l1|l2}.k{k}` similarity of the published mask with [the one
//! with gains folded in, the query side's]; `mask.ffn.k{k}.by-block` avoidance,
//! `mask.ffn-random.k{k}` [100] the same of random subspaces at l1;
//! `distance.{l1|l2}.{all|head-0}.k{k}.{mean|last}` [ratio_Z, ratio_⊥, energy],
//! `distance-random.…` [100 * 3] the same of random subspaces, one after the
//! other; `update.random` [100 * L] R of each random subspace, both languages;
//! `draws` number of placebos.
