//! Values as attention mixes them, and as the published code took them.

use assay_checkpoint::Architecture;
use assay_experiment::{ExperimentError, Session};
use assay_geometry::{GeometryError, Participation, Rows, autocorrelation, participation};
use candle_core::Tensor;

/// Positions that a participation ratio is taken over.
pub(crate) const WINDOW: usize = 16;

/// The layers that R_V compares (METHODS §2).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Layers {
    /// round(5 L / 32).
    pub(crate) early: usize,
    /// min(round(28 L / 32), L - 1), of definition A.
    pub(crate) late: usize,
    /// L - 5, of definition B; none where that is not behind the early one.
    pub(crate) late_b: Option<usize>,
}

impl Layers {
    /// The layers of a model of `n_layers` blocks, or why it has none.
    pub(crate) fn of(n_layers: usize) -> Result<Self, String> {
        let scaled = |k: usize| (n_layers * k + 16) / 32;
        let early = scaled(5);
        let late = scaled(28).min(n_layers.saturating_sub(1));
        let late_b = n_layers.checked_sub(5).filter(|l| *l > early);
        if early >= late {
            return Err(format!(
                "has {n_layers} layers, and the layer rule gives an early one of {early} and a late one of {late}"
            ));
        }
        Ok(Self {
            early,
            late,
            late_b,
        })
    }
}

/// Participation ratios of a prompt's window at one layer.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Spread {
    /// Definition A: mean over kv heads.
    pub(crate) a: Participation,
    /// Definition B: all of V at once.
    pub(crate) b: Participation,
    /// Definition A over n_heads pseudo-heads, as the published code cut
    /// grouped values (E7); none where each query head has a V of its own.
    pub(crate) pseudo: Option<f64>,
    /// Mean cosine of neighbouring rows of V.
    pub(crate) neighbours: f64,
}

/// Measures the last min([`WINDOW`], T) rows of `v` [T, kv_head, d_head].
pub(crate) fn spread(v: &Tensor, n_heads: usize) -> Result<Spread, GeometryError> {
    let (tokens, kv_heads, d_head) = v.dims3()?;
    let window = WINDOW.min(tokens);
    let rows = Rows::new(&v.narrow(0, tokens - window, window)?)?;
    let width = kv_heads * d_head;
    let whole: Vec<&[f64]> = rows.iter().collect();
    let cut = |pieces: usize| -> Result<Participation, GeometryError> {
        let size = width / pieces;
        let (mut naive, mut row_only) = (0.0, 0.0);
        for piece in 0..pieces {
            let part: Vec<&[f64]> = whole
                .iter()
                .map(|r| &r[piece * size..(piece + 1) * size])
                .collect();
            let p = participation(&part)?;
            naive += p.naive / pieces as f64;
            row_only += p.row_only / pieces as f64;
        }
        Ok(Participation { naive, row_only })
    };
    let grouped = kv_heads != n_heads && width % n_heads == 0;
    Ok(Spread {
        a: cut(kv_heads)?,
        b: participation(&whole)?,
        pseudo: match grouped {
            true => Some(cut(n_heads)?.naive),
            false => None,
        },
        neighbours: autocorrelation(&whole)?,
    })
}

/// How a model stores queries, keys and values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Layout {
    /// One matrix, rows (head, qkv, d_head): GPT-NeoX, BLOOM. The published
    /// view takes something else than V out of it (E5).
    HeadMajor,
    /// One matrix, rows (qkv, head, d_head): GPT-2. The view is right.
    Thirds,
    /// Matrices of their own, or another fused form: no view.
    Separate,
}

impl Layout {
    pub(crate) fn of(session: &Session) -> Self {
        match session.config().architecture {
            Architecture::GptNeoX | Architecture::Bloom => Self::HeadMajor,
            Architecture::Gpt2 => Self::Thirds,
            _ => Self::Separate,
        }
    }
}

/// What `view(tokens, 3, heads, d_head)[:, 2]` takes out of a fused output
/// whose rows are (head, qkv, d_head): the last third of (head, qkv) pairs, a
/// mixture of Q, K and V. q, k, v and the result [tokens, head, d_head].
pub(crate) fn published_view(q: &Tensor, k: &Tensor, v: &Tensor) -> candle_core::Result<Tensor> {
    let (tokens, heads, d_head) = v.dims3()?;
    let fused = Tensor::stack(&[q, k, v], 2)?;
    fused
        .reshape((tokens, 3, heads, d_head))?
        .narrow(1, 2, 1)?
        .squeeze(1)
}

/// Of how many heads the published view takes Q, K and V.
pub(crate) fn view_counts(heads: usize) -> [usize; 3] {
    let mut counts = [0; 3];
    for slot in 2 * heads..3 * heads {
        counts[slot % 3] += 1;
    }
    counts
}

/// |pattern · v - z| / |z|: 0 to rounding for what attention mixes. pattern
/// [head, query, key], v [T, kv_head, d_head], z [T, head, d_head].
pub(crate) fn rebuilding_error(
    pattern: &Tensor,
    v: &Tensor,
    z: &Tensor,
) -> Result<f64, ExperimentError> {
    let (heads, queries, keys) = pattern.dims3()?;
    let (_, kv_heads, d_head) = v.dims3()?;
    let group = heads / kv_heads;
    let mixed = pattern
        .reshape((kv_heads, group * queries, keys))?
        .matmul(&v.transpose(0, 1)?.contiguous()?)?
        .reshape((heads, queries, d_head))?
        .transpose(0, 1)?;
    let square = |x: &Tensor| -> candle_core::Result<f64> {
        let sum = x.to_dtype(candle_core::DType::F64)?.sqr()?.sum_all()?;
        sum.to_scalar::<f64>()
    };
    Ok((square(&(mixed - z)?)? / square(z)?).sqrt())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::{Layers, published_view, view_counts};
    use candle_core::{Device, Tensor};

    #[test]
    fn layers_of_the_published_and_of_other_depths() {
        let of = |n| Layers::of(n).map(|l| (l.early, l.late, l.late_b));
        assert_eq!(of(32), Ok((5, 28, Some(27))));
        assert_eq!(of(30), Ok((5, 26, Some(25))));
        assert_eq!(of(12), Ok((2, 11, Some(7))));
        assert_eq!(of(3), Ok((0, 2, None)));
        assert!(of(1).unwrap_err().contains("1 layers"));
        assert!(of(0).is_err());
    }

    /// 32 heads: 10 Q, 11 K and 11 V of the last third of the heads (E5).
    #[test]
    fn the_published_view_is_a_mixture() {
        let of = |what: f32| {
            let heads: Vec<f32> = (0..32).map(|h| what + h as f32).collect();
            Tensor::from_vec(heads, (1, 32, 1), &Device::Cpu).unwrap()
        };
        let view = published_view(&of(0.0), &of(100.0), &of(200.0)).unwrap();
        let taken: Vec<f32> = view.flatten_all().unwrap().to_vec1().unwrap();
        let count = |from: f32| {
            taken
                .iter()
                .filter(|x| (from..from + 100.0).contains(*x))
                .count()
        };
        assert_eq!([count(0.0), count(100.0), count(200.0)], [10, 11, 11]);
        assert_eq!(view_counts(32), [10, 11, 11]);
        assert!(taken.iter().all(|x| x % 100.0 >= 21.0));
    }
}
