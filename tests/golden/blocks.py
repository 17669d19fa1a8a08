"""Simple Q4_K and Q6_K quantisers in numpy: gguf-py only dequantises these two.

They make valid blocks that use every field (6-bit scales with high bits, negative Q6_K scales); they do not search for the
best scale as a production quantiser would. The golden values are computed from the stored blocks, so quality is no matter.
"""

import gguf
import numpy as np

Type = gguf.GGMLQuantizationType


def _f16(x):
    return x.astype(np.float16)


def _safe_divide(a, b):
    return np.divide(a, b, out=np.zeros_like(a), where=b != 0)


def quantize_q4_k(w):
    """f32 [rows, cols] (cols % 256 == 0) -> u8 [rows, cols / 256 * 144]. Value = d*s*q - dmin*m, q in 0..15."""
    sub = w.reshape(-1, 8, 32).astype(np.float32)
    low = np.minimum(sub.min(-1), 0)
    scale, minimum = (sub.max(-1) - low) / 15, -low
    d, dmin = _f16(scale.max(-1) / 63), _f16(minimum.max(-1) / 63)
    wide = lambda h: h.astype(np.float32)[:, None]
    s = np.clip(np.rint(_safe_divide(scale, wide(d) * np.ones_like(scale))), 0, 63).astype(np.uint8)
    m = np.clip(np.rint(_safe_divide(minimum, wide(dmin) * np.ones_like(minimum))), 0, 63).astype(np.uint8)
    step, offset = wide(d) * s, wide(dmin) * m
    q = np.clip(np.rint(_safe_divide(sub + offset[..., None], step[..., None] * np.ones_like(sub))), 0, 15).astype(np.uint8)
    packed = np.zeros((len(sub), 12), np.uint8)
    packed[:, 0:4] = s[:, :4] | (s[:, 4:] >> 4 << 6)
    packed[:, 4:8] = m[:, :4] | (m[:, 4:] >> 4 << 6)
    packed[:, 8:12] = (s[:, 4:] & 15) | (m[:, 4:] & 15) << 4
    pairs = q.reshape(-1, 4, 2, 32)  # sub-blocks 2k (low nibbles) and 2k+1 (high nibbles) share 32 bytes
    qs = (pairs[:, :, 0] | pairs[:, :, 1] << 4).reshape(-1, 128)
    blocks = np.concatenate([d[:, None].view(np.uint8), dmin[:, None].view(np.uint8), packed, qs], axis=1)
    return blocks.reshape(w.shape[0], -1)


def quantize_q6_k(w):
    """f32 [rows, cols] (cols % 256 == 0) -> u8 [rows, cols / 256 * 210]. Value = d*s*(q-32), q in 0..63."""
    sub = w.reshape(-1, 16, 16).astype(np.float32)
    extreme = np.take_along_axis(sub, np.abs(sub).argmax(-1)[..., None], -1)[..., 0]
    scale = extreme / -32  # the largest value becomes code 0, so that scales of both signs appear
    d = _f16(np.abs(scale).max(-1) / 127)
    wide = d.astype(np.float32)[:, None]
    s = np.clip(np.rint(_safe_divide(scale, wide * np.ones_like(scale))), -128, 127)
    step = (wide * s)[..., None] * np.ones_like(sub)
    q = np.clip(np.rint(_safe_divide(sub, step)) + 32, 0, 63).astype(np.uint8)
    # value i: half i//128, quarter (i%128)//32, lane i%32
    h = q.reshape(-1, 2, 4, 32)
    low, high = h & 15, h >> 4
    ql = np.stack([low[:, :, 0] | low[:, :, 2] << 4, low[:, :, 1] | low[:, :, 3] << 4], axis=2).reshape(-1, 128)
    qh = (high[:, :, 0] | high[:, :, 1] << 2 | high[:, :, 2] << 4 | high[:, :, 3] << 6).reshape(-1, 64)
    blocks = np.concatenate([ql, qh, s.astype(np.int8).view(np.uint8), d[:, None].view(np.uint8)], axis=1)
    return blocks.reshape(w.shape[0], -1)


def encode(w, name):
    """f32 [rows, cols] -> (bytes as stored in a GGUF, f32 values those bytes stand for)."""
    kind = Type[name]
    if kind == Type.F32:
        return np.ascontiguousarray(w, np.float32), np.asarray(w, np.float32)
    own = {Type.Q4_K: quantize_q4_k, Type.Q6_K: quantize_q6_k}.get(kind)
    raw = own(w) if own else gguf.quants.quantize(np.ascontiguousarray(w, np.float32), kind)
    return raw, gguf.quants.dequantize(raw, kind).reshape(w.shape).astype(np.float32)
