"""Errors that a user can mend, and how a command line ends with one."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager


class UserError(ValueError):
    """Says what was wrong, where, and what to do."""


@contextmanager
def user_errors_exit(program: str) -> Iterator[None]:
    """Around a command line's work: a UserError ends it with its text after the program's name, and exit code 2.

    Other errors pass: they are ours to mend.
    """
    try:
        yield
    except UserError as error:
        print(f"{program}: {error}", file=sys.stderr)
        sys.exit(2)
