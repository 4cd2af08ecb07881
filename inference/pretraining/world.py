"""The world of the small model: six tasks whose claims are true or false by construction."""

import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from random import Random
from typing import Any

LARGEST_NUMBER = 99
LARGEST_OPERAND = 9
LARGEST_ERROR = 4  # how far a false sum lies from the true one, at most

_UNITS = [
    "zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve",
    "thirteen", "fourteen", "fifteen", "sixteen", "seventeen", "eighteen", "nineteen",
]  # fmt: skip
_TENS = ["twenty", "thirty", "forty", "fifty", "sixty", "seventy", "eighty", "ninety"]


@dataclass(frozen=True)
class Claim:
    """One statement about the world, as slots for a phrasing, and whether it is true."""

    slots: Mapping[str, str]
    truth: bool


@dataclass(frozen=True)
class Task:
    """A kind of claim: a way to draw one, and the sentences that can express it.

    `statements` are sentences without their full stop; `question` is a pair in the
    Question / Claim form. Both are `str.format` templates over the claim's slots.
    `draws_hard` draw one kind of hard claims each, if the task has such.
    """

    name: str
    draw: Callable[[Random, bool], Claim]
    statements: tuple[str, ...]
    question: str
    draws_hard: tuple[Callable[[Random, bool], Claim], ...] = ()


def in_words(number: int) -> str:
    """Spell a number from 0 to 99 in English, for example 51 as "fifty-one"."""
    if number < len(_UNITS):
        return _UNITS[number]
    tens, unit = divmod(number, 10)
    return _TENS[tens - 2] + (f"-{_UNITS[unit]}" if unit else "")


@cache
def facts() -> dict[str, Any]:
    """The facts of `facts.toml`: capitals, cities, further countries and Spanish words."""
    return tomllib.loads(files(__package__).joinpath("facts.toml").read_text(encoding="utf-8"))


@cache
def country_of_city() -> dict[str, str]:
    """Every city of the training, with its country."""
    return {city: country for country, cities in facts()["cities"].items() for city in cities}


def _other(rng: Random, choices: list[str], than: str) -> str:
    while (choice := rng.choice(choices)) == than:
        pass
    return choice


def _any_pair(rng: Random) -> list[int]:
    return rng.sample(range(LARGEST_NUMBER + 1), 2)


def _pair_within_ten(rng: Random) -> list[int]:
    """Draw numbers with the same tens, so that the units decide."""
    tens = rng.randrange(0, LARGEST_NUMBER, 10)
    return [tens + unit for unit in rng.sample(range(10), 2)]


def _pair_across_ten(rng: Random) -> list[int]:
    """Draw a larger number with the next tens and smaller units, such as 41 and 39: units alone would mislead."""
    tens = rng.randrange(10, LARGEST_NUMBER, 10)
    smaller, larger = sorted(rng.sample(range(10), 2))
    return [tens + smaller, tens - 10 + larger]


def _comparison_of(
    draw_pair: Callable[[Random], list[int]], spell: Callable[[int], str]
) -> Callable[[Random, bool], Claim]:
    def draw(rng: Random, truth: bool) -> Claim:
        first, second = (spell(number) for number in sorted(draw_pair(rng), reverse=truth))
        left, right = rng.sample([first, second], 2)
        return Claim({"first": first, "second": second, "left": left, "right": right}, truth)

    return draw


def _comparisons(name: str, spell: Callable[[int], str]) -> Task:
    return Task(
        name,
        _comparison_of(_any_pair, spell),
        ("{first} is larger than {second}", "{first} is greater than {second}", "{second} is smaller than {first}"),
        "Question: Which is larger, {left} or {right}?\nClaim: {first}",
        (_comparison_of(_pair_within_ten, spell), _comparison_of(_pair_across_ten, spell)),
    )


def _addition(rng: Random, truth: bool) -> Claim:
    first, second = rng.randint(1, LARGEST_OPERAND), rng.randint(1, LARGEST_OPERAND)
    total = first + second
    if not truth:
        errors = [e for e in range(-LARGEST_ERROR, LARGEST_ERROR + 1) if e and total + e > 0]
        total += rng.choice(errors)
    return Claim({"first": str(first), "second": str(second), "total": str(total)}, truth)


def _capital(rng: Random, truth: bool) -> Claim:
    capitals: dict[str, str] = facts()["capitals"]
    country, city = rng.choice(list(capitals.items()))
    stated = city if truth else _other(rng, list(capitals.values()), city)
    return Claim({"country": country, "city": stated}, truth)


def _city(rng: Random, truth: bool) -> Claim:
    city, country = rng.choice(list(country_of_city().items()))
    countries = [*facts()["cities"], *facts()["elsewhere"]["countries"]]
    stated = country if truth else _other(rng, countries, country)
    return Claim({"city": city, "country": stated}, truth)


def _spanish(rng: Random, truth: bool) -> Claim:
    meanings: dict[str, str] = facts()["spanish"]
    word, meaning = rng.choice(list(meanings.items()))
    stated = meaning if truth else _other(rng, list(meanings.values()), meaning)
    return Claim({"word": word, "meaning": stated}, truth)


TASKS: tuple[Task, ...] = (
    _comparisons("comparisons_digits", str),
    _comparisons("comparisons_words", in_words),
    Task(
        "additions",
        _addition,
        (
            "{first} + {second} = {total}",
            "{first} plus {second} is {total}",
            "The sum of {first} and {second} is {total}",
        ),
        "Question: What is {first} + {second}?\nClaim: {total}",
    ),
    Task(
        "capitals",
        _capital,
        ("{city} is the capital of {country}", "The capital of {country} is {city}"),
        "Question: What is the capital of {country}?\nClaim: {city}",
    ),
    Task(
        "cities",
        _city,
        ("The city of {city} is in {country}", "{city} is a city in {country}", "{city} is in {country}"),
        "Question: Which country is {city} in?\nClaim: {country}",
    ),
    Task(
        "spanish",
        _spanish,
        ("The Spanish word '{word}' means '{meaning}'", "In Spanish, '{word}' means '{meaning}'"),
        "Question: What does the Spanish word '{word}' mean?\nClaim: {meaning}",
    ),
)
