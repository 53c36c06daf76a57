"""torchvision without the compiler: it is not there until it is asked for, and then it is the real one."""

from __future__ import annotations

import subprocess
import sys

PROGRAM = """
import sys
from tem_seg.models.torchvision.lean import import_torchvision
import_torchvision()
assert "torchvision" in sys.modules and not [name for name in sys.modules if name.startswith("torch._dynamo")]
import torch
from torchvision.ops.roi_align import is_compile_supported
box = torch.tensor([[0.0, 0, 0, 4, 4]])
assert torch.ops.torchvision.roi_align(torch.ones(1, 1, 8, 8), box, 1.0, 2, 2, 2, False).eq(1).all()
told = is_compile_supported("cpu")
from torch._dynamo.utils import is_compile_supported as real, counters
assert told == real("cpu") and "torch._dynamo" in sys.modules
import_torchvision()
assert sys.modules["torch._dynamo.utils"].counters is counters
"""
OTHER = """
import sys
from tem_seg.models.torchvision import lean
sys.modules[lean.COMPILER] = lean._Later(lean.COMPILER)
from torch._dynamo.utils import counters  # what another torchvision may want
assert sys.modules[lean.COMPILER].counters is counters
"""


def test_the_compiler_waits_until_it_is_asked() -> None:
    for program in (PROGRAM, OTHER):
        subprocess.run([sys.executable, "-c", program], check=True, timeout=300)
