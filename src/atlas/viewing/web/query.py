"""What a list shows: `parameters of a URL -> Query`, and back."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Query:
    """Search, filters, sorting and the page of a list. `as_url()` writes it as URL parameters."""

    text: str = ""
    page: int = 1
