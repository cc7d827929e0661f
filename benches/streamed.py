"""The 25-prompt gain pass of a model that is larger than memory.

    python benches/streamed.py target/debug/examples/gain_pass [--folder DIR]

Writes a GPT-NeoX of Pythia-12b's shape with random f16 weights, 24 GB in
shards as the hub has them (into DIR, where it is kept and found again, or a
temporary folder), drops it from the page cache where the system lets us, and
runs one pass with the blocks left in their files. Prints the pass's time and
peak of memory (VmHWM), the time in which the same bytes are merely read, and
the time of the weight matmuls alone.

Needs NumPy; the standard library does the rest.
"""

import argparse
import json
import os
import struct
import subprocess
import tempfile
import time
from pathlib import Path

import numpy

# Pythia-12b's config.json.
D, LAYERS, HEADS, MLP, VOCAB = 5120, 36, 40, 20480, 50688
HERE = Path(__file__).parent
PIECE = 1 << 24


def tensors():
    """Shards of (name, shape): the outside ones last."""
    for start in range(0, LAYERS, 6):
        shard = []
        for layer in range(start, start + 6):
            p = f"gpt_neox.layers.{layer}."
            for name, shape in [
                ("attention.query_key_value", (3 * D, D)), ("attention.dense", (D, D)),
                ("mlp.dense_h_to_4h", (MLP, D)), ("mlp.dense_4h_to_h", (D, MLP)),
            ]:
                shard += [(f"{p}{name}.weight", shape), (f"{p}{name}.bias", shape[:1])]
            for name in ("input_layernorm", "post_attention_layernorm"):
                shard += [(f"{p}{name}.weight", (D,)), (f"{p}{name}.bias", (D,))]
        yield shard
    yield [("gpt_neox.embed_in.weight", (VOCAB, D)), ("embed_out.weight", (VOCAB, D)),
           ("gpt_neox.final_layer_norm.weight", (D,)), ("gpt_neox.final_layer_norm.bias", (D,))]


def write(folder):
    config = dict(
        architectures=["GPTNeoXForCausalLM"], model_type="gpt_neox", hidden_act="gelu",
        hidden_size=D, num_hidden_layers=LAYERS, num_attention_heads=HEADS,
        intermediate_size=MLP, max_position_embeddings=2048, layer_norm_eps=1e-5,
        rotary_pct=0.25, rotary_emb_base=10000, use_parallel_residual=True,
        tie_word_embeddings=False, torch_dtype="float16", vocab_size=VOCAB)
    rng = numpy.random.default_rng(0)
    # Uniform with the variance that keeps a product's size; an odd length, so
    # that its repetitions fall differently into every matrix.
    pool = rng.uniform(-1, 1, 8_388_593).astype(numpy.float32) * (3 / D) ** 0.5
    pool = pool.astype(numpy.float16)
    ones, places = numpy.ones(D, numpy.float16), {}
    shards = list(tensors())
    for number, shard in enumerate(shards):
        file = f"model-{number + 1:05}-of-{len(shards):05}.safetensors"
        header, offset = {}, 0
        for name, shape in shard:
            size = 2 * int(numpy.prod(shape))
            header[name] = {"dtype": "F16", "shape": shape, "data_offsets": [offset, offset + size]}
            offset += size
            places[name] = file
        head = json.dumps(header).encode()
        head += b" " * (-len(head) % 8)
        with open(folder / file, "wb") as out:
            out.write(struct.pack("<Q", len(head)) + head)
            for name, shape in shard:
                left = int(numpy.prod(shape))
                gain = len(shape) == 1 and name.endswith("weight")
                while left:
                    piece = (ones if gain else pool)[:left]
                    out.write(piece.tobytes())
                    left -= len(piece)
    (folder / "config.json").write_text(json.dumps(config))
    index = {"metadata": {}, "weight_map": places}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))


def forget(folder):
    """Drops the files from the page cache."""
    for path in folder.glob("*.safetensors"):
        with open(path, "rb") as file:
            os.fdatasync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def read(folder):
    """Seconds for reading the blocks' shards, and their bytes."""
    start, size = time.perf_counter(), 0
    buffer = bytearray(PIECE)
    for path in sorted(folder.glob("*.safetensors"))[:-1]:
        with open(path, "rb", buffering=0) as file:
            while n := file.readinto(buffer):
                size += n
    return time.perf_counter() - start, size


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("gain_pass")
    parser.add_argument("--folder", type=Path)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = args.folder or Path(scratch)
        folder.mkdir(exist_ok=True)
        if not (folder / "model.safetensors.index.json").exists():
            write(folder)
        forget(folder)
        disk, size = read(folder)
        forget(folder)
        command = [args.gain_pass, str(folder), str(HERE / "h25_ids.json"), "streamed"]
        ours = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

        def ask(what):
            ours.stdin.write(what + "\n")
            ours.stdin.flush()
            return json.loads(ours.stdout.readline())

        cold = ask("pass")
        warm = ask("pass")
        matmul = ask("matmul")
        ours.stdin.close()
        ours.wait()
        rate = matmul["gflop"] / matmul["seconds"]
        print(f"| | seconds |\n|---|---|\n| pass, files not cached | {cold['seconds']:.1f} |")
        print(f"| pass, again | {warm['seconds']:.1f} |")
        print(f"| reading {size / 1e9:.1f} GB of blocks ({size / disk / 1e9:.2f} GB/s) | {disk:.1f} |")
        print(f"| weight matmuls alone ({rate:.0f} GFLOP/s) | {matmul['seconds']:.1f} |")
        print(f"\nPeak of memory {warm['peak_bytes'] / 2**30:.2f} GiB.")


if __name__ == "__main__":
    main()
