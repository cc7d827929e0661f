//! Recordings: what goes in comes out, and what is wrong is named.
#![allow(clippy::unwrap_used)]

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;

use assay_checkpoint::Checkpoint;
use assay_decoder::{Decoder, Pack};
use assay_hook_site::{BlockSite, HookSite, SitePattern};
use assay_trace::{Recording, file_of, record};
use candle_core::{DType, Device, Tensor};

fn case() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../golden/parity/neox-parallel")
}

const PROMPTS: [(&str, &[u32]); 2] = [("a", &[3, 1, 4]), ("b-2", &[1, 5, 9, 2, 6])];

fn sites() -> BTreeSet<HookSite> {
    let kinds = [BlockSite::ResidPost, BlockSite::V, BlockSite::Pattern];
    kinds.map(|k| k.at(1)).into_iter().collect()
}

fn pack(prompts: &[(&str, &[u32])]) -> Pack {
    let ids: Vec<Vec<u32>> = prompts.iter().map(|p| p.1.to_vec()).collect();
    Pack::new(&ids).unwrap()
}

fn decoder() -> Decoder {
    let checkpoint = Checkpoint::open(&case()).unwrap();
    Decoder::load(&checkpoint, DType::F32, &Device::Cpu, &mut |_, _| ()).unwrap()
}

/// A folder with both prompts recorded.
fn recorded() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::copy(
        case().join("config.json"),
        folder.path().join("config.json"),
    )
    .unwrap();
    let decoder = decoder();
    for prompt in PROMPTS {
        let trace = record(&decoder, &pack(&[prompt]), &sites(), Vec::new()).unwrap();
        let file = folder.path().join(file_of(prompt.0).unwrap());
        trace.write_safetensors(&file, 1).unwrap();
    }
    folder
}

type Tensors = HashMap<String, Tensor>;

fn read(folder: &Path) -> Tensors {
    candle_core::safetensors::load(folder.join("a.safetensors"), &Device::Cpu).unwrap()
}

fn write(folder: &Path, tensors: &Tensors) {
    candle_core::safetensors::save(tensors, folder.join("a.safetensors")).unwrap();
}

fn bits(tensor: &Tensor) -> Vec<u32> {
    let flat: Vec<f32> = tensor.flatten_all().unwrap().to_vec1().unwrap();
    flat.into_iter().map(f32::to_bits).collect()
}

#[test]
fn a_pass_over_both_prompts_comes_back_bit_for_bit() {
    let folder = recorded();
    assert!(Recording::is_in(folder.path()));
    assert!(!Recording::is_in(&case()));
    let recording = Recording::open(folder.path()).unwrap();
    assert_eq!(recording.tokens("b-2").unwrap().ids, PROMPTS[1].1);
    assert_eq!(recording.tokens("b-2").unwrap().special, 1);
    assert_eq!(recording.config().n_layers, decoder().config().n_layers);
    // In the other order than that of the files.
    let both = pack(&[PROMPTS[1], PROMPTS[0]]);
    let patterns = ["blocks.1.hook_resid_post", "blocks.1.attn.hook_*"];
    let chosen = recording.select(&both, &[SitePattern::new(patterns[0])]);
    assert_eq!(chosen.unwrap().len(), 1);
    // Of attention not everything was recorded.
    let lacking = recording.select(&both, &[SitePattern::new(patterns[1])]);
    let said = lacking.unwrap_err().to_string();
    assert!(
        said.ends_with("has no blocks.1.attn.hook_q for prompt b-2"),
        "{said}"
    );
    let found = recording.trace(&both, &sites()).unwrap();
    let expected = record(&decoder(), &both, &sites(), Vec::new()).unwrap();
    for site in sites() {
        for prompt in 0..2 {
            let (f, e) = (found.prompt(site, prompt), expected.prompt(site, prompt));
            let (f, e) = (f.unwrap(), e.unwrap());
            assert_eq!(f.dims(), e.dims(), "{site}");
            assert_eq!(bits(&f), bits(&e), "{site}");
        }
    }
}

/// What 16 bits hold is read, with tokens of 32 bits.
#[test]
fn halves_and_narrow_tokens_are_read() {
    let folder = recorded();
    let plain: BTreeMap<String, Tensor> = read(folder.path()).into_iter().collect();
    let name = "blocks.1.hook_resid_post";
    for dtype in [DType::F16, DType::BF16] {
        let mut tensors: Tensors = plain.clone().into_iter().collect();
        let rounded = plain[name].to_dtype(dtype).unwrap();
        let narrow = plain["tokens"].to_dtype(DType::I32).unwrap();
        tensors.insert(name.to_owned(), rounded.clone());
        tensors.insert("tokens".to_owned(), narrow);
        write(folder.path(), &tensors);
        let recording = Recording::open(folder.path()).unwrap();
        let trace = recording.trace(&pack(&PROMPTS[..1]), &sites()).unwrap();
        let found = trace.prompt(BlockSite::ResidPost.at(1), 0).unwrap();
        assert_eq!(bits(&found), bits(&rounded.to_dtype(DType::F32).unwrap()));
        // The header's words are gone with the file that had them.
        assert_eq!(recording.tokens("a").unwrap().special, 0);
    }
}

/// Opened, planned and read; gives what was said against it.
fn refusal(folder: &Path) -> String {
    let attempt = || {
        let recording = Recording::open(folder)?;
        let ids = pack(&PROMPTS[..1]);
        recording.select(&ids, &[SitePattern::new("blocks.1.hook_resid_post")])?;
        recording.trace(&ids, &sites()).map(|_| ())
    };
    attempt().unwrap_err().to_string()
}

#[track_caller]
fn check_refused(change: impl Fn(&mut Tensors), words: &[&str]) {
    let folder = recorded();
    let mut tensors = read(folder.path());
    change(&mut tensors);
    write(folder.path(), &tensors);
    let said = refusal(folder.path());
    for word in words {
        assert!(said.contains(word), "no {word:?} in: {said}");
    }
    assert!(!said.contains('\n'), "{said}");
}

fn tokens(ids: &[i64]) -> Tensor {
    Tensor::new(ids, &Device::Cpu)
        .unwrap()
        .unsqueeze(0)
        .unwrap()
}

#[test]
fn tensors_that_are_wrong_are_named() {
    let name = "blocks.1.hook_resid_post";
    let put = |t: &mut Tensors, name: &str, value: Tensor| {
        t.insert(name.to_owned(), value);
    };
    check_refused(
        |t| {
            t.remove(name);
        },
        &["has no blocks.1.hook_resid_post for prompt a"],
    );
    let short = |t: &mut Tensors| {
        let short = t[name].narrow(1, 0, 2).unwrap().contiguous().unwrap();
        put(t, name, short);
    };
    check_refused(
        short,
        &["shape mismatch", name, "a.safetensors", "[1, 3,", "[1, 2,"],
    );
    let flat = |t: &mut Tensors| {
        let flat = t[name].squeeze(0).unwrap();
        put(t, name, flat);
    };
    check_refused(flat, &["shape mismatch", name, "a.safetensors"]);
    for bad in [f64::NAN, f64::INFINITY] {
        let poisoned = |t: &mut Tensors| {
            let wrong = (t[name].ones_like().unwrap() * bad).unwrap();
            put(t, name, wrong);
        };
        check_refused(poisoned, &[name, "a.safetensors", "holds", "at index 0"]);
    }
    let bytes = |t: &mut Tensors| {
        let bytes = t[name].to_dtype(DType::U8).unwrap();
        put(t, name, bytes);
    };
    check_refused(bytes, &[name, "a.safetensors", "is stored as U8"]);
}

#[test]
fn tokens_that_are_wrong_are_named() {
    let with = |value: Tensor| {
        move |t: &mut Tensors| {
            t.insert("tokens".to_owned(), value.clone());
        }
    };
    check_refused(
        |t| {
            t.remove("tokens");
        },
        &["has no tensor tokens, prompt a"],
    );
    check_refused(with(tokens(&[3, -1, 4])), &["has token -1", "prompt a"]);
    check_refused(with(tokens(&[3, 1, 1 << 40])), &["has token 1099511627776"]);
    // Tokens that are none of the prompt's make other shapes of its sites.
    check_refused(with(tokens(&[3, 1])), &["no prompt of other tokens"]);
    let flat = tokens(&[3, 1, 4]).squeeze(0).unwrap();
    check_refused(with(flat), &["has tokens of shape [3] and not [1, T]"]);
    let none = Tensor::zeros((1, 0), DType::I64, &Device::Cpu).unwrap();
    check_refused(with(none), &["has tokens of shape [1, 0] and not [1, T]"]);
    let floats = tokens(&[3, 1, 4]).to_dtype(DType::F32).unwrap();
    check_refused(
        with(floats),
        &["tokens is stored as F32, not as I32 or I64"],
    );
}

#[test]
fn files_that_are_wrong_are_named() {
    let folder = recorded();
    let file = folder.path().join("a.safetensors");
    let whole = std::fs::read(&file).unwrap();
    // Cut within the length, the header and the data; a length beyond the file.
    let mut absurd = whole.clone();
    absurd[..8].copy_from_slice(&u64::MAX.to_le_bytes());
    for bytes in [
        &whole[..5],
        &whole[..20],
        &whole[..whole.len() - 4],
        &absurd,
    ] {
        std::fs::write(&file, bytes).unwrap();
        let said = refusal(folder.path());
        assert!(said.contains("a.safetensors is not a readable"), "{said}");
    }
    std::fs::write(&file, &whole).unwrap();
    let recording = Recording::open(folder.path()).unwrap();
    let said = recording.tokens("zz").unwrap_err().to_string();
    assert!(said.contains("has no prompt zz"), "{said}");
    std::fs::write(folder.path().join("config.json"), "{").unwrap();
    assert!(refusal(folder.path()).contains("config.json"));
    std::fs::remove_file(folder.path().join("config.json")).unwrap();
    assert!(!Recording::is_in(folder.path()));
    assert!(refusal(folder.path()).contains("config.json"));
}

#[test]
fn ids_that_are_no_file_names_have_no_file() {
    assert_eq!(file_of("h25-1.zh").unwrap(), "h25-1.zh.safetensors");
    let long = "x".repeat(201);
    for id in [
        "", ".", "..", ".hidden", "a/b", "a\\b", "a b", "é", "model", &long,
    ] {
        assert_eq!(file_of(id), None, "{id}");
    }
}
