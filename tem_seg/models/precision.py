"""Which arithmetic is fast here."""

from __future__ import annotations

import torch


def fast_bfloat16() -> bool:
    """Whether the hardware computes in bfloat16: a GPU with support, or a processor with AMX or AVX-512 BF16.

    Elsewhere torch emulates it, slower than float32.
    """
    if torch.cuda.is_available():
        return bool(torch.cuda.is_bf16_supported())
    return bool(torch.cpu._is_amx_tile_supported() or torch.cpu._is_avx512_bf16_supported())
