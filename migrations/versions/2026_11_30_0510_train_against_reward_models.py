"""Add a table of the trainings that need models of others, so that the service keeps those models."""

import sqlalchemy as sa
from alembic import op

revision = "6d1b84f0c2a7"
down_revision = "5d0e9b47f2a8"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "training_models",
        sa.Column("job_id", sa.Text(), nullable=False),
        sa.Column("field", sa.Text(), nullable=False),
        sa.Column("model_id", sa.Text(), nullable=False),
        sa.ForeignKeyConstraint(
            ["job_id"], ["trainings.job_id"], name=op.f("fk_training_models_job_id_trainings"), ondelete="CASCADE"
        ),
        sa.ForeignKeyConstraint(
            ["model_id"], ["trainings.job_id"], name=op.f("fk_training_models_model_id_trainings"), ondelete="CASCADE"
        ),
        sa.PrimaryKeyConstraint("job_id", "field", name=op.f("pk_training_models")),
    )
    op.create_index("ix_training_models_model_id", "training_models", ["model_id"])


def downgrade() -> None:
    op.drop_table("training_models")
