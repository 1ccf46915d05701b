"""How `--help` looks: aligned columns, no boxes, needed options first, the same when piped."""

import textwrap
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from cyclopts.help import HelpEntry, HelpPanel
    from rich.console import Console, ConsoleOptions

WIDTH = 100
NAMES = 30


class Layout:
    """A cyclopts help formatter."""

    def __call__(self, console: "Console", options: "ConsoleOptions", panel: "HelpPanel") -> None:
        if not panel.entries:
            return
        entries = sorted(panel.entries, key=lambda entry: not entry.required)
        names = [" ".join(entry.display_labels_with_metavar) for entry in entries]
        column = min(NAMES, max(map(len, names)) + 4)
        lines = [_entry(name, _text(entry), column) for name, entry in zip(names, entries)]
        _write(console, f"{panel.title}\n" + "\n".join(lines) + "\n")

    def render_usage(self, console: "Console", options: "ConsoleOptions", usage: Any) -> None:
        if usage:
            _write(console, f"{_plain(usage)}\n")

    def render_description(self, console: "Console", options: "ConsoleOptions", text: Any) -> None:
        if text:
            _write(console, f"{_plain(text)}\n")


def _entry(name: str, text: str, column: int) -> str:
    """One option: its name, then its text, wrapped in its own column."""
    wrapped = textwrap.wrap(text, WIDTH - column) or [""]
    first = f"  {name}".ljust(column)
    lines = [first + wrapped[0]] if len(first) <= column else [first, " " * column + wrapped[0]]
    return "\n".join(lines + [" " * column + line for line in wrapped[1:]]).rstrip()


def _text(entry: "HelpEntry") -> str:
    """What an option means, what it can be, and what it is if left out."""
    choices = f" [{', '.join(entry.choices)}]" if entry.choices else ""
    needed = " [needed]" if entry.required and entry.display_labels[0].startswith("-") else ""
    default = f" [default {entry.default}]" if entry.default else ""
    return _plain(entry.description) + choices + needed + default


def _plain(shown: Any) -> str:
    """The text of whatever cyclopts hands over: a string, a rich text, or a group of them."""
    if shown is None:
        return ""
    if hasattr(shown, "primary_renderable"):
        return _plain(shown.primary_renderable)
    return str(getattr(shown, "plain", shown)).strip()


def _write(console: "Console", text: str) -> None:
    console.print(text, highlight=False, markup=False, soft_wrap=True)
