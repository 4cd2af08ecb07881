"""Lists every kind of relation. To add a kind, write its module and give it a line here."""

from typing import Annotated

from pydantic import Field

from service.relations.antisymmetric import AntisymmetricRelation
from service.relations.groups import GroupRelation
from service.relations.pairs import PairsRelation
from service.relations.transitive import TransitiveRelation

AnyKind = GroupRelation | AntisymmetricRelation | TransitiveRelation | PairsRelation
Relation = Annotated[AnyKind, Field(discriminator="kind")]
