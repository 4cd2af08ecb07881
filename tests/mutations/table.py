"""Lines on which a promise rests, each with what it would be if it were broken and the tests that must notice.

To add a row: the line as it stands in the file, where it must occur once; the same line broken so that the code
still runs; the few tests that are there for it. `make mutations` shows that they fail.
"""

from tests.mutations.adapters import ADAPTERS
from tests.mutations.mistakes import MISTAKES
from tests.mutations.mutation import Mutation
from tests.mutations.rewards import REWARDS
from tests.mutations.training import TRAINING
from tests.mutations.trust import TRUST

FENCE = (
    "        claim_is_current(work_items, lease.epoch, WorkStatus.RUNNING),\n"
    "        work_items.c.worker_id == lease.worker_id,\n"
)
ANY_LEASE = ("service/storage/fence.py", FENCE, "        work_items.c.status == WorkStatus.RUNNING,\n")
CLAIMING = "tests/behaviour/test_claiming.py"
LIFE = "tests/unit/lifecycle/test_decisions.py"
KEYS = "tests/unit/access/test_authentication.py"
RECALL = "tests/unit/search/test_recall.py"
SEARCHES = "tests/unit/search/test_training_strategies.py"
SEARCH = "tests/unit/search"
TRAINERS = "tests/unit/workers/test_training.py"

MUTATIONS = (
    Mutation("the fence asks for no lease", *ANY_LEASE, ("tests/behaviour/test_lease_fence.py",)),
    Mutation(
        "the fence asks for no lease, as the trace of commits sees it", *ANY_LEASE, ("tests/chaos/test_zombies.py",)
    ),
    Mutation(
        "the fence ignores the epoch",
        "service/storage/fence.py",
        "and_(table.c.epoch == epoch, table.c.status == status)",
        "and_(table.c.status == status)",
        (f"{CLAIMING}::test_a_worker_that_claims_a_shard_again_does_not_hold_its_earlier_lease",),
    ),
    Mutation(
        "a lost lease is no reason to stop",
        "service/storage/fence.py",
        "    query = select(*WORK_STATE).where(lease_is_current(lease)).with_for_update(key_share=True)\n",
        "    leased = (work_items.c.job_id == lease.job_id) & (work_items.c.number == lease.number)\n"
        "    query = select(*WORK_STATE).where(leased).with_for_update(key_share=True)\n",
        ("tests/behaviour/test_lease_fence.py",),
    ),
    Mutation(
        "a worker that lost its lease still names what it trained",
        "service/storage/trainings.py",
        "        await lock_lease(self._connection, lease)\n        own = ",
        "        own = ",
        ("tests/behaviour/test_lease_fence.py",),
    ),
    Mutation(
        "the fence asks for no lease, as a training's end sees it",
        *ANY_LEASE,
        (f"{TRAINERS}::test_a_worker_that_lost_its_lease_while_it_stored_the_artifact_names_nothing",),
    ),
    Mutation(
        "a training outlives its worker",
        "service/training_process/tied.py",
        "prctl(_PR_SET_PDEATHSIG, int(signal.SIGKILL), 0, 0, 0)",
        "prctl(_PR_SET_PDEATHSIG, 0, 0, 0, 0)",
        ("tests/unit/training_process/test_child.py::test_a_child_does_not_outlive_a_killed_parent",),
    ),
    Mutation(
        "leases never count as run out",
        "service/storage/fence.py",
        "return table.c.lease_until < func.now()",
        "return table.c.lease_until < table.c.lease_until",
        (f"{CLAIMING}::test_a_shard_whose_lease_expired_resumes_from_its_checkpoint",),
    ),
    Mutation(
        "leases always count as run out",
        "service/storage/work_queue.py",
        "(work_items.c.status == WorkStatus.RUNNING) & lease_expired(work_items)",
        "(work_items.c.status == WorkStatus.RUNNING)",
        (f"{CLAIMING}::test_many_workers_at_once_never_share_a_shard",),
    ),
    Mutation(
        "crashes are forgotten by no progress",
        "service/lifecycle/moves.py",
        "draft.set_work_status(WorkStatus.RUNNING, crashes=0)",
        "draft.set_work_status(WorkStatus.RUNNING)",
        (f"{CLAIMING}::test_a_shard_that_advances_between_crashes_never_fails",),
    ),
    Mutation(
        "saving the same again counts as progress",
        "service/storage/work_queue.py",
        "Saved(advanced=advanced, progress",
        "Saved(advanced=True, progress",
        (f"{CLAIMING}::test_saving_the_same_again_is_no_progress",),
    ),
    Mutation(
        "a lease that ran out counts as no crash",
        "service/lifecycle/moves.py",
        "crashes=work.crashes + int(work.status is WorkStatus.RUNNING),",
        "crashes=work.crashes,",
        (f"{CLAIMING}::test_a_shard_that_crashes_workers_without_progress_fails_and_another_job_goes_on",),
    ),
    Mutation(
        "nobody is notified",
        "service/storage/journal.py",
        "await self._connection.execute(select(func.pg_notify(channel, payload)))",
        "del channel, payload",
        ("tests/behaviour/test_reading.py::test_a_worker_that_waits_for_work_is_woken_when_some_is_queued",),
    ),
    Mutation(
        "an idempotency key can be taken again and again",
        "service/storage/idempotency.py",
        ".on_conflict_do_nothing()",
        '.on_conflict_do_update(index_elements=["project", "key"], set_={"job_id": job_id})',
        ("tests/behaviour/test_reading.py::test_a_key_returns_the_job_of_its_first_use",),
    ),
    Mutation(
        "an idempotency key serves any request",
        "service/jobs/submission/submit.py",
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
        "a job can be read by every project",
        "service/storage/progress.py",
        "return (jobs.c.id == job_id) & (jobs.c.project == project)",
        "return (jobs.c.id == job_id) & (jobs.c.project != project + '!')",
        ("tests/behaviour/test_projects.py::test_no_request_of_another_project_changes_a_job",),
    ),
    Mutation(
        "answers are not stored with what they cost",
        "service/jobs/running/answer_cache.py",
        "                answers = await unit.answers.record(self._claimed.lease, self._backend.known.id, answers)\n",
        "                pass\n",
        ("tests/behaviour/test_resuming.py::test_a_job_asks_nothing_that_another_one_has_asked",),
    ),
    Mutation(
        "what a training has said is not remembered",
        "service/jobs/running/trained_answers.py",
        "await self.scorer.remembered_answers(set(keys.values()))",
        "{}",
        ("tests/unit/workers/test_searches_that_train.py",),
    ),
    Mutation(
        "trainings are remembered whatever they learned",
        "service/search/prompting/recall.py",
        "for text in (one.text, str(one.label), repr(one.weight)))",
        "for text in (one.text, repr(one.weight)))",
        (f"{RECALL}::test_trainings_that_differ_in_anything_have_different_keys",),
    ),
    Mutation(
        "a fold is asked of a training that has seen it",
        "service/search/strategies/scalable.py",
        "sorted(everything.difference(fold)), sorted(fold), number)",
        "sorted(everything), sorted(fold), number)",
        (SEARCHES,),
    ),
    Mutation(
        "related rows are parted among folds",
        "service/search/strategies/scalable.py",
        "        min(folds, key=len).extend(group)\n",
        "        for row in group:\n            min(folds, key=len).append(row)\n",
        (SEARCHES,),
    ),
    Mutation(
        "a search begins anew with each worker, as the trace of commits sees it",
        "service/jobs/running/run.py",
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
        "service/webhooks/http/network.py",
        "self._inner.connect_tcp(str(address), port,",
        "self._inner.connect_tcp(host, port,",
        ("tests/unit/delivery/test_sender.py",),
    ),
    Mutation(
        "webhooks are sent past the guard",
        "service/webhooks/http/sender.py",
        ", network_backend=self._network)",
        ")",
        ("tests/unit/delivery/test_sender.py",),
    ),
    Mutation(
        "two processes record one delivery",
        "service/storage/fence.py",
        "and_(table.c.epoch == epoch, table.c.status == status)",
        "and_(table.c.status == status)",
        ("tests/behaviour/test_outbox.py",),
    ),
    Mutation(
        "a worker is not notified that a person has paused the job",
        "service/lifecycle/table.py",
        "(e.Renewed,         RENEW,     RENEW,     INTERRUPT,",
        "(e.Renewed,         RENEW,     RENEW,     RENEW,    ",
        ("tests/behaviour/test_pauses_by_people.py",),
    ),
    Mutation(
        "an outage ends what a person has paused",
        "service/lifecycle/table.py",
        "(e.RetryFailed,     SUSPEND,   SUSPEND,   ASIDE,  ",
        "(e.RetryFailed,     SUSPEND,   SUSPEND,   SUSPEND,",
        (f"{LIFE}::test_each_cell_of_the_table_changes_job_and_shard_as_listed",),
    ),
    Mutation(
        "a second shard that meets an outage makes the job wait for longer",
        "service/lifecycle/table.py",
        "(e.ResourceMissing, SUSPEND,   ASIDE,  ",
        "(e.ResourceMissing, SUSPEND,   SUSPEND,",
        (f"{LIFE}::test_each_cell_of_the_table_changes_job_and_shard_as_listed",),
    ),
    Mutation(
        "the anchor's end lets no other shard begin",
        "service/lifecycle/table.py",
        "SUCCEED: Cell = (succeed, unblock, count_items)",
        "SUCCEED: Cell = (succeed, count_items)",
        ("tests/behaviour/test_job_endings.py",),
    ),
    Mutation(
        "a job that is to be cancelled can be paused",
        "service/lifecycle/table.py",
        "(e.PauseRequested,  PAUSE,     PAUSE,     (),        REFUSE, ",
        "(e.PauseRequested,  PAUSE,     PAUSE,     (),        PAUSE,  ",
        (f"{LIFE}::test_each_cell_of_the_table_changes_job_and_shard_as_listed",),
    ),
    Mutation(
        "waits for a backend do not grow",
        "service/lifecycle/moves.py",
        "tries=before.tries + 1)",
        "tries=before.tries)",
        (f"{LIFE}::test_each_failed_retry_makes_the_next_wait_longer_up_to_a_minute",),
    ),
    Mutation(
        "progress does not make waits short again",
        "service/lifecycle/moves.py",
        "draft.job = replace(draft.job, tries=0)",
        "draft.job = replace(draft.job)",
        ("tests/behaviour/test_pauses.py::test_progress_makes_waits_short_again_but_a_recovery_alone_does_not",),
    ),
    Mutation(
        "a job ends while some of its shards are open",
        "service/lifecycle/decisions.py",
        "if counts.succeeded == counts.total else job.status",
        "if counts.succeeded else job.status",
        (f"{LIFE}::test_a_job_ends_as_its_shards_call_for", "tests/behaviour/test_job_endings.py"),
    ),
    Mutation(
        "webhooks report progress",
        "service/lifecycle/messages.py",
        'event_type.startswith("job.") and event_type != "job.progress"',
        'event_type.startswith("job.")',
        (f"{LIFE}::test_webhooks_report_the_job_as_it_is_after_the_event",),
    ),
    Mutation(
        "a redraw changes labels that the user is sure of",
        "service/search/moves/redraw.py",
        "members = [row for row in group if row in scores and row not in known]",
        "members = [row for row in group if row in scores]",
        ("tests/unit/search/test_known_rows.py",),
    ),
    Mutation(
        "an answer that has nothing to do with the known rows is heeded as much as theirs",
        "service/search/measures/known_evidence.py",
        "    if max(fits) < fits[0] + EARNED_NATS and not _are_related(own, other, shares):\n",
        "    if not parts:\n",
        (f"{SEARCH}/test_known_evidence.py::test_a_source_that_agrees_with_nothing_is_left_out_though_lucky",),
    ),
    Mutation(
        "an impression that agrees with its own labels outweighs the views",
        "service/search/measures/gain.py",
        "    return min(view_weight(labels, impression, classes), sum(others) / len(others))\n",
        "    return view_weight(labels, impression, classes)\n",
        (f"{SEARCH}/test_gain.py::test_an_impression_weighs_no_more_than_the_views_do_on_average",),
    ),
    Mutation(
        "the search ignores a gap between predictions",
        "service/search/predictions/gap.py",
        "    return assumed if moved == shift else",
        "    return assumed if moved else",
        (f"{SEARCH}/test_gain_search.py::test_a_language_model_sure_of_most_rows_keeps_the_shares_that_it_sees",),
    ),
    Mutation(
        "labels found are shown behind known rows that they predict worse",
        "service/search/gain/choice.py",
        "    return lead_nats(problem, state) >= least\n",
        "    return True\n",
        (f"{SEARCH}/test_gain_search.py::test_labels_found_that_predict_known_rows_worse_are_not_shown",),
    ),
    Mutation(
        "later shards read label words as they stand, though known rows have turned them",
        "service/search/gain/pooling.py",
        "        return self.panel.with_source(places[0], state.source) if places and state.source else self.panel\n",
        "        return self.panel\n",
        (f"{SEARCH}/test_panel.py::test_words_that_known_rows_have_turned_are_turned_in_later_shards_too",),
    ),
    Mutation(
        "a label that another begins with is not ended",
        "service/scoring/tokenization/labels.py",
        "        spellings = await made_distinct(finder, spellings)\n",
        "        await made_distinct(finder, spellings)\n",
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
        "the base scores what a job asks of an adapter",
        "service/scoring/embedded.py",
        "{**body, **adapter}",
        "body",
        ("tests/unit/scoring/test_embedded.py", "tests/behaviour/test_adapters.py"),
    ),
    Mutation(
        "the canary of an adapter is that of its base",
        "service/scoring/embedded.py",
        '{"model": self._adapter}',
        "{}",
        ("tests/behaviour/test_adapters.py",),
    ),
    Mutation(
        "an adapter reads what its base wrote into the prefix cache",
        "inference/cache/prefix_cache.py",
        "self._roots.setdefault(owner, ",
        'self._roots.setdefault("", ',
        ("tests/inference/test_adapters.py",),
    ),
    Mutation(
        "an adapter's part of the prefix cache goes while requests use it",
        "inference/adapters/registry.py",
        "        if self._users[adapter.sha] == 0:\n",
        "        if self._users[adapter.sha] >= 0:\n",
        ("tests/inference/test_adapter_wires.py",),
    ),
    Mutation(
        "an adapter that is in no folder of the operator's is loaded",
        "inference/adapters/registry.py",
        "if not folder.is_relative_to(root):",
        "if folder == root.parent:",
        ("tests/inference/test_adapter_wires.py",),
    ),
    Mutation(
        "an adapter is served over another base than it was trained on",
        "inference/adapters/folder.py",
        "if comparable and base.sha not in comparable:",
        "if comparable and base.sha is None:",
        ("tests/inference/test_adapter_folders.py",),
    ),
    Mutation(
        "an adapter's fingerprint is blind to its base",
        "inference/adapters/folder.py",
        'f"base {base.sha or base.name}"',
        '"base"',
        ("tests/inference/test_adapter_folders.py",),
    ),
    Mutation(
        "answers to labels with other ends are taken for the same",
        "service/search/prompting/recall.py",
        "ends = (separator,) if _may_be_ended(labels) else ()",
        "ends = ()",
        ("tests/unit/search/test_recall.py",),
    ),
    Mutation(
        "two maintainers work at once",
        "service/storage/retention.py",
        "return bool((await self._connection.execute(lock)).scalar_one())",
        "return (await self._connection.execute(lock)).scalar_one() is not None",
        ("tests/integration/test_maintenance.py",),
    ),
    *MISTAKES,
    *TRAINING,
    *ADAPTERS,
    *REWARDS,
    *TRUST,
)
