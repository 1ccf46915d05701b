"""`palate demo`: the embedded example, run with the real commands."""

from pathlib import Path


def demo(*, out: Path = Path("runs/demo"), seed: int = 0, quick: bool = False) -> None:
    """The whole example, then its table.

    Parameters
    ----------
    out:
        folder of the demo's files and runs; the same command continues
    seed:
        of the sheets, the examples, the texts drawn and the training
    quick:
        a fifth of everything: does it work here? The figures mean little
    """
    from palate.cli.show import console
    from palate.demo import command

    command.run(out, say=console().print, seed=seed, quick=quick)
