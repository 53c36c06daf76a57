"""The microscope: the imaging chain and its steps, from intensity to grey levels."""
