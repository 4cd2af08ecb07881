"""Lines on which a promise rests, each with what it would be if it were broken and the tests that must notice.

To add a row: the line as it stands in the file, where it must occur once; the same line broken so that the code
still runs; the few tests that are there for it. `make mutations` shows that they fail.
"""

from tests.mutations.mutation import Mutation
from tests.mutations.training import TRAINING

FENCE = "        shards.c.epoch == lease.epoch,\n        shards.c.worker_id == lease.worker_id,\n"
ANY_LEASE = ("service/storage/fence.py", FENCE, "")
CLAIMING = "tests/behaviour/test_claiming.py"
KEYS = "tests/unit/access/test_authentication.py"

MUTATIONS = (
    Mutation("the fence asks for no lease", *ANY_LEASE, ("tests/behaviour/test_lease_fence.py",)),
    Mutation(
        "the fence asks for no lease, as the trace of commits sees it", *ANY_LEASE, ("tests/chaos/test_zombies.py",)
    ),
    Mutation(
        "the fence ignores the epoch",
        "service/storage/fence.py",
        "        shards.c.epoch == lease.epoch,\n",
        "",
        (f"{CLAIMING}::test_a_worker_who_comes_back_does_not_hold_the_lease_it_had_before",),
    ),
    Mutation(
        "a lost lease is no reason to stop",
        "service/storage/fence.py",
        "    if crashes is None:\n        raise lease_lost(lease)\n    return int(crashes)",
        "    return int(crashes or 0)",
        ("tests/behaviour/test_lease_fence.py",),
    ),
    Mutation(
        "leases never count as run out",
        "service/storage/shards.py",
        "(shards.c.status == ShardStatus.RUNNING) & (shards.c.lease_until < func.now())",
        "(shards.c.status == ShardStatus.RUNNING) & (shards.c.lease_until < shards.c.queued_at)",
        (f"{CLAIMING}::test_a_shard_whose_lease_ran_out_goes_on_where_it_was_saved",),
    ),
    Mutation(
        "leases always count as run out",
        "service/storage/shards.py",
        "(shards.c.status == ShardStatus.RUNNING) & (shards.c.lease_until < func.now())",
        "(shards.c.status == ShardStatus.RUNNING)",
        (f"{CLAIMING}::test_a_shard_is_claimed_by_one_worker_only",),
    ),
    Mutation(
        "crashes are forgotten by no progress",
        "service/storage/shards.py",
        "update(shards).where(holds(lease)).values(crashes=0)",
        "update(shards).where(holds(lease)).values(crashes=crashes)",
        (f"{CLAIMING}::test_a_shard_that_advances_between_crashes_is_never_given_up",),
    ),
    Mutation(
        "saving the same again counts as progress",
        "service/storage/shards.py",
        "if await self._store_checkpoint(lease, checkpoint) and crashes:",
        "if [await self._store_checkpoint(lease, checkpoint)] and crashes:",
        (f"{CLAIMING}::test_saving_the_same_again_is_no_progress",),
    ),
    Mutation(
        "a lease that ran out counts as no crash",
        "service/storage/shards.py",
        "row.crashes + int(row.status == ShardStatus.RUNNING)",
        "row.crashes",
        (f"{CLAIMING}::test_a_shard_that_ends_workers_without_progress_is_given_up",),
    ),
    Mutation(
        "nobody is notified",
        "service/storage/journal.py",
        "await self._connection.execute(select(func.pg_notify(channel, payload)))",
        "del channel, payload",
        ("tests/behaviour/test_reading.py::test_who_waits_for_work_is_woken_when_some_is_queued",),
    ),
    Mutation(
        "an idempotency key can be taken again and again",
        "service/storage/idempotency.py",
        ".on_conflict_do_nothing()",
        '.on_conflict_do_update(index_elements=["project", "key"], set_={"job_id": job_id})',
        ("tests/behaviour/test_reading.py::test_a_key_gives_back_what_it_was_used_for",),
    ),
    Mutation(
        "an idempotency key serves any request",
        "service/jobs/submit.py",
        "if stored.sha256 != request.sha256:",
        "if not stored.sha256:",
        ("tests/unit/api/test_jobs.py::test_the_same_key_with_another_data_set_is_refused",),
    ),
    Mutation(
        "every secret fits every API key",
        "service/access/keys.py",
        "return hmac.compare_digest(self.sha256, sha256)",
        "return len(self.sha256) == len(sha256)",
        (f"{KEYS}::test_the_same_id_with_another_secret_is_refused_in_the_words_for_an_unknown_key",),
    ),
    Mutation(
        "revoked keys let people in",
        "service/access/authentication.py",
        "if stored is None or not matches or not stored.key.is_good(stored.now):",
        "if stored is None or not matches:",
        (f"{KEYS}::test_a_revoked_key_is_refused_from_then_on",),
    ),
    Mutation(
        "a job is everybody's",
        "service/storage/progress.py",
        "return (jobs.c.id == job_id) & (jobs.c.project == project)",
        "return (jobs.c.id == job_id) & (jobs.c.project != project + '!')",
        ("tests/behaviour/test_projects.py::test_nothing_that_another_project_asks_for_changes_a_job",),
    ),
    Mutation(
        "answers are not stored with what they cost",
        "service/jobs/asking.py",
        "                answers = await unit.answers.record(self._lease, self._backend.id, answers)\n",
        "                pass\n",
        ("tests/behaviour/test_resuming.py::test_a_job_asks_nothing_that_another_one_has_asked",),
    ),
    Mutation(
        "a search begins anew with each worker, as the trace of commits sees it",
        "service/jobs/run.py",
        "    if claimed.checkpoint is None:\n        return None\n",
        "    if claimed.checkpoint is not None:\n        return None\n",
        ("tests/chaos/test_zombies.py",),
    ),
    Mutation(
        "webhooks may lead to any address",
        "service/webhooks/addresses.py",
        "        if not is_public(address):\n",
        "        if address.max_prefixlen == 0:\n",
        ("tests/unit/delivery/test_sender.py", "tests/unit/webhooks/test_addresses.py"),
    ),
    Mutation(
        "a name is looked up again behind the check of its addresses",
        "service/delivery/network.py",
        "self._inner.connect_tcp(str(address), port,",
        "self._inner.connect_tcp(host, port,",
        ("tests/unit/delivery/test_sender.py",),
    ),
    Mutation(
        "webhooks are sent past the guard",
        "service/delivery/sender.py",
        ", network_backend=self._network)",
        ")",
        ("tests/unit/delivery/test_sender.py",),
    ),
    Mutation(
        "two processes record one delivery",
        "service/storage/webhook_queue.py",
        "_queue.epoch == lease.epoch, ",
        "",
        ("tests/behaviour/test_outbox.py",),
    ),
    Mutation(
        "a worker does not hear that a person has paused the job",
        "service/storage/shards.py",
        "row.cancel_requested or row.on_hold or",
        "row.cancel_requested or",
        ("tests/behaviour/test_pauses_by_people.py",),
    ),
    Mutation(
        "a redraw changes labels that the user is sure of",
        "service/search/redraw.py",
        "members = [row for row in group if row in scores and row not in known]",
        "members = [row for row in group if row in scores]",
        ("tests/unit/search/test_known_rows.py",),
    ),
    Mutation(
        "a label that another begins with is not ended",
        "service/scoring/labels.py",
        "        spellings = await told_apart(finder, spellings)\n",
        "        await told_apart(finder, spellings)\n",
        ("tests/unit/scoring/test_labels.py",),
    ),
    Mutation(
        "the embedded server ends no label",
        "inference/label_tokens.py",
        "        paths = [path for path in longer if path is not None]\n",
        "        return {path.ids: path.spelling.label for path in paths}\n",
        ("tests/inference/test_label_tokens.py",),
    ),
    Mutation(
        "answers to labels with other ends are taken for the same",
        "service/search/recall.py",
        "ends = (separator,) if _may_be_ended(labels) else ()",
        "ends = ()",
        ("tests/unit/search/test_recall.py",),
    ),
    Mutation(
        "two maintainers work at once",
        "service/storage/upkeep.py",
        "return bool((await self._connection.execute(lock)).scalar_one())",
        "return (await self._connection.execute(lock)).scalar_one() is not None",
        ("tests/integration/test_maintenance.py",),
    ),
    Mutation(
        "blank cells of a relation's column are one group",
        "service/jobs/relations.py",
        "return any(is_blank(row[column]) for column in relation.columns)",
        "return any(row[column] is None for column in relation.columns)",
        ("tests/unit/jobs/test_relations.py::test_rows_that_are_blank_in_a_column_of_a_relation_are_tied_by_nothing",),
    ),
    Mutation(
        "gold that is none of the labels counts as wrong",
        "service/jobs/health/calibration.py",
        "if meant is None:",
        "if meant is None and not gold:",
        ("tests/unit/jobs/health/test_calibration.py::test_gold_that_is_no_label_is_neither_right_nor_wrong",),
    ),
    Mutation(
        "labels are asked for behind the white space that a row ends with",
        "service/jobs/template.py",
        "return text.rstrip()",
        "return text",
        ("tests/unit/jobs/test_survey.py::test_white_space_at_the_end_of_a_row_is_not_read",),
    ),
    *TRAINING,
)
