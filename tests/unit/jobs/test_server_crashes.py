"""Which prompts the inference server is suspected to die over."""

from service.jobs.running.server_crashes import CRASHES, ServerCrashes
from service.search.prompting.recall import PromptKey

A, B, C = (PromptKey(bytes([number]) * 16) for number in range(3))


def test_a_crash_on_several_prompts_makes_suspects_and_accuses_none() -> None:
    crashes = ServerCrashes()
    crashes.note([A, B], alone=True)
    crashes.note([B, C], alone=False)
    assert crashes.suspects([A, B, C]) == {A, B, C}
    assert crashes.accused([A, B, C]) == 0


def test_a_prompt_is_fatal_after_several_crashes_on_it_alone() -> None:
    crashes = ServerCrashes()
    for _ in range(CRASHES):
        assert not crashes.is_fatal(A)
        crashes.note([A], alone=True)
        crashes.note([B], alone=False)
    assert crashes.is_fatal(A)
    assert not crashes.is_fatal(B)
    assert crashes.accused([A, B]) == 1


def test_an_answered_prompt_is_no_suspect() -> None:
    crashes = ServerCrashes()
    crashes.note([A, B], alone=False)
    crashes.acquit([A, C])
    assert crashes.suspects([A, B, C]) == {B}


def test_suspects_are_read_as_they_were_stored() -> None:
    crashes = ServerCrashes()
    crashes.note([A, B], alone=False)
    crashes.note([B], alone=True)
    assert ServerCrashes.stored(crashes.to_json()) == crashes
