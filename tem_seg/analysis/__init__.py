"""From micrographs to a size distribution with its uncertainty: what ``tem-seg analyze`` and ``tem_seg.api`` do."""
