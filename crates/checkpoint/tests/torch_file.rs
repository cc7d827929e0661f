//! pytorch_model.bin: a file of torch's own against the same tensors as
//! safetensors, files built by hand, and files that mean harm.
#![allow(clippy::unwrap_used)]

mod support;

use std::path::PathBuf;

use assay_checkpoint::{Checkpoint, CheckpointError};
use assay_testkit::TinyModel;
use candle_core::{DType, Device};
use support::pickle::{Pickle, archive, model};
use support::{Folder, check_bad, check_good, check_message};
use zip::CompressionMethod::{Deflated, Stored};

const BIN: &str = "pytorch_model.bin";

/// A folder with a config, and `bytes` as its weights.
fn folder(bytes: &[u8]) -> Folder {
    let folder = Folder::of(&TinyModel::gpt2(1));
    folder.remove("model.safetensors");
    folder.write(BIN, bytes);
    folder
}

/// Bits of every value of a tensor, as f64, which holds all stored types.
fn bits(checkpoint: &Checkpoint, name: &str) -> Vec<u64> {
    let shape = checkpoint.weights.shape(name).unwrap();
    let tensor = checkpoint
        .weights
        .tensor(name, &shape, DType::F64, &Device::Cpu)
        .unwrap();
    let values: Vec<f64> = tensor.flatten_all().unwrap().to_vec1().unwrap();
    values.into_iter().map(f64::to_bits).collect()
}

#[test]
fn torchs_own_file_is_the_safetensors_of_the_same() {
    let golden = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../golden/pickle");
    let torch = folder(&std::fs::read(golden.join(BIN)).unwrap());
    let other = Folder::of(&TinyModel::gpt2(1));
    other.write(
        "model.safetensors",
        std::fs::read(golden.join("reference.safetensors")).unwrap(),
    );
    let (torch, other) = (
        Checkpoint::open(torch.path()).unwrap(),
        Checkpoint::open(other.path()).unwrap(),
    );
    let names = [
        "model.embed.weight",
        "model.half.weight",
        "model.brain.weight",
        "model.double.weight",
        "model.wide.weight",
        "model.wide.rows",
        "model.scalar",
        "model.parameter",
        "model.cube",
        "lm_head.weight",
    ];
    for name in names {
        assert_eq!(torch.weights.shape(name), other.weights.shape(name));
        assert_eq!(bits(&torch, name), bits(&other, name), "{name}");
    }
    // All of the reference was compared, and of the rest the mask is known to
    // be none of the weights.
    other.weights.check_all_used().unwrap();
    let left = torch.weights.check_all_used().unwrap_err();
    assert!(
        matches!(left, CheckpointError::UnusedTensor { tensor, .. } if tensor == "model.steps")
    );
    let mask = torch
        .weights
        .tensor("model.attn.bias", &[4, 4], DType::F32, &Device::Cpu);
    check_message(
        &mask.unwrap_err().to_string(),
        &["tensor model.attn.bias", "is stored as BOOL"],
    );
}

#[test]
fn a_model_loads_from_it_and_from_shards() {
    let spec = TinyModel::gpt2(1);
    let whole = model(&spec);
    let single = folder(&whole);
    check_good(single.path());
    // safetensors go first where both are there.
    single.write("model.safetensors", "");
    check_bad(single.path(), &["model.safetensors", "truncated"]);

    let sharded = folder(&whole);
    sharded.remove(BIN);
    sharded.write("pytorch_model-00001-of-00001.bin", &whole);
    sharded.write(
        "pytorch_model.bin.index.json",
        r#"{"weight_map": {"transformer.wte.weight": "pytorch_model-00001-of-00001.bin"}}"#,
    );
    check_good(sharded.path());
    sharded.remove("pytorch_model-00001-of-00001.bin");
    check_bad(
        sharded.path(),
        &["has no shard", "pytorch_model-00001-of-00001.bin"],
    );
}

/// A file with this pickle and a storage "0" of four floats is refused.
#[track_caller]
fn check(pickle: Vec<u8>, words: &[&str]) {
    let data = [0; 16];
    let bytes = archive(&[("data.pkl", &pickle), ("data/0", &data)], Stored);
    let words: Vec<&str> = words.iter().copied().chain([BIN]).collect();
    check_bad(folder(&bytes).path(), &words);
}

fn four_floats(pickle: Pickle) -> Pickle {
    pickle.storage("FloatStorage", "0", 4)
}

/// A dict with one tensor "a".
fn tensor(offset: i64, shape: &[i64], stride: &[i64]) -> Vec<u8> {
    Pickle::new()
        .tensor("a", four_floats, offset, (shape, stride))
        .end()
}

#[test]
fn what_calls_for_anything_else_is_refused_by_name() {
    let system = Pickle::new()
        .text("a")
        .global("os", "system")
        .bytes(b"(")
        .text("true")
        .bytes(b"tRs");
    check(system.end(), &["data.pkl", "calls for \"os.system\""]);
    // Protocol 4 puts the name on the stack.
    let eval = Pickle(vec![0x80, 4])
        .text("builtins")
        .text("eval")
        .bytes(b"\x93");
    check(eval.end(), &["calls for \"builtins.eval\""]);
    let complex = Pickle::new().global("torch", "ComplexFloatStorage");
    check(complex.end(), &["\"torch.ComplexFloatStorage\""]);
    // INST, OBJ, NEWOBJ, EXT1, a persistent id as text, a global by number.
    for opcode in [b'i', b'o', 0x81, 0x82, b'P', b'G', 0x8b, 0xff] {
        let pickle = Pickle::new().bytes(&[opcode]);
        let name = format!("opcode {opcode:#04x} at byte 3");
        check(pickle.end(), &["an opcode that no weights need", &name]);
    }
    let call = Pickle::new().global("torch", "FloatStorage").bytes(b")R");
    check(call.end(), &["it calls a class or function"]);
    let call = Pickle::new().bytes(b"})R");
    check(call.end(), &["it calls a dict"]);
    let dict = Pickle::new()
        .global("collections", "OrderedDict")
        .tuple(&[1])
        .bytes(b"R");
    check(dict.end(), &["an OrderedDict of 1 arguments"]);
}

#[test]
fn tensors_that_lie_are_refused() {
    check_good_parts();
    check(
        tensor(0, &[2, 2], &[1, 2]),
        &["tensor a is stored with strides [1, 2]", "contiguous"],
    );
    check(
        tensor(0, &[2, 4], &[0, 1]),
        &["tensor a is stored with strides [0, 1]"],
    );
    check(
        tensor(0, &[5], &[1]),
        &["tensor a takes 5 elements from element 0 on of storage 0"],
    );
    check(
        tensor(2, &[3], &[1]),
        &["tensor a takes 3 elements from element 2"],
    );
    check(
        tensor(i64::MAX, &[1], &[1]),
        &["tensor a takes 1 elements from element 9223372036854775807"],
    );
    check(
        tensor(0, &[i64::MAX, i64::MAX], &[i64::MAX, 1]),
        &["tensor a has dimensions", "overflow"],
    );
    check(tensor(-1, &[1], &[1]), &["a tensor's offset is -1"]);
    check(tensor(0, &[-4], &[1]), &["a tensor's shape is -4"]);
    check(tensor(0, &[4], &[-1]), &["a tensor's stride is -1"]);
    check(tensor(0, &[2, 2], &[1]), &["2 dimensions and 1 strides"]);
    let storage = |class: &'static str, key: &'static str, elements: i64| {
        Pickle::new()
            .tensor("a", |p| p.storage(class, key, elements), 0, (&[4], &[1]))
            .end()
    };
    check(
        storage("FloatStorage", "1", 4),
        &["tensor a lies in storage \"1\", which the file does not have"],
    );
    check(
        storage("FloatStorage", "0", 5),
        &["should have 5 elements of 4 bytes and has 16 bytes"],
    );
    check(
        storage("DoubleStorage", "0", 4),
        &["should have 4 elements of 8 bytes and has 16 bytes"],
    );
    check(
        storage("FloatStorage", "0", i64::MAX),
        &["should have 9223372036854775807 elements"],
    );
    check(
        storage("FloatStorage", "0", -1),
        &["the elements of a storage is -1"],
    );
    let twice = Pickle::new()
        .tensor("a", four_floats, 0, (&[4], &[1]))
        .tensor("a", four_floats, 0, (&[4], &[1]));
    check(twice.end(), &["tensor a is there twice"]);
}

/// What the lies are told about is fine by itself.
fn check_good_parts() {
    let bytes = archive(
        &[
            ("data.pkl", &tensor(1, &[3, 1], &[1, 7])),
            ("data/0", &[0; 16]),
        ],
        Stored,
    );
    let checkpoint = Checkpoint::open(folder(&bytes).path()).unwrap();
    assert_eq!(checkpoint.weights.shape("a"), Some(vec![3, 1]));
}

#[test]
fn pickles_that_are_no_state_dict_are_refused() {
    check(Vec::new(), &["1 bytes are wanted at byte 0 of 0"]);
    check(vec![0x80, 2, b'}'], &["truncated"]);
    check(vec![0x80, 9, b'}', b'.'], &["its protocol is 9"]);
    check(b"\x80\x02].".to_vec(), &["it holds a list, not a dict"]);
    check(b"\x80\x02}}.".to_vec(), &["values left over"]);
    check(b"\x80\x02.".to_vec(), &["a value that is not there"]);
    check(
        Pickle::new().text("a").bytes(b"K\x01s").end(),
        &["its entry \"a\" is a number, no tensor"],
    );
    check(
        Pickle::new().bytes(b"K\x01Ns").end(),
        &["a name in it is a number"],
    );
    check(Pickle::new().bytes(b"(Nu").end(), &["an entry to nothing"]);
    check(
        Pickle::new().bytes(b"t").end(),
        &["a mark that is not there"],
    );
    check(Pickle::new().bytes(b"(s").end(), &["that is not there"]);
    // A string of 4 GiB, a number of 255 bytes, a name without an end.
    let long = Pickle::new().bytes(b"X\xff\xff\xff\xff");
    check(long.end(), &["4294967295 bytes are wanted", "truncated"]);
    let long = Pickle::new().bytes(b"\x8a\xff");
    check(long.end(), &["a number of 255 bytes"]);
    let open = Pickle::new().bytes(b"ctorch");
    check(open.end(), &["does not end"]);
    let text = Pickle::new().bytes(b"X\x01\0\0\0\xff");
    check(text.end(), &["no UTF-8"]);
}

/// What refers to itself, what was never kept, what nests without end.
#[test]
fn loops_and_depths_are_refused() {
    // A dict that is its own entry.
    let own = Pickle::new().bytes(b"q\0").text("a").bytes(b"h\0s");
    check(own.end(), &["its entry \"a\" is a dict, no tensor"]);
    let never = Pickle::new().bytes(b"h\x07");
    check(never.end(), &["asks for value 7, which it never kept"]);
    let far = Pickle::new().bytes(b"j\xff\xff\xff\xff");
    check(far.end(), &["asks for value 4294967295"]);
    // A tuple of a tuple of ..., a million deep: dropping it must not recurse.
    let deep = vec![0x85; 1_000_000];
    check(
        Pickle::new().bytes(b")").bytes(&deep).end(),
        &["nest more than 16 deep"],
    );
    // Each of two copies of the one before.
    let doubled = (0..64).fold(Pickle::new().bytes(b")"), |p, _| p.bytes(b"q\0h\0\x86"));
    check(doubled.end(), &["nest more than 16 deep"]);
    let dicts = vec![b'}'; 1_000_000];
    check(Pickle::new().bytes(&dicts).end(), &["values left over"]);
    // A short tuple where five things are wanted, and other things.
    let short = Pickle::new().tuple(&[1]).bytes(b"Q");
    check(short.end(), &["described by a tuple of 1"]);
    let none = Pickle::new().bytes(b"NQ");
    check(none.end(), &["described by None"]);
    let short = Pickle::new()
        .global("torch._utils", "_rebuild_tensor_v2")
        .tuple(&[1, 2])
        .bytes(b"R");
    check(short.end(), &["makes a tensor of 2 arguments"]);
    let parameter = Pickle::new()
        .global("torch._utils", "_rebuild_parameter")
        .tuple(&[1])
        .bytes(b"R");
    check(parameter.end(), &["a parameter of what is no tensor"]);
    let state = Pickle::new().bytes(b"Nb");
    check(state.end(), &["the state of a dict to None"]);
}

#[test]
fn archives_that_are_none_are_refused() {
    let check = |bytes: &[u8], words: &[&str]| {
        let words: Vec<&str> = words.iter().copied().chain([BIN]).collect();
        check_bad(folder(bytes).path(), &words);
    };
    let pickle = tensor(0, &[4], &[1]);
    let data = [0; 16];
    let entries: [(&str, &[u8]); 2] = [("data.pkl", &pickle), ("data/0", &data)];
    let good = archive(&entries, Stored);
    assert!(Checkpoint::open(folder(&good).path()).is_ok());
    check(b"", &["less than 4 bytes"]);
    check(b"not a zip archive", &["it is no zip archive"]);
    check(
        b"\x80\x02\x8a\x0a\x6c\xfc\x9c\x46",
        &["torch before 1.6", "save it"],
    );
    for length in [4, 30, good.len() / 2, good.len() - 1] {
        check(&good[..length], &["its zip directory is damaged"]);
    }
    check(
        &archive(&entries, Deflated),
        &["entry data.pkl is compressed"],
    );
    check(
        &archive(&[("data/0", &data)], Stored),
        &["no entry data.pkl"],
    );
    check(
        &archive(&[("data.pkl", &pickle), ("byteorder", b"big")], Stored),
        &["byte order is \"big\""],
    );
    check(
        &archive(&[("data.pkl", &pickle)], Stored),
        &["storage \"0\", which the file does not have"],
    );
}
