//! What the blocks of every family are seen to do (erratum E9: OPT and BLOOM
//! were taken for parallel, and GPT-J's one norm for GPT-NeoX's two).
#![allow(clippy::unwrap_used)]

use std::path::PathBuf;

use assay_checkpoint::Checkpoint;
use assay_decoder::Decoder;
use assay_trace::{BlockFacts, MlpReads, NormSees, NormsStand, PositionEnters, observe};
use candle_core::{DType, Device};

use MlpReads::{AfterAttention, SameThroughAttentionsNorm, SameThroughOwnNorm};
use NormSees::{Everything, NoConstant};
use NormsStand::{AfterSums, Before, BeforeAndAfter};
use PositionEnters::{Embedding, QueriesAndKeys, Scores};

/// A case of golden/parity, all of whose blocks are as said.
#[track_caller]
fn check(case: &str, expected: (MlpReads, NormsStand, NormSees, PositionEnters)) {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR"))
        .join("../../golden/parity")
        .join(case);
    let checkpoint = Checkpoint::open(&folder).unwrap();
    let decoder = Decoder::load(&checkpoint, DType::F32, &Device::Cpu, &mut |_, _| ()).unwrap();
    let (mlp_reads, norms_stand, norm_sees, position) = expected;
    for layer in 0..decoder.config().n_layers {
        let expected = BlockFacts {
            mlp_reads,
            norms_stand,
            norm_sees,
            position,
        };
        assert_eq!(
            observe(&decoder, layer).unwrap(),
            expected,
            "{case} block {layer}"
        );
    }
}

#[test]
fn gpt_neox_is_parallel_with_two_norms_unless_its_config_says_otherwise() {
    check(
        "neox-parallel",
        (SameThroughOwnNorm, Before, NoConstant, QueriesAndKeys),
    );
    check(
        "neox-sequential",
        (AfterAttention, Before, NoConstant, QueriesAndKeys),
    );
}

#[test]
fn gpt_j_and_phi_are_parallel_with_one_norm() {
    check(
        "gptj",
        (
            SameThroughAttentionsNorm,
            Before,
            NoConstant,
            QueriesAndKeys,
        ),
    );
    check(
        "phi",
        (
            SameThroughAttentionsNorm,
            Before,
            NoConstant,
            QueriesAndKeys,
        ),
    );
}

#[test]
fn opt_and_bloom_are_sequential() {
    check("opt", (AfterAttention, Before, NoConstant, Embedding));
    check(
        "opt-post-norm-projected",
        (AfterAttention, AfterSums, NoConstant, Embedding),
    );
    check("bloom", (AfterAttention, Before, NoConstant, Scores));
}

#[test]
fn gpt2_and_gpt_neo_are_sequential_with_learned_positions() {
    check("gpt2", (AfterAttention, Before, NoConstant, Embedding));
    check("gpt-neo", (AfterAttention, Before, NoConstant, Embedding));
}

#[test]
fn llama_and_its_descendants_are_sequential_with_rms_norms() {
    for case in [
        "llama-gqa-tied",
        "mistral-window",
        "qwen2",
        "qwen3",
        "gemma",
    ] {
        check(case, (AfterAttention, Before, Everything, QueriesAndKeys));
    }
}

#[test]
fn gemma_has_norms_before_and_after() {
    for case in ["gemma2", "gemma3"] {
        check(
            case,
            (AfterAttention, BeforeAndAfter, Everything, QueriesAndKeys),
        );
    }
}

#[test]
fn falcon_has_every_form() {
    let one = (
        SameThroughAttentionsNorm,
        Before,
        NoConstant,
        QueriesAndKeys,
    );
    check("falcon-7b-form", one);
    check("falcon-new-one-norm-bf16", one);
    check(
        "falcon-new",
        (SameThroughOwnNorm, Before, NoConstant, QueriesAndKeys),
    );
    check(
        "falcon-sequential",
        (AfterAttention, Before, NoConstant, QueriesAndKeys),
    );
}

#[test]
fn stablelm_is_sequential_or_parallel_with_one_norm() {
    check(
        "stablelm",
        (AfterAttention, Before, NoConstant, QueriesAndKeys),
    );
    let parallel = (
        SameThroughAttentionsNorm,
        Before,
        NoConstant,
        QueriesAndKeys,
    );
    check("stablelm-parallel-qk-norm", parallel);
}
