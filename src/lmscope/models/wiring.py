"""Wiring: who stands at which site of one model, and the hooks that serve them.

Every tap in use has one Station. It lets the edits change the value in order of entry, then
hands the result to the reads. A tap is installed when its first edit or read comes and taken
away with its last, whatever ends the block.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field

from jaxtyping import Bool, Int
from torch import Tensor

from lmscope.core.errors import SiteError
from lmscope.core.site import Site
from lmscope.models.edit import At, EditFunction, apply_edit
from lmscope.models.taps import Body, Remove, Tap


class Finished(Exception):  # noqa: N818 (it is a way to stop, not an error)
    """Ends a forward pass whose reads are all done."""


@dataclass
class Pass:
    """One forward pass under way.

    Attributes:
        positions, mask, rows, step: What edits are told (see `At`), on the model's own device;
            values come to edits and readers there.
        reads: Sites whose values are wanted.
        grad: Whether values keep their gradient.
        start, given: The site that the pass resumes from and the value that stands there.
        values: What was read so far.
        fired: Edits that have run, by identity.
    """

    positions: Int[Tensor, "batch pos"]
    mask: Bool[Tensor, "batch pos"]
    rows: Int[Tensor, "batch"]
    step: int
    reads: tuple[Site, ...] = ()
    grad: bool = False
    start: Site | None = None
    given: Tensor | None = None
    values: dict[Site, Tensor] = field(default_factory=dict)
    fired: set[int] = field(default_factory=set)

    def at(self, site: Site) -> At:
        """What an edit at the site is told."""
        return At(site, self.positions, self.mask, self.rows, self.step)


@dataclass(eq=False)
class _Edit:
    site: Site
    function: EditFunction


@dataclass(eq=False)
class _Station:
    wiring: "Wiring"
    site: Site
    edits: list[_Edit] = field(default_factory=list)
    readers: list[Site] = field(default_factory=list)
    users: int = 0

    def __call__(self, value: Tensor) -> Tensor:
        now = self.wiring.current
        if now is None:
            raise SiteError(
                f"'{self.site}' fired outside a pass: "
                "run the LanguageModel itself, not its Hugging Face model."
            )
        if now.start is not None and self.site.depth < now.start.depth:
            return value
        layer, home = value.device, now.mask.device  # two devices in a model that is spread
        if self.site == now.start and now.given is not None:
            value = now.given.to(layer)
        if self.edits:
            # A copy: the model's own stays whole if an edit writes in place.
            edited = value.to(home, copy=True)
            for edit in self.edits:
                edited = apply_edit(edit.function, edited, now.at(edit.site))
                now.fired.add(id(edit))
            value = edited.to(layer)
        for site in self.readers:
            now.values[site] = (value if now.grad else value.detach()).to(home)
        if now.reads and len(now.values) == len(now.reads):
            raise Finished
        return value


class Wiring:
    """The Stations of one model.

    Args:
        body: The model's parts.
        tap_of: The family's tap for each site.
    """

    def __init__(self, body: Body, tap_of: Callable[[Site], Tap]) -> None:
        self._body = body
        self._tap_of = tap_of
        self._stations: dict[tuple[int | None, Tap], tuple[_Station, Remove]] = {}
        self.current: Pass | None = None

    @contextmanager
    def editing(self, edits: Sequence[tuple[Site, EditFunction]]) -> Iterator[None]:
        """Let functions stand at sites inside the block."""
        with ExitStack() as stack:
            for site, function in edits:
                stack.enter_context(self._edit(_Edit(site, function)))
            yield

    @contextmanager
    def running(self, now: Pass) -> Iterator[None]:
        """Serve one forward pass: put its reads in place, check that all that was asked fired.

        Raises:
            SiteError: A read did not fire, or an edit did not in a pass that ran to its end, or
                an edit lies below the site that the pass resumes from.
        """
        outer = self.current
        with ExitStack() as stack:
            if now.start is not None:
                self._refuse_edits_below(now.start)
                stack.enter_context(self._station(now.start))
            for site in now.reads:
                stack.enter_context(self._read(site))
            self.current = now
            try:
                with suppress(Finished):
                    yield
            finally:
                self.current = outer
            self._check(now)

    def _edits(self) -> Iterator[_Edit]:
        return (edit for station, _ in self._stations.values() for edit in station.edits)

    def _refuse_edits_below(self, start: Site) -> None:
        if below := [edit.site for edit in self._edits() if edit.site.depth < start.depth]:
            raise SiteError(
                f"The edit at {_names(below)} lies below '{start}', where the pass resumes, "
                "so it would have no effect."
            )

    def _check(self, now: Pass) -> None:
        if missing := [site for site in now.reads if site not in now.values]:
            raise SiteError(f"{_names(missing)} did not fire in this pass, so nothing was read.")
        if now.reads:
            return  # the pass ended before the edits further up
        if idle := [edit.site for edit in self._edits() if id(edit) not in now.fired]:
            raise SiteError(f"The edit at {_names(idle)} did not fire, so it had no effect.")

    @contextmanager
    def _edit(self, edit: _Edit) -> Iterator[None]:
        with self._station(edit.site) as station:
            station.edits.append(edit)
            try:
                yield
            finally:
                station.edits.remove(edit)

    @contextmanager
    def _read(self, site: Site) -> Iterator[None]:
        with self._station(site) as station:
            station.readers.append(site)
            try:
                yield
            finally:
                station.readers.remove(site)

    @contextmanager
    def _station(self, site: Site) -> Iterator[_Station]:
        """The site's Station; its tap is in place while anyone uses it."""
        tap = self._tap_of(site)
        key = (site.layer, tap)
        if key not in self._stations:
            station = _Station(self, site)
            self._stations[key] = station, tap.install(self._body, site, station)
        station, remove = self._stations[key]
        station.users += 1
        try:
            yield station
        finally:
            station.users -= 1
            if station.users == 0:
                del self._stations[key]
                remove()


def _names(sites: Sequence[Site]) -> str:
    return ", ".join(f"'{site}'" for site in sites)
