"""Sub-commands of ``tem-seg``: one file each. Nothing heavy is imported before a command runs."""
