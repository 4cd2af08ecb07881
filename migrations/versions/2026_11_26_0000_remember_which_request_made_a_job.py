"""Add columns to jobs for the id and the traceparent of the request that created them; null in older jobs.

The migration only adds, so workers and APIs of the earlier release can run beside new ones (docs/operations.md).
"""

import sqlalchemy as sa
from alembic import op

revision = "5d0e9a3c71b4"
down_revision = "5d3e9a70c4b8"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.add_column("jobs", sa.Column("request_id", sa.Text(), nullable=True))
    op.add_column("jobs", sa.Column("traceparent", sa.Text(), nullable=True))


def downgrade() -> None:
    op.execute("SET LOCAL lock_timeout = '5s'")
    op.drop_column("jobs", "traceparent")
    op.drop_column("jobs", "request_id")
