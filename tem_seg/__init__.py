"""tem_seg: synthetic electron micrographs, instance segmentation and nanoparticle metrology."""

__version__ = "0.1.0"
