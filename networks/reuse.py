"""What layers make of tensors that don't change from call to call, computed once and handed in by the caller."""

from collections.abc import Callable, Sequence
from typing import TypeVar

from torch import Tensor, nn

__all__ = ["Kept", "Shared", "SharedRows"]

T = TypeVar("T")


class Shared:
    """A tensor that many layers read, and what each of them makes of it, computed once and kept with this object.

    A text's keys and values, a hint's features or a timestep's embedding don't change from step to step: whoever
    runs the steps holds one `Shared` for each and hands it in wherever the plain tensor would go.
    """

    def __init__(self, value: Tensor) -> None:
        self.value = value
        self._made: dict[nn.Module, object] = {}

    def of(self, layer: nn.Module, make: Callable[[Tensor], T]) -> T:
        """What `layer` makes of the tensor by `make`."""
        if layer not in self._made:
            self._made[layer] = make(self.value)
        return self._made[layer]


class SharedRows(Shared):
    """Some rows of a shared table: of what layers make of all of it, each gets its own."""

    def __init__(self, table: Shared, rows: slice | list[int]) -> None:
        super().__init__(table.value[rows])
        self.table, self.rows = table, rows

    def of(self, layer: nn.Module, make: Callable[[Tensor], Tensor]) -> Tensor:
        """These rows of what `layer` makes of the table by `make`, which must make each row of one row."""
        return self.table.of(layer, make)[self.rows]


class Kept:
    """`Shared`s by the tensors that they stand for, told by identity: for tensors that a run hands in again and again.

    The last `most` are kept, and their tensors with them; a tensor must not be changed in place meanwhile.
    """

    def __init__(self, most: int = 8) -> None:
        self.most = most
        self._kept: list[tuple[tuple[int, ...], tuple[Tensor, ...], Shared]] = []

    def shared(self, tensors: Sequence[Tensor], batch: int, make: Callable[[], Tensor]) -> Shared:
        """The `Shared` of these tensors for a batch; `make` gives its value the first time."""
        key = (batch, *map(id, tensors))
        for known, _, shared in self._kept:
            if known == key:
                return shared
        self._kept = [*self._kept[1 - self.most :], (key, tuple(tensors), Shared(make()))]
        return self._kept[-1][-1]
