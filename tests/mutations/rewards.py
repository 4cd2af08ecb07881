"""The promises about reward models in use, in the form of table.py."""

from tests.mutations.mutation import Mutation

JOBS, SCORES = "tests/unit/workers/test_reward_jobs.py", "tests/unit/api/test_scoring.py"
PROCESS = "tests/unit/training_process/test_reward_scorer.py"

REWARDS = (
    Mutation(
        "a worker finds reward models of other projects",
        "service/storage/trainings.py",
        "project = select(jobs.c.project).where(jobs.c.id == lease.job_id)",
        "project = select(jobs.c.project).where(jobs.c.id == training_id)",
        ("tests/behaviour/test_projects.py::test_a_worker_finds_trainings_of_its_jobs_project_alone",),
    ),
    Mutation(
        "a tie gets a label all the same",
        "service/jobs/running/preferences.py",
        "    if gap == 0:\n        return None\n",
        "    if gap == 0:\n        return shard.positive\n",
        (f"{JOBS}::test_a_tie_has_no_label_and_is_reported",),
    ),
    Mutation(
        "a shard that was cut off asks for all its texts again",
        "service/jobs/running/rewards.py",
        "    return [RewardedText(reward, tokens) for reward, tokens in rewards]\n",
        "    return []\n",
        (f"{JOBS}::test_stopped_on_its_way_it_ends_the_same_and_asks_for_no_text_twice",),
    ),
    Mutation(
        "what another reward model has said counts as well",
        "service/jobs/running/rewards.py",
        'if (saved.get("version"), saved.get("model")) != (_VERSION, model.sha256)',
        'if saved.get("version") != _VERSION',
        (f"{JOBS}::test_rewards_of_another_reward_model_are_not_gone_on_with",),
    ),
    Mutation(
        "a few held-out pairs are enough for any verdict",
        "service/jobs/reporting/verdicts.py",
        "    if agreement.lower <= REWARD_CHANCE:\n",
        "    if agreement.share <= REWARD_CHANCE:\n",
        (f"{JOBS}::test_the_verdict_stands_on_held_out_pairs",),
    ),
    Mutation(
        "scores cost nothing",
        "service/trainings/scoring/score.py",
        "    await _charge(store, rewarded)\n",
        "",
        (f"{SCORES}::test_tokens_count_for_the_day_and_its_quota_holds",),
    ),
    Mutation(
        "a late answer is taken for the next one",
        "service/training_process/reward_child.py",
        'self._answers.get(str(event.facts["id"]))',
        'self._answers.get(next(iter(self._answers), ""))',
        (f"{PROCESS}::test_an_answer_that_nobody_waits_for_is_nobody_elses",),
    ),
    Mutation(
        "the process of a reward model is handed the secrets",
        "service/training_process/reward_child.py",
        "if not name.startswith(SECRET)",
        "if name",
        (f"{PROCESS}::test_files_are_gone_once_they_are_loaded_and_settings_are_not_passed_on",),
    ),
)
