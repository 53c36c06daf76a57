from __future__ import annotations

import numpy as np
import pytest

from tem_seg.core.seeds import child_rng
from tem_seg.generation.scenes import facets
from tem_seg.generation.scenes.crystals import KINDS
from tem_seg.generation.scenes.facets import FACES, RAYS, Habit, draw_forms
from tem_seg.generation.scenes.shapes import area

SHARP = Habit((1.0, 1.6), (0.7, 1.0), 1.0, 0.0, 0.0, 0.0)
BALL = Habit((1.0, 1.0), (1.0, 1.0), 0.0, 0.0, 0.0, 0.0)


def test_a_smooth_body_with_equal_axes_is_a_ball() -> None:
    form = draw_forms(["smooth"], BALL, child_rng(0, "ball"))[0]
    np.testing.assert_allclose(form.radii, 0.5, rtol=2e-3)  # a 64-gon of that area is a little wider than the disc
    np.testing.assert_allclose(form.stretch, 1.0, rtol=1e-3)
    assert form.height == pytest.approx(1.0, rel=2e-3)


def test_without_faceting_every_kind_is_an_ellipsoid_whose_outline_is_an_ellipse() -> None:
    """Points of an ellipse solve one equation A x² + B x y + C y² = 1, whatever the attitude."""
    for form in draw_forms(["smooth"] * 5, Habit((1.2, 2.0), (0.5, 0.9), 0.0, 0.0, 0.0, 0.0), child_rng(0, "e")):
        x, y = form.outline.T
        terms = np.stack([x * x, x * y, y * y], axis=1)
        found = np.linalg.lstsq(terms, np.ones(RAYS), rcond=None)[0]
        np.testing.assert_allclose(terms @ found, 1.0, atol=3e-3)


@pytest.mark.parametrize("kind", sorted(KINDS))
def test_outline_has_the_area_of_a_disc_of_diameter_1(kind: str) -> None:
    habit = Habit((1.0, 1.8), (0.6, 1.0), 0.8, 0.05, 0.06, 0.01)
    for form in draw_forms([kind] * 8, habit, child_rng(0, kind)):
        assert area(form.outline) == pytest.approx(np.pi / 4.0, rel=1e-5)
        assert 0.2 < form.height < 2.0 and np.isfinite(form.radii).all() and form.radii.min() > 0.1


def test_silhouette_and_thickness_are_those_of_points_inside_the_body() -> None:
    """Oracle: a lattice of points kept where |A x| ≤ 1 and no face is passed, seen from above."""
    rng = child_rng(0, "oracle")
    kinds = ["irregular", "bipyramid", "prism", "block"]
    normals, distances = facets._faces(kinds, SHARP, rng)
    frames = facets._frames(len(kinds), SHARP, rng)
    planes, ellipsoids = facets._planes(normals, distances, frames), facets._ellipsoids(frames)
    radii = facets._silhouettes(planes, ellipsoids)
    heights = facets._thickest(planes, ellipsoids, radii)
    axis = np.linspace(-1.7, 1.7, 69)
    points = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1).reshape(-1, 3)
    for i in range(len(kinds)):
        q = points @ frames[i].T
        inside = points[(np.square(q).sum(axis=1) <= 1) & (q @ normals[i].T <= distances[i]).all(axis=1)]
        rays = facets._rays().T
        # the silhouette's support function is that of the points, within a lattice step
        support = (radii[i][:, None] * rays @ rays.T).max(axis=0)
        np.testing.assert_allclose((inside[:, :2] @ rays.T).max(axis=0), support, atol=0.06)
        column = np.bincount(np.unique(inside[:, :2], axis=0, return_inverse=True)[1].reshape(-1)).max() * 0.05
        assert heights[i] == pytest.approx(column, abs=0.08)


def test_kinds_have_few_enough_faces_and_cut_the_sphere() -> None:
    for name, kind in KINDS.items():
        for i in range(20):
            faces = kind(child_rng(0, name, i))
            assert faces.shape[1] == 4 and len(faces) <= FACES
            assert ((faces[:, 3] > 0.3) & (faces[:, 3] < 1.0)).all()
            assert (np.linalg.norm(faces[:, :3], axis=1) > 0.01).all()


def test_faceting_makes_bodies_flatter_faced() -> None:
    """More of a sphere is cut away: at equal outline area the body is thinner or its outline less round."""
    rough = [
        np.std([form.radii.std() for form in draw_forms(["block"] * 30, habit, child_rng(0, "f"))])
        for habit in (BALL, Habit((1.0, 1.0), (1.0, 1.0), 1.0, 0.0, 0.0, 0.0))
    ]
    assert rough[1] > 5 * rough[0]


def test_nothing_drawn_is_a_case_and_same_seed_same_forms() -> None:
    assert draw_forms([], BALL, child_rng(0, "n")) == []
    first, second = (draw_forms(["irregular"] * 3, SHARP, child_rng(0, "s")) for _ in range(2))
    for one, other in zip(first, second, strict=True):
        np.testing.assert_array_equal(one.radii, other.radii)
        np.testing.assert_array_equal(one.upper, other.upper)
