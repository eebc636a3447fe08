"""Training and evaluation on a workstation, run from a checkout: `python -m training.train --help`."""
