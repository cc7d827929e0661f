//! Reading by position against whole tensors of the tensor library: every way
//! to ask gives the same values, across the seams of pieces and bands.
#![allow(clippy::unwrap_used)]

mod support;

use std::collections::HashMap;
use std::sync::Arc;

use assay_checkpoint::{Checkpoint, CheckpointError, Weights};
use assay_testkit::{TinyModel, write_gguf};
use candle_core::quantized::GgmlDType;
use candle_core::{DType, Device, Tensor};
use support::{Folder, check_message};

const CPU: &Device = &Device::Cpu;

fn open(folder: &Folder) -> Arc<Weights> {
    Checkpoint::open(folder.path()).unwrap().weights
}

/// Weights under any names, in a folder with some config.
fn stored(tensors: &[(&str, Tensor)]) -> Folder {
    let folder = Folder::of(&TinyModel::gpt2(1));
    let map: HashMap<&str, Tensor> = tensors.iter().cloned().collect();
    candle_core::safetensors::save(&map, folder.file("model.safetensors")).unwrap();
    folder
}

/// A matrix of values that differ from their neighbours and that f16 and bf16
/// hold alike: multiples of 1/64 up to 2.
fn matrix(rows: usize, columns: usize) -> Tensor {
    let value = |i: usize| ((i * 7919 + i / columns) % 255) as f32 / 64.0 - 2.0;
    let values: Vec<f32> = (0..rows * columns).map(value).collect();
    Tensor::from_vec(values, (rows, columns), CPU).unwrap()
}

fn bits(tensor: &Tensor) -> Vec<u64> {
    let tensor = tensor.flatten_all().unwrap().to_dtype(DType::F64).unwrap();
    let values: Vec<f64> = tensor.to_vec1().unwrap();
    values.into_iter().map(f64::to_bits).collect()
}

/// 1300 x 1100 values are 5.7 MB of f32: several pieces, several bands, and
/// sides that are no multiple of a tile. The others are a single row, a single
/// column, less than a tile.
#[test]
fn every_way_to_read_gives_the_same_values() {
    for (rows, columns) in [(1300, 1100), (1, 777), (777, 1), (5, 3), (33, 64)] {
        let exact = matrix(rows, columns);
        for storage in [DType::F16, DType::BF16, DType::F32, DType::F64] {
            let folder = stored(&[("a.b", exact.to_dtype(storage).unwrap())]);
            let weights = open(&folder);
            for dtype in [DType::F32, DType::F64, DType::F16, DType::BF16] {
                let what = format!("{rows} x {columns}, {storage:?} -> {dtype:?}");
                let expected = exact
                    .to_dtype(storage)
                    .and_then(|t| t.to_dtype(dtype))
                    .unwrap();
                let whole = weights.tensor("a.b", &[rows, columns], dtype, CPU);
                let whole = whole.unwrap();
                assert_eq!((whole.dtype(), whole.dims()), (dtype, expected.dims()));
                assert!(bits(&whole) == bits(&expected), "{what}");

                let turned = weights.transposed("a.b", [rows, columns], dtype, CPU);
                let turned = turned.unwrap();
                assert_eq!(turned.dims(), [columns, rows]);
                assert!(turned.is_contiguous());
                assert!(bits(&turned) == bits(&expected.t().unwrap()), "{what}");
            }
            // Out of order, twice, runs, and none.
            let last = rows as u32 - 1;
            for some in [
                vec![last, 0, 0, last / 2, last / 2 + last % 2, last],
                vec![],
            ] {
                let read = weights.rows("a.b", [rows, columns], &some, DType::F32, CPU);
                let read = read.unwrap();
                assert_eq!(read.dims(), [some.len(), columns]);
                if !some.is_empty() {
                    let ids = Tensor::from_vec(some.clone(), some.len(), CPU).unwrap();
                    let expected = exact.index_select(&ids, 0).unwrap();
                    assert!(bits(&read) == bits(&expected), "{some:?}");
                }
            }
            let range = rows / 3..rows;
            let read = weights.row_range("a.b", [rows, columns], range.clone(), DType::F32, CPU);
            let expected = exact.narrow(0, range.start, range.len()).unwrap();
            assert!(bits(&read.unwrap()) == bits(&expected));
        }
    }
}

#[test]
fn rows_beyond_the_matrix_are_refused() {
    let folder = stored(&[("a.b", matrix(4, 3))]);
    let weights = open(&folder);
    for result in [
        weights.rows("a.b", [4, 3], &[0, 4], DType::F32, CPU),
        weights.row_range("a.b", [4, 3], 3..5, DType::F32, CPU),
    ] {
        let message = result.unwrap_err().to_string();
        check_message(&message, &["tensor a.b", "row 4 is asked for and it has 4"]);
    }
    let result = weights.tensor("a.b", &[4, 3], DType::U8, CPU);
    check_message(
        &result.unwrap_err().to_string(),
        &["tensor a.b", "not converted to U8"],
    );
}

#[test]
fn a_name_is_found_without_its_first_component() {
    let folder = stored(&[
        ("h.0.ln_1.weight", matrix(1, 3)),
        ("transformer.wte.weight", matrix(4, 3)),
        ("wte.weight", matrix(2, 2)),
    ]);
    let weights = open(&folder);
    assert!(weights.has("transformer.h.0.ln_1.weight") && weights.has("h.0.ln_1.weight"));
    assert!(!weights.has("model.transformer.h.0.ln_1.weight"));
    // As it stands goes first.
    assert_eq!(weights.shape("transformer.wte.weight"), Some(vec![4, 3]));
    assert_eq!(weights.shape("nothing"), None);
    // `expect` counts as use, under whichever name.
    let unused = |weights: &Weights| match weights.check_all_used() {
        Err(CheckpointError::UnusedTensor { tensor, .. }) => Some(tensor),
        other => {
            other.unwrap();
            None
        }
    };
    assert_eq!(unused(&weights).as_deref(), Some("h.0.ln_1.weight"));
    weights
        .expect("transformer.h.0.ln_1.weight", &[1, 3])
        .unwrap();
    assert_eq!(unused(&weights).as_deref(), Some("transformer.wte.weight"));
    weights.skip("transformer.wte.weight");
    weights.skip("model.nothing");
    assert_eq!(unused(&weights).as_deref(), Some("wte.weight"));
    let wrong = weights.expect("wte.weight", &[2, 3]).unwrap_err();
    check_message(
        &wrong.to_string(),
        &["shape mismatch in wte.weight", "[2, 3]", "[2, 2]"],
    );
    assert_eq!(unused(&weights).as_deref(), Some("wte.weight"));
    weights.expect("model.wte.weight", &[2, 2]).unwrap();
    assert_eq!(unused(&weights), None);
}

/// The index of a bad value is that of the tensor as it is named, however it
/// is read.
#[test]
fn a_bad_value_has_one_index() {
    let (rows, columns) = (1300, 1100);
    let mut values: Vec<f32> = matrix(rows, columns)
        .flatten_all()
        .unwrap()
        .to_vec1()
        .unwrap();
    let first = 1203 * columns + 17;
    values[first] = f32::NAN;
    values[first + 1] = f32::INFINITY;
    values[1290 * columns + 3] = f32::NAN;
    let tensor = Tensor::from_vec(values, (rows, columns), CPU).unwrap();
    let weights = open(&stored(&[("a.b", tensor)]));
    let at = format!("at index {first}:");
    for result in [
        weights.tensor("a.b", &[rows, columns], DType::F32, CPU),
        weights.transposed("a.b", [rows, columns], DType::F32, CPU),
    ] {
        check_message(&result.unwrap_err().to_string(), &["holds NaN", &at]);
    }
    // Rows that are whole are given.
    assert!(
        weights
            .row_range("a.b", [rows, columns], 0..1203, DType::F32, CPU)
            .is_ok()
    );
}

/// The blocks of a GGUF are those of the dequantised matrix, Q and K in
/// transformers' row order.
#[test]
fn blocks_are_the_matrix_that_they_dequantise_to() {
    let spec = TinyModel {
        n_kv_heads: 2,
        ..TinyModel::llama(3)
    };
    let folder = Folder::empty();
    for dtype in [GgmlDType::Q8_0, GgmlDType::Q4_0, GgmlDType::F16] {
        write_gguf(&folder.file("model.gguf"), &spec, dtype).unwrap();
        let weights = open(&folder);
        for part in ["self_attn.q_proj", "self_attn.k_proj", "mlp.down_proj"] {
            let name = format!("model.layers.1.{part}.weight");
            let shape = weights.shape(&name).unwrap();
            let shape = [shape[0], shape[1]];
            let blocks = weights.quantized(&name, shape).unwrap();
            if dtype == GgmlDType::F16 {
                assert!(blocks.is_none());
                continue;
            }
            let blocks = blocks.unwrap();
            assert_eq!((blocks.dtype(), blocks.shape().dims()), (dtype, &shape[..]));
            let whole = weights.tensor(&name, &shape, DType::F32, CPU).unwrap();
            let dequantised = blocks.dequantize(CPU).unwrap();
            assert!(bits(&dequantised) == bits(&whole), "{name} as {dtype:?}");
            let some = weights
                .rows(&name, shape, &[9, 2], DType::F32, CPU)
                .unwrap();
            let ids = Tensor::new(&[9u32, 2], CPU).unwrap();
            let expected = whole.index_select(&ids, 0).unwrap();
            assert!(bits(&some) == bits(&expected));
        }
    }
    let plain = stored(&[("a.b", matrix(4, 3))]);
    assert!(open(&plain).quantized("a.b", [4, 3]).unwrap().is_none());
}

/// Every type of block that a GGUF may hold is read as the tensor library
/// dequantises it, whole, turned and by rows. 4100 rows of 512 are several
/// pieces and several bands.
#[test]
fn every_block_type_is_dequantised_as_by_the_library() {
    use candle_core::quantized::gguf_file::{Value, write};
    use candle_core::quantized::{GgmlDType::*, QTensor};
    let (rows, columns) = (4100, 512);
    let exact = matrix(rows, columns);
    let spec = TinyModel::llama(1);
    let metadata = assay_testkit::gguf_metadata(&spec).unwrap();
    // One block is enough where there is one tensor.
    let metadata = metadata.into_iter().map(|(key, value)| {
        let count = key == "llama.block_count";
        (key, if count { Value::U32(1) } else { value })
    });
    let metadata: Vec<(String, Value)> = metadata.collect();
    let metadata: Vec<(&str, &Value)> = metadata.iter().map(|(k, v)| (k.as_str(), v)).collect();
    for dtype in [
        Q4_0, Q4_1, Q5_0, Q5_1, Q8_0, Q2K, Q3K, Q4K, Q5K, Q6K, F16, BF16, F32,
    ] {
        let stored = QTensor::quantize(&exact, dtype).unwrap();
        let expected = stored.dequantize(CPU).unwrap();
        let folder = Folder::empty();
        let mut file = std::fs::File::create(folder.file("model.gguf")).unwrap();
        write(&mut file, &metadata, &[("token_embd.weight", &stored)]).unwrap();
        let weights = open(&folder);
        let (name, shape) = ("model.embed_tokens.weight", [rows, columns]);
        let whole = weights.tensor(name, &shape, DType::F32, CPU).unwrap();
        assert!(bits(&whole) == bits(&expected), "{dtype:?}");
        let turned = weights.transposed(name, shape, DType::F32, CPU).unwrap();
        assert!(bits(&turned) == bits(&expected.t().unwrap()), "{dtype:?}");
        let some = weights.rows(name, shape, &[4099, 7, 8], DType::F32, CPU);
        let ids = Tensor::new(&[4099u32, 7, 8], CPU).unwrap();
        let expected = expected.index_select(&ids, 0).unwrap();
        assert!(bits(&some.unwrap()) == bits(&expected), "{dtype:?}");
    }
}
