"""`palate demo`: the embedded example, run with the real commands."""

from pathlib import Path


def demo(*, out: Path = Path("runs/demo")) -> None:
    """The whole example, then its table.

    Parameters
    ----------
    out:
        folder of the demo's files and runs
    """
    from palate.cli.show import shown
    from palate.demo import show

    with shown() as listen:
        lines = show.demo(out, listen)
    print("\n".join(lines))
