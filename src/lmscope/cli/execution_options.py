"""Options of the machine that carries a training out; the recipe, and so the result, knows none of them."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Final

from cyclopts import Group, Parameter

from lmscope.cli.numbers import Bytes
from lmscope.core.errors import RecipeError

if TYPE_CHECKING:
    from lmscope.jobs.plan import Machine

GROUP: Final = Group("Options of the machine", sort_key=5)


@Parameter(name="*", group=GROUP)
@dataclass(frozen=True)
class MachineOptions:
    """On what it runs."""

    memory: Bytes | None = None
    """Memory of a device that may be used, e.g. 20GiB: dictionaries that do not fit together are
    trained group by group, with equal results. Default: most of what there is."""
    devices: Annotated[int | None, Parameter(metavar="N")] = None
    """With --dry-run: plan for so many devices."""
    device_tflops: Annotated[float | None, Parameter(metavar="X")] = None
    """With --dry-run: rate of a device, in 10^12 operations a second."""
    mesh: Annotated[str | None, Parameter(metavar="AXES")] = None
    """How the processes that torchrun started share the work, e.g. latent=2 or latent=2,site=4: each
    batch (data, what is left), the latents of each dictionary, or the dictionaries. With --dry-run:
    how the devices of the plan do."""

    def machine(self, *, dry_run: bool) -> "Machine":
        """What a plan is told.

        Raises:
            RecipeError: An option that only plans know was given for a run, or a number is not positive.
        """
        from lmscope.jobs.plan import Machine

        planned = {
            "--devices": self.devices,
            "--device-tflops": self.device_tflops,
        }
        for option, value in planned.items():
            if value is not None and not dry_run:
                raise RecipeError(
                    f"{option} only plans for other machines: add --dry-run, or leave it out "
                    "(several processes are started with torchrun)."
                )
        for option, number in planned.items():
            if isinstance(number, int | float) and number <= 0:
                raise RecipeError(f"{option} must be above 0; {number} was given.")
        return Machine(self.memory, self.devices, self.device_tflops, self.mesh)
