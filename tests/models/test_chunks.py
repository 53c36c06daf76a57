"""Networks that see any number of particles in few shapes."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from tem_seg.models.torchvision.chunks import in_chunks


@pytest.mark.parametrize("count", [0, 1, 7, 8, 9, 32, 33, 200])
def test_each_row_is_what_the_network_makes_of_it_alone(count: int) -> None:
    rows = torch.rand(count, 3, 5)
    with torch.no_grad():
        double, total = in_chunks(lambda part: (2 * part, part.sum(dim=(1, 2))), rows, 32, 8)
    assert torch.equal(double, 2 * rows) and torch.allclose(total, rows.sum(dim=(1, 2)))


def test_any_number_of_rows_comes_in_few_shapes() -> None:
    seen: set[int] = set()

    def network(part: Tensor) -> tuple[Tensor]:
        seen.add(len(part))
        return (part,)

    with torch.no_grad():
        for count in range(1, 300):
            in_chunks(network, torch.rand(count, 2), 32, 8)
    assert seen == {8, 16, 24, 32}


def test_training_sees_all_rows_at_once_and_gets_their_gradients() -> None:
    rows, seen = torch.rand(50, 4, requires_grad=True), []

    def network(part: Tensor) -> tuple[Tensor]:
        seen.append(len(part))
        return (part**2,)

    in_chunks(network, rows, 32, 8)[0].sum().backward()
    assert seen == [50] and rows.grad is not None and torch.allclose(rows.grad, 2 * rows.detach())
