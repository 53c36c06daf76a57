"""From micrographs to a size distribution with its uncertainty: what ``tem-seg analyze`` and ``tem_seg.api`` do."""

import os

SETTINGS = {
    # torch asks for memory in pages of 2 MB where the system grants them (Linux): an eighth less of a processor's time
    # for a network that makes and drops maps of tens of MB.
    "THP_MEM_ALLOC_ENABLE": "1",
    # OpenMP's threads wait asleep, not in a loop that takes the processor from the threads that read and draw.
    "OMP_WAIT_POLICY": "passive",
}
"""Of the environment. Read when torch is loaded, or first used: here is before both."""


def settle() -> None:
    """Makes the settings, but for those that the user has made."""
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)


settle()
