"""Add tables for backends' answers and identities, and columns for paused jobs."""

import sqlalchemy as sa
from alembic import op

revision = "8b2f4c6a9d13"
down_revision = "37d701da0234"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    _create_backends()
    _let_jobs_wait()
    _count_what_is_remembered()


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute("UPDATE jobs SET status = 'running', error = NULL WHERE status = 'paused'")  # else nothing ends it
    op.drop_column("shards", "remembered")
    op.drop_column("shards", "tokens_modelled")
    op.drop_constraint(op.f("fk_jobs_backend_id_backend_identities"), "jobs", type_="foreignkey")
    for column in ("paused_seconds", "tries", "retry_at", "paused_at", "pause_reason", "backend_id"):
        op.drop_column("jobs", column)
    op.drop_table("remembered_answers")
    op.drop_table("backend_identities")


def _create_backends() -> None:
    op.create_table(
        "backend_identities",
        sa.Column("id", sa.Integer(), sa.Identity(always=True), nullable=False),
        sa.Column("fingerprint", sa.Text(), nullable=False),
        sa.Column("canary", sa.JSON(), nullable=False),
        sa.Column("seen_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("id", name=op.f("pk_backend_identities")),
    )
    op.create_index(op.f("ix_backend_identities_fingerprint"), "backend_identities", ["fingerprint"], unique=False)
    op.create_table(
        "remembered_answers",
        sa.Column("backend_id", sa.Integer(), autoincrement=False, nullable=False),
        sa.Column("prompt", sa.LargeBinary(), nullable=False),
        sa.Column("log_probabilities", sa.LargeBinary(), nullable=False),
        sa.Column("number", sa.BigInteger(), sa.Identity(always=True), nullable=False),
        sa.PrimaryKeyConstraint("backend_id", "prompt", name=op.f("pk_remembered_answers")),
    )
    op.create_index(op.f("ix_remembered_answers_number"), "remembered_answers", ["number"], unique=False)


def _let_jobs_wait() -> None:
    op.add_column("jobs", sa.Column("backend_id", sa.Integer(), nullable=True))
    op.create_foreign_key(
        op.f("fk_jobs_backend_id_backend_identities"), "jobs", "backend_identities", ["backend_id"], ["id"]
    )
    op.add_column("jobs", sa.Column("pause_reason", sa.Text(), nullable=True))
    op.add_column("jobs", sa.Column("paused_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("jobs", sa.Column("retry_at", sa.DateTime(timezone=True), nullable=True))
    op.add_column("jobs", sa.Column("tries", sa.Integer(), server_default=sa.text("0"), nullable=False))
    op.add_column("jobs", sa.Column("paused_seconds", sa.Double(), server_default=sa.text("0"), nullable=False))


def _count_what_is_remembered() -> None:
    op.add_column("shards", sa.Column("tokens_modelled", sa.Boolean(), server_default=sa.text("false"), nullable=False))
    op.add_column("shards", sa.Column("remembered", sa.BigInteger(), server_default=sa.text("0"), nullable=False))
