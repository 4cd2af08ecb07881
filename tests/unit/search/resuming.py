"""Checks that a search resumed from its stored state continues like one that was not interrupted."""

import itertools

import orjson

from service.search.engine import Search
from service.search.state.checkpoint import from_json, to_json
from service.search.state.problem import Problem
from service.search.state.steps import State, Strategy
from tests.toy import ToyWorld, drive


def check_every_step_resumes(world: ToyWorld, problem: Problem, strategy: Strategy) -> list[State]:
    """Store each state of a search, read it back, and take one step from it: by induction the ends are equal, too.

    Compares stored forms, since equal dictionaries may differ in their order. Returns the states.
    """
    states = drive(world, problem, strategy)
    for before, after in itertools.pairwise(states):
        again = from_json(orjson.loads(orjson.dumps(to_json(before))))
        assert again == before
        assert to_json(next_state(world, problem, strategy, again)) == to_json(after)
    return states


def next_state(world: ToyWorld, problem: Problem, strategy: Strategy, state: State) -> State:
    """The state after the first further step that asked for scores, or the end."""
    search = Search(problem, strategy, state)
    while (request := search.ask()) is not None:
        if search.tell(world.answers(request)):
            break
    return search.state
