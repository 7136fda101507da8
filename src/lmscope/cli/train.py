"""`lmscope train`: a recipe or a few options, to trained and measured dictionaries."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import Annotated, Any, Final, Literal

from cyclopts import App, Parameter

from lmscope.cli.execution_options import MachineOptions
from lmscope.cli.numbers import Counts
from lmscope.cli.options import JobOptions, ModelAndText, given
from lmscope.core.errors import RecipeError

_EXAMPLES: Final = """Example:

    lmscope train --site resid_post@14 --latents 4608 --k 32 --tokens 2M
    lmscope train --model gpt2 --site 'mlp_out@*' --expansion 8 --dry-run
    lmscope train recipe.toml --set training.lr=3e-4 --seed 1
    lmscope train scope-smollm2 --memory 20GiB
    lmscope train scope-llama-3.1-8b --dry-run --devices 64 --memory 80GiB
    torchrun --nproc-per-node 4 -m lmscope train recipe.toml --mesh latent=2
    lmscope train --resume RUN

Several --site, --latents, --expansion or --sparsity train every combination,
from one reading of the text; what does not fit the memory together is trained
in groups, with equal results.
"""
_WITH_K: Final = ("topk", "batchtopk")
_WHERE: Final = ModelAndText()
_JOB: Final = JobOptions()
_MACHINE: Final = MachineOptions()

app = App(name="train", help_epilogue=_EXAMPLES, help_format="plaintext")


@app.default
def train(
    recipe: str | None = None,
    /,
    *,
    where: ModelAndText = _WHERE,
    site: Annotated[tuple[str, ...], Parameter(metavar="SITE", show_default=False)] = (),
    transcoder: Annotated[
        tuple[str, ...], Parameter(metavar="READ:WRITE", show_default=False)
    ] = (),
    latents: Annotated[Counts, Parameter(show_default=False)] = (),
    expansion: Annotated[Counts, Parameter(show_default=False)] = (),
    sparsity: Annotated[
        tuple[Literal["relu", "topk", "batchtopk", "jumprelu"], ...], Parameter(show_default=False)
    ] = (),
    k: Annotated[Counts, Parameter(show_default=False)] = (),
    machine: MachineOptions = _MACHINE,
    job: JobOptions = _JOB,
) -> int:
    """Train sparse dictionaries on the activations of a language model.

    Args:
        recipe: A file that ends in .toml or the name of a shipped recipe; options change it.
        where: Which model reads which text.
        site: A site whose activations are decomposed, e.g. resid_post@14 or 'mlp_out@*'. Repeatable.
        transcoder: Two sites: the first is read, the second predicted, e.g. mlp_in@6:mlp_out@6. Repeatable.
        latents: Latents of a dictionary, e.g. 4608. Repeatable.
        expansion: Latents as a multiple of the site's width, e.g. 8. Repeatable.
        sparsity: How latents are kept few. Repeatable.
        k: Latents kept for one token by topk and batchtopk. Repeatable.
        machine: Options of the machine.
        job: Options of every job.
    """
    from lmscope.cli.execution import Verb, launch
    from lmscope.cli.reports import report_run
    from lmscope.jobs import train as train_job
    from lmscope.jobs.plan import plan_training

    everyday = {
        **where.everyday("text.max_tokens", job.runs_dir),
        **job.everyday(),
        **given(
            {
                "dictionary.sites": list(site) or None,
                "dictionary.transcoders": [_pair(text) for text in transcoder] or None,
                "dictionary.n_latents": list(latents) or None,
                "dictionary.expansions": list(expansion) or None,
            }
        ),
    }
    verb = Verb(
        "train",
        train_job.TrainRecipe,
        partial(train_job.train, memory_bytes=machine.memory, mesh=machine.mesh),
        partial(plan_training, machine=machine.machine(dry_run=job.dry_run)),
        report_run,
    )

    def options(values: Mapping[str, Any]) -> dict[str, Any]:
        chosen = sparsities(sparsity, k, values.get("dictionary", {}).get("sparsity"))
        return {**everyday, **given({"dictionary.sparsity": chosen})}

    return launch(verb, recipe, options, job)


def _pair(text: str) -> list[str]:
    sites = text.split(":")
    if len(sites) != 2 or not all(sites):
        raise RecipeError(
            f"'{text}' is no transcoder: write the site that is read, a colon and the site that is "
            "predicted, e.g. --transcoder mlp_in@6:mlp_out@6."
        )
    return sites


def sparsities(
    kinds: Sequence[str], ks: Sequence[int], present: Any
) -> list[dict[str, Any]] | None:
    """The recipe's `dictionary.sparsity` from --sparsity and --k.

    Args:
        kinds: What --sparsity gave.
        ks: What --k gave.
        present: What the recipe holds already, one table or a list of them; --k alone changes its k.

    Returns:
        One table for each combination; None when neither option was given.

    Raises:
        RecipeError: --k was given and no sparsity has a k.
    """
    if not kinds and not ks:
        return None
    tables = [{"kind": kind} for kind in kinds] or _tables(present)
    if not ks:
        return tables
    if not any(table.get("kind") in _WITH_K for table in tables):
        names = ", ".join(str(table.get("kind")) for table in tables)
        raise RecipeError(
            f"--k has no effect on {names}: only {' and '.join(_WITH_K)} keep a fixed number of latents."
        )
    return [
        one
        for table in tables
        for one in ([{**table, "k": k} for k in ks] if table.get("kind") in _WITH_K else [table])
    ]


def _tables(present: Any) -> list[dict[str, Any]]:
    if isinstance(present, Mapping):
        return [dict(present)]
    return [dict(table) for table in present or ({"kind": "topk"},)]
