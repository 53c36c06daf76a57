"""Masks at the resolution of the micrograph: points near the edge are looked at again in finer features.

A 28 x 28 mask of a 300 px particle has cells of 10 px. As in PointRend (Kirillov et al., arXiv 1912.08193) a small
network decides, point by point, inside or outside, from fine features and the coarse mask; it is asked only where the
mask is undecided, on a grid that is doubled until its cells are about a pixel. Ours differs in two things: its finest
features are made for edges and have stride 2 (PointRend: the pyramid's, stride 4), and it is one for all classes.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from tem_seg.models.torchvision.chunks import in_chunks

COARSE = 28
"""Cells along each side of the coarse mask."""
DOUBLINGS = 4
"""At most: no mask has more than 448 cells along a side."""
TRAIN_POINTS, DRAWN, NEAR = 196, 3, 0.75
"""Points a particle that train, as PointRend has them: of three times as many the least decided, a quarter anywhere."""
BAND = 6
"""Points looked at on a grid of G x G: BAND * G, more than the cells on both sides of an outline."""
CHUNK = 256
"""Particles looked at together."""
POINTS = (8192, 1024)
"""Points that the network sees at a time, and the multiple that they are filled up to."""


def corners(points: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    """points (..., 2) x, y px of a map → the four cells around each, row-major (..., 4) int64, and weights (..., 4).

    Bilinear between cell centres (x + 0.5), held at the borders.
    """
    x, y = (points.float() - 0.5).unbind(-1)
    place = torch.stack([x.clamp(0, width - 1), y.clamp(0, height - 1)], dim=-1)
    low = place.floor()
    share_x, share_y = (place - low).unbind(-1)
    x0, y0 = low.long().unbind(-1)
    x1, y1 = (x0 + 1).clamp(max=width - 1), (y0 + 1).clamp(max=height - 1)
    cells = torch.stack([y * width + x for y in (y0, y1) for x in (x0, x1)], dim=-1)
    weights = [wy * wx for wy in (1 - share_y, share_y) for wx in (1 - share_x, share_x)]
    return cells, torch.stack(weights, dim=-1)


class Samples:
    """Maps (B, C, H, W), laid out once as a table of cells, to be looked at wherever points lie (see roi_align.py)."""

    def __init__(self, maps: Tensor) -> None:
        self.size = (maps.shape[2], maps.shape[3])
        self.channels = maps.shape[1]
        self._table = maps.permute(0, 2, 3, 1).reshape(-1, self.channels).float()

    def at(self, owner: Tensor, points: Tensor) -> Tensor:
        """owner (K,) int64 in 0..B-1, points (K, P, 2) x, y px of the maps → (K, P, C) float32, bilinear."""
        height, width = self.size
        cells, weights = corners(points, height, width)
        rows = cells + owner.view(-1, 1, 1) * (height * width)
        if torch.onnx.is_in_onnx_export():  # which has no embedding_bag
            return torch.stack([self._table[rows[..., tap]] * weights[..., tap, None] for tap in range(4)]).sum(dim=0)
        with torch.autocast(self._table.device.type, enabled=False):
            found = F.embedding_bag(rows.view(-1, 4), self._table, mode="sum", per_sample_weights=weights.view(-1, 4))
        return found.view(*points.shape[:2], self.channels)


def in_boxes(points: Tensor, boxes: Tensor) -> Tensor:
    """points (K or 1, P, 2) in [0, 1] of the boxes (K, 4) xyxy px → (K, P, 2) px of their images."""
    return boxes[:, None, :2] + points * (boxes[:, 2:] - boxes[:, :2])[:, None]


def sample_masks(masks: Tensor, owner: Tensor, points: Tensor) -> Tensor:
    """As :class:`Samples` of masks (M, H, W) uint8 in {0, 1} → (K, P) float32: reads the pixels it needs alone."""
    height, width = masks.shape[1:]
    cells, weights = corners(points, height, width)
    return (masks.reshape(-1)[cells + owner.view(-1, 1, 1) * (height * width)] * weights).sum(dim=-1)


def masks_on_boxes(masks: Tensor, owner: Tensor, boxes: Tensor, cells: int) -> Tensor:
    """masks (M, H, W) uint8, owner (K,) and boxes (K, 4) xyxy px → (K, cells, cells) float32 in [0, 1].

    Sampled at the cells' centres, where a soft mask is pasted from (torchvision's projection takes a pixel's corner for
    its centre: masks trained on it lie half a pixel too far up and left).
    """
    centres = (torch.arange(cells, device=boxes.device) + 0.5) / cells
    grid = torch.stack(torch.meshgrid(centres, centres, indexing="xy"), dim=-1).view(1, -1, 2)
    return sample_masks(masks, owner, in_boxes(grid, boxes)).view(-1, cells, cells)


class Coarse:
    """What is known of K particles of a batch before refinement.

    edges (B, C, H/2, W/2) and finest (B, C, H/s, W/s), s the finest stride: features of the images.
    features (K, C, h, w): the mask head's. logits (K, 28, 28): of each particle's class. boxes (K, 4) xyxy px.
    owner (K,) int64: its image.
    """

    def __init__(
        self, edges: Tensor, finest: Tensor, features: Tensor, logits: Tensor, boxes: Tensor, owner: Tensor
    ) -> None:
        self.logits, self.boxes, self.owner = logits, boxes, owner
        self._of_images = [(Samples(edges), 2.0), (Samples(finest), 2.0 * edges.shape[-1] / finest.shape[-1])]
        self._features, self._logits = Samples(features), Samples(logits[:, None])

    def at(self, chosen: Tensor, points: Tensor) -> list[Tensor]:
        """At points (k, P, 2) in [0, 1] of the boxes ``chosen`` (k,): features (k, P, …), last the logit (k, P, 1)."""
        owner, place = self.owner[chosen], in_boxes(points, self.boxes[chosen])
        found = [samples.at(owner, place / stride) for samples, stride in self._of_images]
        found.append(self._features.at(chosen, points * self._features.size[1]))
        return [*found, self._logits.at(chosen, points * COARSE)]


class Refinement(nn.Module):
    """The features for edges, and the network at points, which corrects the coarse logit."""

    def __init__(self, pyramid_channels: int, mask_channels: int, edge_channels: int = 32, width: int = 96) -> None:
        super().__init__()
        half, change = edge_channels // 2, nn.Linear(width, 1)
        nn.init.zeros_(change.weight)  # at the start a refined mask is the coarse one
        nn.init.zeros_(change.bias)
        self.edges = nn.Sequential(
            nn.Conv2d(1, half, 3, padding=1), nn.ReLU(inplace=True),
            nn.Conv2d(half, edge_channels, 3, stride=2, padding=1), nn.ReLU(inplace=True),
            nn.Conv2d(edge_channels, edge_channels, 3, padding=1), nn.ReLU(inplace=True),
        )  # fmt: skip
        self.points = nn.Sequential(
            nn.Linear(edge_channels + pyramid_channels + mask_channels + 1, width), nn.ReLU(inplace=True),
            nn.Linear(width, width), nn.ReLU(inplace=True),
            change,
        )  # fmt: skip

    def at(self, coarse: Coarse, chosen: Tensor, points: Tensor) -> Tensor:
        """Logits (k, P) float32 at points (k, P, 2) in [0, 1] of the boxes ``chosen`` (k,)."""
        known = coarse.at(chosen, points)
        change = in_chunks(lambda part: (self.points(part),), torch.cat(known, dim=-1).flatten(0, 1), *POINTS)[0]
        return (known[-1] + change.float().view_as(known[-1]))[..., 0]

    def loss(self, coarse: Coarse, truths: Tensor, truth_of: Tensor) -> Tensor:
        """Binary cross-entropy at points near the edge. truths (M, H, W) in {0, 1}, truth_of (K,): which is whose."""
        if not len(coarse.boxes):
            return coarse.logits.sum() * 0
        everyone = torch.arange(len(coarse.boxes), device=coarse.boxes.device)
        points = undecided_points(coarse.logits.detach())
        wanted = sample_masks(truths, truth_of, in_boxes(points, coarse.boxes))
        return F.binary_cross_entropy_with_logits(self.at(coarse, everyone, points), wanted)

    def doublings(self, coarse: Coarse) -> Tensor:
        """How often each particle's grid is doubled (K,) int64, until its cells are about a pixel."""
        sides = (coarse.boxes[:, 2:] - coarse.boxes[:, :2]).amax(dim=1)
        return (sides / COARSE).clamp(min=1).log2().ceil().clamp(max=DOUBLINGS).long()

    @torch.no_grad()
    def masks(self, coarse: Coarse) -> Iterator[tuple[Tensor, Tensor]]:
        """(which of the particles (k,), their soft masks (k, G, G) in [0, 1]), until all have been given."""
        doublings = self.doublings(coarse)
        for times in range(DOUBLINGS + 1):
            for chosen in torch.where(doublings == times)[0].split(CHUNK):
                if len(chosen):
                    yield chosen, self._refined(coarse, chosen, times).sigmoid()

    def _refined(self, coarse: Coarse, chosen: Tensor, times: int) -> Tensor:
        logits = self.step(coarse, chosen, coarse.logits[chosen].float())
        for _ in range(times):
            logits = self.step(coarse, chosen, doubled(logits))
        return logits

    def step(self, coarse: Coarse, chosen: Tensor, logits: Tensor) -> Tensor:
        """logits (k, G, G) of the particles ``chosen`` (k,): those that are least decided, decided anew."""
        cells = logits.shape[-1]
        flat = logits.flatten(1)
        least = flat.abs().topk(min(BAND * cells, cells * cells), dim=1, largest=False, sorted=False).indices
        points = torch.stack([least % cells + 0.5, torch.div(least, cells, rounding_mode="floor") + 0.5], dim=-1)
        return flat.scatter(1, least, self.at(coarse, chosen, points / cells)).view_as(logits)


def doubled(logits: Tensor) -> Tensor:
    """logits (k, G, G) → (k, 2 G, 2 G), bilinear."""
    return F.interpolate(logits[:, None], scale_factor=2.0, mode="bilinear", align_corners=False)[:, 0]


def undecided_points(logits: Tensor) -> Tensor:
    """logits (K, h, w) → (K, TRAIN_POINTS, 2) in [0, 1]: drawn uniformly, then the least decided of them taken."""
    count = len(logits)
    drawn = torch.rand(count, DRAWN * TRAIN_POINTS, 2, device=logits.device)
    cells = torch.tensor([logits.shape[2], logits.shape[1]], device=logits.device)
    order = torch.arange(count, device=logits.device)
    doubt = -Samples(logits[:, None]).at(order, drawn * cells)[..., 0].abs()
    near = round(NEAR * TRAIN_POINTS)
    least = doubt.topk(near, dim=1).indices
    chosen = torch.gather(drawn, 1, least[..., None].expand(-1, -1, 2))
    return torch.cat([chosen, torch.rand(count, TRAIN_POINTS - near, 2, device=logits.device)], dim=1)
