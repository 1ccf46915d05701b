"""palate teaches a language model taste on one desk: SFT, then DPO."""

__version__ = "0.1.0"
