"""Output sizes, learned: how much the answers of one kind of call mostly have. They steer how much a stream holds at
first; no limit depends on them.
"""

from __future__ import annotations

from collections import OrderedDict

Kind = tuple[str, str, str]
"""Identity, model, task type."""

KINDS_MOST = 4_096  # 1.5 MB
_KEPT = 32  # sizes of one kind, the newest
_ENOUGH = 8  # below this nothing is said
_SHARE = 0.9  # of answers that are no longer than expected


class OutputSizes:
    """The sizes that came last, by kind; kinds that were not met for the longest time are forgotten."""

    def __init__(self) -> None:
        self._sizes: OrderedDict[Kind, list[int]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._sizes)

    def learn(self, kind: Kind, tokens: int) -> None:
        """One more answer has ended, with so much output."""
        sizes = self._sizes.get(kind)
        if sizes is None:
            if len(self._sizes) >= KINDS_MOST:
                self._sizes.popitem(last=False)
            sizes = self._sizes[kind] = []
        self._sizes.move_to_end(kind)
        sizes.append(tokens)
        del sizes[:-_KEPT]

    def expected(self, kind: Kind) -> int | None:
        """Nine in ten answers have no more than this; None: too few are known."""
        sizes = self._sizes.get(kind)
        if sizes is None or len(sizes) < _ENOUGH:
            return None
        return sorted(sizes)[int(_SHARE * (len(sizes) - 1) + 0.5)]
