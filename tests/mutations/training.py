"""The promises of `training/` and of trainings through the service, in the form of table.py."""

from tests.mutations.mutation import Mutation

RUN, INTERRUPTIONS = "tests/training/test_run.py", "tests/training/test_interruptions.py"
HACKING, SCORES = "tests/training/test_hacking.py", "tests/training/test_scores.py"
POLICIES, NEEDED = "tests/unit/api/test_policy_trainings.py", "tests/integration/test_needed_models.py"
READING = "tests/behaviour/test_reading.py"
LEARNING, FILES = "tests/training/test_learning.py", "tests/training/test_files.py"

TRAINING = (
    Mutation(
        "a training that is started again begins anew",
        "training/optimisation/stage.py",
        "resume_from_checkpoint=str(newest) if newest else None",
        "resume_from_checkpoint=None",
        (f"{INTERRUPTIONS}::test_a_stopped_training_saves_and_resumes_to_the_same_bytes",),
    ),
    Mutation(
        "the order of rows does not depend on the step that a training goes on from",
        "training/optimisation/trainer.py",
        '        "seed": spec.seed,\n',
        '        "seed": spec.seed,\n        "ignore_data_skip": True,\n',
        (f"{INTERRUPTIONS}::test_a_stopped_training_saves_and_resumes_to_the_same_bytes",),
    ),
    Mutation(
        "a stop loses what was done since the last checkpoint",
        "training/optimisation/watcher.py",
        "self._must_stop(args.device):\n            control.should_save = control.should_training_stop = True",
        "self._must_stop(args.device):\n            control.should_training_stop = True",
        (f"{INTERRUPTIONS}::test_a_stopped_training_saves_and_resumes_to_the_same_bytes",),
    ),
    Mutation(
        "a damaged checkpoint is as good as a whole one",
        "training/optimisation/checkpoints.py",
        "return bool(sealed) and found == sealed",
        "return bool(sealed)",
        (f"{FILES}::test_a_damaged_checkpoint_is_passed_over",),
    ),
    Mutation(
        "prompts are learned too",
        "training/data/collation.py",
        "learned = torch.full((len(targets), longest), IGNORED)",
        "learned = torch.full((len(targets), longest), 3)",
        (f"{LEARNING}::test_the_loss_is_what_the_language_model_pays_for_the_label",),
    ),
    Mutation(
        "what stands before a label is read one place too far",
        "training/data/collation.py",
        "sequences = [target.prompt + target.label[:-1] for target in targets]",
        "sequences = [target.prompt + target.label for target in targets]",
        (f"{LEARNING}::test_the_loss_is_what_the_language_model_pays_for_the_label",),
    ),
    Mutation(
        "every row weighs the same",
        "training/optimisation/trainer.py",
        "nats: torch.Tensor = weights * nats_of_labels",
        "nats: torch.Tensor = (weights > 0) * nats_of_labels",
        (f"{LEARNING}::test_the_loss_of_a_step_is_the_weighted_mean_over_its_rows",),
    ),
    Mutation(
        "a row over the context is taken",
        "training/data/tokenization.py",
        "if tokens > self._context_tokens:",
        "if tokens > self._context_tokens + 1:",
        ("tests/training/test_tokenization.py",),
    ),
    Mutation(
        "the content hash does not cover names",
        "training/artifacts.py",
        'f"{sha256_of(file)}  {name_within(file, folder)}\\n"',
        'f"{sha256_of(file)}\\n"',
        (f"{FILES}::test_the_content_hash_notices_every_change",),
    ),
    Mutation(
        "an adapter is not looked at again",
        "training/run.py",
        'content_hash(folder) == made["sha256"]',
        'bool(made["sha256"])',
        (f"{RUN}::test_a_changed_adapter_is_noticed",),
    ),
    Mutation(
        "a training learns gold labels",
        "training/kinds/label_training.py",
        'return self._stage("training", [self.rows[row].label for row in self.parts.trained], ',
        'return self._stage("training", [self.gold[row] or 0 for row in self.parts.trained], ',
        (f"{SCORES}::test_neither_gold_nor_rows_to_be_scored_change_a_byte_of_what_is_trained",),
    ),
    Mutation(
        "the digest of the rows covers gold",
        "training/data/examples.py",
        "digest([row.prompt, row.label, row.weight, row.group] for",
        "digest([row.prompt, row.label, row.weight, row.group, *self.gold] for",
        ("tests/training/test_examples.py::test_gold_is_no_part_of_a_row_nor_of_the_digest",),
    ),
    Mutation(
        "two trainings share a folder",
        "training/supervision.py",
        "fcntl.LOCK_EX | fcntl.LOCK_NB",
        "fcntl.LOCK_SH | fcntl.LOCK_NB",
        (f"{FILES}::test_a_locked_folder_is_refused_until_it_is_released",),
    ),
    Mutation(
        "the network is not cut off",
        "training/__main__.py",
        '    HF_HUB_OFFLINE="1",\n    HF_HUB_DISABLE_TELEMETRY="1",\n',
        '    HF_HUB_OFFLINE="0",\n    HF_HUB_DISABLE_TELEMETRY="0",\n',
        ("tests/training/test_command_line.py",),
    ),
    Mutation(
        "every epoch of a policy reads its prompts in the same order",
        "training/optimisation/policy_trainer.py",
        "manual_seed(self._seed * 1_000_003 + self._epoch)",
        "manual_seed(self._seed * 1_000_003)",
        (f"{HACKING}::test_the_order_of_prompts_depends_on_seed_and_epoch_alone",),
    ),
    Mutation(
        "a policy over the KL limit is kept",
        "training/policy/rules.py",
        'within = [one for one in measurements(log) if one["kl_nats"] <= kl_limit]',
        "within = measurements(log)",
        (f"{HACKING}::test_the_policy_with_the_highest_reward_within_the_limit_is_kept",),
    ),
    Mutation(
        "measuring a policy moves the draws of its training",
        "training/policy/sampling.py",
        "torch.random.fork_rng(devices=devices):",
        "torch.random.fork_rng(devices=devices, enabled=False):",
        (f"{HACKING}::test_draws_depend_on_their_seed_and_leave_torchs_generator_alone",),
    ),
    Mutation(
        "what a gain goes along with is read off the difference of base and policy alone",
        "training/policy/hacking.py",
        "    inside = np.column_stack("
        "[np.concatenate([values - values.mean() for values in one]) for one in varying])\n"
        "    rewards = np.concatenate([group.rewards - group.rewards.mean() for group in (base, policy)])\n",
        "    inside = np.column_stack([np.concatenate(list(one)) for one in varying])\n"
        "    rewards = np.concatenate([group.rewards for group in (base, policy)])\n",
        (f"{HACKING}::test_a_reward_that_ignores_length_gains_without_it_however_long_the_policy_gets",),
    ),
    Mutation(
        "a reward model is deleted while a policy is trained against it",
        "service/storage/trainings.py",
        "if (other := await self._connection.scalar(needing)) is not None:",
        "if (other := None) is not None:",
        (f"{POLICIES}::test_a_reward_model_or_judge_is_not_deleted_while_a_policy_needs_it",),
    ),
    Mutation(
        "whoever removes a reward model does not wait for a policy that is just asked for",
        "service/storage/trainings.py",
        "select(jobs.c.id).where(own).with_for_update(read=True)",
        "select(jobs.c.id).where(own)",
        (f"{NEEDED}::test_a_training_that_is_asked_for_while_its_model_is_removed_does_not_find_it",),
    ),
    Mutation(
        "retention takes a reward model from a policy that is not trained yet",
        "service/storage/retention.py",
        "jobs.c.retired_at.is_(None), unneeded())",
        "jobs.c.retired_at.is_(None))",
        (f"{NEEDED}::test_retention_leaves_a_needed_model_until_nobody_needs_it",),
    ),
    Mutation(
        "a prompt is both trained on and held out",
        "service/trainings/prompts.py",
        "if not prompt or not self._prompts.is_new(prompt):",
        "if not prompt:",
        (f"{POLICIES}::test_a_prompt_of_its_own_stands_as_it_was_written_and_each_once",),
    ),
    Mutation(
        "a search that trains tells the time left by its labels",
        "service/storage/progress.py",
        "config is not None and config.trains",
        "config is not None and not config.trains",
        (f"{READING}::test_the_time_left_of_a_search_that_trains_goes_by_its_trainings_and_not_by_its_labels",),
    ),
    Mutation(
        "a base is not compared with the model that labelled the jobs once a training begins",
        "workers/training.py",
        'await self._compare(event.facts.get("base"))',
        "await self._compare(None)",
        ("tests/unit/workers/test_training.py::test_a_base_that_did_not_label_the_jobs_is_warned_of_once",),
    ),
    Mutation(
        "the process that trains sees the credentials of object stores",
        "service/training_process/child.py",
        '"AWS_", ',
        "",
        ("tests/unit/training_process/test_child.py::test_the_child_sees_no_setting_of_the_service",),
    ),
)
