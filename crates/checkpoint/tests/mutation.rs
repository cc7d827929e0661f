//! Seeded damage to small valid files: opening, loading, tokenizing and running
//! them gives a result or an error, never a panic, and takes no more memory
//! than a small multiple of the file.
#![allow(clippy::unwrap_used)]

mod support;

use std::alloc::{GlobalAlloc, Layout, System};
use std::ops::Range;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

use assay_checkpoint::Checkpoint;
use assay_decoder::{Decoder, DecoderError, NoHooks, Pack};
use assay_testkit::{Text, TinyModel, gguf_metadata, write_gguf, write_gguf_with};
use candle_core::quantized::GgmlDType;
use candle_core::{DType, Device};
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;
use support::Folder;

/// The system's allocator, keeping count of what is live and of the most that
/// ever was.
struct Counting;

static LIVE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

// SAFETY: every call is handed to the system's allocator unchanged; only
// counters are kept beside it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let live = LIVE.fetch_add(layout.size(), Relaxed) + layout.size();
        PEAK.fetch_max(live, Relaxed);
        // SAFETY: the caller's contract is System's contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Relaxed);
        // SAFETY: as above.
        unsafe { System.dealloc(at, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// Values that lengths and counts go wrong with.
const EDGES: [u64; 10] = [
    0,
    1,
    0x7f,
    0xffff,
    1 << 20,
    (1 << 31) - 1,
    1 << 32,
    1 << 61,
    1 << 63,
    u64::MAX,
];

/// What a JSON file may hold where something else should stand.
const WORDS: [&str; 16] = [
    "0",
    "-",
    "9",
    "9999999999",
    "1e308",
    "1e999",
    ".5",
    "null",
    "true",
    "[",
    "]",
    "{",
    "}",
    "\"",
    "\\u0000",
    ",",
];

/// One to three changes within `region`, or a cut anywhere.
fn damage(file: &[u8], region: Range<usize>, random: &mut ChaCha8Rng) -> Vec<u8> {
    let mut bytes = file.to_vec();
    for _ in 0..random.random_range(1..=3) {
        if bytes.len() <= region.start {
            break;
        }
        let at = random.random_range(region.start..region.end.min(bytes.len()));
        match random.random_range(0..8) {
            0 => bytes.truncate(random.random_range(0..bytes.len())),
            1 => bytes[at] = random.random(),
            2 => {
                let edge = EDGES[random.random_range(0..EDGES.len())].to_le_bytes();
                let width = [1, 2, 4, 8][random.random_range(0..4)];
                let end = bytes.len().min(at + width);
                bytes[at..end].copy_from_slice(&edge[..end - at]);
            }
            3 => {
                let word = WORDS[random.random_range(0..WORDS.len())];
                bytes.splice(at..at, word.bytes());
            }
            4 => {
                let word = WORDS[random.random_range(0..WORDS.len())];
                let end = bytes.len().min(at + word.len());
                bytes.splice(at..end, word.bytes());
            }
            5 => {
                let end = bytes.len().min(at + random.random_range(1..16));
                bytes.drain(at..end);
            }
            6 => {
                let end = bytes.len().min(at + random.random_range(1..64));
                let again = bytes[at..end].to_vec();
                bytes.splice(at..at, again);
            }
            _ => bytes[at] ^= 1 << random.random_range(0..8),
        }
    }
    bytes
}

/// Opens, loads, tokenizes and runs.
fn run(folder: &Folder) -> Result<(), DecoderError> {
    let checkpoint = Checkpoint::open(folder.path())?;
    let decoder = Decoder::load(&checkpoint, DType::F32, &Device::Cpu, &mut |_, _| ())?;
    let ids = match &checkpoint.tokenizer {
        Some(tokenizer) => {
            let ids = tokenizer.encode("the year 1999 é")?.ids;
            tokenizer.decode(&ids)?;
            ids
        }
        None => vec![0, 1, 2],
    };
    decoder.forward(&Pack::new(&[ids])?, &mut NoHooks)
}

/// Damages the first `header` bytes of `file` in `rounds` ways.
#[track_caller]
fn check(folder: &Folder, file: &str, header: usize, rounds: usize) {
    check_region(folder, file, 0..header, rounds);
}

/// Damages the bytes of `region` in `file` in `rounds` ways.
#[track_caller]
fn check_region(folder: &Folder, file: &str, region: Range<usize>, rounds: usize) {
    let whole = folder.read(file);
    run(folder).unwrap();
    let mut random = ChaCha8Rng::seed_from_u64(region.end as u64);
    let files: usize = std::fs::read_dir(folder.path())
        .unwrap()
        .map(|entry| entry.unwrap().metadata().unwrap().len() as usize)
        .sum();
    // candle holds an array element of one byte in 32, in a vector that doubles
    // as it grows: 96 while it moves. Anything else takes less than 20. The
    // constant is for buffers and a pass of 32 rows.
    let limit = 100 * files + (64 << 10);
    let mut refused = 0;
    let mut worst = 0;
    for round in 0..rounds {
        let damaged = damage(&whole, region.clone(), &mut random);
        folder.write(file, &damaged);
        let before = LIVE.load(Relaxed);
        PEAK.store(before, Relaxed);
        if let Err(error) = run(folder) {
            refused += 1;
            assert!(!error.to_string().is_empty());
        }
        let taken = PEAK.load(Relaxed).saturating_sub(before);
        worst = worst.max(taken);
        assert!(
            taken <= limit,
            "{file} round {round}: {taken} bytes for {files}"
        );
    }
    folder.write(file, &whole);
    println!("{file}: {refused} of {rounds} refused, at most {worst} bytes for {files}");
    // Most damage to a header must be noticed, and some is harmless (a name
    // that nobody reads): otherwise the damage is not what it should be.
    assert!(refused > rounds / 2 && refused < rounds);
}

fn tiny(text: Text) -> TinyModel {
    TinyModel {
        n_layers: 1,
        d_model: 8,
        n_heads: 2,
        n_kv_heads: 1,
        d_mlp: 8,
        vocab: if text == Text::None { 8 } else { 320 },
        context: 32,
        text,
        ..TinyModel::llama(1)
    }
}

/// One test, because the allocator counts for the whole process.
#[test]
fn damage_is_an_error_or_harmless() {
    let ids_only = Folder::of(&TinyModel {
        shards: 2,
        ..tiny(Text::None)
    });
    let size = |folder: &Folder, file: &str| folder.read(file).len();
    let index = "model.safetensors.index.json";
    check(&ids_only, index, size(&ids_only, index), 400);

    let single = Folder::of(&tiny(Text::None));
    let header = u64::from_le_bytes(single.read("model.safetensors")[..8].try_into().unwrap());
    check(&single, "model.safetensors", 8 + header as usize, 1000);
    check(&single, "config.json", size(&single, "config.json"), 1000);

    // The pickle stands first in the archive, its directory last, the weights
    // between them.
    let torch = Folder::of(&tiny(Text::None));
    torch.remove("model.safetensors");
    let (bin, bytes) = (
        "pytorch_model.bin",
        support::pickle::model(&tiny(Text::None)),
    );
    torch.write(bin, &bytes);
    let find = |what: &[u8]| bytes.windows(what.len()).position(|window| window == what);
    // The header of an entry has 30 bytes before its name.
    let (second, directory) = (find(b"archive/byteorder"), find(b"PK\x01\x02"));
    check(&torch, bin, second.unwrap() - 30, 1000);
    check_region(&torch, bin, directory.unwrap()..bytes.len(), 1000);

    let text = Folder::of(&tiny(Text::SmolLm));
    check(&text, "tokenizer.json", size(&text, "tokenizer.json"), 400);

    let with_pieces = {
        let mut metadata = gguf_metadata(&tiny(Text::None)).unwrap();
        metadata.extend(support::gguf::sentencepiece());
        metadata
    };
    for (spec, metadata, rounds) in [
        (tiny(Text::None), None, 1200),
        (tiny(Text::SmolLm), None, 400),
        // Its vocabulary has 268 tokens.
        (
            TinyModel {
                vocab: 320,
                ..tiny(Text::None)
            },
            Some(with_pieces),
            400,
        ),
    ] {
        let folder = Folder::empty();
        let path = folder.file("model.gguf");
        match metadata {
            None => write_gguf(&path, &spec, GgmlDType::F32).unwrap(),
            Some(mut metadata) => {
                metadata.retain(|(key, _)| key != "llama.vocab_size");
                write_gguf_with(&path, &spec, GgmlDType::F32, &metadata).unwrap();
            }
        }
        let data: usize = assay_testkit::tensors(&spec)
            .unwrap()
            .iter()
            .map(|(_, t)| t.elem_count() * 4)
            .sum();
        let header = size(&folder, "model.gguf") - data;
        check(&folder, "model.gguf", header, rounds);
    }
}
