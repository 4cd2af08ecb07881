"""Add a table for trainings: their request, progress and artifacts."""

import sqlalchemy as sa
from alembic import op

revision = "c3f07d918e52"
down_revision = "a90c5e7d3b14"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "trainings",
        sa.Column("job_id", sa.Text(), nullable=False),
        sa.Column("config", sa.JSON(), nullable=False),
        sa.Column("base", sa.Text(), nullable=False),
        sa.Column("spec", sa.JSON(), nullable=False),
        sa.Column("rows", sa.Integer(), nullable=False),
        sa.Column("progress", sa.JSON(), nullable=True),
        sa.Column("examples_sha256", sa.Text(), nullable=False),
        sa.Column("examples_bytes", sa.BigInteger(), nullable=False),
        sa.Column("checkpoint_sha256", sa.Text(), nullable=True),
        sa.Column("checkpoint_bytes", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("artifact_sha256", sa.Text(), nullable=True),
        sa.Column("artifact_bytes", sa.BigInteger(), server_default=sa.text("0"), nullable=False),
        sa.Column("manifest", sa.JSON(), nullable=True),
        sa.Column("report", sa.JSON(), nullable=True),
        sa.ForeignKeyConstraint(["job_id"], ["jobs.id"], name=op.f("fk_trainings_job_id_jobs"), ondelete="CASCADE"),
        sa.PrimaryKeyConstraint("job_id", name=op.f("pk_trainings")),
    )


def downgrade() -> None:
    op.execute("DELETE FROM jobs WHERE kind = 'train'")
    op.drop_table("trainings")
