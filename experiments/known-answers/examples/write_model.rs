//! Writes the hand-built model that this experiment is run on:
//! `cargo run -p known-answers --example write_model`
//!
//! Two blocks in LLaMA's form. Tokens j, k and q each have a direction in a
//! plane S, on no axis, a third of a turn apart. Block 0 gives every position
//! the mean of what the positions up to it have in S; the unembedding reads S
//! only, and of it the tokens 1, 2 and 3. Nothing else is read or written, but
//! for two plants: token @ has one huge entry, and the keys of one head of
//! block 1 read that dimension. So the answer lives in S and nowhere else,
//! there is one massive activation, and one sink.
#![allow(clippy::unwrap_used)]

use std::path::Path;

use assay_geometry::{Subspace, normals};
use assay_stats::stream;
use assay_testkit::{TinyModel, tensors, write_hf_with};
use assay_train::HeldSubspace;
use candle_core::{Device, Tensor};
use known_answers::MASSIVE_DIMENSION as DIMENSION;
use nalgebra::DMatrix;

const D: usize = 64;
/// Size of the massive activation: more than a thousand times the others'.
const SIZE: f64 = 20_000.0;
const D_HEAD: usize = 8;
/// Rows of a head's queries and keys that turn slowest under rotary positions.
const SLOW: usize = 3;

fn main() {
    let spec = TinyModel {
        n_layers: 2,
        d_model: D,
        n_heads: D / D_HEAD,
        n_kv_heads: 2,
        context: 256,
        tied: false,
        ..TinyModel::llama(1)
    };
    let mut draws = stream(5, "by hand");
    let mut plane = DMatrix::from_row_slice(2, D, &normals(2 * D, &mut draws));
    plane.column_mut(DIMENSION).fill(0.0);
    let s = Subspace::spanning(&plane).unwrap();
    // Outside of S and of the massive dimension.
    let mut outside = |rows: usize| {
        let mut all = DMatrix::from_row_slice(rows, D, &normals(rows * D, &mut draws));
        all.column_mut(DIMENSION).fill(0.0);
        &all - s.project(&all).unwrap()
    };
    let common = outside(1) * 3.0;
    let vocabulary = outside(spec.vocab);
    let direction = |i: usize| {
        let angle = std::f64::consts::TAU * i as f64 / 3.0;
        DMatrix::from_row_slice(1, 2, &[angle.cos(), angle.sin()]) * s.basis()
    };
    // The special token, then the bytes in GPT-2's alphabet, which sorts '!' to
    // '~' first.
    let id = |byte: u8| 1 + (byte - b'!') as usize;
    let tensor = |m: &DMatrix<f64>| {
        let values: Vec<f32> = m.transpose().iter().map(|v| *v as f32).collect();
        Tensor::from_vec(values, m.shape(), &Device::Cpu).unwrap()
    };
    let made = tensors(&spec).unwrap().into_iter().map(|(name, old)| {
        let Ok((rows, columns)) = old.dims2() else {
            // Gains.
            return (name, old.ones_like().unwrap());
        };
        // What a block adds besides is next to nothing, but something, so that
        // what the block is can be seen by what it does.
        let trace = if name.contains("layers") { 1e-6 } else { 0.0 };
        let values: Vec<f32> = old.flatten_all().unwrap().to_vec1().unwrap();
        let mut new = DMatrix::from_row_slice(rows, columns, &values).map(|v| f64::from(v) * trace);
        match name.as_str() {
            "model.embed_tokens.weight" => {
                for (mut row, own) in new.row_iter_mut().zip(vocabulary.row_iter()) {
                    row += own + common.row(0);
                }
                for (i, letter) in b"jkq".iter().enumerate() {
                    let mut row = new.row_mut(id(*letter));
                    row += (direction(i) * 20.0).row(0);
                }
                new[(id(b'@'), DIMENSION)] = SIZE;
            }
            "lm_head.weight" => {
                for (i, digit) in (b'1'..=b'3').enumerate() {
                    new.set_row(id(digit), &(direction(i) * 2.0).row(0));
                }
            }
            "model.layers.0.self_attn.v_proj.weight" => {
                new.rows_mut(0, 2).copy_from(s.basis());
            }
            "model.layers.0.self_attn.o_proj.weight" => {
                new.columns_mut(0, 2)
                    .copy_from(&(s.basis().transpose() * 8.0));
            }
            "model.layers.1.self_attn.q_proj.weight" => {
                new.set_row(SLOW, &(common.clone() * (4.0 / common.norm())).row(0));
            }
            "model.layers.1.self_attn.k_proj.weight" => new[(SLOW, DIMENSION)] = 2.0,
            _ => {}
        }
        (name, tensor(&new))
    });
    let made: Vec<(String, Tensor)> = made.collect();
    let folder =
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../../organisms/known-answers/by-hand");
    std::fs::create_dir_all(&folder).unwrap();
    write_hf_with(&folder, &spec, &made).unwrap();
    let held = HeldSubspace {
        block: 1,
        basis: (s.basis().row_iter())
            .map(|row| row.iter().copied().collect())
            .collect(),
    };
    let text = serde_json::to_string_pretty(&held).unwrap() + "\n";
    std::fs::write(folder.join("subspace.json"), text).unwrap();
    println!("{}", folder.display());
}
