//! Gradients of every parameter against finite differences, and runs that go
//! on where they stopped.
#![allow(clippy::unwrap_used)]

use std::path::Path;

use assay_checkpoint::{DecoderConfig, parse_hf_config};
use assay_train::{
    Batch, Init, Interchange, InterchangeSpec, Run, Schedule, Settings, Swap, TrainError,
    load_state, save_model, save_state, variables,
};
use candle_core::{DType, Device, Tensor};

const NEOX: &str = r#"{"model_type": "gpt_neox", "architectures": ["GPTNeoXForCausalLM"],
    "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 32,
    "vocab_size": 23, "max_position_embeddings": 64, "rotary_pct": 0.5, "hidden_act": "gelu",
    "layer_norm_eps": 1e-5, "use_parallel_residual": PARALLEL, "tie_word_embeddings": false}"#;
const LLAMA: &str = r#"{"model_type": "llama", "architectures": ["LlamaForCausalLM"],
    "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
    "intermediate_size": 32, "vocab_size": 23, "max_position_embeddings": 64, "hidden_act": "silu",
    "rms_norm_eps": 1e-6, "tie_word_embeddings": true}"#;
const GPT2: &str = r#"{"model_type": "gpt2", "architectures": ["GPT2LMHeadModel"],
    "n_embd": 16, "n_layer": 2, "n_head": 4, "n_positions": 64, "vocab_size": 23,
    "activation_function": "gelu_new", "layer_norm_epsilon": 1e-5}"#;

const QWEN2: &str = r#"{"model_type": "qwen2", "architectures": ["Qwen2ForCausalLM"],
    "hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2,
    "intermediate_size": 32, "vocab_size": 23, "max_position_embeddings": 64, "hidden_act": "silu",
    "rms_norm_eps": 1e-6, "tie_word_embeddings": true}"#;

fn config(text: &str) -> DecoderConfig {
    parse_hf_config(text, Path::new("config.json")).unwrap()
}

fn configs() -> Vec<DecoderConfig> {
    let neox = |parallel: &str| config(&NEOX.replace("PARALLEL", parallel));
    vec![
        neox("true"),
        neox("false"),
        config(LLAMA),
        config(GPT2),
        config(QWEN2),
    ]
}

const SETTINGS: Settings = Settings {
    beta1: 0.9,
    beta2: 0.95,
    eps: 1e-8,
    weight_decay: 0.1,
    clip: 1.0,
};

fn run_of(config: &DecoderConfig, dtype: DType) -> Run {
    let init = Init {
        seed: 4,
        sd: 0.3,
        dtype,
    };
    let schedule = Schedule {
        peak: 1e-2,
        warm_up: 2,
        steps: 40,
        floor: 0.1,
    };
    Run::new(
        config,
        variables(config, &init, &Device::Cpu).unwrap(),
        SETTINGS,
        schedule,
    )
    .unwrap()
}

/// Sequences that count up from a start, which is soon learnt.
fn batch(step: u32) -> Batch {
    let row = |start: u32, len: u32| (0..len).map(|i| (start + i) % 23).collect();
    Batch {
        ids: vec![row(step, 9), row(step * 5 + 2, 7), row(step * 3 + 1, 9)],
        counts: Vec::new(),
        swaps: Vec::new(),
    }
}

fn value(run: &Run, batch: &Batch) -> f64 {
    let loss = run.loss(batch).unwrap().to_dtype(DType::F64).unwrap();
    loss.to_scalar().unwrap()
}

fn take_steps(run: &mut Run, steps: std::ops::Range<u32>) {
    for step in steps {
        run.step(&batch(step)).unwrap();
    }
}

/// In f64 a step of 1e-6 leaves about 1e-10 of rounding; a part of a gradient
/// that is missing changes its slope by far more than a hundred-thousandth.
fn check_gradients(run: &Run, batch: &Batch, name: &str) {
    let gradients = run.loss(batch).unwrap().backward().unwrap();
    for (spec, var) in run.variables.iter() {
        let gradient = gradients
            .get(var)
            .unwrap_or_else(|| panic!("{}", spec.name));
        let dot = |a: &Tensor, b: &Tensor| -> f64 {
            (a * b).unwrap().sum_all().unwrap().to_scalar().unwrap()
        };
        let length = dot(gradient, gradient).sqrt();
        assert!(length > 0.0, "{name}: {}", spec.name);
        let wave: Vec<f64> = (0..gradient.elem_count())
            .map(|i| (1.0 + 7.3 * i as f64).sin())
            .collect();
        let wave = Tensor::from_vec(wave, gradient.dims(), &Device::Cpu).unwrap();
        let towards = ((gradient / length).unwrap() + (wave * 0.1).unwrap()).unwrap();
        let before = var.as_tensor().copy().unwrap();
        let moved = |step: f64| {
            var.set(&(&before + (&towards * step).unwrap()).unwrap())
                .unwrap();
            value(run, batch)
        };
        let slope = (moved(1e-6) - moved(-1e-6)) / 2e-6;
        moved(0.0);
        let error = (slope - dot(gradient, &towards)).abs() / length;
        assert!(error < 1e-5, "{name}: {} is off by {error:e}", spec.name);
    }
}

#[test]
fn every_parameter_has_the_gradient_of_finite_differences() {
    for config in configs() {
        let run = run_of(&config, DType::F64);
        let mut batch = batch(1);
        batch.counts = batch
            .ids
            .iter()
            .map(|ids| vec![true; ids.len() - 1])
            .collect();
        batch.counts[0][3] = false;
        check_gradients(&run, &batch, &config.model_type);
    }
}

/// Both kinds of swaps, between positions of several sequences.
#[test]
fn swaps_have_the_gradient_of_finite_differences() {
    let config = config(LLAMA);
    let of = InterchangeSpec {
        dimensions: 5,
        block: 1,
        weight: 0.7,
        seed: 9,
    };
    let interchange = Interchange::new(&of, config.d_model, DType::F64).unwrap();
    let plain = run_of(&config, DType::F64);
    let run = run_of(&config, DType::F64).with_interchange(Some(interchange));
    let mut batch = batch(1);
    let swap = |base, source, inside, target| Swap {
        base,
        source,
        inside,
        target,
    };
    batch.swaps = vec![
        swap((0, 5), (1, 3), true, 4),
        swap((2, 2), (0, 6), false, 11),
    ];
    assert!((value(&run, &batch) - value(&plain, &batch)).abs() > 0.1);
    check_gradients(&run, &batch, "swaps");
    // Both parts of a position's own residual stream change nothing.
    batch.swaps = vec![
        swap((0, 5), (0, 5), true, 4),
        swap((0, 6), (0, 6), false, 4),
    ];
    let own = value(&run, &batch);
    let ids = batch.ids[0].clone();
    let at = |position: usize| {
        let mut counts = vec![false; ids.len() - 1];
        counts[position] = true;
        let mut ids = ids.clone();
        ids[position + 1] = 4;
        let one = Batch {
            ids: vec![ids],
            counts: vec![counts],
            swaps: Vec::new(),
        };
        value(&plain, &one)
    };
    let expected = value(&plain, &batch) + 0.7 * (at(5) + at(6)) / 2.0;
    assert!((own - expected).abs() < 1e-12, "{own}, {expected}");
}

fn bytes(run: &Run) -> Vec<Vec<f32>> {
    let values = |x: &Tensor| x.flatten_all().unwrap().to_vec1().unwrap();
    run.variables.iter().map(|(_, var)| values(var)).collect()
}

#[test]
fn a_run_learns_and_goes_on_where_it_stopped() {
    let folder = tempfile::tempdir().unwrap();
    for config in configs() {
        let mut whole = run_of(&config, DType::F32);
        let first = whole.step(&batch(0)).unwrap().loss;
        take_steps(&mut whole, 1..40);
        let last = value(&whole, &batch(40));
        assert!(
            last < 0.5 * first,
            "{}: {first} to {last}",
            config.model_type
        );

        let path = folder.path().join("state.safetensors");
        let mut begun = run_of(&config, DType::F32);
        take_steps(&mut begun, 0..17);
        save_state(&begun, &path).unwrap();
        let mut other = run_of(&config, DType::F32);
        load_state(&mut other, &path).unwrap();
        assert_eq!(other.steps(), 17);
        take_steps(&mut other, 17..40);
        assert_eq!(bytes(&other), bytes(&whole), "{}", config.model_type);
    }
}

/// What was trained is what is loaded: the same loss from the files.
#[test]
fn a_saved_model_is_the_model() {
    for (config, text) in configs().iter().zip([
        NEOX.replace("PARALLEL", "true"),
        NEOX.replace("PARALLEL", "false"),
        LLAMA.to_owned(),
        GPT2.to_owned(),
        QWEN2.to_owned(),
    ]) {
        let folder = tempfile::tempdir().unwrap();
        let mut run = run_of(config, DType::F32);
        take_steps(&mut run, 0..5);
        // What is written is the nearest f16.
        for (_, var) in run.variables.iter() {
            let rounded = var.as_tensor().to_dtype(DType::F16).unwrap();
            var.set(&rounded.to_dtype(DType::F32).unwrap()).unwrap();
        }
        std::fs::write(folder.path().join("config.json"), text).unwrap();
        save_model(&run.variables, &folder.path().join("model.safetensors")).unwrap();
        let checkpoint = assay_checkpoint::Checkpoint::open(folder.path()).unwrap();
        let decoder =
            assay_decoder::Decoder::load(&checkpoint, DType::F32, &Device::Cpu, &mut |_, _| ())
                .unwrap();
        let loaded = assay_train::next_token_loss(&decoder, &batch(9)).unwrap();
        let loaded = f64::from(loaded.to_scalar::<f32>().unwrap());
        let trained = value(&run, &batch(9));
        // The decoder's own kernels sum in another order.
        assert!((loaded - trained).abs() < 1e-5, "{loaded}, {trained}");
    }
}

#[test]
fn what_cannot_be_trained_is_said() {
    let config = &configs()[0];
    let mut run = run_of(config, DType::F32);
    let mut check = |batch: Batch, words: &str| {
        let error = run.step(&batch).unwrap_err();
        assert!(matches!(error, TrainError::Batch { .. }));
        assert!(error.to_string().contains(words), "{error}");
    };
    let of = |ids: Vec<Vec<u32>>, counts| Batch {
        ids,
        counts,
        swaps: Vec::new(),
    };
    check(
        of(vec![vec![1, 2], vec![3]], vec![]),
        "sequence 1 of fewer than two",
    );
    check(
        of(vec![vec![1, 2]], vec![vec![true; 2]]),
        "1 predictions and 2 marks",
    );
    check(
        of(vec![vec![1, 2]], vec![vec![false]]),
        "no prediction that counts",
    );
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("state.safetensors");
    save_state(&run_of(&configs()[2], DType::F32), &path).unwrap();
    let error = load_state(&mut run, &path).unwrap_err().to_string();
    assert!(
        error.contains("is not the state of this run: it lacks"),
        "{error}"
    );
}
