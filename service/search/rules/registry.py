"""Lists every rule between rows. To add a rule, write its module and give it a line here."""

from enum import Enum
from typing import Self

from service.search.rules.at_most_one import AtMostOne
from service.search.rules.different_label import DifferentLabel
from service.search.rules.exactly_one import ExactlyOne
from service.search.rules.rule import RuleKind
from service.search.rules.same_label import SameLabel
from service.search.rules.transitive import Transitive


class Rule(Enum):
    """The rules by name; a member's `kind` implements the rule."""

    kind: RuleKind

    AT_MOST_ONE = AtMostOne()
    EXACTLY_ONE = ExactlyOne()
    SAME_LABEL = SameLabel()
    DIFFERENT_LABEL = DifferentLabel()
    TRANSITIVE = Transitive()

    def __new__(cls, kind: RuleKind) -> Self:
        """Make a member whose value is the rule's name."""
        member = object.__new__(cls)
        member._value_ = kind.name
        member.kind = kind
        return member


RULE_NAMED = {rule.kind.name: rule for rule in Rule}
