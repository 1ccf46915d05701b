"""What a command shows while it works: a bar on a terminal, few plain lines when piped.

`shown()` gives the listener.  Training shows on stdout; commands whose stdout is their result show
on stderr.
"""

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, Task, TaskID, TextColumn
from rich.progress import TimeRemainingColumn as Remaining
from rich.text import Text

from palate.cli import words
from palate.train.events import Evaluation, Event, Listener, Note, Round, Step

CHOSEN, REJECTED = "#2f7fd6", "#d9822b"
PAUSE, LONG_PAUSE, SHARE = 10.0, 60.0, 0.05


def console(*, stderr: bool = False) -> Console:
    """Text as it is: nothing in it is markup, and a pipe gets no colour."""
    return Console(stderr=stderr, highlight=False, markup=False, soft_wrap=True)


@contextmanager
def shown(*, stderr: bool = False) -> Iterator[Listener]:
    """A listener for the length of one command."""
    screen = console(stderr=stderr)
    if not screen.is_terminal:
        yield Lines(screen.print)
        return
    bars = Bars(screen)
    with bars.live:
        yield bars


class Lines:
    """Plain lines, for a pipe or a log: about one per twentieth of the work, 10 s apart or more."""

    def __init__(
        self, write: Callable[[str], object], clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._write = write
        self._clock = clock
        self._said: set[str] = set()
        self._last: dict[str, tuple[float, float, bool]] = {}

    def __call__(self, event: Event) -> None:
        if isinstance(event, Note):
            self._note(note_line(event))
        elif isinstance(event, Evaluation):
            self._write(words.evaluation_line(event))
        elif isinstance(event, Step):
            if self._due("step", event.step, event.total):
                self._write(words.step_line(event))
        elif isinstance(event, Round):
            if self._due("step", event.step, event.total):
                self._write(words.round_line(event))
        elif self._due(event.what, event.done, event.total):
            self._write(f"{event.what} {event.done}/{event.total}")

    def _note(self, line: str) -> None:
        if line not in self._said:
            self._said.add(line)
            self._write(line)

    def _due(self, what: str, done: int, total: int) -> bool:
        """Whether this progress deserves a line: the first step, the pace, the end of long work."""
        now, share = self._clock(), done / max(total, 1)
        if what not in self._last:
            self._last[what] = (share, now, what == "step")
            return what == "step"
        old_share, old_time, wrote = self._last[what]
        waited = now - old_time
        due = waited >= LONG_PAUSE or (waited >= PAUSE and share - old_share >= SHARE - 1e-9)
        if not due and not (done >= total and wrote):
            return False
        self._last[what] = (share, now, True)
        return True


class Bars:
    """One bar that redraws itself, the figures below it, and lines that stay above it."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._said: set[str] = set()
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(complete_style=CHOSEN, finished_style=CHOSEN),
            MofNCompleteColumn(),
            TextColumn("{task.fields[speed]}"),
            _Left(),
            console=console,
            auto_refresh=False,
        )
        self._task: TaskID | None = None
        self._figures = Text()
        self.live = Live(
            get_renderable=self._drawn, console=console, refresh_per_second=8, transient=True
        )

    def __call__(self, event: Event) -> None:
        if isinstance(event, Note):
            self._stay(note_line(event), once=True)
        elif isinstance(event, Evaluation):
            self._stay(words.evaluation_line(event))
        elif isinstance(event, Step):
            left = words.duration(event.seconds_left) + " left"
            self._move("training", event.step, event.total, (words.speed(event), left))
            self._figures = _figures(event)
        elif isinstance(event, Round):
            beside = f"{words.figure(event.items_per_second)} texts/s"
            left = words.duration(event.seconds_left) + " left"
            self._move("training", event.step, event.total, (beside, left))
            self._figures = Text("  " + words.round_figures(event))
        else:
            self._move(event.what, event.done, event.total, ("", ""))

    def _stay(self, line: str, *, once: bool = False) -> None:
        if once and line in self._said:
            return
        self._said.add(line)
        self._console.print(line)

    def _move(self, what: str, done: int, total: int, beside: tuple[str, str]) -> None:
        task = self._task_for(what, total)
        self._bar.update(task, completed=done, total=total, speed=beside[0], left=beside[1])

    def _task_for(self, what: str, total: int) -> TaskID:
        """The bar of this kind of work; the one before it goes away."""
        if self._task is not None:
            if self._bar.tasks[0].description == what:
                return self._task
            self._bar.remove_task(self._task)
        self._figures = Text()
        self._task = self._bar.add_task(what, total=total, speed="", left="")
        return self._task

    def _drawn(self) -> RenderableType:
        return Group(self._bar, self._figures) if self._figures.plain else self._bar


class _Left(Remaining):
    """The stage's own estimate where it has one, else rich's."""

    def render(self, task: Task) -> Text:
        return Text(task.fields["left"]) if task.fields["left"] else super().render(task)


def note_line(note: Note) -> str:
    """A note, marked if it is a warning."""
    return words.safe(f"warning: {note.text}" if note.warning else note.text)


def _figures(step: Step) -> Text:
    """Loss, margin and the pairs by regime; blue is learnt, orange is wrong, as everywhere."""
    line = Text("  " + words.losses(step))
    if step.regimes is not None:
        line.append(f"  learnt {step.regimes.learnt}", style=CHOSEN)
        line.append(f" · undecided {step.regimes.undecided} · ")
        line.append(f"wrong {step.regimes.wrong}", style=REJECTED)
    return line
