"""Add columns for pauses by people, and columns and indexes that retention needs."""

import sqlalchemy as sa
from alembic import op

revision = "c41d9a7f3e60"
down_revision = "5d0e9a3c71b4"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.add_column("jobs", sa.Column("log_shortened", sa.Boolean(), server_default=sa.text("false"), nullable=False))
    op.add_column("jobs", sa.Column("retired_at", sa.DateTime(timezone=True), nullable=True))
    _index_jobs("ix_jobs_finished_at", "finished_at", "retired_at IS NULL")
    _index_jobs("ix_jobs_unshortened", "finished_at", "NOT log_shortened")
    _index_jobs("ix_jobs_retired_at", "retired_at", "retired_at IS NOT NULL")
    op.create_index(op.f("ix_idempotency_keys_created_at"), "idempotency_keys", ["created_at"], unique=False)


def downgrade() -> None:
    """Resume jobs that people paused, since the release before cannot resume them, and delete retired jobs."""
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.execute(
        "UPDATE jobs SET status = CASE WHEN started_at IS NULL THEN 'queued' ELSE 'running' END, error = NULL,"
        " paused_seconds = paused_seconds"
        " + CASE WHEN started_at IS NULL THEN 0 ELSE extract(epoch FROM now() - paused_at) END,"
        " pause_reason = NULL, paused_at = NULL"
        " WHERE pause_reason = 'requested'"
    )
    op.execute(
        "CREATE TEMPORARY TABLE retired ON COMMIT DROP AS SELECT dataset_id FROM jobs WHERE retired_at IS NOT NULL"
    )
    op.execute("DELETE FROM jobs WHERE retired_at IS NOT NULL")
    op.execute(
        "DELETE FROM datasets WHERE id IN (SELECT dataset_id FROM retired) AND id NOT IN (SELECT dataset_id FROM jobs)"
    )
    op.drop_index(op.f("ix_idempotency_keys_created_at"), table_name="idempotency_keys")
    for name in ("ix_jobs_retired_at", "ix_jobs_unshortened", "ix_jobs_finished_at"):
        op.drop_index(name, table_name="jobs")
    op.drop_column("jobs", "retired_at")
    op.drop_column("jobs", "log_shortened")


def _index_jobs(name: str, column: str, where: str) -> None:
    op.create_index(name, "jobs", [column], unique=False, postgresql_where=sa.text(where))
