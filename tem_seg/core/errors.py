"""Errors that a user can mend. The command line prints their text without a traceback."""


class UserError(ValueError):
    """Says what was wrong, where, and what to do."""
