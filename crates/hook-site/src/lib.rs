//! Names of the places in a transformer where activations are read and edited.
//!
//! The strings are those of TransformerLens (`HookedTransformer`'s activation
//! names), so that a trace written here opens next to one written there. Axes
//! are TransformerLens' too, without the batch axis: a pass here is packed
//! (all tokens of all prompts in a row), and `trace` splits it by prompt.
//!
//! No tensors here: only names.

use std::fmt;
use std::str::FromStr;

mod glob;

pub use glob::SitePattern;

/// A place in the forward pass. Shapes are per prompt of T tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum HookSite {
    /// `hook_embed` [T, d_model]: the token embedding.
    Embed,
    /// `hook_pos_embed` [T, d_model]: learned positions, where a family adds them.
    PosEmbed,
    /// A place inside block `layer` (0-based).
    Block {
        /// 0-based block number.
        layer: usize,
        /// Which place.
        site: BlockSite,
    },
    /// `ln_final.hook_scale` [T, 1].
    FinalScale,
    /// `ln_final.hook_normalized` [T, d_model]: before gain and bias.
    FinalNormalized,
    /// `logits` [T, vocab]: computed only when asked for.
    Logits,
}

macro_rules! block_sites {
    ($($(#[$doc:meta])* $variant:ident = $name:literal,)*) => {
        /// A place inside one block. Shapes are per prompt of T tokens.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum BlockSite { $($(#[$doc])* $variant,)* }

        impl BlockSite {
            /// Every place, in the order of a sequential block's execution.
            pub const ALL: &[BlockSite] = &[$(BlockSite::$variant),*];

            /// The part of the name behind `blocks.{l}.`.
            #[must_use]
            pub fn name(self) -> &'static str {
                match self { $(BlockSite::$variant => $name,)* }
            }
        }
    };
}

block_sites! {
    /// Residual stream entering the block [T, d_model].
    ResidPre = "hook_resid_pre",
    /// sqrt(var + eps) (LayerNorm) or the root mean square (RMSNorm) [T, 1].
    Ln1Scale = "ln1.hook_scale",
    /// Normalized before gain and bias [T, d_model].
    Ln1Normalized = "ln1.hook_normalized",
    /// Queries before any QK norm and RoPE [T, head, d_head].
    Q = "attn.hook_q",
    /// Keys before any QK norm and RoPE, groups not repeated [T, kv_head, d_head].
    K = "attn.hook_k",
    /// Values, groups not repeated [T, kv_head, d_head].
    V = "attn.hook_v",
    /// Queries after QK norm and RoPE [T, head, d_head].
    RotQ = "attn.hook_rot_q",
    /// Keys after QK norm and RoPE [T, kv_head, d_head].
    RotK = "attn.hook_rot_k",
    /// After scale, ALiBi, soft cap and mask [head, T (query), T (key)].
    AttnScores = "attn.hook_attn_scores",
    /// After softmax [head, T (query), T (key)].
    Pattern = "attn.hook_pattern",
    /// Pattern times values [T, head, d_head].
    Z = "attn.hook_z",
    /// Each head's share of `AttnOut`, without bias [T, head, d_model]; large,
    /// and computed on request only.
    Result = "attn.hook_result",
    /// What attention adds to the residual, bias included [T, d_model].
    AttnOut = "hook_attn_out",
    /// Residual between attention and MLP; sequential blocks only [T, d_model].
    ResidMid = "hook_resid_mid",
    /// The residual that the MLP's norm reads [T, d_model]: `ResidMid` in
    /// sequential blocks, `ResidPre` in parallel ones. An edit reaches the MLP
    /// and not the residual stream beside it. Where the norms stand after the
    /// sums, it is what the MLP itself reads.
    MlpIn = "hook_mlp_in",
    /// As `Ln1Scale`, of the norm before the MLP [T, 1].
    Ln2Scale = "ln2.hook_scale",
    /// As `Ln1Normalized`, of the norm before the MLP [T, d_model].
    Ln2Normalized = "ln2.hook_normalized",
    /// Hidden layer before the non-linearity [T, d_mlp].
    MlpPre = "mlp.hook_pre",
    /// Linear branch of a gated MLP [T, d_mlp].
    MlpPreLinear = "mlp.hook_pre_linear",
    /// After the non-linearity and gate [T, d_mlp].
    MlpPost = "mlp.hook_post",
    /// What the MLP adds to the residual, bias included [T, d_model].
    MlpOut = "hook_mlp_out",
    /// Residual stream leaving the block, before any final norm [T, d_model].
    ResidPost = "hook_resid_post",
}

impl BlockSite {
    /// This place in block `layer`.
    #[must_use]
    pub fn at(self, layer: usize) -> HookSite {
        HookSite::Block { layer, site: self }
    }

    /// Is the value a square per prompt, [head, query, key], rather than a row
    /// per token?
    #[must_use]
    pub fn is_square(self) -> bool {
        matches!(self, BlockSite::AttnScores | BlockSite::Pattern)
    }
}

impl HookSite {
    /// The block's number, for sites inside a block.
    #[must_use]
    pub fn layer(self) -> Option<usize> {
        match self {
            HookSite::Block { layer, .. } => Some(layer),
            _ => None,
        }
    }

    /// Is the value a square per prompt, [head, query, key]?
    #[must_use]
    pub fn is_square(self) -> bool {
        matches!(self, HookSite::Block { site, .. } if site.is_square())
    }
}

impl fmt::Display for HookSite {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            HookSite::Embed => f.write_str("hook_embed"),
            HookSite::PosEmbed => f.write_str("hook_pos_embed"),
            HookSite::Block { layer, site } => write!(f, "blocks.{layer}.{}", site.name()),
            HookSite::FinalScale => f.write_str("ln_final.hook_scale"),
            HookSite::FinalNormalized => f.write_str("ln_final.hook_normalized"),
            HookSite::Logits => f.write_str("logits"),
        }
    }
}

/// A string that names no site.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no hook site; sites are named as in TransformerLens, for example blocks.0.hook_resid_post"
)]
pub struct UnknownSite(pub String);

impl FromStr for HookSite {
    type Err = UnknownSite;

    fn from_str(text: &str) -> Result<Self, UnknownSite> {
        let unknown = || UnknownSite(text.to_owned());
        let outside = [
            HookSite::Embed,
            HookSite::PosEmbed,
            HookSite::FinalScale,
            HookSite::FinalNormalized,
            HookSite::Logits,
        ];
        if let Some(site) = outside.into_iter().find(|s| s.to_string() == text) {
            return Ok(site);
        }
        let rest = text.strip_prefix("blocks.").ok_or_else(unknown)?;
        let (layer, name) = rest.split_once('.').ok_or_else(unknown)?;
        let site = BlockSite::ALL
            .iter()
            .find(|s| s.name() == name)
            .ok_or_else(unknown)?;
        Ok(site.at(layer.parse().map_err(|_| unknown())?))
    }
}

#[cfg(test)]
mod tests {
    use super::{BlockSite, HookSite};

    #[test]
    fn every_name_reads_back() {
        for site in BlockSite::ALL {
            let site = site.at(17);
            assert_eq!(site.to_string().parse::<HookSite>(), Ok(site));
        }
        assert_eq!("logits".parse::<HookSite>(), Ok(HookSite::Logits));
    }

    #[test]
    fn other_names_are_refused() {
        for name in ["blocks.x.hook_resid_post", "blocks.1.hook_residue", "", "h"] {
            assert!(name.parse::<HookSite>().is_err(), "{name}");
        }
    }
}
