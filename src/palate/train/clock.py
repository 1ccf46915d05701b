"""Seconds a step takes, over the last twenty, and the seconds that are left."""

import math
import time


class Clock:
    """Runs from when it is made, at `step`."""

    def __init__(self, step: int) -> None:
        self.step = step
        self.times = [time.monotonic()]
        self.seconds_left = math.inf

    def tick(self, steps: int) -> None:
        """One more step of `steps` is done."""
        self.step += 1
        self.times = [*self.times[-20:], time.monotonic()]
        self.seconds_left = (steps - self.step) * self.seconds_per_step

    @property
    def seconds_per_step(self) -> float:
        spent = self.times[-1] - self.times[0]
        return max(spent, 1e-9) / max(1, len(self.times) - 1)
