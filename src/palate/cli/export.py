"""`palate export`: a merged Hugging Face folder, read back and compared before it counts."""

from pathlib import Path
from shlex import quote


def export(model: str, /, *, out: Path) -> None:
    """The export and what its comparison found.

    Parameters
    ----------
    model:
        a run of palate
    out:
        the new folder
    """
    from palate import api
    from palate.cli.show import shown

    with shown() as listen:
        parity = api.export(model, out, listen)
    print(f"done: {out} says what {model} says, to {parity.max_logp_diff:.1e} nats per token")
    print(f"next: palate chat {quote(str(out))}")
