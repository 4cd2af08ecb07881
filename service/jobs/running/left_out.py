"""Records the rows of a shard that the backend cannot score, with the reason, and warns of them."""

from collections.abc import Mapping, Sequence
from dataclasses import replace

import orjson

from service.config import Task
from service.identifiers import Row
from service.jobs.task.relations import row_id
from service.ports.store import Store
from service.records.jobs import ClaimedShard, Progress, ShardRow
from service.records.labels import LabelState
from service.search.state import checkpoint
from service.search.state.steps import State
from service.values import by_number, counted

_SHOWN_ROWS = 5
_SHOWN_CHARACTERS = 200  # of a reason; the label states have the whole of it


async def rows_left_out(store: Store, claimed: ClaimedShard) -> dict[Row, str]:
    """The rows recorded so far, with the reason."""
    async with store.worker_unit() as unit:
        return await unit.labels.unscorable(claimed.lease.job_id, claimed.lease.number)


async def leave_out(
    store: Store, claimed: ClaimedShard, reasons: Mapping[Row, str], state: State, progress: Progress
) -> None:
    """Record why these rows have no label, and the state in which the search begins again. Raises LeaseLost."""
    states = [LabelState(position=row, reason=reason) for row, reason in reasons.items()]
    saved = orjson.dumps(checkpoint.to_json(state))
    begun_again = replace(progress, labeled=0, iterations=0, accepted=0, utility=None, inconsistencies=0)
    async with store.worker_unit() as unit:
        await unit.labels.write(claimed.lease, states)
        await unit.shards.save(claimed.lease, checkpoint=saved, progress=begun_again)


def left_out_warning(left_out: Mapping[Row, str], rows: Sequence[ShardRow], task: Task) -> str:
    """A warning with the number of these rows, and the ids and reasons of the first few."""
    fields = {row.position: orjson.loads(row.data) for row in rows if row.position in left_out}
    first = [
        f"{row_id(task.id_field, row, fields[row])!r} ({left_out[row][:_SHOWN_CHARACTERS]})"
        for row in list(left_out)[:_SHOWN_ROWS]
    ]
    more = len(left_out) - len(first)
    what = f"{counted(len(left_out), 'row')} {by_number(len(left_out), 'is', 'are')}"
    whose = by_number(len(left_out), "its prompt", "their prompts")
    return (
        f"{what} unlabeled, since the inference server gives no scores for {whose} and answers all others: "
        f"{', '.join(first)}{f' and {more} more' if more else ''}; the job's labels say why, row by row"
    )
