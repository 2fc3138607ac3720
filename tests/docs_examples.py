"""The examples of docs/extending.md, as modules that a user would have."""

from __future__ import annotations

import re
from pathlib import Path

PAGE = Path(__file__).parents[1] / "docs" / "extending.md"


def write_example(file: str, folder: Path) -> None:
    """The code block of the page that begins with the comment `# file`, in that file."""
    text = PAGE.read_text(encoding="utf-8")
    [code] = re.findall(rf"```python\n# {re.escape(file)}\n(.*?)```", text, re.DOTALL)
    path = folder / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(code, encoding="utf-8")
