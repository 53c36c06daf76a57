"""StarDist (Schmidt et al., MICCAI 2018): each pixel says whether it is a particle's and how far that reaches."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
import shapely
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from pycocotools import mask as coco_mask
from torch import Tensor, nn

from tem_seg.core.types import Prediction, Rle
from tem_seg.data.rle import column_pieces
from tem_seg.models.contract import Target
from tem_seg.models.dense import star
from tem_seg.models.dense.base import DenseModel, Trunk
from tem_seg.models.dense.star_nms import Stars, ious, survivors

GROUND_WEIGHT = 1e-4
"""Of distances on the ground, which tend to 0, beside those in particles; as in the package."""
UNIT_PX = 8.0
"""The network's unit of distance. Tens of px are out of reach of a last layer whose weights an optimiser moves by a
thousandth a step: after 4,500 steps all that it had learnt was one radius for all rays."""
START = 0.5
"""Units that every ray has before training."""
LEAST_REACH_PX = 4.0
"""Errors are relative to a particle's reach, but for smaller ones to this."""
SMALLEST_PX = 1e-3
"""Of a distance."""
WITNESSES, WITNESS_RAYS = (0.3, 0.6), 8
"""A polygon's pixels at these shares of so many of its radii say whether it is right."""
OBJECT_POWER = 0.75
"""Of the object probability in a score, beside the agreement: with less, specks of a substrate's grain rank above rods
(docs/results/2026-11-23-stardist.md)."""
MOST_CLAIMS = 200_000
"""Pixels of one look that may each claim a particle, best first; more are a sign of a network that has not learned."""


class StarModel(DenseModel):
    """Object probability, distances along rays and, of several classes, the class, from one trunk.

    object_score: pixels below claim no particle. nms_overlap: share of the smaller one's area from which two polygons
    are the same particle.
    """

    def __init__(
        self, trunk: Trunk, *, num_classes: int, rays: int, object_score: float, nms_overlap: float, max_instances: int
    ) -> None:  # fmt: skip
        super().__init__(trunk, 1 + rays + (num_classes if num_classes > 1 else 0))
        nn.init.constant_(self.predictor.bias[1 : 1 + rays], START)
        self.rays, self.object_score, self.nms_overlap = rays, object_score, nms_overlap
        self.max_instances = max_instances

    def encoder(self) -> Callable[[Target], Target]:
        """As in the base."""
        return partial(star.encode, rays=self.rays, grid=self.grid)

    def compare(self, said: Tensor, maps: Tensor) -> dict[str, Tensor]:
        """loss_object as in the package, loss_distance, loss_shape, and loss_class where there are several.

        loss_distance: as in the package the mean absolute error of distances, weighted by object probability, but in
        shares of the mean distance at that pixel. In px, as there, the few large particles have nearly all of it.
        loss_shape: 1 - IoU of the two outlines, weighted likewise (as Xie et al., PolarMask, arXiv 1909.13226, but
        of areas): the long distances of a rod are few of its rays, and most of it.
        """
        kinds, objects, distances = maps[:, 0].long(), maps[:, 1], maps[:, 2:]
        reach = said[:, 1 : 1 + self.rays] * UNIT_PX
        inside = objects > 0  # the others have no outline to compare, and would take most of the time
        found, true = reach.movedim(1, -1)[inside], distances.movedim(1, -1)[inside]
        weights = objects[inside] / objects.sum().clamp(min=1e-7)
        wrong = (found - true).abs().mean(dim=1) / true.mean(dim=1).clamp(min=LEAST_REACH_PX)
        ground = ((1 - objects) * reach.abs().mean(dim=1)).mean()
        losses = {
            "loss_object": F.binary_cross_entropy_with_logits(said[:, 0], objects),
            "loss_distance": (weights * wrong).sum() + GROUND_WEIGHT * ground,
            "loss_shape": (weights * (1 - same_share(found, true))).sum(),
        }
        if said.shape[1] > 1 + self.rays:
            wanted = torch.where(kinds > 0, kinds - 1, -100)  # ground has no class
            entropy = F.cross_entropy(said[:, 1 + self.rays :], wanted, reduction="sum")
            losses["loss_class"] = entropy / (kinds > 0).sum().clamp(min=1)
        return losses

    def read(self, said: Tensor, shown: tuple[int, int], frame: tuple[int, int]) -> Prediction:
        """As in the base. A particle's score is how much pixels in it :meth:`agree <agreement>` about its outline,
        times a power of the object probability of the pixel that claims it, low wherever a network is unsure how
        deep a pixel lies."""
        stars, scores, classes, crowded = self.claims(said)
        kept = survivors(stars, self.nms_overlap, self.grid)
        capped = crowded or len(kept) > self.max_instances
        kept = kept[: self.max_instances]
        chosen = Stars(stars.centres[kept], stars.radii[kept])
        followed = self.followed(said, chosen)
        scores = scores[kept] ** OBJECT_POWER * self.agreement(said, chosen, followed)
        order = np.argsort(-scores, kind="stable")
        kept = kept[order]
        # pixels have their centres at halves
        outlines = Stars(followed.centres[order] + 0.5, followed.radii[order]).corners()
        outlines *= [frame[1] / shown[1], frame[0] / shown[0]]
        return polygons_found(outlines, scores[order], classes[kept], frame, capped)

    def agreement(self, said: Tensor, stars: Stars, followed: Stars) -> NDArray[np.float32]:
        """Of polygons (N,), px as shown, how far what claims a particle in them claims the same: 0 to 1.

        The mean IoU of a polygon, ``followed``, with those that pixels in it claim, at :data:`WITNESSES` of its radii,
        :meth:`followed` too: what a pixel near one tip of a rod says of the other is no disagreement. Pixels of a
        particle that was understood agree; those of a letter or of rough substrate each claim something else.
        """
        count = len(stars.radii)
        points = _inner_points(stars)
        cells = np.round(points.reshape(-1, 2) / self.grid).astype(np.int64)
        inside = ((cells >= 0) & (cells < said.shape[1:])).all(axis=1)
        owner, cells = np.repeat(np.arange(count), points.shape[1])[inside], cells[inside]
        told = said[: 1 + self.rays].permute(1, 2, 0)[tuple(cells.T)].cpu()
        claims = (torch.sigmoid(told[:, 0]) >= self.object_score).numpy()
        owner, cells = owner[claims], cells[claims]
        claimed = self.followed(said, self._stars(cells, told.numpy()[claims, 1:]))
        same = ious(Stars(followed.centres[owner], followed.radii[owner]), claimed)
        asked = np.bincount(owner, minlength=count)
        return (np.bincount(owner, same, count) / np.maximum(asked, 1)).astype(np.float32)

    def followed(self, said: Tensor, stars: Stars) -> Stars:
        """The polygons (N,), px as shown, with rays that end where the pixel halfway along each says that they do.

        A pixel knows a near border better than a far one, such as the tips of a rod. (Chen et al., CPP-Net, arXiv
        2102.06867, learn to weigh such points; this is one of them, and nothing learned.) Where the pixel halfway
        claims no particle, or lies outside, the ray stays as it is.
        """
        said = said.float()
        halfway = torch.from_numpy(Stars(stars.centres, stars.radii / 2).corners() / self.grid).to(said)
        last = torch.tensor([said.shape[2], said.shape[1]]).to(said) - 1
        inside = ((halfway >= 0) & (halfway <= last)).all(dim=2)
        at = halfway / last.clamp(min=1) * 2 - 1  # (N, rays, 2) x, y as grid_sample has them
        object_there = F.grid_sample(said[None, :1], at[None], align_corners=True)[0, 0]
        rest = F.grid_sample(said[1 : 1 + self.rays, None], at.transpose(0, 1)[:, None], align_corners=True)[:, 0, 0].T
        knows = (inside & (torch.sigmoid(object_there) >= self.object_score)).cpu().numpy()
        ends = stars.radii / 2 + rest.cpu().numpy().astype(np.float64) * UNIT_PX
        return Stars(stars.centres, np.where(knows, np.maximum(ends, SMALLEST_PX), stars.radii))

    def claims(self, said: Tensor) -> tuple[Stars, NDArray[np.float32], NDArray[np.int64], bool]:
        """All pixels that claim a particle, in descending score: polygons px as shown, scores, classes, and whether
        there were too many."""
        objects = torch.sigmoid(said[0]).flatten()
        claims = torch.nonzero(objects >= self.object_score)[:, 0]
        scores, order = objects[claims].sort(descending=True, stable=True)
        claims, crowded = claims[order][:MOST_CLAIMS], len(claims) > MOST_CLAIMS
        told = said.flatten(1)[:, claims].T.cpu().numpy()
        cells = np.stack(np.divmod(claims.cpu().numpy(), said.shape[2]), axis=1)
        kinds = told[:, 1 + self.rays :]
        classes = kinds.argmax(axis=1) if kinds.shape[1] else np.zeros(len(told), np.int64)
        stars = self._stars(cells, told[:, 1 : 1 + self.rays])
        return stars, scores[:MOST_CLAIMS].cpu().numpy(), classes, crowded

    def _stars(self, cells: NDArray[np.int64], reach: NDArray[np.float32]) -> Stars:
        """What pixels of the grid (N, 2) row, column claim that say ``reach`` (N, rays), in the network's units."""
        radii = np.maximum(reach.astype(np.float64) * UNIT_PX, SMALLEST_PX)
        return Stars(cells.astype(np.float64) * self.grid, radii)


def _inner_points(stars: Stars) -> NDArray[np.float64]:
    """(N, points, 2) row, column px: at :data:`WITNESSES` of some radii of polygons."""
    every = max(1, stars.radii.shape[1] // WITNESS_RAYS)
    centres = stars.centres[:, None]
    ways = stars.corners()[:, ::every, ::-1] - centres
    return np.asarray(centres + np.concatenate([share * ways for share in WITNESSES], axis=1))


def same_share(reach: Tensor, true: Tensor) -> Tensor:
    """Distances along the same rays (N, rays) px, as said and as they are → IoU of the two outlines (N,).

    Each ray stands for a sector of a circle. What is said to be negative reaches nowhere; 1 where neither does.
    """
    reach = reach.clamp(min=0)
    both = torch.minimum(reach, true).square().sum(dim=1)
    either = reach.square().sum(dim=1) + true.square().sum(dim=1) - both
    return (both + SMALLEST_PX) / (either + SMALLEST_PX)


def polygons_found(
    outlines: NDArray[np.float64], scores: NDArray[np.float32], classes: NDArray[np.int64], frame: tuple[int, int],
    capped: bool,
) -> Prediction:  # fmt: skip
    """outlines (N, rays, 2) x, y px of a frame (H, W), scores descending → Prediction; what covers no pixel is dropped.

    Masks hold the pixels whose centres an outline encloses; contours are the outlines, cut at the frame's sides.
    """
    made = coco_mask.frPyObjects([ring.ravel().tolist() for ring in outlines], *frame) if len(outlines) else []
    rles: list[Rle] = [{"size": list(frame), "counts": each["counts"].decode("ascii")} for each in made]
    owner, column, top, bottom = column_pieces(rles)
    there, first = np.unique(owner, return_index=True)
    sides = np.zeros((4, len(there)))
    if len(there):  # reduceat needs one
        sides[:2] = [np.minimum.reduceat(edge, first) for edge in (column, top)]
        sides[2:] = [np.maximum.reduceat(edge, first) for edge in (column + 1, bottom)]
    return Prediction(
        boxes=sides.T.astype(np.float32), labels=classes[there],
        scores=scores[there].astype(np.float32), masks=[rles[index] for index in there],
        contours=[_inside(outlines[index], frame) for index in there], capped=capped,
    )  # fmt: skip


def _inside(outline: NDArray[np.float64], frame: tuple[int, int]) -> NDArray[np.float32]:
    """The part of an outline (K, 2) that lies in a frame (H, W), its largest."""
    if (outline >= 0).all() and (outline <= [frame[1], frame[0]]).all():
        return outline.astype(np.float32)
    parts = shapely.get_parts(shapely.clip_by_rect(shapely.Polygon(outline), 0, 0, frame[1], frame[0]))
    parts = parts[shapely.area(parts) > 0]
    if not len(parts):
        return np.zeros((0, 2), np.float32)
    ring = shapely.get_coordinates(shapely.get_exterior_ring(parts[np.argmax(shapely.area(parts))]))[:-1]
    same_way = shapely.is_ccw(shapely.LinearRing(ring)) == shapely.is_ccw(shapely.LinearRing(outline))
    return np.asarray(ring if same_way else ring[::-1], np.float32)
