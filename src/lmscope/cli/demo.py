"""`lmscope demo`: the main job on a real model, in minutes."""

from collections.abc import Mapping
from typing import Any, Final

from cyclopts import App

from lmscope.cli.options import JobOptions

_EXAMPLES: Final = """Example:

    lmscope demo
    lmscope demo --json --seed 1
"""
_JOB: Final = JobOptions()

app = App(name="demo", help_epilogue=_EXAMPLES, help_format="plaintext")


@app.default
def demo(recipe: str | None = None, /, *, job: JobOptions = _JOB) -> int:
    """Train a dictionary on SmolLM2-135M, measure it, and say what its latents mean.

    Takes about a quarter of an hour on two idle processors; the model must be fetched once before, which
    happens by itself when there is a network.

    Args:
        recipe: A file that ends in .toml or the name of a shipped recipe; absent: demo, or demo-gpu where there is a GPU.
        job: Options of every job.
    """
    from lmscope.cli.execution import Verb, launch
    from lmscope.cli.reports import report_demo
    from lmscope.jobs import demo as demo_job
    from lmscope.jobs.plan import plan_training

    def everyday(_recipe: Mapping[str, Any]) -> dict[str, Any]:
        return job.everyday()

    verb = Verb("demo", demo_job.DemoRecipe, demo_job.demo, plan_training, report_demo)
    shipped = None if job.resume else _shipped()
    return launch(verb, recipe or shipped, everyday, job)


def _shipped() -> str:
    """The recipe for this machine: more text where there is a GPU."""
    import torch

    return "demo-gpu" if torch.cuda.is_available() else "demo"
