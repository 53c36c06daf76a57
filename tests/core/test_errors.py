"""How a command line ends with a fault that its user can mend."""

from __future__ import annotations

import pytest

from tem_seg.core.errors import UserError, user_errors_exit


def test_a_user_s_error_ends_the_program_with_its_text(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended, user_errors_exit("tem_seg"):
        raise UserError("no folder x: give one")
    assert ended.value.code == 2 and capsys.readouterr() == ("", "tem_seg: no folder x: give one\n")


@pytest.mark.parametrize("error", [ValueError("ours"), KeyError("ours"), KeyboardInterrupt(), SystemExit(3)])
def test_every_other_error_passes(error: BaseException, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(type(error)) as passed, user_errors_exit("tem_seg"):
        raise error
    assert passed.value is error and capsys.readouterr() == ("", "")


def test_without_an_error_nothing_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    with user_errors_exit("tem_seg"):
        print("done")
    assert capsys.readouterr() == ("done\n", "")
