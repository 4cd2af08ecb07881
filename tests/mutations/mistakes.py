"""The promises about faulty data and prompts, in the form of table.py."""

from tests.mutations.mutation import Mutation

CRASHES = "tests/unit/workers/test_prompts_that_crash_the_server.py"

MISTAKES = (
    Mutation(
        "blank cells of a relation's column are one group",
        "service/relations/keyed.py",
        "return any(is_blank(row[column]) for column in self.columns)",
        "return any(row[column] is None for column in self.columns)",
        ("tests/unit/jobs/test_relations.py::test_rows_that_are_blank_in_a_column_of_a_relation_are_tied_by_nothing",),
    ),
    Mutation(
        "gold that is none of the labels counts as wrong",
        "service/jobs/reporting/calibration.py",
        "if gold_label is None:",
        "if gold_label is None and not gold:",
        ("tests/unit/jobs/reporting/test_calibration.py::test_gold_that_is_no_label_is_neither_right_nor_wrong",),
    ),
    Mutation(
        "labels are asked for behind the white space that a row ends with",
        "service/jobs/task/template.py",
        "return without_blank_end(self.filled(row))",
        "return self.filled(row)",
        ("tests/unit/jobs/test_survey.py::test_white_space_at_the_end_of_a_row_is_not_read",),
    ),
    Mutation(
        "crashes of the inference server are forgotten with each pause",
        "service/jobs/running/answer_cache.py",
        "        self._crashes = ServerCrashes.stored(claimed.server_crashes)\n",
        "        self._crashes = ServerCrashes()\n",
        (f"{CRASHES}::test_one_fatal_row_is_left_out_after_a_few_crashes",),
    ),
)
