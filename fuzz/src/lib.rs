//! What the fuzz targets share: a folder in memory to write files to, an
//! allocator that counts, and what must hold after each file was read.
//!
//! A finding is a panic; more memory than [`Bound`] allows; an error that is
//! not one line naming the file.

mod memory;

use std::fmt::Display;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use assay_checkpoint::{Checkpoint, CheckpointError, parse_hf_config};
use assay_decoder::tensors;
use candle_core::{DType, Device};

pub use memory::Bound;

/// config.json of the model whose weights the targets damage: a LLaMA of one
/// block, 8 wide, two heads over one, a vocabulary of 8.
pub const CONFIG: &str = include_str!("../seeds/config/llama");

/// Tensors are read for at most so many blocks. A config may ask for 10,000,
/// and listing their names alone takes more memory than the config's size
/// explains; loading a model stops at the first that is missing.
const MOST_BLOCKS: usize = 16;

/// A folder of this process under the system's folder of temporary files,
/// which should be one in memory.
pub fn scratch() -> &'static Path {
    static FOLDER: OnceLock<PathBuf> = OnceLock::new();
    FOLDER.get_or_init(|| {
        let folder = std::env::temp_dir().join(format!("assay-fuzz-{}", std::process::id()));
        fs::create_dir_all(&folder).expect("the folder of temporary files can be written");
        folder
    })
}

/// Writes a file of the scratch folder.
pub fn write(name: &str, bytes: &[u8]) {
    fs::write(scratch().join(name), bytes).expect("the folder of temporary files can be written");
}

/// Opens `path` (the scratch folder or a file in it), which has `size` bytes,
/// and reads whatever the config asks for; panics on a finding.
pub fn open_and_read(path: &Path, size: usize, bound: Bound) {
    bound.check(size, || {
        if let Err(error) = Checkpoint::open(path).and_then(|model| read(&model)) {
            check_error(&error);
        }
    });
}

/// Parses a config and lists the tensors that it asks for.
pub fn parse(text: &str, bound: Bound) {
    let path = scratch().join("config.json");
    bound.check(text.len(), || match parse_hf_config(text, &path) {
        Err(error) => check_error(&error),
        Ok(config) if config.n_layers <= MOST_BLOCKS => {
            tensors(&config).expect("a config that was accepted has tensors");
        }
        Ok(_) => (),
    });
}

/// Runs a reader of `size` bytes of something that is not a model's file;
/// panics on a finding.
pub fn read_text<T, E: Display>(size: usize, bound: Bound, read: impl FnOnce() -> Result<T, E>) {
    bound.check(size, || {
        if let Err(error) = read() {
            check_error(&error);
        }
    });
}

/// Everything a decoder does with files, for each tensor that the config asks
/// for, in the shape that the file says: so a wrong shape is read, too.
fn read(model: &Checkpoint) -> Result<(), CheckpointError> {
    if let Some(tokenizer) = &model.tokenizer {
        let ids = tokenizer
            .encode("The year 1999,\n\n naïve  <|endoftext|>")?
            .ids;
        tokenizer.decode(&ids)?;
    }
    let weights = &model.weights;
    let _ = (weights.parameters(), weights.stored());
    if model.config.n_layers > MOST_BLOCKS {
        return Ok(());
    }
    let mut first = Ok(());
    let specs = tensors(&model.config).expect("a config that was accepted has tensors");
    for spec in specs {
        let Some(found) = weights.shape(&spec.name) else {
            first = first.and(weights.expect(&spec.name, &spec.shape));
            continue;
        };
        let name = &spec.name;
        for dtype in [DType::F32, DType::BF16] {
            let read = weights.tensor(name, &found, dtype, &Device::Cpu);
            first = first.and(read.map(|t| assert_eq!(t.dims(), found)));
        }
        if let [rows, columns] = found[..] {
            let shape = [rows, columns];
            let turned = weights.transposed(name, shape, DType::F32, &Device::Cpu);
            first = first.and(turned.map(|t| assert_eq!(t.dims(), [columns, rows])));
            let some = weights.rows(name, shape, &[0, 1], DType::F32, &Device::Cpu);
            first = first.and(some.map(|t| assert_eq!(t.dims(), [2, columns])));
            first = first.and(weights.quantized(name, shape).map(|_| ()));
        }
        first = first.and(weights.expect(name, &spec.shape));
    }
    first.and(weights.check_all_used())
}

/// An error is one line that names the file it is about.
fn check_error(error: &impl Display) {
    let text = error.to_string();
    let folder = scratch().to_string_lossy();
    assert!(text.contains(&*folder), "the error names no file: {text:?}");
    assert!(
        !text.chars().any(char::is_control),
        "the error is not one line: {text:?}"
    );
}

/// How a target's input is laid out whose file has weights behind a header:
/// two bytes of their length in units of 4 bytes, one byte that they are all
/// made of, the header. None for an input that is too short.
pub struct Parts<'a> {
    /// All weights, as bytes.
    pub data: Vec<u8>,
    /// What `data` is made of: 0 gives zeros, 0xff NaN.
    pub fill: u8,
    /// What stands before them.
    pub header: &'a [u8],
}

impl<'a> Parts<'a> {
    /// Takes an input apart.
    pub fn of(input: &'a [u8]) -> Option<Self> {
        let [low, high, fill, header @ ..] = input else {
            return None;
        };
        let length = 4 * usize::from(u16::from_le_bytes([*low, *high]));
        Some(Self {
            data: vec![*fill; length],
            fill: *fill,
            header,
        })
    }

    /// The input that [`Parts::of`] takes apart, with zeros for `length` bytes
    /// of weights.
    pub fn input(length: usize, header: &[u8]) -> Vec<u8> {
        let units = u16::try_from(length.div_ceil(4)).expect("a small model");
        let mut input = units.to_le_bytes().to_vec();
        input.push(0);
        input.extend(header);
        input
    }
}
