"""From bodies to tracks: what a tracker that sees only the field of view ought to find.

A track begins when a body comes into sight and ends when it goes out of sight, dissolves or becomes part of another;
its number is never used again, also if the body comes back.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from tem_seg.generation.scenes.dynamics import History


@dataclass(slots=True)
class Track:
    """One track. born: initial, entered, nucleated or merged. ended: left, dissolved, merged, or sequence_end.

    parents: tracks that merged into this one, of which it is the first that can be seen.
    """

    number: int
    parents: tuple[int, ...]
    born: str
    ended: str = "sequence_end"

    def notes(self) -> dict[str, Any]:
        """Annotation keys, JSON-able, the same in every frame of the track."""
        return {
            "track_id": self.number, "parent_ids": list(self.parents), "track_born": self.born,
            "track_ended": self.ended,
        }  # fmt: skip


def assign_tracks(history: History, visible: Sequence[set[int]]) -> list[dict[int, Track]]:
    """For each frame, body → track, of the bodies that are visible there."""
    found: list[dict[int, Track]] = []
    before: dict[int, Track] = {}
    count = 0
    for frame, bodies in enumerate(visible):
        now: dict[int, Track] = {}
        for body in sorted(bodies):
            if body not in before:
                count += 1
                ids = set(history.frames[frame - 1]["id"].tolist()) if frame else set()
                now[body] = _begin(count, body, before, ids, history, frame)
            else:
                now[body] = before[body]
        for body in before.keys() - bodies:
            before[body].ended = _end(body, bodies, history)
        found.append(now)
        before = now
    return found


def _begin(
    number: int, body: int, before: dict[int, Track], earlier: Iterable[int], history: History, frame: int
) -> Track:
    if frame == 0:
        return Track(number, (), "initial")
    parents = tuple(sorted(_seen_ancestors(body, before, history)))
    if parents:
        return Track(number, parents, "merged")
    fresh = body in history.nucleated and body not in set(earlier)
    return Track(number, (), "nucleated" if fresh else "entered")


def _seen_ancestors(body: int, before: dict[int, Track], history: History) -> set[int]:
    """Tracks of the last frame that went into a body, also through bodies that lived between two frames only."""
    found: set[int] = set()
    for parent in history.parents.get(body, ()):
        found |= {before[parent].number} if parent in before else _seen_ancestors(parent, before, history)
    return found


def _end(body: int, visible: set[int], history: History) -> str:
    while body in history.merged_into:
        body = history.merged_into[body]
        if body in visible:
            return "merged"
    return "dissolved" if body in history.dissolved else "left"
