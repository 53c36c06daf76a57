"""R-CNNs on torchvision: the back end that installs anywhere."""
