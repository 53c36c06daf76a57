"""The only place where siblings meet: one run(cfg, run_dir) per stage."""
