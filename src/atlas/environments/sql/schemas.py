"""The tables of the databases, and the words with which questions speak of them.

A question speaks of "the product of an order"; the column is called `item`. So an agent has to look
at the tables before it can write a query.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass

from atlas.environments.sql.guarded import Cell

_LISTS = {
    "person": (
        "Ada Amir Bela Bruno Carla Chen Dara Dmitri Elif Emil Farah Felix Greta Hugo Ines Ivan "
        "Jonas Kavya Lena Luca Mara Milan Nadia Noor Olga Omar Paula Pedro Rosa Sami Tara Vera"
    ),
    "city": "Oslo Lima Cairo Quito Riga Bern Porto Tunis Hanoi Perth",
    "product": "lamp chair desk clock vase mirror rug shelf",
    "genre": "novel poetry history travel science cooking",
    "breed": "poodle beagle siamese parrot rabbit hamster",
    "subject": "algebra botany drama physics grammar music",
    "part": "brakes clutch battery exhaust mirror pump",
    "dish": "soup pasta curry salad pie stew",
    "airline": "Condor Swift Falcon Heron Osprey",
    "crop": "wheat barley maize oats rye beans",
    "instrument": "violin cello flute oboe harp horn",
}
WORDS: Mapping[str, tuple[str, ...]] = {
    kind: tuple(listed.split()) for kind, listed in _LISTS.items()
}


@dataclass(frozen=True, slots=True)
class Column:
    """A column: its name, what questions call it, and what it holds.

    `holds` is `person`, a key of WORDS, `year`, `ref`, or a range such as `5-90`.
    """

    name: str
    said: str
    holds: str

    @property
    def is_number(self) -> bool:
        """Whether the column holds an amount, over which one can sum."""
        return "-" in self.holds

    @property
    def is_word(self) -> bool:
        """Whether the column holds one of some words."""
        return self.holds in WORDS and self.holds != "person"

    def draw(self, rng: random.Random, num_parents: int) -> Cell:
        """A random value; `num_parents` is how many rows a reference may name."""
        if self.is_word:
            return rng.choice(WORDS[self.holds])
        if self.is_number:
            low, _, high = self.holds.partition("-")
            return rng.randint(int(low), int(high))
        return rng.randint(1, num_parents) if self.holds == "ref" else rng.randint(2018, 2024)


@dataclass(frozen=True, slots=True)
class TableKind:
    """A table, its columns after `id`, and a noun for one and for several of its rows."""

    name: str
    one: str
    many: str
    columns: tuple[Column, ...]

    def column(self, holds: str) -> Column:
        """The column of a kind: `word`, `number`, `year`, `ref` or `person`."""
        for column in self.columns:
            is_kind = {"word": column.is_word, "number": column.is_number}
            if is_kind.get(holds, column.holds == holds):
                return column
        raise AssertionError(f"{self.name} has no column of the kind {holds}")


@dataclass(frozen=True, slots=True)
class Schema:
    """A database: rows of `child` refer to rows of `parent`; `other` is not needed."""

    name: str
    parent: TableKind
    child: TableKind
    other: TableKind


def _table(name: str, one: str, many: str, /, **columns: str) -> TableKind:
    """Columns are given as `name="said: holds"`."""
    parts = {column: given.split(": ") for column, given in columns.items()}
    return TableKind(
        name,
        one,
        many,
        tuple(Column(column, said, holds) for column, (said, holds) in parts.items()),
    )


TRAIN_SCHEMAS: tuple[Schema, ...] = (
    Schema(
        "shop",
        _table("client", "customer", "customers", name="name: person", town="city: city"),
        _table("purchase", "order", "orders", buyer="customer: ref", item="product: product",
               price="cost: 5-90", year="year: year"),
        _table("supplier", "supplier", "suppliers", name="name: person", goods="product: product"),
    ),
    Schema(
        "library",
        _table("reader", "member", "members", name="name: person", city="city: city"),
        _table("loan", "loan", "loans", reader_id="member: ref", kind="genre: genre",
               days="duration: 3-60", year="year: year"),
        _table("shelf", "shelf", "shelves", topic="genre: genre", books="size: 20-90"),
    ),
    Schema(
        "clinic",
        _table("keeper", "owner", "owners", full_name="name: person", place="city: city"),
        _table("visit", "visit", "visits", owner="owner: ref", animal="animal: breed",
               fee="price: 10-99", year="year: year"),
        _table("drug", "drug", "drugs", used_for="animal: breed", stock="stock: 1-50"),
    ),
    Schema(
        "school",
        _table("pupil", "student", "students", name="name: person", home="home town: city"),
        _table("exam", "test", "tests", taken_by="student: ref", course="subject: subject",
               points="score: 1-99", year="year: year"),
        _table("room", "room", "rooms", course="subject: subject", seats="seats: 10-40"),
    ),
    Schema(
        "garage",
        _table("driver", "driver", "drivers", name="name: person", lives_in="city: city"),
        _table("repair", "repair", "repairs", driver_id="driver: ref", fixed="part: part",
               euros="cost: 20-95", year="year: year"),
        _table("stock", "item", "items", part="part: part", amount="amount: 1-30"),
    ),
    Schema(
        "kitchen",
        _table("guest", "guest", "guests", name="name: person", origin="city: city"),
        _table("ticket", "meal", "meals", guest="guest: ref", served="dish: dish",
               total="price: 6-48", year="year: year"),
        _table("recipe", "recipe", "recipes", dish="dish: dish", minutes="time: 5-90"),
    ),
)  # fmt: skip
HELD_OUT_SCHEMAS: tuple[Schema, ...] = (
    Schema(
        "airport",
        _table("pilot", "pilot", "pilots", name="name: person", base="home city: city"),
        _table("flight", "flight", "flights", flown_by="pilot: ref", carrier="airline: airline",
               passengers="load: 20-99", year="year: year"),
        _table("gate", "gate", "gates", carrier="airline: airline", number="number: 1-40"),
    ),
    Schema(
        "farm",
        _table("farmer", "farmer", "farmers", name="name: person", village="town: city"),
        _table("harvest", "harvest", "harvests", grower="farmer: ref", plant="crop: crop",
               tons="weight: 2-80", year="year: year"),
        _table("silo", "silo", "silos", content="crop: crop", height="height: 10-60"),
    ),
    Schema(
        "orchestra",
        _table("player", "musician", "musicians", name="name: person", born="birthplace: city"),
        _table("lesson", "lesson", "lessons", pupil="musician: ref",
               taught="instrument: instrument", minutes="length: 20-90", year="year: year"),
        _table("storage", "case", "cases", holds="instrument: instrument", kilos="weight: 1-30"),
    ),
)  # fmt: skip
SCHEMAS: Mapping[str, Schema] = {one.name: one for one in (*TRAIN_SCHEMAS, *HELD_OUT_SCHEMAS)}


def fill(schema: Schema, rng: random.Random) -> dict[str, tuple[dict[str, str], list[list[Cell]]]]:
    """Random rows: table -> (column -> type, rows)."""
    num_parents = rng.randint(5, 9)
    filled: dict[str, tuple[dict[str, str], list[list[Cell]]]] = {}
    num_rows = {
        schema.parent: num_parents,
        schema.child: rng.randint(12, 24),
        schema.other: rng.randint(4, 8),
    }
    for table in rng.sample(list(num_rows), 3):
        people = rng.sample(WORDS["person"], num_rows[table])
        rows: list[list[Cell]] = [
            [
                number + 1,
                *(
                    people[number] if one.holds == "person" else one.draw(rng, num_parents)
                    for one in table.columns
                ),
            ]
            for number in range(num_rows[table])
        ]
        types = {
            one.name: "text" if one.is_word or one.holds == "person" else "integer"
            for one in table.columns
        }
        filled[table.name] = {"id": "integer", **types}, rows
    return filled
