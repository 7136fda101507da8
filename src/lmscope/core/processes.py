"""Processes: those that share a run, and the groups in which they sum, gather and wait.

The engine is PyTorch's own: `torchrun` starts the processes, a `DeviceMesh` orders them along the axes
of `core.mesh.Mesh`, `torch.distributed` carries what they say. One process has groups of size 1, in
which nothing is sent, so that the same code serves both.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, Final, ParamSpec, TypeVar

import torch
import torch.distributed as dist
from torch import Tensor

from lmscope.core.errors import ProcessGone, RecipeError
from lmscope.core.mesh import SINGLE, Mesh, started_processes

T = TypeVar("T")
P = ParamSpec("P")

AXES: Final = ("data", "latent", "site")
_PATIENCE: Final = timedelta(hours=6)
"""A process that is gone is noticed at once; this is for one that only is slow."""


class Group:
    """Some of the processes, in the order of their ranks.

    What is said in a group must be said by all of its members, in the same order. Sums run in an
    order fixed by the number of members: equal runs give equal bits.

    Args:
        handle: torch's group; None for a process alone.
        size: Members.
        rank: This process's place among them.
    """

    def __init__(
        self, handle: dist.ProcessGroup | None = None, size: int = 1, rank: int = 0
    ) -> None:
        self._handle = handle
        self.size = size
        self.rank = rank

    def sum_(self, value: Tensor) -> Tensor:
        """Replace a contiguous tensor by its sum over the members; no gradient."""
        return self._reduce(value, dist.ReduceOp.SUM)

    def max_(self, value: Tensor) -> Tensor:
        """Replace a contiguous tensor by its largest entries over the members."""
        return self._reduce(value, dist.ReduceOp.MAX)

    def min_(self, value: Tensor) -> Tensor:
        """Replace a contiguous tensor by its smallest entries over the members."""
        return self._reduce(value, dist.ReduceOp.MIN)

    def any_(self, mask: Tensor) -> Tensor:
        """Replace a mask by the union of the members' masks."""
        if self.size > 1:
            mask.copy_(self.max_(mask.to(torch.uint8)))
        return mask

    def total(self, value: Tensor) -> Tensor:
        """The sum over the members of something that all of them go on to use in the same way.

        Each member's own part then has the gradient of the sum, without being told.
        """
        return value if self.size == 1 else _Sum.apply(value, self, False)  # pyright: ignore[reportReturnType]

    def coupled_total(self, value: Tensor) -> Tensor:
        """The sum over the members of something that each of them goes on to use in its own way.

        Each member's own part then has the summed gradients of all.
        """
        return value if self.size == 1 else _Sum.apply(value, self, True)  # pyright: ignore[reportReturnType]

    def shared(self, value: Tensor) -> Tensor:
        """A value that is equal on all members, of which each uses a part: its gradients are summed."""
        return value if self.size == 1 else _Shared.apply(value, self)  # pyright: ignore[reportReturnType]

    def gather(self, value: Tensor) -> list[Tensor]:
        """Every member's tensor, all of one shape, in the order of ranks."""
        if self.size == 1:
            return [value]
        raw = _as_bytes(value)
        parts = raw.new_empty(self.size, len(raw))
        _told(dist.all_gather)(list(parts.unbind()), raw, group=self._handle)
        return [part.view(value.dtype).view(value.shape) for part in parts]

    def exchange(self, parts: Sequence[Tensor], lengths: Sequence[int]) -> list[Tensor]:
        """Give `parts[i]` to member i, and take what each member has for this one.

        Args:
            parts: One flat tensor a member, of one dtype.
            lengths: Entries that each member gives to this one.
        """
        if self.size == 1:
            return list(parts)
        sent = torch.cat([part.flatten() for part in parts])
        raw, width = _as_bytes(sent), sent.element_size()
        taken = raw.new_empty(sum(lengths) * width)
        _told(dist.all_to_all_single)(
            taken,
            raw,
            [n * width for n in lengths],
            [part.numel() * width for part in parts],
            group=self._handle,
        )
        return list(taken.view(sent.dtype).split(list(lengths)))

    def values(self, value: T) -> list[T]:
        """Every member's plain value, in the order of ranks."""
        if self.size == 1:
            return [value]
        found: list[Any] = [None] * self.size
        _told(dist.all_gather_object)(found, value, group=self._handle)
        return found

    def first(self, value: T) -> T:
        """The plain value of the member with rank 0."""
        return self.values(value)[0]

    def any(self, value: bool) -> bool:
        """Whether it is true of any member."""
        return value if self.size == 1 else bool(self.max_(torch.tensor(int(value))))

    def wait(self) -> None:
        """Go on when all members are here."""
        if self.size > 1:
            _told(dist.barrier)(group=self._handle)

    def _reduce(self, value: Tensor, how: Any) -> Tensor:
        if self.size > 1:
            _told(dist.all_reduce)(value, op=how, group=self._handle)
        return value


ALONE_GROUP: Final = Group()


@dataclass(frozen=True)
class Processes:
    """The processes of a run, and the groups that this one belongs to.

    Attributes:
        mesh: Axis sizes and this process's place.
        world: All of them.
        data: Those with the same latents and sites and other text; gradients are summed here.
        latent: Those with other latents of the same dictionaries.
        share: Those (latent x site) that train on the same batch, each reading a part of its text.
        batch: Those (data x latent) that train the same dictionaries.
    """

    mesh: Mesh = SINGLE
    world: Group = ALONE_GROUP
    data: Group = ALONE_GROUP
    latent: Group = ALONE_GROUP
    share: Group = ALONE_GROUP
    batch: Group = ALONE_GROUP

    @property
    def is_first(self) -> bool:
        """Whether this process writes the run's folder and talks to the user."""
        return self.world.rank == 0

    def trains(self, names: Sequence[T]) -> list[T]:
        """Of all dictionaries, in order, those that this process trains: every n-th on a site axis of n."""
        return list(names[self.mesh.site_rank :: self.mesh.site])


ALONE: Final = Processes()
"""One process."""


@contextmanager
def joined(*, latent: int = 1, site: int = 1, device_type: str = "cpu") -> Iterator[Processes]:
    """The processes that `torchrun` started, joined for the time of the block; else this one alone.

    Args:
        latent: Size of the latent axis.
        site: Size of the site axis; the data axis takes what is left.
        device_type: `cpu` talks through gloo, `cuda` through NCCL.

    Raises:
        RecipeError: The axes do not divide the number of processes.
        ProcessGone: A process ended early; whatever is said in a group may raise it.
    """
    n = started_processes()
    if latent < 1 or site < 1 or n % (latent * site):
        how = f"torchrun --nproc-per-node {latent * site}"
        hint = f"start them with `{how} -m lmscope ...`" if n == 1 else "choose axes that divide it"
        raise RecipeError(
            f"{n} process{'es' if n > 1 else ''} cannot be shared by latent={latent} x site={site}: {hint}."
        )
    if n == 1:
        yield ALONE
        return
    backend = "nccl" if device_type == "cuda" else "gloo"
    _told(dist.init_process_group)(backend, timeout=_PATIENCE)
    try:
        yield _arranged(n, latent, site, device_type)
    finally:
        dist.destroy_process_group()


def _arranged(n: int, latent: int, site: int, device_type: str) -> Processes:
    sizes = (n // (latent * site), latent, site)
    axes = dist.init_device_mesh(device_type, sizes, mesh_dim_names=AXES)
    mesh = Mesh(*sizes, rank=dist.get_rank())

    def group(*names: str) -> Group:
        part = axes[names] if len(names) == 1 else axes[names]._flatten("_".join(names))
        return Group(part.get_group(), part.size(), part.get_local_rank())

    return Processes(
        mesh,
        Group(dist.group.WORLD, n, dist.get_rank()),
        group("data"),
        group("latent"),
        group("latent", "site"),
        group("data", "latent"),
    )


def _told(function: Callable[P, T]) -> Callable[P, T]:
    """The same collective, with one sentence when another process is gone."""

    def told(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return function(*args, **kwargs)
        except RuntimeError as error:  # what gloo and NCCL raise has no narrower common class
            if isinstance(error, torch.OutOfMemoryError):
                raise
            raise ProcessGone(
                "Another process of this run ended early, so this one cannot go on; the last checkpoint "
                "stays: start the processes again with --resume RUN."
            ) from error

    return told


def _as_bytes(value: Tensor) -> Tensor:
    """Any dtype travels as bytes: gloo does not know them all."""
    return value.detach().contiguous().flatten().view(torch.uint8)


class _Sum(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, value: Tensor, group: Group, coupled: bool) -> Tensor:
        ctx.group, ctx.coupled = group, coupled
        return group.sum_(value.clone(memory_format=torch.contiguous_format))

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        (gradient,) = gradients
        if ctx.coupled:
            gradient = ctx.group.sum_(gradient.clone(memory_format=torch.contiguous_format))
        return gradient, None, None


class _Shared(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, value: Tensor, group: Group) -> Tensor:
        ctx.group = group
        return value.view_as(value)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor, None]:  # pyright: ignore[reportIncompatibleMethodOverride]
        (gradient,) = gradients
        return ctx.group.sum_(gradient.clone(memory_format=torch.contiguous_format)), None
