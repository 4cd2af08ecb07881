"""The base classes of the parts of a unit of work: all of them use its connection, so they share one transaction."""

from sqlalchemy.ext.asyncio import AsyncConnection

from service.identifiers import ProjectName


class UnitPart:
    """A part of a unit of work that may see every project."""

    def __init__(self, connection: AsyncConnection) -> None:
        self._connection = connection


class ProjectPart(UnitPart):
    """A part of a unit of work that sees one project alone."""

    def __init__(self, connection: AsyncConnection, project: ProjectName) -> None:
        super().__init__(connection)
        self._project = project
