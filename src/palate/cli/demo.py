"""`palate demo`: the embedded example, run with the real commands."""

from pathlib import Path


def demo(*, out: Path = Path("runs/demo")) -> None:
    """The whole example, then its table.

    Parameters
    ----------
    out:
        folder of the demo's files and runs; the same command continues
    """
    from palate.cli.show import console
    from palate.demo import command

    command.run(out, say=console().print)
