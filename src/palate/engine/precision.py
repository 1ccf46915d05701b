"""Float64 that stays float64, for exactness checks.

transformers casts to fp32 inside norms, routers and rotary tables.  Within `wide_float64` those
casts are casts to float64, so two exact paths agree to 1e-14 instead of 1e-7.  Never used in
training.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor


@contextmanager
def wide_float64() -> Iterator[None]:
    """Map torch.float32 (also torch.float and Tensor.float) to float64 while the block runs."""
    names = {"float32": torch.float32, "float": torch.float}
    narrow = Tensor.float
    default = torch.get_default_dtype()
    for name in names:
        setattr(torch, name, torch.float64)
    Tensor.float = Tensor.double  # type: ignore[method-assign]
    torch.set_default_dtype(torch.float64)
    try:
        yield
    finally:
        for name, dtype in names.items():
            setattr(torch, name, dtype)
        Tensor.float = narrow  # type: ignore[method-assign]
        torch.set_default_dtype(default)
