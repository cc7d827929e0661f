"""Blocks of quantized weights."""

import numpy as np
from gguf import GGML_QUANT_SIZES, quants
from gguf import GGMLQuantizationType as Type

# Where a block's f16 scales are, in f16s from its beginning (ggml-common.h),
# and the second one's ratio to the first at which the weights' mean is about 0:
# a weight is d * scale * q - dmin * min, with q and both factors uniform.
SCALES = {
    Type.Q2_K: {40: 1.0, 41: 1.5},
    Type.Q3_K: {54: 1.0},
    Type.Q4_K: {0: 1.0, 1: 7.5},
    Type.Q5_K: {0: 1.0, 1: 15.5},
    Type.Q6_K: {104: 1.0},
}


def blocks(x, kind, noise):
    """Rows of `x` [rows, columns] as bytes [rows, bytes].

    gguf-py quantizes to the older types. For the K types it has no quantizer:
    those blocks are random bits, so that every bit pattern occurs, with f16
    scales that spread the weights as x is, and half as far where sub-blocks
    have minima: whole sub-blocks are high or low then, in embeddings as in
    matrices, their products add up, and attention would be as sharp as to
    magnify f32's rounding tenfold.
    """
    if kind not in SCALES:
        return quants.quantize(x, kind)
    size, length = GGML_QUANT_SIZES[kind]
    assert x.shape[-1] % size == 0
    bits = noise.integers(0, 256, (x.shape[0], x.shape[1] // size, length), dtype=np.uint8)
    halves = bits.view(np.float16)

    def scale(d):
        jitter = noise.uniform(0.7, 1.3, halves.shape[:2])
        for place, ratio in SCALES[kind].items():
            halves[..., place] = d * ratio * jitter

    scale(1e-2)
    rows = bits.reshape(x.shape[0], -1)
    spread = 0.5 if len(SCALES[kind]) == 2 else 1.0
    scale(1e-2 * spread * float(x.std() / quants.dequantize(rows, kind).std()))
    return rows
