"""Writes small SentencePiece vocabularies as GGUF, and the ids that the
sentencepiece library itself gives.

    python golden/tokenizer/generate.py

Made with sentencepiece 0.2.3 and gguf 0.17.1; the versions are checked. Each
case is a folder with model.gguf, a LLaMA of one block and zeros for weights
whose metadata hold the vocabulary as llama.cpp's converter writes it, and
ids.json: texts and their ids, the beginning-of-sequence token included where
the file asks for it.
"""

import importlib.metadata
import io
import json
import pathlib

import gguf
import numpy as np
import sentencepiece
from sentencepiece import sentencepiece_model_pb2 as proto

from texts import TEXTS, sentences

PINNED = {"sentencepiece": "0.2.3", "gguf": "0.17.1"}
HERE = pathlib.Path(__file__).parent
SPACE = "▁"
Piece = proto.ModelProto.SentencePiece

# As in Gemma's vocabulary: runs of newlines, spaces and tabs, and some markup.
WHOLE = (["\n" * n for n in range(1, 6)] + [SPACE * n for n in range(2, 8)]
         + ["\t", "\t\t", "<b>", "</b>"])

# name -> (space before the text, bos token, user-defined tokens, every how
# many-th learnt piece is marked unused)
CASES = {
    "llama": (True, True, [], None),
    "llama-no-prefix": (False, False, [], None),
    "gemma-like": (False, True, WHOLE, None),
    "unused-pieces": (True, False, ["er", "苹果", "100"], 3),
}


def check_versions():
    found = {name: importlib.metadata.version(name) for name in PINNED}
    if found != PINNED:
        raise SystemExit(f"these cases are made with {PINNED}, and here is {found}")


def learn(prefix, whole, unused):
    """A BPE vocabulary with a fallback to bytes, as a ModelProto."""
    written = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(sentences()), model_writer=written, model_type="bpe",
        vocab_size=480, byte_fallback=True, character_coverage=0.995,
        normalization_rule_name="identity", remove_extra_whitespaces=False,
        add_dummy_prefix=prefix, split_digits=True, user_defined_symbols=whole,
        num_threads=1, minloglevel=2)
    model = proto.ModelProto.FromString(written.getvalue())
    if unused:
        learnt = [p for p in model.pieces if p.type == Piece.NORMAL and len(p.piece) > 1]
        for piece in learnt[::unused]:
            piece.type = Piece.UNUSED
    return model


def write(path, model, bos):
    """The vocabulary in a file that is a whole model."""
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_type(gguf.GGUFType.MODEL)
    writer.add_name(path.parent.name)
    width = 8
    writer.add_context_length(512)
    writer.add_embedding_length(width)
    writer.add_block_count(1)
    writer.add_feed_forward_length(width)
    writer.add_head_count(1)
    writer.add_head_count_kv(1)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_rope_freq_base(10000.0)
    writer.add_rope_dimension_count(width)
    writer.add_vocab_size(len(model.pieces))
    writer.add_file_type(gguf.LlamaFileType.MOSTLY_F16)
    user = Piece.USER_DEFINED
    writer.add_tokenizer_model("llama")
    writer.add_tokenizer_pre("default")
    # The converter writes user-defined pieces as they are in a text.
    writer.add_token_list([
        p.piece.replace(SPACE, " ") if p.type == user else p.piece for p in model.pieces])
    writer.add_token_scores([p.score for p in model.pieces])
    writer.add_token_types([int(p.type) for p in model.pieces])
    writer.add_bos_token_id(model.trainer_spec.bos_id)
    writer.add_eos_token_id(model.trainer_spec.eos_id)
    writer.add_unk_token_id(model.trainer_spec.unk_id)
    writer.add_add_bos_token(bos)
    writer.add_add_eos_token(False)
    writer.add_add_space_prefix(model.normalizer_spec.add_dummy_prefix)
    square = np.zeros((width, width), dtype=np.float16)
    writer.add_tensor("token_embd.weight", np.zeros((len(model.pieces), width), dtype=np.float16))
    for name in ("attn_q", "attn_k", "attn_v", "attn_output", "ffn_gate", "ffn_up", "ffn_down"):
        writer.add_tensor(f"blk.0.{name}.weight", square)
    for name in ("blk.0.attn_norm", "blk.0.ffn_norm", "output_norm"):
        writer.add_tensor(f"{name}.weight", np.ones(width, dtype=np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def main():
    check_versions()
    for name, (prefix, bos, whole, unused) in CASES.items():
        model = learn(prefix, whole, unused)
        folder = HERE / name
        folder.mkdir(exist_ok=True)
        write(folder / "model.gguf", model, bos)
        processor = sentencepiece.SentencePieceProcessor(model_proto=model.SerializeToString())
        ids = [processor.encode(text, add_bos=bos) for text in TEXTS]
        # U+2581 stands for a space inside pieces, and comes back as one.
        assert all(processor.decode(row) == text.replace(SPACE, " ") for row, text in zip(ids, TEXTS))
        rows = [json.dumps({"text": t, "ids": row}, ensure_ascii=False) for t, row in zip(TEXTS, ids)]
        (folder / "ids.json").write_text("[\n" + ",\n".join(rows) + "\n]\n", encoding="utf-8")
        kinds = {t: sum(p.type == v for p in model.pieces) for t, v in Piece.Type.items()}
        print(f"{name}: {kinds}, {sum(map(len, ids))} ids of {len(TEXTS)} texts")


if __name__ == "__main__":
    main()
