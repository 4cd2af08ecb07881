"""The promises of confidence and verdicts, in the form of table.py."""

from tests.mutations.mutation import Mutation

KNOWN = "tests/unit/jobs/test_known_verdicts.py"

TRUST = (
    Mutation(
        "confidence is as unsure as a mean of views, which is right more often than it says",
        "service/search/predictions/panel.py",
        "        return {row: sharpened(values, self.certainty) for row, values in self.scores(views).items()}\n",
        "        return self.scores(views)\n",
        (
            "tests/unit/search/test_panel.py::test_confidences_are_the_pooled_scores_sharpened_however_the_views_scatter",
        ),
    ),
    Mutation(
        "coherent labels that known rows contradict are vouched for",
        "service/jobs/reporting/verdicts.py",
        "    if skill < KNOWN_SKILL[0]:\n",
        "    if not known.rows:\n",
        (KNOWN,),
    ),
    Mutation(
        "right labels are refused because the language model learns nothing from them",
        "service/jobs/reporting/verdicts.py",
        "    if _is_proven(evidence):\n        return []\n",
        "",
        (KNOWN,),
    ),
)
