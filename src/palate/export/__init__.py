"""What leaves palate: a model that other tools load, checked before it is handed over."""

from palate.export.merge import Parity, export

__all__ = ["Parity", "export"]
